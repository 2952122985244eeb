"""An episode: settings of the nodes and a schedule of faults. Drawn from one integer, written as text one can paste.

Where it has several segments, each node has a router on each of them, and they are a sync group.

version=3 interval=1000000000 preempt=1 fast_preempt=1 preempt_delay=0 lifetime=5 noise_seed=7 preempt_damping=1
node 244 0
node 240 0
12.5 stall 0
19.25 resume 0
40.0 repair
100.0 end
"""

import random
from dataclasses import dataclass, replace
from typing import Final, Self

from virtualip_agent.vrrp.timing import MILLISECOND, SECOND

_INTERVALS: Final = ((SECOND, 70), (100 * MILLISECOND, 20), (10 * MILLISECOND, 10))
"""Interval and its share of the episodes."""
_CALM: Final = 300
"""Intervals between two storms, on average: an episode is about half an hour at 1 s."""
_PAUSES: Final = (0.0001, 0.0015, 0.02, 0.05, 0.1, 0.3, 0.6, 0.99, 1.0, 1.1, 2.5, 3.3, 3.7, 5.5, 9.0)
"""Between two faults, in intervals: before, at and after every deadline of the protocol."""
_SEGMENTS: Final = (60, 30, 10)
"""The share of the episodes with one, two and three; those with several are sync groups."""
SLOWER: Final = (1, 2, 4)
"""What an edit that has reached some of the nodes makes of the interval."""
VERBS: Final = {
    "kill": 3, "restart": 4, "power_off": 2, "stop": 4, "withdraw": 2, "start": 6,
    "stall": 6, "stall_deaf": 2, "resume": 10, "sleep": 3, "wake": 5,
    "cut": 4, "deafen": 4, "heal": 4, "unplug": 3, "plug": 5,
    "tracker": 10, "drain": 2, "base": 3, "interval": 2, "take_away": 2, "refuse": 2, "allow": 2, "noise": 4,
    "quiet": 3,
}  # fmt: skip
"""What can happen, and how often beside others."""


@dataclass(frozen=True, slots=True)
class Event:
    """At a moment (seconds) something happens to a node (its index), with a number that says what exactly, and on which
    segment where it is not something of the whole machine."""

    at: float
    verb: str
    node: int = 0
    number: int = 0
    segment: int = 0

    def __str__(self) -> str:
        return f"{self.at!r} {self.verb} {self.node} {self.number}" + (f" {self.segment}" if self.segment else "")


@dataclass(frozen=True)
class Episode:
    """`nodes` are base priority and rank."""

    version: int
    interval: int
    preempt: bool
    fast_preempt: bool
    preempt_delay: int
    lifetime: int
    noise_seed: int
    nodes: tuple[tuple[int, int], ...]
    events: tuple[Event, ...]
    preempt_damping: bool = False
    segments: int = 1
    crossed_bases: bool = False
    """On every second segment the nodes' base priorities are in the opposite order: each prefers another's half."""
    crossed_addresses: bool = False
    """The same of their source addresses, which settle ties."""

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.events[-1].at

    @property
    def faults(self) -> int:
        """Everything but repairs and the end."""
        return sum(event.verb not in ("repair", "end") for event in self.events)

    def with_events(self, events: list[Event]) -> "Episode":
        """The same nodes in another story."""
        return replace(self, events=tuple(events))

    def __str__(self) -> str:
        head = (
            f"version={self.version} interval={self.interval} preempt={self.preempt:d} "
            f"fast_preempt={self.fast_preempt:d} preempt_delay={self.preempt_delay} lifetime={self.lifetime} "
            f"noise_seed={self.noise_seed} preempt_damping={self.preempt_damping:d}"
        )
        if self.segments > 1:
            head += (
                f" segments={self.segments} crossed_bases={self.crossed_bases:d} "
                f"crossed_addresses={self.crossed_addresses:d}"
            )
        return "\n".join([head, *(f"node {base} {rank}" for base, rank in self.nodes), *map(str, self.events)])

    @classmethod
    def parse(cls, text: str) -> Self:
        """Of what str() gave."""
        lines = [line.split() for line in text.strip().splitlines()]
        head = {key: int(value) for key, _, value in (word.partition("=") for word in lines[0])}
        nodes = tuple((int(line[1]), int(line[2])) for line in lines[1:] if line[0] == "node")
        events = tuple(Event(float(line[0]), line[1], *map(int, line[2:])) for line in lines[1 + len(nodes) :])
        return cls(
            version=head["version"],
            interval=head["interval"],
            preempt=bool(head["preempt"]),
            fast_preempt=bool(head["fast_preempt"]),
            preempt_delay=head["preempt_delay"],
            lifetime=head["lifetime"],
            noise_seed=head["noise_seed"],
            nodes=nodes,
            events=events,
            preempt_damping=bool(head.get("preempt_damping", 0)),
            segments=head.get("segments", 1),
            crossed_bases=bool(head.get("crossed_bases", 0)),
            crossed_addresses=bool(head.get("crossed_addresses", 0)),
        )


