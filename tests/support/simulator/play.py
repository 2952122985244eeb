"""Plays an episode: carries out its faults, repairs, and asks whether there is one MASTER, the right one."""

import random
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from group_lan import GROUP, GroupLan, Segment
from simulator.episode import SLOWER, Episode, Event, settle
from simulator.referee import Foul, Referee
from virtual_lan import Node
from virtualip_agent.vrrp.priority import Contribution
from virtualip_agent.vrrp.timing import SECOND

_TRACKERS: Final = ("check", "file")
_CONTRIBUTIONS: Final = (
    Contribution(), Contribution(10), Contribution(-60, healthy=False), Contribution(0, fault=True, healthy=False),
)  # fmt: skip
_BASES: Final = (1, 100, 120, 230, 254)
_QUIET: Final = 180.0
"""Seconds without a wish to move after which it is made."""
_NOISE: Final = ((0.02, 0.0, 0.0), (0.3, 0.0, 0.0), (0.0, 0.3, 0.0), (0.0, 0.1, 0.5), (0.1, 0.1, 1.5))
"""Lost, twice, and late by up to this many intervals (so also in another order)."""


@dataclass
class Result:
    """What an episode was, for the count."""

    seconds: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)
    advertisements: int = 0
    transitions: int = 0
    repairs: int = 0
    damped: int = 0
    """Repairs after which the best one may have waited until it was quiet."""
    foul: str = ""
    at: float = 0.0
    transcript: list[str] = field(default_factory=list)


class _Calm(NamedTuple):
    """After a repair; nothing of it may change before the next fault."""

    since: float
    transitions: int
    masters: list[list[str]]
    served: list[bool]


