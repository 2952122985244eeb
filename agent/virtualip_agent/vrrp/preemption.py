"""When a BACKUP may take the place of a living MASTER of lower priority. A MASTER that dies or resigns is none of this.

Only moments are kept; what follows from them is computed with the settings of now.
"""

from virtualip_agent.vrrp.damping import Damping
from virtualip_agent.vrrp.priority import DRAINING, OWNER
from virtualip_agent.vrrp.settings import Settings


class Preemption:
    """Since when we are the better one, and since when fast preemption applies."""

    def __init__(self) -> None:
        self._better_since: int | None = None
        self._fast_since: int | None = None
        self._damping = Damping()
        self._wanted = self._fell = self._relieve = False

    def moved(self, now: int) -> None:
        """A living MASTER was preempted, by whomever."""
        self._damping.moved(now)

    def ready(self, now: int) -> None:
        """BACKUP is entered, at the start or from FAULT. Nobody better has been heard yet: preemptDelay counts from
        here, as keepalived's does where a lower priority is the first that it hears."""
        self.forget()
        self._better_since = now

    def forget(self) -> None:
        """There is nobody to preempt: a better MASTER is heard, or none."""
        self._better_since = self._fast_since = None
        self._wanted = self._fell = self._relieve = False

    def better(self, now: int, master_priority: int, *, fast: bool, fell: bool = False) -> None:
        """The MASTER that is heard has a lower priority; `fast`: we have listened long enough to hurry; `fell`: it
        says less than it said before."""
        if self._better_since is None:
            self._better_since = now
        self._fell = self._fell or fell
        self._relieve = master_priority == DRAINING
        if not self._wanted:
            self._wanted = True
            if now < self._damping.until(fell=self._fell):
                self._damping.moved(now)
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
        if now < self._allowed_from(own_priority, settings):
            return "PreemptDelay"
        return "PreemptionDamped" if now < self._damped_until(own_priority, settings) else ""

    def fast_from(self, own_priority: int, settings: Settings) -> int | None:
        """From when only our skew_time is waited out; None where master_down_interval is."""
        if self._fast_since is None:
            return None
        allowed_from = self._allowed_from(own_priority, settings)
        return max(self._fast_since, allowed_from, self._damped_until(own_priority, settings))

    def _allowed_from(self, own_priority: int, settings: Settings) -> int:
        if self._better_since is None or own_priority == OWNER:
            return 0
        return max(self._better_since + settings.preempt_delay, settings.hold_until)

    def _damped_until(self, own_priority: int, settings: Settings) -> int:
        """A MASTER that drains asks to be relieved: that is somebody's will and no flapping."""
        if not settings.preempt_damping or own_priority == OWNER or self._relieve:
            return 0
        return self._damping.until(fell=self._fell)


def preempts(own_priority: int, settings: Settings) -> bool:
    """RFC 9568, section 6.1: the address owner preempts whatever Preempt_Mode says."""
    return settings.preempt or own_priority == OWNER
