"""VirtualIPMember: the operator's plan for one VirtualIP on one node, and the only thing a reporter watches."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from virtualip_api.addresses import Ip
from virtualip_api.defaults import without_defaults
from virtualip_api.fields import Fields, read
from virtualip_api.virtual_ip import MOST_MEMBERS, OWNER_PRIORITY, VirtualIPSpec, parse_spec_fields


@dataclass(frozen=True, slots=True)
class Peer:
    """A node that takes part, and its addresses on the segment (source addresses of its advertisements)."""

    node: str
    addresses: tuple[Ip, ...] = ()


@dataclass(frozen=True, slots=True)
class MemberSpec:
    """`spec` of a VirtualIPMember."""

    virtual_ip: str
    node: str
    revision: int
    """Rises with every change of the plan; an older one (an etcd restored) is not followed."""
    generation: int
    """metadata.generation of the VirtualIP that this plan was made from."""
    base_priority: int
    rank: int
    """Place by name among the members of equal base priority; breaks ties before they happen."""
    draining: bool
    """The node is to give its VIPs away: effective priority 1, never exclusion."""
    peers: tuple[Peer, ...]
    """All members, this node included."""
    unknown_to: tuple[str, ...]
    """Members who hear others by name alone and do not know this node yet: it is to stay silent."""
    spec: VirtualIPSpec
    """The accepted spec; who takes part and base priorities are resolved above."""


def parse_member_spec(value: object, path: str = "spec") -> MemberSpec:
    """The spec of a VirtualIPMember; InvalidResource names what this version does not understand."""
    return read(value, path, _parse)


def _parse(fields: Fields) -> MemberSpec:
    spec_fields = fields.child("spec")
    if spec_fields is None:
        fields.error("spec", "is required")
        spec = VirtualIPSpec(addresses=(), vrid=1)
    else:
        spec = parse_spec_fields(spec_fields)
        spec_fields.finish()
    return MemberSpec(
        virtual_ip=fields.text("virtualIP"),
        node=fields.text("node"),
        revision=fields.integer("revision", 0, 2**63 - 1),
        generation=fields.integer("generation", 0, 2**63 - 1),
        base_priority=fields.integer("basePriority", 1, OWNER_PRIORITY),
        rank=fields.integer("rank", 0, MOST_MEMBERS - 1),
        draining=fields.boolean("draining", False),
        peers=tuple(_parse_peer(child) for child in fields.children("members", MOST_MEMBERS)),
        unknown_to=fields.texts("unknownTo", MOST_MEMBERS),
        spec=spec,
    )


def _parse_peer(fields: Fields) -> Peer:
    addresses = []
    for index, text in enumerate(fields.texts("addresses", MOST_ADDRESSES)):
        try:
            addresses.append(ip_address(text))
        except ValueError:
            fields.error(f"addresses[{index}]", f"{text!r} is not an IP address")
    peer = Peer(fields.text("node"), tuple(addresses))
    fields.finish()
    return peer


MOST_ADDRESSES = 8
"""Of a member."""
_RESOLVED = ("nodeSelector", "nodePriorities", "priority", "drain")


def member_spec(
    *,
    virtual_ip: str,
    node: str,
    generation: int,
    base_priority: int,
    rank: int,
    draining: bool,
    peers: tuple[Peer, ...],
    spec: Mapping[str, object],
    unknown_to: tuple[str, ...] = (),
) -> dict[str, object]:
    """The spec of a Member as JSON, without its revision. `spec` is the VirtualIP's own, as it was applied:
    what chooses and weighs nodes is left out, as it is resolved, and what is so by default."""
    resolved = without_defaults({key: value for key, value in spec.items() if key not in _RESOLVED})
    return {
        "virtualIP": virtual_ip,
        "node": node,
        "generation": generation,
        "basePriority": base_priority,
        "rank": rank,
        "draining": draining,
        "members": [{"node": peer.node, "addresses": [str(address) for address in peer.addresses]} for peer in peers],
        **({"unknownTo": list(unknown_to)} if unknown_to else {}),
        "spec": resolved,
    }
