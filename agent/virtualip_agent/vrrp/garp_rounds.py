"""When a MASTER says its gratuitous ARP (for IPv6 its unsolicited Neighbour Advertisement) again.

keepalived's knobs: garp_master_repeat, garp_interval, garp_master_delay, garp_master_refresh and its _repeat.
"""

from collections import deque
from typing import Final

from virtualip_agent.vrrp.settings import Garp
from virtualip_agent.vrrp.timing import MILLISECOND, SECOND

_CONTESTED: Final = 250 * MILLISECOND
_MARGIN: Final = 2 * SECOND


class GarpRounds:
    """The rounds that are still to come; each is one announcement for each address."""

    def __init__(self) -> None:
        self._at: deque[int] = deque()
        self._refreshed_at = 0
        self._announcing_until = 0
        self._contested_until = 0

    def announce(self, garp: Garp, now: int, *, lifetime: int = 0) -> None:
        """A first round has just been said: plans the burst of which it is part, and a second burst after the delay,
        for whoever was not ready to hear the first (a switch port that comes up, say).

        lifetime: not 0 where the old MASTER did not let go by itself, so that its kernel may go on answering ARP until
        its addresses expire; whoever resolved the address meanwhile must be told again, until the last of that is over.
        """
        times = {now + number * garp.interval for number in range(1, garp.repeat)}
        if garp.delay:
            times.update(now + garp.delay + number * garp.interval for number in range(garp.repeat))
        if lifetime:
            self._contested_until = now + lifetime + _MARGIN
        times.update(range(now + _CONTESTED, self._contested_until + 1, _CONTESTED))
        self._at = deque(sorted(times))
        self._refreshed_at = now
        self._announcing_until = self._at[-1] if self._at else now

    def forget(self) -> None:
        """Nothing that was planned is said any more."""
        self._at.clear()

    def announced(self, now: int) -> bool:
        """Whether everything that was planned has been said."""
        return now > self._announcing_until

    def deadline(self, garp: Garp) -> int | None:
        """When the next round is due."""
        refresh = self._refreshed_at + garp.refresh if garp.refresh else None
        if not self._at:
            return refresh
        return self._at[0] if refresh is None else min(refresh, self._at[0])

    def due(self, garp: Garp, now: int) -> bool:
        """Whether a round is due; rounds that were missed are one."""
        if garp.refresh and now >= self._refreshed_at + garp.refresh:
            self._refreshed_at = now
            self._at = deque(sorted({*self._at, *(now + step * garp.interval for step in range(garp.refresh_repeat))}))
        due = False
        while self._at and now >= self._at[0]:
            self._at.popleft()
            due = True
        return due
