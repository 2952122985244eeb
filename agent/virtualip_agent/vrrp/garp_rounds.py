"""When a new MASTER repeats its gratuitous ARP."""

from collections import deque
from typing import Final

from virtualip_agent.vrrp.timing import MILLISECOND, SECOND

_SECOND_ROUND: Final = 50 * MILLISECOND
"""A switch that was moving its own tables at the take-over missed the first."""
_LATER: Final = (1 * SECOND, 5 * SECOND)
"""keepalived's garp_master_delay is 5 s."""
_CONTESTED: Final = 250 * MILLISECOND
_MARGIN: Final = 2 * SECOND


def garp_rounds(now: int, lifetime: int, *, contested: bool) -> deque[int]:
    """The times of all rounds after the first.

    contested: the old MASTER did not let go by itself, so its kernel may go on answering ARP until its addresses
    expire; whoever resolved the address meanwhile must be told again, until the last of that is over.
    """
    times = {now + _SECOND_ROUND, *(now + delay for delay in _LATER)}
    if contested:
        times.update(range(now + _CONTESTED, now + lifetime + _MARGIN + 1, _CONTESTED))
    return deque(sorted(times))
