"""A new member speaks only after the others know it, and one that leaves is heard until it has let go. Pure.

Where members are heard by name alone (Unicast, strictPeers), one that the others do not know is heard by nobody and
told nothing: it would make itself a second MASTER. So a node's own plan names, of its addresses, those alone by which
each of the others has reported to know it. A node that comes to others has none at first: it is `unknownTo` them, and
in FAULT.

An address that a node advertises from stays planned while it does, whatever its Node says by now: what the API holds
must move nothing.

A MASTER that takes no part any more stays known to the others until it says that it has handed over. Where they hear by
name alone they would not hear it resign, and the addresses would be nobody's for some intervals; and everywhere they
would tell of it as of a stranger that uses their VRID.

Who is silent is waited for as well: it may be cut off from the API and hold the addresses all the same. If it is gone
for good, its Node is to be deleted.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from virtualip_api.addresses import Ip
from virtualip_api.member import Peer
from virtualip_api.names import member_name
from virtualip_api.status import NodeEntry, State
from virtualip_api.virtual_ip import MOST_MEMBERS, VirtualIPSpec
from virtualip_operator.planning import Node, Plan, PlannedMember, advertises_from

Json = Mapping[str, Any]


def introduce(
    virtual_ip: str, spec: VirtualIPSpec, plan: Plan, existing: Mapping[str, Json], entries: Mapping[str, NodeEntry]
) -> Plan:
    """The plan with what each member has to wait for. `existing` are the Members by name as they are stored."""
    if not spec.heard_by_name:
        return plan
    before = {
        member.node: existing[name]["spec"]
        for member in plan.members
        if (name := member_name(virtual_ip, member.node)) in existing
    }
    speaking = {node: member for node, member in before.items() if not member.get("unknownTo")}
    granted = {node: _named(member, node) for node, member in speaking.items()}
    peers = tuple(_with_those_in_use(peer, granted.get(peer.node, ()), entries.get(peer.node)) for peer in plan.peers)
    addresses = {peer.node: peer.addresses for peer in peers}

    def introduced(member: PlannedMember) -> PlannedMember:
        node = member.node
        lacking = {
            address: {
                other
                for other, told in speaking.items()
                if other != node
                and not (address in _named(told, node) and _has_taken(entries.get(other), told["revision"]))
            }
            for address in addresses[node]
            if address not in granted.get(node, ())
        }
        known = tuple(address for address in addresses[node] if not lacking.get(address))
        waits_for = set[str]().union(*lacking.values()) if not known else ()
        return replace(member, known=known, unknown_to=tuple(sorted(waits_for)))

    return replace(plan, members=tuple(map(introduced, plan.members)), peers=peers)


def _with_those_in_use(peer: Peer, granted: tuple[Ip, ...], entry: NodeEntry | None) -> Peer:
    sources = entry.sources if entry is not None else ()
    used = tuple(address for address in granted if str(address) in sources and address not in peer.addresses)
    return replace(peer, addresses=peer.addresses + used)


def departing(
    spec: VirtualIPSpec,
    plan: Plan,
    existing: Mapping[str, Json],
    entries: Mapping[str, NodeEntry],
    nodes: Iterable[Node],
    is_silent: Callable[[str], bool],
) -> tuple[Peer, ...]:
    """Those who take no part any more and are MASTER yet. Only who took part: an entry alone, which any node's agent
    may write, makes nobody heard."""
    planned = {peer.node for peer in plan.peers}
    known = {peer["node"] for member in existing.values() for peer in member["spec"].get("members") or ()}
    found = [
        Peer(node.name, advertises_from(node, spec))
        for node in sorted(nodes, key=lambda node: node.name)
        if node.name in entries
        and node.name in known - planned
        and entries[node.name].state is State.MASTER
        and not is_silent(node.name)
    ]
    return tuple(found[: MOST_MEMBERS - len(planned)])


def has_heir(plan: Plan, entries: Mapping[str, NodeEntry], is_silent: Callable[[str], bool]) -> bool:
    """Whether somebody who takes part takes over at once when the MASTER resigns. Where all who are to take part are
    new, whoever leaves has to answer until they are ready."""
    there = [entries[member.node] for member in plan.members if member.node in entries]
    return any(
        entry.state is not State.FAULT and not entry.reason.startswith("WaitingFor") and not is_silent(entry.node)
        for entry in there
    )


def _named(member: Json, node: str) -> tuple[Ip, ...]:
    """By which addresses a Member's plan knows a node."""
    peers = member.get("members") or ()
    named = next((peer.get("addresses") or () for peer in peers if peer["node"] == node), ())
    return tuple(ip_address(address) for address in named)


def _has_taken(entry: NodeEntry | None, revision: int) -> bool:
    return entry is not None and entry.observed_revision >= revision
