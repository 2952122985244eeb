"""The names that operator, agents and manifests agree on."""

import hashlib
import re

GROUP = "virtualip.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

VIRTUAL_IP_KIND = "VirtualIP"
VIRTUAL_IP_PLURAL = "virtualips"
MEMBER_KIND = "VirtualIPMember"
MEMBER_PLURAL = "virtualipmembers"

NODE_LABEL = f"{GROUP}/node"
"""On a VirtualIPMember: the node it is for. The reporter's only selector."""
VIRTUAL_IP_LABEL = f"{GROUP}/virtualip"
"""On a VirtualIPMember: the VirtualIP it belongs to."""

MOVE_TO_ANNOTATION = f"{GROUP}/move-to"
"""On a VirtualIP: the node that is to hold it for a while (virtualip_api/move.py)."""
MOVE_UNTIL_ANNOTATION = f"{GROUP}/move-until"
"""On a VirtualIP: when that ends."""

WITHDRAWN_ANNOTATION = f"{GROUP}/withdrawn"
"""On a VirtualIPMember that is about to be deleted because its node takes no part any more: it was meant."""

_FIELD_MANAGER_LIMIT = 128
_LABEL_LIMIT = 63


def label_value(name: str) -> str:
    """A resource's name as a label value: itself, or a prefix and a hash where it is longer than 63 characters."""
    if len(name) <= _LABEL_LIMIT:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return f"{name[: _LABEL_LIMIT - 13].rstrip('-.')}-{digest}"


def member_name(virtual_ip: str, node: str) -> str:
    """`<vip>.<node>`: a dot cannot be confused, as a VirtualIP's name has none (the CRD sees to it)."""
    return f"{virtual_ip}.{node}"


def field_manager(node: str) -> str:
    """The server-side-apply manager of a node's reporter; hashed where it would pass the API's 128 characters."""
    name = f"virtualip-agent-{node}"
    if len(name) <= _FIELD_MANAGER_LIMIT:
        return name
    return f"virtualip-agent-{hashlib.sha256(node.encode()).hexdigest()}"


def lease_name(node: str) -> str:
    """The Lease (in the agent's namespace) that says this node's reporter lives."""
    return f"virtualip-{node}"


_INTERFACE = re.compile(r"[^\s/]{1,15}")


def is_interface_name(text: str) -> bool:
    """Whether the kernel would take it for an interface's name."""
    return bool(_INTERFACE.fullmatch(text)) and text not in (".", "..")
