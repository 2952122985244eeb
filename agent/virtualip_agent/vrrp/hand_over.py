"""Leaving MASTER by our own will: priority 0 is said, and the old MASTER answers on until the new one is heard.

A gap that no client sees: who deletes first leaves nobody to answer for the new one's skew_time.
"""

from typing import Final

from virtualip_agent.vrrp.group_view import GroupView
from virtualip_agent.vrrp.settings import Settings
from virtualip_agent.vrrp.timing import MILLISECOND, SECOND

_REPEATS: Final = 3
_SPACING: Final = 50 * MILLISECOND
"""One lost packet must not turn a planned hand-over into a timeout; a repeat re-arms nobody's timer."""
_MARGIN: Final = 100 * MILLISECOND


class HandOver:
    """One hand-over, from its first priority 0."""

    def __init__(
        self,
        settings: Settings,
        now: int,
        group: GroupView | None = None,
        *,
        follows: bool = False,
        drains: bool = False,
    ) -> None:
        patience = SECOND if settings.version == 2 else settings.advert_interval
        # who drains goes on if nobody comes: to be known before those of the group that follow let go
        margin = _MARGIN // 2 if drains else _MARGIN
        self.leave_by = now + (patience if group is None else max(patience, group.patience)) + margin
        """A new MASTER needs at most its skew_time, which is less than the interval (v2: a second)."""
        self.drains = drains
        """The node is to be without the addresses, but somebody must hold them."""
        self.follows = follows
        """Another of the sync group yielded; nothing is wrong here."""
        self._say_at = now
        self._left = _REPEATS

    @property
    def deadline(self) -> int:
        """When something is due: another priority 0, or the end."""
        return min(self.leave_by, self._say_at) if self._left else self.leave_by

    def zero_due(self, now: int) -> bool:
        """Whether priority 0 is to be said now; it counts as said."""
        if not self._left or now < self._say_at:
            return False
        self._left -= 1
        self._say_at = now + _SPACING
        return True
