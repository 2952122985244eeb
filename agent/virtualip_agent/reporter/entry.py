"""This node's entry in `status.nodes`, composed from control's word and the reporter's remark. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from virtualip_api.names import API_VERSION, GROUP, VERSION, VIRTUAL_IP_KIND, VIRTUAL_IP_PLURAL
from virtualip_api.status import NodeEntry, State, entry_to_json

VIRTUAL_IPS_PATH = f"/apis/{GROUP}/{VERSION}/{VIRTUAL_IP_PLURAL}"

LONGEST_MESSAGE = 256
"""Characters. An apply takes 6 ms with small entries and 215 ms with many long ones (measured)."""


@dataclass(frozen=True, slots=True)
class Remark:
    """Why the newest plan of a VIP is not what runs here: the reason and message that its entry has to show."""

    reason: str
    """`UnsupportedField`, `SecretMissing`, `OlderPlan`, `EmptyPlan`, `WriteFailed`."""
    message: str


def compose(node: str, told: Mapping[str, Any] | None, remark: Remark | None) -> dict[str, Any] | None:
    """The entry to show, or None where there is nothing to say.

    With both, state, priority and observedGeneration stay control's, as they are true of what runs; the reason is the
    remark's. With a remark alone nothing runs here: FAULT."""
    if told is None:
        if remark is None:
            return None
        message = remark.message[:LONGEST_MESSAGE]
        return entry_to_json(NodeEntry(node=node, state=State.FAULT, priority=0, reason=remark.reason, message=message))
    entry = {**told, "node": node}
    if remark is not None:
        entry["reason"] = remark.reason
        entry["message"] = "; ".join(filter(None, (remark.message, str(told.get("message", "")))))
    if "message" in entry:
        entry["message"] = str(entry["message"])[:LONGEST_MESSAGE]
    return entry


def status_path(virtual_ip: str) -> str:
    """Where a VirtualIP's status is written."""
    return f"{VIRTUAL_IPS_PATH}/{virtual_ip}/status"


def apply_body(virtual_ip: str, entry: Mapping[str, Any] | None) -> dict[str, Any]:
    """The server-side apply that makes this node's entry what it is; None: takes it away, as its owner no longer
    names it (an empty list: without one the API would make an empty status null, and refuse that)."""
    return {
        "apiVersion": API_VERSION,
        "kind": VIRTUAL_IP_KIND,
        "metadata": {"name": virtual_ip},
        "status": {"nodes": [] if entry is None else [dict(entry)]},
    }


def own_entry(virtual_ip: Mapping[str, Any], node: str) -> Mapping[str, Any] | None:
    """This node's entry in a VirtualIP as the API gave it."""
    nodes = (virtual_ip.get("status") or {}).get("nodes") or ()
    return next((entry for entry in nodes if entry.get("node") == node), None)


def shows(found: Mapping[str, Any] | None, wanted: Mapping[str, Any] | None) -> bool:
    """Whether the entry found says what matters of the one wanted (the API may prune or default the rest)."""
    if found is None or wanted is None:
        return found is None and wanted is None
    return all(found.get(key) == wanted.get(key) for key in ("state", "priority", "reason", "lastTransitionTime"))
