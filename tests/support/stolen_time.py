"""How long the machine itself stood still: what measures milliseconds is told apart from a hypervisor's pauses.

`python stolen_time.py CPU STEP` is the program of one processor.
"""

import os
import subprocess
import sys
import time
from typing import Self

_ABOVE_VRRP = 60
"""SCHED_FIFO; vrrp has SCHED_RR 50, so it is not the one that is waited for."""


class StolenTime:
    """Measures from its beginning to its end. `step`: seconds between two looks at the clock."""

    def __init__(self, step: float = 0.001) -> None:
        self._step = step

    def __enter__(self) -> Self:
        self.ms = 0.0
        """The longest pause of any processor."""
        self._tickers = [
            subprocess.Popen(
                [sys.executable, "-S", __file__, str(cpu), str(self._step)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for cpu in sorted(os.sched_getaffinity(0))
        ]
        for ticker in self._tickers:
            assert ticker.stdout is not None
            assert ticker.stdout.readline() == "ticking\n"
        return self

    def __exit__(self, *_: object) -> None:
        self.ms = max(float(ticker.communicate()[0]) for ticker in self._tickers)


def _tick(cpu: int, step: float) -> float:
    os.sched_setaffinity(0, {cpu})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_ABOVE_VRRP))
    os.set_blocking(0, False)
    print("ticking", flush=True)
    longest, before = 0.0, time.monotonic()
    while sys.stdin.buffer.raw.read(1) is None:  # type: ignore[union-attr]
        time.sleep(step)
        now = time.monotonic()
        longest, before = max(longest, now - before - step), now
    return longest * 1000


if __name__ == "__main__":
    print(_tick(int(sys.argv[1]), float(sys.argv[2])))
