"""Plays an episode: carries out its faults, repairs, and asks whether there is one MASTER, the right one."""

import random
from dataclasses import dataclass, field
from typing import Final

from simulator.episode import SLOWER, Episode, Event, settle
from simulator.referee import Foul, Referee, expected_priority
from virtual_lan import Node, VirtualLan
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


class Player:
    """One episode on one LAN."""

    def __init__(self, episode: Episode, *, transcript: bool = False) -> None:
        self.episode = episode
        self.result = Result()
        self.lan = VirtualLan(
            version=episode.version,
            preempt=episode.preempt,
            fast_preempt=episode.fast_preempt,
            preempt_damping=episode.preempt_damping,
            preempt_delay=episode.preempt_delay,
            advert_interval=episode.interval,
            lifetime=episode.lifetime * SECOND,
            trackers=frozenset(_TRACKERS),
        )
        self.lan.random = random.Random(episode.noise_seed)
        self.lan.silent = not transcript
        self.referee = Referee(self.lan)
        self.lan.observer = self.referee
        for index, (base, rank) in enumerate(episode.nodes, 1):
            node = self.lan.node(f"server{index}", start=False, base_priority=base, rank=rank)
            node.contributions = {name: Contribution() for name in _TRACKERS}
        self._calm: tuple[float, int, list[str], bool] | None = None

    def play(self) -> Result:
        """To its end, or to the first foul."""
        try:
            for node in self.lan.nodes:
                self._start(node)
            for event in self.episode.events:
                self.lan.run_until(max(event.at, self.lan.now / SECOND))
                self._was_calm()
                self._carry_out(event)
        except AssertionError as foul:
            self.result.foul = str(foul) or "assertion in the LAN"
            self.result.at = self.lan.now / SECOND
        self.result.seconds = self.lan.now / SECOND
        self.result.advertisements, self.result.transitions = self.lan.sent, self.referee.transitions
        self.result.transcript = self.lan.transcript
        return self.result

    # ---- faults

    def _carry_out(self, event: Event) -> None:
        if event.verb == "end":
            self._repair()
            self._was_calm()
            return
        if event.verb == "repair":
            self._repair()
            return
        node = self.lan.nodes[event.node]
        if self._happens(event.verb, node, event.number):
            self.result.faults[event.verb] = self.result.faults.get(event.verb, 0) + 1
            self._calm = None

    def _happens(self, verb: str, node: Node, number: int) -> bool:
        """Whether it could happen at all: a process that does not run cannot be killed."""
        lan = self.lan
        match verb:
            case "start" if node.router is None:
                self._start(node)
            case "kill" if node.router is not None:
                lan.kill(node)
            case "restart":
                lan.kill(node)
                self._start(node)
            case "power_off":
                lan.power_off(node)
            case "stop" | "withdraw" if node.runs:
                lan.stop(node, withdrawn=verb == "withdraw")
            case "stall" | "stall_deaf" if node.runs:
                lan.stall(node, deaf=verb == "stall_deaf")
            case "resume" if node.stalled:
                self._resume(node)
            case "sleep" if node.asleep_since is None and not node.stalled:
                lan.sleep(node)
            case "wake" if node.asleep_since is not None:
                lan.wake(node)
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
                self._quiet()
            case _:
                return False
        return True

    def _start(self, node: Node) -> None:
        self.referee.started(node)
        self.lan.start(node)

    def _resume(self, node: Node) -> None:
        self.referee.excuse(node)
        self.lan.resume(node)
        self.referee.sheets[node.name].slept = False

    def _quiet(self) -> None:
        self.lan.loss = self.lan.duplication = self.lan.jitter = 0.0

    # ---- repairs

    def _repair(self) -> None:
        lan, episode = self.lan, self.episode
        self._calm, began = None, lan.now
        lan.heal()
        self._quiet()
        for node in lan.nodes:
            node.kernel.refusal = None
            if node.asleep_since is not None:
                lan.wake(node)
            if node.stalled:
                self._resume(node)
            lan.edit(node, advert_interval=episode.interval)
        ends = lan.now / SECOND + settle(episode.interval, episode.lifetime, episode.preempt_delay)
        lan.run(SLOWER[-1] * episode.interval / SECOND + 1.2)  # whoever was handing over to end has ended by then
        for node in lan.nodes:
            if node.router is None:
                self._start(node)
            if not node.link:
                lan.plug(node)
        lan.run_until(ends)
        if self._damped():
            self.result.damped += 1
            lan.run(_QUIET + 4 * episode.interval / SECOND)
        self._one_master_the_right_one(began)
        self.result.repairs += 1
        self._calm = (lan.now / SECOND, self.referee.transitions, lan.masters(), bool(lan.served_by))

    def _damped(self) -> bool:
        """Whether the best one may be holding itself back, as it has seen many moves; when it is quiet it must not."""
        able = [node for node in self.lan.nodes if self.referee.takes_part(node)]
        best = max((expected_priority(node) for node in able), default=0)
        return any(
            expected_priority(node) == best and not node.core.is_master and self.referee.may_be_damped(node)
            for node in able
        )

    def _one_master_the_right_one(self, repaired_at: int) -> None:
        lan = self.lan
        able = [node for node in lan.nodes if self.referee.takes_part(node)]
        for node in lan.nodes:
            _demand((node.state == "FAULT") is (node not in able), f"{node.name} is {node.state}, its trackers say not")
            _demand(node.core.priority == expected_priority(node), f"{node.name} has {node.core.priority}")
            self.referee.overdue(node)
            self.referee.carried_out(node)
        masters = [node for node in lan.nodes if node.core.is_master]
        _demand(len(masters) == bool(able), f"MASTER after a repair: {lan.masters()}")
        _demand(lan.holders() == lan.masters(), f"MASTER: {lan.masters()}, addresses on: {lan.holders()}")
        if not able:
            return
        (master,) = masters
        # A MASTER that was alone behind a cut, or suspended, and finds that whoever stood in for it is gone again,
        # hears nobody and cannot know that the neighbours need telling: they ask anew, or garp.refresh tells them.
        challenged = self.referee.challenged_at.get(master.name, -1) >= repaired_at
        took_over = self.referee.sheets[master.name].master_since >= repaired_at - master.behind
        served = lan.served_by == master.name or not (challenged or took_over)
        _demand(served, f"MASTER is {master.name}, the last gratuitous ARP is {lan.arp}'s")
        best = max(expected_priority(node) for node in able)
        own = expected_priority(master)
        if self.episode.preempt or best == 255:
            _demand(own == best, f"MASTER is {master.name} with {own}, the best has {best}")
        for node in able:
            _demand(node.core.master == master.source, f"{node.name} takes another for MASTER than {master.name}")

    def _was_calm(self) -> None:
        if self._calm is None:
            return
        since, transitions, masters, served = self._calm
        for node in self.lan.nodes:
            self.referee.overdue(node)
            self.referee.carried_out(node)
        _demand(self.referee.transitions == transitions, "a change of MASTER in a calm")
        _demand(self.lan.masters() == masters, "another MASTER after a calm")
        if served:
            gap = self.lan.longest_gap(since)
            _demand(gap == 0, f"{gap} s unserved in a calm")


def _demand(holds: bool, foul: str) -> None:
    if not holds:
        raise Foul(foul)


def play(episode: Episode, *, transcript: bool = False) -> Result:
    """An episode from its start."""
    return Player(episode, transcript=transcript).play()
