"""So many packets; after each batch the counters must add up, and an invalid packet must have changed nothing."""

import random
from collections import Counter
from dataclasses import dataclass, field

from fuzz.bench_engine import BenchEngine
from fuzz.packets import draw, may_count
from virtualip_agent import ipc
from virtualip_agent.vrrp.timing import MILLISECOND


@dataclass
class Tally:
    """What a run contained."""

    packets: int = 0
    accepted: int = 0
    drops: Counter[str] = field(default_factory=Counter)
    transitions: int = 0

    def __str__(self) -> str:
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.drops.most_common())
        return (
            f"{self.packets} packets: {self.accepted} accepted, {sum(self.drops.values())} dropped ({reasons}); "
            f"{self.transitions} transitions"
        )


def fuzz(packets: int, seed: int) -> Tally:
    """AssertionError with the packet where one is wrong."""
    rng = random.Random(seed)
    bench = BenchEngine()
    tally = Tally()
    while tally.packets < packets:
        _batch(bench, rng, tally)
        bench.run(rng.choice((0, 1, 20, 300, 1000, 4000)) * MILLISECOND)
    _add_up(bench.statistics(), tally)
    return tally


def _batch(bench: BenchEngine, rng: random.Random, tally: Tally) -> None:
    """Packets that may not count between two looks at everything they may not change; then one that may."""
    for _ in range(rng.randrange(1, 40)):
        packet = draw(rng)
        counts = may_count(packet)
        before = None if counts else bench.snapshot()
        bench.receive([packet])
        assert counts or bench.snapshot() == before, f"changed by {packet}"
        tally.packets += 1
        tally.accepted += counts
    bench.engine.flush(bench.now)


def _add_up(statistics: ipc.Statistics, tally: Tally) -> None:
    received = sum(counters.get("received", 0) for counters in statistics.routers.values())
    for counters in (statistics.process, *statistics.routers.values()):
        tally.drops.update({name: count for name, count in counters.items() if name.startswith("drop_")})
    tally.transitions = sum(counters.get("transitions", 0) for counters in statistics.routers.values())
    unknown = sum(count for name, count in statistics.process.items() if name.startswith("drop_"))
    assert received + unknown == tally.packets, statistics
    assert tally.accepted + sum(tally.drops.values()) == tally.packets, statistics
