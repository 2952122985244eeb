"""Who takes part in a VirtualIP, with which base priority and rank: by specs and Nodes, never by liveness."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import groupby
from operator import itemgetter
from typing import Any

from virtualip_api.addresses import Ip, family_of
from virtualip_api.advice import Advice, advice
from virtualip_api.member import MOST_ADDRESSES, Peer
from virtualip_api.names import member_name
from virtualip_api.virtual_ip import MOST_MEMBERS, OWNER_PRIORITY, VirtualIPSpec, base_priority

_LONGEST_OBJECT_NAME = 253
_MOST_NAMED = 5  # of the nodes that are too many


@dataclass(frozen=True, slots=True)
class Node:
    """What the plan depends on of a Node."""

    name: str
    labels: Mapping[str, str]
    addresses: tuple[Ip, ...]
    """Its InternalIPs of either family."""
    cordoned: bool = False
    """spec.unschedulable."""


@dataclass(frozen=True, slots=True)
class PlannedMember:
    """One node's part."""

    node: str
    base_priority: int
    rank: int
    draining: bool
    known: tuple[Ip, ...] | None = None
    """Those of its addresses by which all others know it; None: all."""
    unknown_to: tuple[str, ...] = ()
    """Members who would not hear it yet by any; it stays silent until there are none."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Members in the order of base priority, then name, and all of them as peers in the order of their names."""

    members: tuple[PlannedMember, ...]
    peers: tuple[Peer, ...]
    advice: tuple[Advice, ...] = ()
    """What is followed, and probably not meant."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why there is no plan: what ran before goes on."""

    reason: str
    message: str


def node_from_json(body: Mapping[str, Any]) -> Node:
    """A Node as the API server has it."""
    addresses = []
    for entry in (body.get("status") or {}).get("addresses") or ():
        if entry.get("type") == "InternalIP":
            try:
                addresses.append(ip_address(entry.get("address")))
            except ValueError:
                continue
    metadata = body["metadata"]
    cordoned = bool((body.get("spec") or {}).get("unschedulable"))
    return Node(metadata["name"], metadata.get("labels") or {}, tuple(addresses), cordoned)


def takes_part(spec: VirtualIPSpec, node: Node) -> bool:
    """Whether a spec chooses the node."""
    return spec.node_selector is None or spec.node_selector.matches(node.labels)


def make_plan(
    virtual_ip: str,
    spec: VirtualIPSpec,
    nodes: Iterable[Node],
    draining: Collection[str] = (),
    taking_part: Collection[str] = (),
) -> Plan | Rejection:
    """The plan for a VirtualIP, or why there is none. `taking_part`: the nodes that have a Member already."""
    chosen = [node for node in nodes if takes_part(spec, node)]
    left_out: tuple[Advice, ...] = ()
    if len(chosen) > MOST_MEMBERS:
        crowd = f"spec.nodeSelector: {len(chosen)} nodes are selected; at most {MOST_MEMBERS} can share a VirtualIP"
        # A cluster that grows must not freeze the plan of those who share it already: they can still be drained.
        if not any(node.name in taking_part for node in chosen):
            return Rejection("TooManyMembers", crowd)
        chosen.sort(key=lambda node: (node.name not in taking_part, node.name))
        names = ", ".join(node.name for node in chosen[MOST_MEMBERS:][:_MOST_NAMED])
        more = len(chosen) - MOST_MEMBERS - _MOST_NAMED
        left_out = (
            Advice("TooManyMembers", f"{crowd}: {names}{f' and {more} more' if more > 0 else ''} take no part"),
        )
        chosen = chosen[:MOST_MEMBERS]
    for node in chosen:
        if len(member_name(virtual_ip, node.name)) > _LONGEST_OBJECT_NAME:
            return Rejection(
                "NameTooLong",
                f"metadata.name: with the node's name {node.name!r} it has more than {_LONGEST_OBJECT_NAME} characters",
            )
    weighed = sorted((-base_priority(spec, node.name, node.labels), node.name) for node in chosen)
    return Plan(
        members=tuple(
            PlannedMember(node=name, base_priority=-negated, rank=rank, draining=name in draining)
            for _, equals in groupby(weighed, key=itemgetter(0))
            for rank, (negated, name) in enumerate(equals)
        ),
        # By name, not rank: one node's other priority is no news for those whose place stays.
        peers=tuple(
            Peer(node.name, advertises_from(node, spec)) for node in sorted(chosen, key=lambda node: node.name)
        ),
        advice=(
            *left_out,
            *advice(spec, {-negated for negated, _ in weighed}),
            *_taken_addresses(spec, chosen),
            *_unheard(spec, chosen),
        ),
    )


def _taken_addresses(spec: VirtualIPSpec, nodes: Iterable[Node]) -> Iterator[Advice]:
    virtual = {address.ip for address in spec.addresses}
    for node in nodes:
        taken = [address for address in node.addresses if address in virtual]
        if taken and base_priority(spec, node.name, node.labels) != OWNER_PRIORITY:
            yield Advice(
                "NodeAddressTaken",
                f"Node {node.name} has {taken[0]} among its InternalIPs: its kubelet takes the VirtualIP for the "
                "node's own address; start it with --node-ip",
            )


def _unheard(spec: VirtualIPSpec, nodes: Collection[Node]) -> Iterator[Advice]:
    """Where members are heard by name alone: who has none."""
    if not spec.heard_by_name:
        return
    field = "spec.transport" if spec.transport == "Unicast" else "spec.strictPeers"
    for family in spec.families:
        without = sorted(node.name for node in nodes if family not in map(family_of, advertises_from(node, spec)))
        if without:
            yield Advice(
                "NodeAddressMissing",
                f"{field} and spec.addresses: no address of {family} is known of {', '.join(without)}, so that the "
                "other members do not hear it; name one in spec.nodeAddresses",
            )


def advertises_from(node: Node, spec: VirtualIPSpec) -> tuple[Ip, ...]:
    """As the spec says, or for what it does not say of a family the Node's own, as far as they concern it."""
    said = next((entry.addresses for entry in spec.node_addresses if entry.node_name == node.name), ())
    families = {family_of(address) for address in said}
    # No advertisement comes from a VIP, which a kubelet without --node-ip may take for its node's address for a while.
    virtual = {address.ip for address in spec.addresses}
    own = [address for address in node.addresses if family_of(address) not in families and address not in virtual]
    # A node with a card for each network lists more than are of use: those on a VIP's subnet first.
    if len(said) + len(own) > MOST_ADDRESSES:
        own.sort(key=lambda address: not any(address in virtual_ip.network for virtual_ip in spec.addresses))
    return tuple(address for address in (*said, *own) if family_of(address) in spec.families)[:MOST_ADDRESSES]
