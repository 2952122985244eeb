"""A VirtualIP with addresses of both families is two virtual routers, and here one again: their names, and what they
say together.

MASTER is what both are, FAULT what either is; else it is BACKUP. In between, while one has moved and the other is about
to, that is the honest word for it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from virtualip_agent.ipc import RouterState
from virtualip_api.addresses import Family
from virtualip_api.status import FamilyStatus, State

_WORST_FIRST: Final = (State.FAULT, State.BACKUP, State.MASTER)
_BY_THE_OTHER: Final = "SyncGroup"
"""vrrp's reason for a fault that is not the router's own."""


def router_name(virtual_ip: str, family: Family) -> str:
    """Of one of two; an only one is called as its VirtualIP."""
    return f"{virtual_ip}/{family}"


def router_names(virtual_ip: str) -> frozenset[str]:
    """Whatever its routers may be called."""
    return frozenset((virtual_ip, *(router_name(virtual_ip, family) for family in Family)))


def virtual_ip_of(router: str) -> str:
    """The other way."""
    return router.partition("/")[0]


def group_of(virtual_ip: str, sync_group: str | None) -> str:
    """What binds the two: the VirtualIP's sync group, or one of their own (no user can name one so)."""
    return sync_group or f"vip:{virtual_ip}"


class VirtualIPStates:
    """What vrrp says, by VirtualIP. `routers` is its last word of each router, kept by the link."""

    def __init__(self, routers: Mapping[str, RouterState]) -> None:
        self._routers = routers
        self._expected: Mapping[str, Collection[str]] = {}
        self._known: dict[str, RouterState] = {}
        self._parts: dict[str, int] = {}
        """Of how many routers that is the state."""

    def expect(self, routers: Mapping[str, Collection[str]]) -> None:
        """Which routers each VirtualIP has now; of one that is not there any more, all that are left."""
        self._expected = routers
        for name in {virtual_ip_of(router) for router in self._routers} | self._known.keys():
            self.refresh(name)

    def refresh(self, virtual_ip: str) -> RouterState | None:
        """After something was said; None where nothing is known of all its routers."""
        states = self._states(virtual_ip)
        if states is None:
            self._known.pop(virtual_ip, None)
            return None
        before = self._known.get(virtual_ip)
        if virtual_ip not in self._expected and before is not None and len(states) < self._parts[virtual_ip]:
            # Withdrawn, and one of the two has gone: what the other one is by itself (MASTER, until it hears its
            # successor) is no event of the VirtualIP, which has begun to leave and ends with it.
            return before
        state = merge(virtual_ip, states)
        if len(states) > 1 and before is not None and before.state == state.state:
            # the second of the two entered it a moment after the first: no other event
            state = msgspec.structs.replace(state, since=before.since)
        self._known[virtual_ip], self._parts[virtual_ip] = state, len(states)
        return state

    def get(self, virtual_ip: str) -> RouterState | None:
        """Its state."""
        return self._known.get(virtual_ip)

    @property
    def all(self) -> Mapping[str, RouterState]:
        """By VirtualIP."""
        return self._known

    def families(self, virtual_ip: str) -> tuple[FamilyStatus, ...]:
        """Each one's own, where there are two."""
        states = self._states(virtual_ip) or ()
        if len(states) < 2:
            return ()
        return tuple(FamilyStatus(_family(state), State(state.state), state.reason, state.message) for state in states)

    def _states(self, virtual_ip: str) -> list[RouterState] | None:
        expected = self._expected.get(virtual_ip)
        names = sorted(router_names(virtual_ip) if expected is None else expected)
        states = [self._routers[name] for name in names if name in self._routers]
        return states if states and (expected is None or len(states) == len(names)) else None


def merge(virtual_ip: str, states: Sequence[RouterState]) -> RouterState:
    """The state of a VirtualIP from those of its routers."""
    if len(states) == 1:
        return msgspec.structs.replace(states[0], name=virtual_ip)
    worst = next(state for state in _WORST_FIRST if any(one.state == state for one in states))
    there = [one for one in states if one.state == worst]
    lead = next((one for one in there if one.reason != _BY_THE_OTHER), there[0])
    alike = all((one.reason, one.message) == (lead.reason, lead.message) for one in states)
    entered = [one.since for one in there]
    return RouterState(
        name=virtual_ip,
        state=lead.state,
        priority=min(one.priority for one in states),
        reason=lead.reason,
        message=lead.message if alike or not lead.message else f"{_family(lead)}: {lead.message}",
        since=max(entered) if worst is State.MASTER else min(entered),
        interface=lead.interface or next((one.interface for one in states if one.interface), ""),
        source=_joined(one.source for one in states),
        addresses=tuple(address for one in states for address in one.addresses),
        master=_joined(one.master for one in states),
        takeover=max(one.takeover for one in states) if worst is State.MASTER else -1,
        mismatches={address: text for one in states for address, text in one.mismatches.items()},
        foreign={address: text for one in states for address, text in one.foreign.items()},
    )


def _family(state: RouterState) -> str:
    return state.name.partition("/")[2]


def _joined(words: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(filter(None, words)))
