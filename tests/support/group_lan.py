"""Machines with several virtual routers each, on segments of their own, bound by a sync group.

    lan = GroupLan(2)
    server1, server2 = lan.machine("server1", 244), lan.machine("server2", 240)
    lan.run_until(5)
    assert lan.masters() == [["server1"], ["server1"]]

Each segment is a VirtualLan with its own VRID; here is what they share: the clock, and a SyncGroups for each agent.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from virtual_lan import Node, VirtualLan
from virtualip_agent.vrrp import effects as fx
from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.sync_group import SyncGroups
from virtualip_agent.vrrp.timing import SECOND
from virtualip_agent.vrrp.virtual_router import VirtualRouter

GROUP: Final = "edge"


class _Told(VirtualRouter):
    """A router that shows an observer what its sync group tells it, too."""

    def __init__(self, segment: "Segment", node: Node) -> None:
        super().__init__(node.settings)
        self._segment, self._node = segment, node

    def handle(self, event: ev.Event, now: int) -> Sequence[fx.Effect]:
        was_master, master = self.is_master, self.master
        effects = super().handle(event, now)
        if self._segment.observer is not None:
            self._segment.observer.handled(self._node, event, effects, was_master, master)
        return effects


class Segment(VirtualLan):
    """One of the virtual routers of every machine."""

    def __init__(self, whole: "GroupLan", name: str, **defaults: Any) -> None:
        super().__init__(**defaults)
        self._whole = whole
        self.name = name

    def tell(self, node: Node, event: ev.Event) -> None:
        if isinstance(event, ev.TimerExpired):
            self._whole.expire(node.name)
        elif node.runs:
            self._whole.handle(self, node, event)

    def _make_router(self, node: Node) -> VirtualRouter:
        return _Told(self, node)

    def change_addresses(self, node: Node, effects: Iterable[fx.Effect]) -> bool:
        return self._change_addresses(node, effects)

    def speak(self, node: Node, effects: Iterable[fx.Effect]) -> None:
        self._speak(node, effects)

    def take_queue(self, node: Node) -> list[ev.Heard]:
        """What arrived while it was stalled."""
        node.stalled = False
        waiting, node.waiting = node.waiting, []
        heard = (self._decode(payload, source) for payload, source in waiting)
        return [one for one in heard if one is not None]

    def next(self) -> int:
        return self._next()

    def step(self) -> None:
        self._step()


class GroupLan:
    """N machines; each has a router on every segment."""

    def __init__(self, segments: int = 2, **defaults: Any) -> None:
        self.segments = [
            Segment(
                self, f"vip{number}", vrid=51 + number, addresses=frozenset({bytes([10, number, 0, 200])}), **defaults
            )
            for number in range(segments)
        ]
        self.names: list[str] = []
        self._groups: dict[str, SyncGroups] = {}
        self._where: dict[str, list[tuple[Segment, Node]]] = {}
        self._known: dict[tuple[str, str], VirtualRouter] = {}
        self._pending: list[tuple[str, str, Sequence[fx.Effect]]] = []
        """(machine, router, what it wants done), of the wake-up that is under way."""

    # ---- making

    def machine(
        self,
        name: str,
        *priorities: int,
        sources: Sequence[int] = (),
        group: str = GROUP,
        start: bool = True,
        **settings: Any,
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
        if start:
            self.start(name)
        return name

    def stranger(self, name: str, segment: int, priority: int) -> Node:
        """A router on one segment only, which knows nothing of groups."""
        self._groups[name] = SyncGroups()
        return self.segments[segment].node(name, base_priority=priority)

    def _move(self, segment: Segment, node: Node, source: bytes) -> None:
        node.source = source
        members = frozenset(other.source for other in segment.nodes)
        for other in segment.nodes:
            other.settings = replace(other.settings, members=members)

    def node(self, name: str, segment: "Segment | int") -> Node:
        """A machine's router on one segment."""
        where = self.segments[segment] if isinstance(segment, int) else segment
        return next(node for node in where.nodes if node.name == name)

    def nodes(self, name: str) -> list[Node]:
        """All routers of a machine, those that do not run, too."""
        return [node for _, node in self._each(name)]

    # ---- what can happen

    def power_off(self, name: str) -> None:
        """Agent and kernel are gone."""
        self.kill(name)
        for segment in self.segments:
            segment.power_off(self.node(name, segment))

    def kill(self, name: str) -> None:
        """kill -9: the kernel keeps the addresses for their lifetime."""
        for segment in self.segments:
            segment.kill(self.node(name, segment))
        self._groups[name] = SyncGroups()

    def start(self, name: str) -> None:
        """The agent starts; where it runs, what was withdrawn is wanted again."""
        for segment, node in self._each(name):
            if node.router is None:
                segment.start(node)

    def restart(self, name: str) -> None:
        """kill -9, and a new process at once."""
        self.kill(name)
        self.start(name)

    def stop(self, name: str) -> None:
        """SIGTERM to the agent."""
        for segment in self.segments:
            segment.stop(self.node(name, segment))

    def stall(self, name: str, *, deaf: bool = False) -> None:
        """The process does not get to run; its kernel does."""
        for segment, node in self._each(name):
            segment.stall(node, deaf=deaf)

    def resume(self, name: str) -> None:
        """It runs again: in one wake-up all queues first, then addresses, then timers, as realtime/engine.py does; and
        only then is anything carried out."""
        queues = [(segment, node, segment.take_queue(node)) for segment, node in self._each(name)]
        running = [(segment, node, queue) for segment, node, queue in queues if node.runs]
        for segment, node, queue in running:
            for heard in queue:
                self._decide(segment, node, heard)
        for segment, node, _ in running:
            if node.core.is_master and not node.holds:
                self._decide(segment, node, ev.AddressesRemoved())
        self.expire(name)

    def sleep(self, name: str) -> None:
        """The machine is suspended."""
        for segment, node in self._each(name):
            segment.sleep(node)

    def wake(self, name: str) -> None:
        """It goes on as if nothing had been."""
        for segment, node in self._each(name):
            segment.wake(node)

    def handle(self, segment: Segment, node: Node, event: ev.Event) -> None:
        """One router's event, with its group."""
        self._decide(segment, node, event)
        self._flush(node.name)

    def expire(self, name: str) -> None:
        """Everything that is due on a machine, in one wake-up."""
        for segment, node in self._each(name):
            if node.runs and node.deadline <= segment.now:
                self._decide(segment, node, ev.TimerExpired())
        self._flush(name)

    def _decide(self, segment: Segment, node: Node, event: ev.Event) -> None:
        groups = self._groups[node.name]
        key = (node.name, segment.name)
        if self._known.get(key) is not node.core:
            self._known[key] = node.core
            groups.add(segment.name, node.core)
        outcome = groups.handle(segment.name, event, segment.now - node.behind)
        self._pending += [(node.name, name, effects) for name, effects in outcome if effects]
        if segment.observer is not None:
            segment.observer.settled(node, event)

    def _flush(self, name: str) -> None:
        """What a machine's wake-up decided, for all its routers together: addresses first, as effects.py has it."""
        if not self._pending:
            return
        while self._pending:
            wanted: dict[str, list[fx.Effect]] = {}
            for owner, segment_name, effects in self._pending:
                assert owner == name
                wanted.setdefault(segment_name, []).extend(effects)
            self._pending.clear()
            here = [(segment, node, wanted.get(segment.name, [])) for segment, node in self._each(name)]
            refused = [one for one in here if not one[0].change_addresses(one[1], one[2])]
            for segment, node, effects in here:
                if (segment, node, effects) not in refused:
                    segment.speak(node, effects)
            for segment, node, _ in refused:
                assert node.kernel.refusal is not None
                self._decide(segment, node, ev.AddressesRefused(*node.kernel.refusal))
            for segment, node, _ in here:
                if node.released and node.router is None and (name, segment.name) in self._known:
                    del self._known[name, segment.name]
                    outcome = self._groups[name].remove(segment.name, segment.now - node.behind)
                    self._pending += [(name, other, effects) for other, effects in outcome]
        for segment, node in self._each(name):
            if segment.observer is not None:
                segment.observer.carried_out(node)

    def _each(self, name: str) -> list[tuple[Segment, Node]]:
        if name not in self._where:
            self._where[name] = [
                (segment, node) for segment in self.segments for node in segment.nodes if node.name == name
            ]
        return self._where[name]

    # ---- time

    def run_until(self, seconds: float) -> None:
        """Until this moment of the shared clock."""
        end = round(seconds * SECOND)
        if len(self.segments) == 1:
            self.segments[0].run_until(seconds)
            return
        while True:
            moment, number = min((segment.next(), number) for number, segment in enumerate(self.segments))
            if moment > end:
                break
            segment = self.segments[number]
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
