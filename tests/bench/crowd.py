"""A node with many virtual routers is cut: when is the last VIP back?"""

import random
import time
from dataclasses import dataclass
from pathlib import Path

from contestants import CONTESTANTS, wait_for_vips
from pair import Pair
from setup import Setup
from sniff import Sniffer

_SETTLING = 6.0
_WITHIN = 4.6


@dataclass(frozen=True, slots=True)
class Crowd:
    """One cut."""

    last_ms: float
    """Milliseconds from the cut to the last VIP's gratuitous ARP, of those that came."""
    missing: int
    """VIPs that were not back within 4.6 s."""


def cut_with_many(contestant: str, routers: int, directory: Path, *, trials: int) -> list[Crowd]:
    """At adverts of 100 ms; the nodes swap their roles."""
    setup = Setup(routers=routers, interval_ms=100)
    start = CONTESTANTS[contestant]
    found = []
    with Pair(client=True) as pair:
        assert pair.client is not None
        master, backup = pair.nodes
        running = [start(master, setup, directory)]
        try:
            wait_for_vips(master, setup)
            running.append(start(backup, setup, directory))
            time.sleep(_SETTLING)
            with Sniffer(pair.client, "br0") as sniffer:
                for _ in range(trials):
                    time.sleep(random.uniform(0, setup.interval))
                    sniffer.drain()
                    cut = time.monotonic()
                    pair.unplug(master)
                    back = sniffer.wait_for(backup.mac, set(setup.vips), _WITHIN)
                    last = max(back.values(), default=cut + _WITHIN)
                    found.append(Crowd((last - cut) * 1000, routers - len(back)))
                    try:
                        wait_for_vips(backup, setup)
                    except AssertionError:
                        break  # it does not come to rest any more: what it did stands
                    pair.plug(master)
                    time.sleep(_SETTLING)
                    master, backup = backup, master
        finally:
            for one in running:
                one.close()
    return found
