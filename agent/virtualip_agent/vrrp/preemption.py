"""When a BACKUP may take the place of a living MASTER of lower priority. A MASTER that dies or resigns is none of this.

Only moments are kept; what follows from them is computed with the settings of now.
"""

from virtualip_agent.vrrp.priority import OWNER
from virtualip_agent.vrrp.settings import Settings


class Preemption:
    """Since when we are the better one, and since when fast preemption applies."""

    def __init__(self) -> None:
        self._better_since: int | None = None
        self._fast_since: int | None = None

    def ready(self, now: int) -> None:
        """BACKUP is entered, at the start or from FAULT. Nobody better has been heard yet: preemptDelay counts from
        here, as keepalived's does where a lower priority is the first that it hears."""
        self._better_since, self._fast_since = now, None

    def forget(self) -> None:
        """There is nobody to preempt: a better MASTER is heard, or none."""
        self._better_since = self._fast_since = None

    def better(self, now: int, *, fast: bool) -> None:
        """The MASTER that is heard has a lower priority; `fast`: we have listened long enough to hurry."""
        if self._better_since is None:
            self._better_since = now
        if not fast:
            self._fast_since = None
        elif self._fast_since is None:
            self._fast_since = now

    def delayed_by(self, own_priority: int, settings: Settings, now: int) -> str:
        """The reason why it must wait yet; '' where it need not. An address owner never waits."""
        if own_priority == OWNER:
            return ""
        if now < settings.hold_until:
            return "StartupDelay"
        return "PreemptDelay" if now < self._allowed_from(own_priority, settings) else ""

    def fast_from(self, own_priority: int, settings: Settings) -> int | None:
        """From when only our skew_time is waited out; None where master_down_interval is."""
        if self._fast_since is None:
            return None
        return max(self._fast_since, self._allowed_from(own_priority, settings))

    def _allowed_from(self, own_priority: int, settings: Settings) -> int:
        if self._better_since is None or own_priority == OWNER:
            return 0
        return max(self._better_since + settings.preempt_delay, settings.hold_until)


def preempts(own_priority: int, settings: Settings) -> bool:
    """RFC 9568, section 6.1: the address owner preempts whatever Preempt_Mode says."""
    return settings.preempt or own_priority == OWNER
