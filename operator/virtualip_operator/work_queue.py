"""Whose turn it is: a queue of names in which each is at most once, with delays and back-off for each name."""

import heapq
import threading
import time
from collections.abc import Callable

FIRST_BACK_OFF = 0.2
"""Seconds; doubled with each failure in a row."""
LONGEST_BACK_OFF = 30.0


class WorkQueue:
    """Names to be handled, by any number of threads; no name is handled by two at once.

    One that is added while it is being handled is handled again afterwards."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._condition = threading.Condition()
        self._due: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        """May hold times that are no longer true; `_due` is."""
        self._handled: set[str] = set()
        self._failures: dict[str, int] = {}
        self._closed = False

    def __len__(self) -> int:
        with self._condition:
            return len(self._due)

    def add(self, name: str, delay: float = 0.0) -> None:
        """The name is to be handled, `delay` seconds from now at the latest."""
        with self._condition:
            due = self._clock() + delay
            if name not in self._due or due < self._due[name]:
                self._due[name] = due
                heapq.heappush(self._heap, (due, name))
                self._condition.notify()

    def take(self, timeout: float) -> str | None:
        """The next name that is due; None after `timeout` seconds, and when the queue is closed.

        The caller says `done` or `failed` afterwards."""
        end = self._clock() + timeout
        with self._condition:
            while not self._closed:
                now = self._clock()
                name = self._pop(now)
                if name is not None:
                    return name
                if now >= end:
                    return None
                next_due = self._heap[0][0] if self._heap else end
                self._condition.wait(max(min(next_due, end) - now, 0.0))
            return None

    def _pop(self, now: float) -> str | None:
        skipped = []
        found = None
        while self._heap and self._heap[0][0] <= now:
            due, name = heapq.heappop(self._heap)
            if self._due.get(name) != due:
                continue
            if name in self._handled:
                skipped.append(name)
                continue
            found = name
            break
        for name in skipped:
            self._due[name] = float("inf")  # `_finish` puts it back
        if found is not None:
            del self._due[found]
            self._handled.add(found)
        return found

    def done(self, name: str) -> None:
        """It was handled."""
        with self._condition:
            self._failures.pop(name, None)
            self._finish(name)

    def failed(self, name: str) -> float:
        """It could not be handled and will be again after the seconds returned, even if it was added meanwhile."""
        with self._condition:
            count = self._failures.get(name, 0)
            self._failures[name] = count + 1
            delay = min(FIRST_BACK_OFF * 2.0 ** min(count, 16), LONGEST_BACK_OFF)
            self._due.pop(name, None)
            self._finish(name)
        self.add(name, delay)
        return delay

    def fails(self, name: str) -> bool:
        """Whether it could not be handled the last time, and waits for its next."""
        with self._condition:
            return name in self._failures

    def _finish(self, name: str) -> None:
        self._handled.discard(name)
        if self._due.get(name) == float("inf"):
            self._due[name] = now = self._clock()
            heapq.heappush(self._heap, (now, name))
            self._condition.notify()

    def close(self) -> None:
        """Lets everybody who waits go."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
