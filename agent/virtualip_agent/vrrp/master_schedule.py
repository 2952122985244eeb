"""What a MASTER has to do and when: advertise, repeat its gratuitous ARP, put its addresses back."""

from typing import Final

from virtualip_agent.vrrp.garp_rounds import GarpRounds
from virtualip_agent.vrrp.put_back import PutBack
from virtualip_agent.vrrp.settings import Settings
from virtualip_agent.vrrp.timing import MILLISECOND, PUNCTUALITY

_REPLY_SPACING: Final = 20 * MILLISECOND
"""A MASTER answers losing advertisements at most so often: a neighbour's flood must not become ours."""


_NEVER: Final = 1 << 62


def _in_slot(settings: Settings, at: int) -> int:
    """The beginning of the slot in which this moment is."""
    return at - at % settings.slot


class MasterSchedule:
    """One MASTER's timers, from its take-over until it lets go."""

    def __init__(self) -> None:
        self.put_back = PutBack()
        self._advertise_at = 0
        self._advertised_at = 0
        self._replied_at = -_REPLY_SPACING
        self._reply_at: int | None = None
        self._garp = GarpRounds()
        self._listens_until: int | None = None
        self._tied_since = self._tied_at = -_NEVER

    @property
    def advertise_at(self) -> int:
        """When its next advertisement is due."""
        return self._advertise_at

    def deadline(self, settings: Settings) -> int:
        """When something is due."""
        if self._listens_until is not None:
            return self._listens_until
        deadline = self._advertise_at
        garp_at = self._garp.deadline(settings.garp)
        if garp_at is not None:
            deadline = min(deadline, garp_at)
        if self._reply_at is not None:
            deadline = min(deadline, self._reply_at)
        return deadline if self.put_back.due_at is None else min(deadline, self.put_back.due_at)

    def announce(self, settings: Settings, now: int, *, contested: bool = False) -> None:
        """The addresses came onto the interface and a first gratuitous ARP was said: plans the other rounds.

        contested: the MASTER before us did not let go by itself.
        """
        self._garp.announce(settings.garp, now, lifetime=settings.lifetime if contested else 0)

    def announce_again(self, settings: Settings, now: int) -> None:
        """A losing advertisement was answered, also with gratuitous ARP. The other rounds follow, unless they do
        already: who goes on losing is not answered with a burst each time."""
        if self._garp.announced(now):
            self.announce(settings, now)

    def garp_due(self, settings: Settings, now: int) -> bool:
        """Whether a round is due."""
        return self._garp.due(settings.garp, now)

    def advertised(self, settings: Settings, now: int) -> None:
        """An advertisement was said out of turn: the next is an interval from now."""
        self.interjected(now)
        self._advertise_at = _in_slot(settings, now + settings.advert_interval)

    def interjected(self, now: int) -> None:
        """An advertisement was said out of turn, and the next comes when it would have come."""
        self._advertised_at = now
        self._listens_until = None

    def advertisement_due(self, settings: Settings, now: int) -> bool:
        """Whether the interval is over; it counts as said."""
        if now < self._advertise_at:
            return False
        self._advertised_at = now
        self._listens_until = None
        # keep the phase of the timer, but never send a burst to catch up
        self._advertise_at = _in_slot(settings, self._advertise_at + settings.advert_interval)
        if self._advertise_at <= now:
            self._advertise_at = _in_slot(settings, now + settings.advert_interval)
        return True

    def alone_until(self, settings: Settings) -> int:
        """Before when nothing but advertisements is due; 0 where an answer or putting back is, or it listens first."""
        if self.put_back.due_at is not None or self._reply_at is not None or self._listens_until is not None:
            return 0
        garp_at = self._garp.deadline(settings.garp)
        return _NEVER if garp_at is None else garp_at

    def said_in_turn(self, now: int, then: int) -> None:
        """What `advertisement_due` does where it is and the next is in time, `then`."""
        self._advertised_at, self._advertise_at = now, then

    def hasten(self, settings: Settings, now: int) -> None:
        """The interval was edited: a shorter one holds from now, a longer one when the old one is over."""
        self._advertise_at = min(self._advertise_at, _in_slot(settings, now + settings.advert_interval))

    def overslept(self, settings: Settings, now: int) -> bool:
        """Whether we were silent for so long that others were right to take over."""
        late = settings.advert_interval // PUNCTUALITY
        return now - self._advertised_at > settings.down_timer_adverts * settings.advert_interval + late

    def outlived(self, settings: Settings, now: int) -> bool:
        """Whether every skew_time is over too: if there is another router that can take over, it has. Who listens after
        that does so to the end, though the interval is edited meanwhile."""
        if self._listens_until is not None and now < self._listens_until:
            return True
        return now - self._advertised_at > (settings.down_timer_adverts + 1) * settings.advert_interval

    def listens(self, settings: Settings, now: int) -> bool:
        """Who `outlived` says nothing for an interval, in which a successor is heard: what it said while we slept may
        be lost, and not only waiting to be read. Whether that interval still lasts."""
        if self._listens_until is None or now - self._listens_until > settings.advert_interval:  # or it slept again
            self._listens_until = now + settings.advert_interval
        return now < self._listens_until

    def may_reply(self, now: int) -> bool:
        """Whether a losing advertisement is answered now; it counts as answered. One that came too soon after another
        is answered a little later: of three MASTERs that meet, a loser may have told the neighbours since."""
        self._reply_at = self._replied_at + _REPLY_SPACING
        if now < self._reply_at:
            return False
        self._reply_at = None
        self._replied_at = now
        return True

    def reply_due(self, now: int) -> bool:
        """Whether an answer that was put off is due."""
        return self._reply_at is not None and now >= self._reply_at

    def reply_after_tie(self, settings: Settings, now: int) -> None:
        """A tie is not ours to decide: it is answered when nothing was heard of it for so long that it is over."""
        self._reply_at = now + settings.down_timer_adverts * settings.advert_interval

    def tie_lasts(self, settings: Settings, now: int) -> bool:
        """An equal priority is heard from a greater address, in a sync group whose first router decides such a tie:
        whether it has lasted so long that the first router cannot hear that node."""
        long = settings.down_timer_adverts * settings.advert_interval
        if now - self._tied_at > long:
            self._tied_since = now
        self._tied_at = now
        return now - self._tied_since > long

    def resign(self) -> None:
        """Nothing more is announced. What is to be put back stays so, should nobody take over."""
        self._garp.forget()
        self._reply_at = None
