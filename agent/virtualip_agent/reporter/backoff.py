"""How long what lists and watches leaves the API alone after a round: longer each time, until a watch has lasted."""

import random
import time
from collections.abc import Callable

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 5.0
STEADY = 10.0
"""Seconds that a round lasts whose watch was of use: lists that are answered say nothing of the watch that follows."""


class BackOff:
    """Of one list and watch, all in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pause = 0.0
        self._began = 0.0

    def begin(self) -> None:
        """A round begins with its list."""
        self._began = self._clock()

    def ended(self, *, failed: bool) -> float:
        """The round is over; how long to wait before the next. A server that is going down may end every watch at
        once, without an error."""
        lasted = self._clock() - self._began
        if lasted >= STEADY:
            self._pause = 0.0
        if not failed and lasted >= FIRST_PAUSE:
            return 0.0
        self._pause = min(max(2 * self._pause, FIRST_PAUSE), LONGEST_PAUSE)
        return self._pause * (0.5 + random.random())
