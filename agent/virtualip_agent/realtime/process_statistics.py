"""How the process itself fares: how late its timer is, how often it wakes, how long it is busy then."""

import time
from typing import Final

_SHORTEST: Final = 6
"""The first bucket is what is less than 2^6 = 64 microseconds late."""
_BUCKETS: Final = 16
"""Each bound is twice the one before; the last bucket has no bound (over 1 s)."""
_LAST: Final = _BUCKETS - 1
_MILLISECOND: Final = 1_000_000


class ProcessStatistics:
    """Nothing is made at a wake-up but a number that is one more than before."""

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}
        """What happens seldom, by name."""
        self._wake_ups = 0
        self._longest = 0
        self._lateness = [0] * _BUCKETS
        self._latest = 0

    def count(self, counter: str) -> None:
        """One more of what happens seldom."""
        self.counters[counter] = self.counters.get(counter, 0) + 1

    def woke(self, busy: int) -> None:
        """The process was awake for so many nanoseconds."""
        self._wake_ups += 1
        if busy > self._longest:
            self._longest = busy

    def late(self, by: int) -> None:
        """A timer fired so many nanoseconds after its time."""
        bucket = (by // 1000 >> _SHORTEST).bit_length()
        self._lateness[bucket if bucket < _LAST else _LAST] += 1
        if by > self._latest:
            self._latest = by

    def report(self) -> dict[str, int]:
        """Every counter."""
        return self.counters | {
            "wake_ups": self._wake_ups,
            "longest_busy_us": self._longest // 1000,
            "latest_timer_us": self._latest // 1000,
            "cpu_ms": time.process_time_ns() // _MILLISECOND,
        }

    def lateness(self) -> dict[str, int]:
        """How many timers were less than so many microseconds late and not in the bucket before; `inf` is the rest."""
        return {str(1 << _SHORTEST + index): count for index, count in enumerate(self._lateness[:-1])} | {
            "inf": self._lateness[-1]
        }