class Player:
    """One episode on one LAN."""

    def __init__(self, episode: Episode, *, transcript: bool = False) -> None:
        self.episode = episode
        self.result = Result()
        self.lan = GroupLan(
            episode.segments,
            version=episode.version,
            preempt=episode.preempt,
            fast_preempt=episode.fast_preempt,
            preempt_damping=episode.preempt_damping,
            preempt_delay=episode.preempt_delay,
            advert_interval=episode.interval,
            lifetime=episode.lifetime * SECOND,
            trackers=frozenset(_TRACKERS),
            in_slots=True,
        )
        self.referee = Referee(self.lan)
        for number, segment in enumerate(self.lan.segments):
            segment.random = random.Random(episode.noise_seed + number)
            segment.silent = not transcript
            segment.observer = self.referee
        self._add_machines()
        self._calm: _Calm | None = None

    def _add_machines(self) -> None:
        episode, count = self.episode, len(self.episode.nodes)
        crossed = [number % 2 == 1 for number in range(episode.segments)]
        for index, (_, rank) in enumerate(episode.nodes):
            opposite = count - 1 - index
            self.lan.machine(
                f"server{index + 1}",
                *(episode.nodes[opposite if odd and episode.crossed_bases else index][0] for odd in crossed),
                sources=[101 + (opposite if odd and episode.crossed_addresses else index) for odd in crossed],
                group=GROUP if episode.segments > 1 else "",
                start=False,
                rank=rank,
            )
        for segment in self.lan.segments:
            for node in segment.nodes:
                node.contributions = {name: Contribution() for name in _TRACKERS}

    def play(self) -> Result:
        """To its end, or to the first foul."""
        try:
            for machine in self.lan.names:
                self._start(machine)
            for event in self.episode.events:
                self.lan.run_until(max(event.at, self.lan.now))
                self._was_calm()
                self._carry_out(event)
        except AssertionError as foul:
            self.result.foul = str(foul) or "assertion in the LAN"
            self.result.at = self.lan.now
        self.result.seconds = self.lan.now
        self.result.advertisements = sum(segment.sent for segment in self.lan.segments)
        self.result.transitions = self.referee.transitions
        self.result.transcript = self._transcript()
        return self.result

    def _transcript(self) -> list[str]:
        """Of all segments, in order."""
        if len(self.lan.segments) == 1:
            return self.lan.segments[0].transcript
        lines: list[tuple[float, str]] = []
        for segment in self.lan.segments:
            for line in segment.transcript:
                at, node, text = line.split(maxsplit=2)
                lines.append((float(at), f"{at:>9} {node}/{segment.name} {text}"))
        return [line for _, line in sorted(lines, key=lambda line: line[0])]

    # ---- faults

    def _carry_out(self, event: Event) -> None:
        if event.verb == "end":
            self._repair()
            self._was_calm()
            return
        if event.verb == "repair":
            self._repair()
            return
        if self._happens(event):
            self.result.faults[event.verb] = self.result.faults.get(event.verb, 0) + 1
            self._calm = None

    def _happens(self, event: Event) -> bool:
        """Whether it could happen at all: a process that does not run cannot be killed."""
        machine = self.lan.names[event.node]
        segment = self.lan.segments[event.segment]
        return self._happens_to_machine(event.verb, machine) or self._happens_on_segment(
            event.verb, segment, segment.nodes[event.node], event.number
        )

    def _happens_to_machine(self, verb: str, machine: str) -> bool:
        lan, nodes = self.lan, self.lan.nodes(machine)
        there, runs = any(node.router is not None for node in nodes), any(node.runs for node in nodes)
        stalled, asleep = nodes[0].stalled, nodes[0].asleep_since is not None
        match verb:
            case "start" if any(node.router is None for node in nodes) and (not there or runs):
                self._start(machine)
            case "kill" if there:
                lan.kill(machine)
            case "restart":
                lan.kill(machine)
                self._start(machine)
            case "power_off":
                lan.power_off(machine)
            case "stop" if runs:
                lan.stop(machine)
            case "stall" | "stall_deaf" if runs:
                for node in nodes:
                    self.referee.stopped(node)
                lan.stall(machine, deaf=verb == "stall_deaf")
            case "resume" if stalled:
                self._resume(machine)
            case "sleep" if not asleep and not stalled:
                lan.sleep(machine)
            case "wake" if asleep:
                lan.wake(machine)
            case _:
                return False
        return True

    def _happens_on_segment(self, verb: str, segment: Segment, node: Node, number: int) -> bool:
        lan = segment
        match verb:
            case "withdraw" if node.runs:
                lan.stop(node, withdrawn=True)
            case "cut":
                lan.cut(node)
            case "deafen":
                other = lan.nodes[number % len(lan.nodes)]
                if other is node:
                    return False
                lan.deafen(node, other)
            case "heal":
                lan.heal()
            case "unplug" if node.runs and node.link:
                lan.unplug(node)
            case "plug" if node.runs and not node.link:
                lan.plug(node)
            case "tracker" if node.runs:
                name = _TRACKERS[number % 2]
                lan.contribute(node, **{name: _CONTRIBUTIONS[number // 2 % len(_CONTRIBUTIONS)]})
            case "drain" if node.runs:
                lan.edit(node, draining=bool(number % 2))
            case "base" if node.runs and node.settings.base_priority != 255:
                lan.edit(node, base_priority=_BASES[number % len(_BASES)])
            case "interval" if node.runs:
                lan.edit(node, advert_interval=self.episode.interval * SLOWER[number % len(SLOWER)])
            case "take_away" if node.runs and node.holds:
                lan.take_address_away(node)
            case "refuse":
                node.kernel.refusal = ("KernelRefused", "no")
            case "allow":
                node.kernel.refusal = None
            case "noise":
                lan.loss, lan.duplication, jitter = _NOISE[number % len(_NOISE)]
                lan.jitter = jitter * self.episode.interval / SECOND
            case "quiet":
                _quiet(lan)
            case _:
                return False
        return True

    def _start(self, machine: str) -> None:
        for node in self.lan.nodes(machine):
            if node.router is None:
                self.referee.started(node)
        self.lan.start(machine)

    def _resume(self, machine: str) -> None:
        nodes = self.lan.nodes(machine)
        for node in nodes:
            self.referee.excuse(node)
        self.lan.resume(machine)
        for node in nodes:
            self.referee.sheets[node].slept = False

    # ---- repairs

    def _repair(self) -> None:
        lan, episode = self.lan, self.episode
        self._calm, began = None, lan.segments[0].now
        for segment in lan.segments:
            segment.heal()
            _quiet(segment)
        for machine in lan.names:
            for node in lan.nodes(machine):
                node.kernel.refusal = None
            if lan.nodes(machine)[0].asleep_since is not None:
                lan.wake(machine)
            if lan.nodes(machine)[0].stalled:
                self._resume(machine)
            for segment in lan.segments:
                segment.edit(lan.node(machine, segment), advert_interval=episode.interval)
        ends = lan.now + settle(episode.interval, episode.lifetime, episode.preempt_delay)
        # whoever was handing over to end has ended by then; a sync group may wait for a master_down_interval
        patience = SLOWER[-1] * (1 if episode.segments == 1 else 4)
        lan.run(patience * episode.interval / SECOND + 1.2)
        for machine in lan.names:
            self._start(machine)
            for segment in lan.segments:
                node = lan.node(machine, segment)
                if not node.link:
                    segment.plug(node)
        lan.run_until(ends)
        if any(self._damped(segment) for segment in lan.segments):
            self.result.damped += 1
            lan.run(_QUIET + 4 * episode.interval / SECOND)
        for segment in lan.segments:
            self._one_master_the_right_one(segment, began)
        masters = {name for segment in lan.segments for name in segment.masters()}
        _demand(len(masters) <= 1, f"not together: {lan.masters()}")
        self.result.repairs += 1
        self._calm = _Calm(
            lan.now, self.referee.transitions, lan.masters(), [bool(segment.served_by) for segment in lan.segments]
        )

    def _damped(self, segment: Segment) -> bool:
        """Whether the best one may be holding itself back, as it has seen many moves; when it is quiet it must not."""
        able = [node for node in segment.nodes if self.referee.takes_part(node)]
        best = max((self.referee.expected_priority(node) for node in able), default=0)
        return any(
            self.referee.expected_priority(node) == best
            and not node.core.is_master
            and self.referee.may_be_damped(node)
            for node in able
        )

    def _one_master_the_right_one(self, lan: Segment, repaired_at: int) -> None:
        referee = self.referee
        able = [node for node in lan.nodes if referee.takes_part(node)]
        for node in lan.nodes:
            _demand((node.state == "FAULT") is (node not in able), f"{node.name} is {node.state}, its trackers say not")
            _demand(node.core.priority == referee.expected_priority(node), f"{node.name} has {node.core.priority}")
            referee.overdue(node)
            referee.carried_out(node)
        masters = [node for node in lan.nodes if node.core.is_master]
        _demand(len(masters) == bool(able), f"MASTER after a repair: {lan.masters()}")
        _demand(lan.holders() == lan.masters(), f"MASTER: {lan.masters()}, addresses on: {lan.holders()}")
        if not able:
            return
        (master,) = masters
        # A MASTER that was alone behind a cut, or suspended, and finds that whoever stood in for it is gone again,
        # hears nobody and cannot know that the neighbours need telling: they ask anew, or garp.refresh tells them.
        challenged = referee.challenged_at.get(master, -1) >= repaired_at
        took_over = referee.sheets[master].master_since >= repaired_at - master.behind
        served = lan.served_by == master.name or not (challenged or took_over)
        _demand(served, f"MASTER is {master.name}, the last gratuitous ARP is {lan.arp}'s")
        best = max(referee.expected_priority(node) for node in able)
        own = referee.expected_priority(master)
        if self.episode.preempt or best == 255:
            _demand(own == best, f"MASTER is {master.name} with {own}, the best has {best}")
        for node in able:
            _demand(node.core.master == master.source, f"{node.name} takes another for MASTER than {master.name}")

    def _was_calm(self) -> None:
        if self._calm is None:
            return
        since, transitions, masters, served = self._calm
        for segment in self.lan.segments:
            for node in segment.nodes:
                self.referee.overdue(node)
                self.referee.carried_out(node)
        _demand(self.referee.transitions == transitions, "a change of MASTER in a calm")
        _demand(self.lan.masters() == masters, "another MASTER after a calm")
        for segment, was_served in zip(self.lan.segments, served, strict=True):
            gap = segment.longest_gap(since)
            _demand(gap == 0 or not was_served, f"{gap} s unserved in a calm")


def _quiet(segment: Segment) -> None:
    segment.loss = segment.duplication = segment.jitter = 0.0


def _demand(holds: bool, foul: str) -> None:
    if not holds:
        raise Foul(foul)


def play(episode: Episode, *, transcript: bool = False) -> Result:
    """An episode from its start."""
    return Player(episode, transcript=transcript).play()
