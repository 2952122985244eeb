"""Does a healthy MASTER lose its VIP because the node is busy?"""

import os
import time
from pathlib import Path

from contestants import CONTESTANTS, wait_for_vips
from pair import Pair
from segment import kill_group
from setup import Setup
from sniff import Sniffer

_HOGS_A_CORE = 2


def false_changes(contestant: str, directory: Path, *, seconds: float) -> int:
    """How often the BACKUP spoke up at adverts of 10 ms, with twice as many busy processes as cores."""
    setup = Setup(interval_ms=10, preempt=True)
    start = CONTESTANTS[contestant]
    with Pair(client=False) as pair:
        one, two = pair.nodes
        running = [start(one, setup, directory)]
        try:
            wait_for_vips(one, setup)
            running.append(start(two, setup, directory))
            running[-1].wait_until_it_listens()
            with Sniffer(two, "eth0", advertisements=True) as sniffer:
                hogs = [
                    one.popen(["sh", "-c", "while :; do :; done"]) for _ in range(_HOGS_A_CORE * (os.cpu_count() or 1))
                ]
                time.sleep(seconds)
                for hog in hogs:
                    kill_group(hog)
                masters = [seen.what for seen in sniffer.read() if seen.priority > 0]
        finally:
            for each in running:
                each.close()
    assert masters, "nobody advertised"
    return sum(
        source == two.address and before != two.address
        for before, source in zip([one.address, *masters], masters, strict=False)
    )
