"""An address of the MASTER that somebody takes off the interface: put back at once, slower only where it repeats."""

from collections import deque
from typing import Final

from virtualip_agent.vrrp.timing import SECOND

_AT_ONCE: Final = 5
_WINDOW: Final = 10 * SECOND
_BACKOFF: Final = 1 * SECOND


class PutBack:
    """The removals of late, and when the next putting back is due."""

    def __init__(self) -> None:
        self.due_at: int | None = None
        self._removals: deque[int] = deque()

    def removed(self, now: int) -> bool:
        """Counts a removal. True: put it back now; else it is due at `due_at`."""
        while self._removals and now - self._removals[0] > _WINDOW:
            self._removals.popleft()
        self._removals.append(now)
        if len(self._removals) <= _AT_ONCE:
            self.due_at = None
            return True
        if self.due_at is None:
            self.due_at = now + _BACKOFF
        return False

    def postpone(self, now: int) -> None:
        """Due at the next timer, after everything that is waiting to be heard."""
        self.due_at = now

    def due(self, now: int) -> bool:
        """Whether a putting back that was put off is due; it counts as done."""
        if self.due_at is None or now < self.due_at:
            return False
        self.due_at = None
        return True
