"""Machines with several virtual routers each, on segments of their own, bound by a sync group.

    lan = GroupLan(2)
    server1, server2 = lan.machine("server1", 244), lan.machine("server2", 240)
    lan.run_until(5)
    assert lan.masters() == [["server1"], ["server1"]]

Each segment is a VirtualLan with its own VRID; here is what they share: the clock, and a SyncGroups for each agent.
"""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from virtual_lan import Node, VirtualLan
from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.sync_group import Outcome, SyncGroups
from virtualip_agent.vrrp.timing import SECOND

if TYPE_CHECKING:
    from virtualip_agent.vrrp.virtual_router import VirtualRouter

GROUP: Final = "edge"


class _Segment(VirtualLan):
    def __init__(self, whole: "GroupLan", name: str, **defaults: Any) -> None:
        super().__init__(**defaults)
        self._whole = whole
        self.name = name

    def tell(self, node: Node, event: ev.Event) -> None:
        if node.router is not None and not node.stalled:
            self._whole.handle(self, node, event)

    def carry_out(self, node: Node, effects: Any) -> None:
        self._carry_out(node, effects)

    def next(self) -> int:
        return self._next()

    def step(self) -> None:
        self._step()


class GroupLan:
    """N machines; each has a router on every segment."""

    def __init__(self, segments: int = 2, **defaults: Any) -> None:
        self.segments = [
            _Segment(
                self, f"vip{number}", vrid=51 + number, addresses=frozenset({bytes([10, number, 0, 200])}), **defaults
            )
            for number in range(segments)
        ]
        self.names: list[str] = []
        self._groups: dict[str, SyncGroups] = {}
        self._known: dict[tuple[str, str], VirtualRouter] = {}

    # ---- making

    def machine(
        self, name: str, *priorities: int, sources: Sequence[int] = (), group: str = GROUP, **settings: Any
    ) -> str:
        """A machine with a base priority for each segment (or one for all). `sources`: the last byte of its source
        address in each."""
        self.names.append(name)
        self._groups[name] = SyncGroups()
        for number, segment in enumerate(self.segments):
            priority = priorities[min(number, len(priorities) - 1)]
            node = segment.node(name, start=False, base_priority=priority, group=group, **settings)
            if sources:
                self._move(segment, node, bytes([10, number, 0, sources[number]]))
        for segment in self.segments:
            segment.start(self.node(name, segment))
        return name

    def stranger(self, name: str, segment: int, priority: int) -> Node:
        """A router on one segment only, which knows nothing of groups."""
        self._groups[name] = SyncGroups()
        return self.segments[segment].node(name, base_priority=priority)

    def _move(self, segment: _Segment, node: Node, source: bytes) -> None:
        node.source = source
        members = frozenset(other.source for other in segment.nodes)
        for other in segment.nodes:
            other.settings = replace(other.settings, members=members)

    def node(self, name: str, segment: "_Segment | int") -> Node:
        """A machine's router on one segment."""
        where = self.segments[segment] if isinstance(segment, int) else segment
        return next(node for node in where.nodes if node.name == name)

    # ---- what can happen

    def power_off(self, name: str) -> None:
        """Agent and kernel are gone."""
        for segment in self.segments:
            segment.power_off(self.node(name, segment))
        self._groups[name] = SyncGroups()

    def start(self, name: str) -> None:
        """The agent starts."""
        self._groups[name] = SyncGroups()
        for segment in self.segments:
            segment.start(self.node(name, segment))

    def restart(self, name: str) -> None:
        """kill -9, and a new process at once."""
        for segment in self.segments:
            segment.kill(self.node(name, segment))
        self.start(name)

    def stop(self, name: str) -> None:
        """SIGTERM to the agent."""
        for segment in self.segments:
            segment.stop(self.node(name, segment))

    def handle(self, segment: _Segment, node: Node, event: ev.Event) -> None:
        """One router's event, with its group."""
        groups = self._groups[node.name]
        key = (node.name, segment.name)
        if self._known.get(key) is not node.core:
            self._known[key] = node.core
            groups.add(segment.name, node.core)
        self._carry_out(node.name, groups.handle(segment.name, event, segment.now))

    def _carry_out(self, name: str, outcome: Outcome) -> None:
        for segment_name, effects in outcome:
            segment = next(segment for segment in self.segments if segment.name == segment_name)
            node = self.node(name, segment)
            segment.carry_out(node, effects)
            if node.released and node.router is None and (name, segment_name) in self._known:
                del self._known[name, segment_name]
                self._carry_out(name, self._groups[name].remove(segment_name, segment.now))

    # ---- time

    def run_until(self, seconds: float) -> None:
        """Until this moment of the shared clock."""
        end = round(seconds * SECOND)
        while True:
            segment = min(self.segments, key=lambda one: one.next())
            moment = segment.next()
            if moment > end:
                break
            self._set_clock(max(segment.now, moment))
            segment.step()
        self._set_clock(end)

    def run(self, seconds: float) -> None:
        """Lets time pass."""
        self.run_until(self.now + seconds)

    def _set_clock(self, now: int) -> None:
        for segment in self.segments:
            segment.now = now

    @property
    def now(self) -> float:
        """Seconds."""
        return self.segments[0].now / SECOND

    def seed(self, seed: int, **disturbances: float) -> None:
        """Loss, duplication and jitter on all segments."""
        for number, segment in enumerate(self.segments):
            segment.random = random.Random(seed * 16 + number)
            for name, value in disturbances.items():
                setattr(segment, name, value)

    # ---- questions

    def masters(self) -> list[list[str]]:
        """Who believes to be MASTER, by segment."""
        return [segment.masters() for segment in self.segments]

    def holder(self) -> str:
        """Who is the MASTER of every segment, alone, with the addresses in its kernel; '' where that is nobody."""
        names = {tuple(segment.masters()) for segment in self.segments}
        names |= {tuple(segment.holders()) for segment in self.segments}
        return next(iter(names))[0] if len(names) == 1 and len(next(iter(names))) == 1 else ""

    def longest_gap(self, since: float) -> float:
        """The longest time, in seconds, that a client got no answer on any of the segments."""
        return max(segment.longest_gap(since) for segment in self.segments)

    def transitions(self, since: float = 0.0) -> list[str]:
        """Every entry into a state, in order."""
        lines = [line for segment in self.segments for line in segment.transcript if " is " in line]
        return sorted(line for line in lines if float(line.split()[0]) >= since and "still" not in line)
