"""All rounds of gratuitous ARP but the first, a few frames at a time.

The first round of a take-over goes out at once, for all routers together. The others can wait: 250 VIPs that repeat
theirs five times must not keep the loop from its advertisements, nor flood a switch's processor.
"""

from typing import Final

from virtualip_agent.realtime.router import RunningRouter
from virtualip_agent.vrrp.timing import MILLISECOND

BUDGET: Final = 32
"""Frames a turn: less than 0.1 ms of work."""
PAUSE: Final = 2 * MILLISECOND
"""Between turns: 250 VIPs are told within 16 ms."""


class GarpPacer:
    """Whose round is still to be sent, in order."""

    def __init__(self) -> None:
        self.next_at: int | None = None
        """When the next turn is due."""
        self._waiting: dict[str, RunningRouter] = {}
        self._sent = 0
        """Frames of the first one's round that are out already."""

    def want(self, router: RunningRouter) -> None:
        """A round for this router; one that waits already is enough."""
        self._waiting.setdefault(router.name, router)

    def due(self, now: int) -> list[tuple[RunningRouter, tuple[bytes, ...]]]:
        """What is to be sent now. Who is MASTER no more by then is left out: the neighbours would learn the wrong
        node."""
        if self.next_at is not None and now < self.next_at:
            return []
        budget, turn = BUDGET, []
        while self._waiting and budget:
            name, router = next(iter(self._waiting.items()))
            frames = router.announcements() if router.core.is_master and router.link is not None else ()
            part = frames[self._sent : self._sent + budget]
            if part:
                turn.append((router, part))
            budget -= len(part)
            self._sent += len(part)
            if self._sent >= len(frames):
                del self._waiting[name]
                self._sent = 0
        self.next_at = now + PAUSE if self._waiting or turn else None
        return turn