def settle(interval: int, lifetime: int, preempt_delay: int = 0) -> float:
    """Seconds after a repair until there is one MASTER, the right one: a deaf node listens for a master_down_interval,
    a better one for another, of the slowest interval that was heard; a dead one's address expires; a refused address is
    tried again after 5 s; a router that hands over ends within an interval and 100 ms."""
    return (8 * SLOWER[-1] * interval + preempt_delay) / SECOND + lifetime + 7.5


def draw(seed: int) -> Episode:
    """The episode of this number."""
    rng = random.Random(seed)
    version = rng.choice((2, 3, 3))
    interval = SECOND if version == 2 else rng.choices(*zip(*_INTERVALS, strict=True))[0]
    count = rng.choice((2, 3, 3, 4))
    nodes: list[tuple[int, int]] = []
    for _ in range(count):
        base = rng.choice((1, 100, 100, 100, 150, 240, 244, 254, 255))
        base = 254 if base == 255 and any(other == 255 for other, _ in nodes) else base  # one alone can own an address
        nodes.append((base, sum(other == base for other, _ in nodes)))
    lifetime = rng.choice((5, 5, 30))
    preempt_delay = rng.choice((0, 0, 0, 7 * interval))
    events: list[Event] = []
    now = 0.0
    unit = interval / SECOND
    for _ in range(rng.randint(3, 8)):
        now += rng.expovariate(1 / (_CALM * unit))
        for _ in range(rng.randint(2, 16)):
            now += rng.choice(_PAUSES) * unit
            events.append(_fault(rng, now, count))
        now += rng.choice(_PAUSES) * unit
        events.append(Event(now, "repair"))
        now += settle(interval, lifetime, preempt_delay)
    now += rng.expovariate(1 / (_CALM * unit)) + settle(interval, lifetime, preempt_delay)
    events.append(Event(now, "end"))
    episode = Episode(
        version=version,
        interval=interval,
        preempt=rng.random() < 0.7,
        fast_preempt=rng.random() < 0.7,
        preempt_delay=preempt_delay,
        lifetime=lifetime,
        noise_seed=rng.randrange(1 << 30),
        nodes=tuple(nodes),
        events=tuple(events),
        preempt_damping=rng.random() < 0.5,
    )
    return _grouped(episode, random.Random(f"sync groups of {seed}"))


def _grouped(episode: Episode, rng: random.Random) -> Episode:
    """The episode as it is, or on several segments."""
    segments = rng.choices((1, 2, 3), _SEGMENTS)[0]
    if segments == 1:
        return episode
    return replace(
        episode,
        segments=segments,
        crossed_bases=rng.random() < 0.3,
        crossed_addresses=rng.random() < 0.5,
        # who owns an address of one segment and not of another is an ordinary router of the group
        nodes=tuple((min(base, 254), rank) for base, rank in episode.nodes),
        events=tuple(replace(event, segment=rng.randrange(segments)) for event in episode.events[:-1])
        + episode.events[-1:],
    )


def _fault(rng: random.Random, now: float, count: int) -> Event:
    verb = rng.choices(list(VERBS), list(VERBS.values()))[0]
    return Event(round(now, 6), verb, rng.randrange(count), rng.randrange(1000))
