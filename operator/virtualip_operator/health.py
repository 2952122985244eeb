"""Whether the process lives: each of its loops says so again and again. The API server has no part in it."""

import threading
import time
from collections.abc import Callable


class Health:
    """The loops' last signs of life."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._deadlines: dict[str, float] = {}

    def beat(self, loop: str, within: float) -> None:
        """A loop lives, and will say so again within so many seconds."""
        with self._lock:
            self._deadlines[loop] = self._clock() + within

    def late(self) -> list[str]:
        """The loops that did not say so in time."""
        now = self._clock()
        with self._lock:
            return sorted(loop for loop, deadline in self._deadlines.items() if deadline < now)
