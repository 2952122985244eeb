"""Voluntary moves are damped: what flaps must not carry the addresses along for ever.

A move is voluntary where a living MASTER of lower priority is preempted. After four of them in 180 s (EVPN fabrics
freeze an address at its fifth: RFC 7432, section 15.1) nobody who saw them preempts any more until it is quiet. The
fifth alone is still made where it leads away from a MASTER that has become worse: so the addresses end up with the
node that does not flap.
"""

from collections import deque
from typing import Final

from virtualip_agent.vrrp.timing import SECOND

WINDOW: Final = 180 * SECOND
MOST_MOVES: Final = 4
_MOST_AWAY: Final = MOST_MOVES + 1


class Damping:
    """The voluntary moves that one router saw of late, its own and those of others, and those that it held back."""

    def __init__(self) -> None:
        self._moments: deque[int] = deque(maxlen=_MOST_AWAY)

    def moved(self, now: int) -> None:
        """One more; or it would have been, were it not held back: quiet is where nobody even wants to move."""
        self._moments.append(now)

    def until(self, *, fell: bool) -> int:
        """The moment before which nobody is preempted; `fell`: the MASTER says less than it said before."""
        most = _MOST_AWAY if fell else MOST_MOVES
        return self._moments[-most] + WINDOW if len(self._moments) >= most else 0
