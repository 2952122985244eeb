"""What a client sees when the VIP moves, and when the other node has it, at random phases of the timers."""

import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from client import Prober
from contestants import CONTESTANTS, wait_for_vips
from pair import Pair
from segment import Host
from setup import Setup
from sniff import Sniffer

if TYPE_CHECKING:
    from contestants import Running

_MARGIN = 0.5
_PROBE = {1000: 0.002, 100: 0.001, 10: 0.001}
"""Seconds between two questions of the client, by interval in milliseconds: a fraction of what is measured."""


def phases(count: int) -> list[float]:
    """Random ones from 0 to 1, of which each part of the same size has one: with as many independent ones the medians
    of two contestants that do the same differ by a tenth."""
    parts = [(part + random.random()) / count for part in range(count)]
    random.shuffle(parts)
    return parts


def link_cut(contestant: str, interval_ms: int, directory: Path, *, trials: int) -> list[float]:
    """Gaps in milliseconds. The MASTER's cable is pulled; without preemption the roles are swapped each time."""
    setup = Setup(interval_ms=interval_ms)
    with _Field(contestant, setup, directory) as field, field.client() as prober:
        moments = []
        for phase in phases(trials):
            field.settle(phase)
            master = field.master
            before = time.monotonic()
            field.pair.unplug(master)
            field.take_over()
            time.sleep(min(0.1, setup.interval))
            moments.append((before, time.monotonic()))
            field.pair.plug(master)
        seen = prober.stop()
    return [seen.longest_gap(since, until).ms for since, until in moments]


def planned_hand_over(contestant: str, directory: Path, *, trials: int) -> list[float]:
    """Gaps in milliseconds at adverts of 1 s: the MASTER is told to stop."""
    setup = Setup(interval_ms=1000)
    with _Field(contestant, setup, directory) as field, field.client(0.001) as prober:
        moments = []
        for _ in range(trials):
            field.settle()
            before = time.monotonic()
            stopped = field.master
            field.running[stopped].stop()
            field.take_over()
            time.sleep(0.1)
            moments.append((before, time.monotonic()))
            field.start(stopped)
        seen = prober.stop()
    return [seen.longest_gap(since, until).ms for since, until in moments]


def service_dies(contestant: str, directory: Path, *, trials: int) -> list[float]:
    """Milliseconds from the end of httpd to the other server's gratuitous ARP, at adverts of 1 s (S1)."""
    setup = Setup(interval_ms=1000, preempt=True, tracked=True)
    moved = []
    with _Field(contestant, setup, directory) as field:
        preferred = field.pair.nodes[0]
        for _ in range(trials):
            field.settle()
            field.sniffer.drain()
            at = time.monotonic()
            field.running[preferred].track(healthy=False)
            moved.append((field.take_over() - at) * 1000)
            field.settle()
            field.running[preferred].track(healthy=True)
            field.take_over()
    return moved


STILL_THERE = 10.0
"""Seconds after which nobody waits any longer for a dead node to let go."""


def killed(contestant: str, directory: Path, *, trials: int) -> list[float]:
    """Milliseconds for which two nodes have the address: everything on the MASTER is ended by SIGKILL, at adverts of
    1 s, and its kernel lives on."""
    setup = Setup(interval_ms=1000)
    (vip,) = setup.vips
    found = []
    with _Field(contestant, setup, directory) as field:
        for _ in range(trials):
            field.settle()
            dead = field.master
            field.running[dead].kill()
            since = field.take_over()
            while (both := time.monotonic() - since) < STILL_THERE and dead.has(vip):
                time.sleep(0.01)
            found.append(both * 1000)
            if dead.has(vip):
                dead.run(f"ip address del {vip}/32 dev eth0")
            field.start(dead)
    return found


def in_lanes(lanes: int, measure: "object", trials: int, directory: Path) -> list[float]:
    """The same on several pairs of nodes at once: at 1 s adverts they do little but wait."""
    assert callable(measure)
    shares = [trials // lanes + (lane < trials % lanes) for lane in range(lanes)]

    def one(lane: int) -> list[float]:
        place = directory / f"lane{lane}"
        place.mkdir(parents=True, exist_ok=True)
        found: list[float] = measure(directory=place, trials=shares[lane])
        return found

    with ThreadPoolExecutor(lanes) as pool:
        return [value for values in pool.map(one, range(lanes)) for value in values]


class _Field:
    """Two nodes with a contestant on each, a client, and who is MASTER."""

    def __init__(self, contestant: str, setup: Setup, directory: Path) -> None:
        self._start = CONTESTANTS[contestant]
        self._setup = setup
        self._directory = directory
        self.pair = Pair(client=True)
        assert self.pair.client is not None
        self._client = self.pair.client
        self._macs = {node: node.mac for node in self.pair.nodes}
        self.running: dict[Host, Running] = {}
        self.sniffer = Sniffer(self._client, "br0")
        self.master = self.pair.nodes[0]
        self.start(self.master)
        wait_for_vips(self.master, setup)
        self.start(self.pair.other(self.master))
        time.sleep(3.1 * setup.interval)  # ours does not preempt before it has listened for so long

    def __enter__(self) -> "_Field":
        return self

    def __exit__(self, *_: object) -> None:
        for running in self.running.values():
            running.close()
        with self.sniffer:
            self.pair.__exit__()

    def client(self, interval: float | None = None) -> Prober:
        """Asks the VIP from now on."""
        prober = Prober(self._client, self._setup.vips[0], interval or _PROBE[self._setup.interval_ms])
        prober.wait_for_answer()
        return prober

    def start(self, node: Host) -> None:
        """A contestant, whatever was there before; it listens."""
        self.running[node] = self._start(node, self._setup, self._directory)
        self.running[node].wait_until_it_listens()

    def settle(self, phase: float | None = None) -> None:
        """Until the BACKUP has heard the MASTER, and then to a phase of its timer, by default a random one."""
        phase = random.random() if phase is None else phase
        time.sleep(_MARGIN + (1.2 + phase) * self._setup.interval)
        self.sniffer.drain()

    def take_over(self) -> float:
        """Waits until the other node says that it has the VIP; when it did."""
        other = self.pair.other(self.master)
        vips = set(self._setup.vips)
        found = self.sniffer.wait_for(self._macs[other], vips, 10 * self._setup.interval + 5)
        if not found:
            raise AssertionError(f"{other.name} did not take over; see {self._directory}")
        self.master = other
        return max(found.values())
