"""What a virtual router remembers of the last time for the short cuts of short_cuts.py."""

from collections.abc import Sequence

from virtualip_agent.vrrp import effects as fx
from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.master_watch import MasterWatch
from virtualip_agent.vrrp.settings import Settings


class SteadyState:
    """What one virtual router prepared for it."""

    __slots__ = ("_advertise", "interval", "priority", "repeating", "speaks_until", "wait")

    def __init__(self) -> None:
        self.repeating: ev.Heard | None = None
        """The advertisement after which nothing but the timer was new: heard again it says the same again."""
        self.wait = 0
        """Nanoseconds from then on to the deadline."""
        self.speaks_until = 0
        """Before then nothing is due for this MASTER but its advertisements, if nothing happens to it."""
        self.interval = self.priority = 0
        """Of these advertisements."""
        self._advertise = (fx.SendAdvertisement(0),)

    def forget(self) -> None:
        """Something happens."""
        self.repeating, self.speaks_until = None, 0

    def heard(self, event: ev.Heard, watch: MasterWatch, priority: int, settings: Settings, now: int) -> None:
        """An advertisement was heard while BACKUP: would the same, as the next event, only re-arm the timer?"""
        if watch.waits_for(event.source, priority, settings, now):
            self.repeating, self.wait = event, watch.deadline(priority, settings) - now

    def advertised(self, priority: int, settings: Settings, until: int) -> None:
        """A MASTER's interval was over and an advertisement all that followed; nothing else is due `until` then."""
        self.priority, self.interval, self.speaks_until = priority, settings.advert_interval, until

    def advertise(self) -> Sequence[fx.Effect]:
        """What a MASTER wants at each interval: made once for as long as its priority is the same."""
        if self._advertise[0].priority != self.priority:
            self._advertise = (fx.SendAdvertisement(self.priority),)
        return self._advertise
