"""A new member speaks only after the others know it. Pure.

Where members are heard by name alone (Unicast, strictPeers), one that the others do not know is heard by nobody and
told nothing: it would make itself a second MASTER. So a node that comes to others, or comes by another address, is
planned as `unknownTo` those who have not reported the plan that names it, and stays in FAULT until that list is empty.

Who is silent is waited for as well: it may be cut off from the API and hold the addresses all the same. If it is gone
for good, its Node is to be deleted.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from virtualip_api.member import Peer
from virtualip_api.names import member_name
from virtualip_api.status import NodeEntry
from virtualip_api.virtual_ip import VirtualIPSpec
from virtualip_operator.planning import Plan

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


def _addresses(peer: Peer) -> list[str]:
    return [str(address) for address in peer.addresses]


def _named(member: Json, node: str) -> list[str] | None:
    """By which addresses a Member's plan knows a node."""
    peers = member.get("members") or ()
    return next((list(peer.get("addresses") or ()) for peer in peers if peer["node"] == node), None)


def _has_taken(entry: NodeEntry | None, revision: int) -> bool:
    return entry is not None and entry.observed_revision >= revision
