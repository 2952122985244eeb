"""A new member speaks only after the others know it, and one that leaves is heard until it has let go. Pure.

Where members are heard by name alone (Unicast, strictPeers), one that the others do not know is heard by nobody and
told nothing: it would make itself a second MASTER. So a node that comes to others, or comes by another address, is
planned as `unknownTo` those who have not reported the plan that names it, and stays in FAULT until that list is empty.

The other way round a MASTER that takes no part any more stays known to the others until it says that it has handed
over: they would not hear it resign, and the addresses would be nobody's for some intervals.

Who is silent is waited for as well: it may be cut off from the API and hold the addresses all the same. If it is gone
for good, its Node is to be deleted.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from virtualip_api.member import Peer
from virtualip_api.names import member_name
from virtualip_api.status import NodeEntry, State
from virtualip_api.virtual_ip import MOST_MEMBERS, VirtualIPSpec
from virtualip_operator.planning import Node, Plan, advertises_from

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
    addresses = {peer.node: _addresses(peer) for peer in plan.peers}

    def waits_for(node: str) -> tuple[str, ...]:
        told = _named(before.get(node, {}), node)
        if node in speaking and told == addresses[node]:
            return ()  # it has been introduced
        return tuple(
            other
            for other, member in sorted(speaking.items())
            if other != node
            and not (_named(member, node) == addresses[node] and _has_taken(entries.get(other), member["revision"]))
        )

    return replace(plan, members=tuple(replace(member, unknown_to=waits_for(member.node)) for member in plan.members))


def departing(
    spec: VirtualIPSpec,
    plan: Plan,
    entries: Mapping[str, NodeEntry],
    nodes: Iterable[Node],
    is_silent: Callable[[str], bool],
) -> tuple[Peer, ...]:
    """Those who take no part any more and are MASTER yet."""
    if not spec.heard_by_name:
        return ()
    planned = {peer.node for peer in plan.peers}
    found = [
        Peer(node.name, advertises_from(node, spec))
        for node in sorted(nodes, key=lambda node: node.name)
        if node.name in entries
        and node.name not in planned
        and entries[node.name].state is State.MASTER
        and not is_silent(node.name)
    ]
    return tuple(found[: MOST_MEMBERS - len(planned)])


def _addresses(peer: Peer) -> list[str]:
    return [str(address) for address in peer.addresses]


def _named(member: Json, node: str) -> list[str] | None:
    """By which addresses a Member's plan knows a node."""
    peers = member.get("members") or ()
    return next((list(peer.get("addresses") or ()) for peer in peers if peer["node"] == node), None)


def _has_taken(entry: NodeEntry | None, revision: int) -> bool:
    return entry is not None and entry.observed_revision >= revision
