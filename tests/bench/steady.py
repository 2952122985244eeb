"""What the steady state costs: CPU for each advertisement sent and received, and memory."""

import random
import time
from pathlib import Path
from typing import TYPE_CHECKING

from contestants import CONTESTANTS, memory_kib, wait_for_vips
from machine import cpu_seconds
from pair import Pair, ip_received
from setup import Setup

if TYPE_CHECKING:
    from contestants import Running

Samples = dict[str, list[float]]
_SETTLING = 8.0
"""Seconds after the last take-over: keepalived's second burst of gratuitous ARP comes after 5."""
_TRIES = 5
"""Windows tried for one that counts."""


def steady_state(contestant: str, routers: int, directory: Path, *, window: float) -> Samples:
    """Microseconds of CPU for each advertisement at 100 ms, as MASTER and as BACKUP; memory in MiB."""
    setup = Setup(routers=routers, interval_ms=100, preempt=True)
    start = CONTESTANTS[contestant]
    with Pair(client=False) as pair:
        one, two = pair.nodes
        backup = start(two, setup, directory)
        master: Running | None = None
        try:
            # A MASTER of higher priority that comes second takes over from a living one: no VIP is fought for, and what
            # follows such a take-over (gratuitous ARP again and again) is not part of the steady state.
            wait_for_vips(two, setup)
            master = start(one, setup, directory)
            wait_for_vips(one, setup)
            time.sleep(_SETTLING)
            samples: Samples = {"master": [], "backup": []}
            for _ in range(_TRIES):
                time.sleep(random.uniform(0, 0.1))
                costs = _window(pair, master.vrrp, backup.vrrp, window)
                if costs:
                    samples |= {role: [cost] for role, cost in costs.items()}
                    break
            rss, pss = memory_kib(master.vrrp)
            samples["vrrp_rss"], samples["vrrp_pss"] = [rss / 1024], [pss / 1024]
            samples["all_pss"] = [sum(memory_kib(pid)[1] for pid in master.processes) / 1024]
            return samples
        finally:
            for running in filter(None, (master, backup)):
                running.close()


def _window(pair: Pair, master: int, backup: int, seconds: float) -> dict[str, float]:
    """Nothing where the BACKUP advertised: that was no steady state."""
    one, two = pair.nodes

    def now() -> tuple[float, float, int, int]:
        return cpu_seconds(master), cpu_seconds(backup), ip_received(two), ip_received(one)

    before = now()
    time.sleep(seconds)
    master_used, backup_used, heard, of_backup = (then - before for then, before in zip(now(), before, strict=True))
    return {} if of_backup else {"master": master_used / heard * 1e6, "backup": backup_used / heard * 1e6}
