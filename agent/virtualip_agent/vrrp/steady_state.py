"""What is nearly all there is, for hours: a MASTER's interval is over, and the same advertisement reaches the BACKUPs.

Both are answered without asking what only something else could have changed; a test holds the answers against those of
the whole state machine.
"""

from collections.abc import Sequence

from virtualip_agent.vrrp import effects as fx
from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.master_watch import MasterWatch
from virtualip_agent.vrrp.settings import Settings


class SteadyState:
    """What one virtual router prepared for it."""

    def __init__(self) -> None:
        self.repeating: ev.Heard | None = None
        """The advertisement after which nothing but the timer was new: heard again it says the same again."""
        self._wait = 0
        self._advertise = (fx.SendAdvertisement(0),)

    def heard(self, event: ev.Heard, watch: MasterWatch, priority: int, settings: Settings, now: int) -> None:
        """An advertisement was heard while BACKUP: would the same, as the next event, only re-arm the timer?"""
        if watch.waits_for(event.source, priority, settings, now):
            self.repeating, self._wait = event, watch.deadline(priority, settings) - now

    def repeated(self, watch: MasterWatch, now: int) -> int:
        """`repeating` was heard again; the new deadline."""
        watch.repeated(now)
        return now + self._wait

    def advertise(self, priority: int) -> Sequence[fx.Effect]:
        """What a MASTER wants at each interval: made once for as long as its priority is the same."""
        if self._advertise[0].priority != priority:
            self._advertise = (fx.SendAdvertisement(priority),)
        return self._advertise
