"""What is told only once it has lasted: an edit that has reached half of the nodes is no news yet."""

import asyncio
from collections.abc import Callable

LASTS = 10.0
"""Seconds. A plan reaches a node's wire within a fraction of one."""
_LATER = 0.01
"""Seconds after the moment itself, so that it has passed by the clock that is then asked."""


class Lasting:
    """Remembers by name since when something has been so, and has a name looked at again when it has lasted."""

    def __init__(self, look_again: Callable[[str], None], seconds: float = LASTS) -> None:
        self._look_again = look_again
        self._seconds = seconds
        self._since: dict[str, float] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def lasts(self, name: str, *, so: bool) -> bool:
        """Whether it has been so for that long; to be asked whenever that may have changed."""
        if not so:
            self.forget(name)
            return False
        loop = asyncio.get_running_loop()
        if name not in self._since:
            self._since[name] = loop.time()
            self._timers[name] = loop.call_later(self._seconds + _LATER, self._look_again, name)
        return loop.time() - self._since[name] >= self._seconds

    def forget(self, name: str) -> None:
        """It is not so."""
        self._since.pop(name, None)
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def close(self) -> None:
        """No timer says anything any more."""
        for name in list(self._timers):
            self.forget(name)
