"""What a BACKUP knows of the MASTER, and from that: when it takes over.

Only moments are kept (when something was heard, and what); the deadline is computed from them and from the settings and
the priority of now, so an edit or a tracker can change at any time without leaving a stale timer behind.
"""

from typing import Final, NamedTuple

from virtualip_agent.vrrp.packet import Advertisement
from virtualip_agent.vrrp.preemption import Preemption, preempts
from virtualip_agent.vrrp.priority import OWNER
from virtualip_agent.vrrp.settings import Settings
from virtualip_agent.vrrp.timing import MILLISECOND, master_down_interval, skew_time

_RANK_STEP: Final = 2 * MILLISECOND
_LATE: Final = 50 * MILLISECOND
"""Our own work may make us late by some of it."""


class TakeOver(NamedTuple):
    """Why a BACKUP becomes MASTER when its deadline has passed."""

    reason: str
    takeover: int = -1
    """Nanoseconds from the last sign of the MASTER before; -1 where there was none."""
    contested: bool = True
    """The old MASTER did not let go by itself: its kernel may go on answering."""


class MasterWatch:
    """RFC 9568, section 6.4.2: the MASTER's life signs as one router hears them."""

    def __init__(self, settings: Settings) -> None:
        self.master = b""
        """Source address of the MASTER that is heard, or our own."""
        self.adopted = False
        """Addresses of an earlier process of ours are still there: did somebody take over while we were away?"""
        self._listening_since: int | None = None
        self._heard_at = 0
        """The last time a MASTER that we wait for was heard, or the start of waiting."""
        self._seen_at: int | None = None
        """The last time `master` was heard, also one that we may preempt."""
        self._master_priority = 0
        self.interval = settings.advert_interval
        """Nanoseconds between the advertisements of the MASTER that is heard; ours where none is."""
        self._interval_is_ours = True
        self._not_before = 0
        """A moment before which we do not take over, unless we have heard of a MASTER by then."""
        self._resigned_at: int | None = None
        self._preemption = Preemption()
        self._lost_at: int | None = None
        """The last sign of a MASTER that fell silent, where a lower router stood up for it before we did."""

    # ---- moments

    def startup(self, settings: Settings, now: int) -> bool:
        """RFC 9568, section 6.4.1. True where nothing was listened to before."""
        if self._listening_since is not None:
            self._unlearn(settings, now)
            return False
        self._listening_since = now
        self._seen_at = None
        self.master = b""
        self._take_our_interval(settings)
        return True

    def deafen(self) -> None:
        """The link was away: nothing heard before it came back counts."""
        self._listening_since = self._seen_at = None
        self._resigned_at = None
        self._preemption.forget()

    def wait(self, now: int) -> None:
        """BACKUP is entered: a whole master_down_interval from now."""
        self._heard_at = now
        self._resigned_at = self._lost_at = None
        self._preemption.ready(now)

    def take_over(self, source: bytes, settings: Settings) -> None:
        """We are the MASTER."""
        self.master = source
        self.adopted = False
        self._seen_at = self._resigned_at = None
        self._preemption.forget()
        self._take_our_interval(settings)

    def moved(self, now: int) -> None:
        """A living MASTER was preempted: by us, or we were it, or of others one by another."""
        self._preemption.moved(now)

    def let_go(self) -> None:
        """We are MASTER no more; who is, is not known before it is heard."""
        if self._seen_at is None:
            self.master = b""

    def note(self, advertisement: Advertisement, source: bytes, settings: Settings, now: int) -> bool:
        """Remembers who is MASTER. Where two are heard (a partition, a stranger) only the one that will win counts:
        neither our timer nor what we tell is to flip with each advertisement. False: this was the other one."""
        if self._seen_at is not None and self._resigned_at is None and source != self.master:
            if self._silent(settings, now):
                self._lost_at = self._seen_at
            elif (advertisement.priority, source) < (self._master_priority, self.master):
                return False
            elif advertisement.priority > self._master_priority:
                self.moved(now)
        self._seen_at, self._not_before = now, 0
        self._resigned_at = None
        self._master_priority = advertisement.priority
        self.master = source
        return True

    def learn(self, advertisement: Advertisement) -> None:
        """RFC 9568, section 6.4.2: the MASTER's interval is the one to wait by. With v2 only a member's can differ from
        ours (acceptance.py): then an edit has reached half of the nodes, and the same holds."""
        self.interval, self._interval_is_ours = advertisement.interval, False

    def settings_changed(self, own_priority: int, settings: Settings, now: int) -> None:
        """An edit. While a MASTER is heard its interval stays: ours will be its own when the edit has reached it."""
        self._unlearn(settings, now)
        self.compare(own_priority, settings, now)

    def _unlearn(self, settings: Settings, now: int) -> None:
        """The interval of a MASTER that is gone, by its skew_time (under an interval) too, says nothing of the next."""
        patience = (settings.down_timer_adverts + 1) * self.interval
        if self._seen_at is None or self._interval_is_ours or now - self._seen_at > patience:
            self._take_our_interval(settings)

    def _take_our_interval(self, settings: Settings) -> None:
        self.interval, self._interval_is_ours = settings.advert_interval, True

    def heard(
        self, advertisement: Advertisement, source: bytes, own_priority: int, settings: Settings, now: int
    ) -> str:
        """An advertisement while BACKUP. Returns the new reason for being BACKUP, '' where it is as before."""
        priority = advertisement.priority
        if priority == 0:
            # A repeat of it must not re-arm: the old MASTER says it several times. And only the MASTER can resign: a
            # BACKUP that heard the old one's last word after the new one's first must not stand up against it.
            if self._resigned_at is None and self.master in (b"", source):
                self._not_before = 0
                self._resigned_at = now
            return ""
        fell = source == self.master and self._seen_at is not None and priority < self._master_priority
        foremost = self.note(advertisement, source, settings, now)
        delay = ""
        if priority < own_priority and preempts(own_priority, settings):
            if foremost:
                fast = self._may_preempt_fast(own_priority, settings, now)
                self._preemption.better(now, priority, fast=fast, fell=fell)
            delay = self._preemption.delayed_by(own_priority, settings, now)
            if not delay:
                # RFC 9568, section 6.4.2: discard; the timer is never extended. Fast preemption shortens it.
                return ""
        else:
            self._preemption.forget()
            self._lost_at = None
        self._heard_at = now
        if foremost:
            self.learn(advertisement)
        if priority < own_priority:
            return delay or "MayNotPreempt"
        return "LowerPriority" if priority > own_priority else "EqualPriority"

    def waits_for(self, source: bytes, own_priority: int, settings: Settings, now: int) -> bool:
        """Whether what was heard just now is the one MASTER there is, and nothing but its silence ends the waiting."""
        return (
            self._heard_at == self._seen_at == now
            and self.master == source
            and self._resigned_at is None
            and not self.adopted
            and (self._master_priority >= own_priority or not preempts(own_priority, settings))
        )

    def repeated(self, now: int) -> None:
        """The same advertisement again, where `waits_for` held after the one before."""
        self._heard_at = self._seen_at = now

    def compare(self, own_priority: int, settings: Settings, now: int) -> None:
        """Priority or settings changed: is the MASTER that was heard last still one to wait for?"""
        if self._seen_at is None or self._resigned_at is not None:
            return
        if self._master_priority < own_priority and preempts(own_priority, settings):
            fast = self._may_preempt_fast(own_priority, settings, now)
            self._preemption.better(now, self._master_priority, fast=fast)
        else:
            self._preemption.forget()
            self._heard_at = max(self._heard_at, self._seen_at)

    def _may_preempt_fast(self, own_priority: int, settings: Settings, now: int) -> bool:
        long_enough = master_down_interval(
            settings.version, own_priority, settings.advert_interval, settings.down_timer_adverts
        )
        return (
            settings.fast_preempt and self._listening_since is not None and now - self._listening_since >= long_enough
        )

    def _silent(self, settings: Settings, now: int) -> bool:
        """Whether the MASTER has missed as many advertisements as it may."""
        return self._seen_at is None or now - self._seen_at > settings.down_timer_adverts * self.interval

    def slept(self, due: int, now: int) -> bool:
        """What was due a while ago is done only `now`: did we not run meanwhile? Then a MASTER is listened for anew,
        for two intervals: one that slept as we did listens itself for one."""
        if now - due <= max(self.interval, _LATE):
            return False
        self._not_before = now + 2 * self.interval
        return True

    # ---- what follows from them

    def deadline(self, own_priority: int, settings: Settings) -> int:
        """When this BACKUP is to become MASTER if nothing more is heard."""
        return max(self._not_before, self._silent_at(own_priority, settings))

    def _silent_at(self, own_priority: int, settings: Settings) -> int:
        interval = self.interval
        skew = skew_time(settings.version, own_priority, interval)
        skew += settings.rank * min(_RANK_STEP, interval // 20)
        if self.adopted:
            # one interval tells whether somebody took over while we were away
            return self._heard_at + settings.advert_interval + skew // 4
        waiting_since = self._heard_at
        if self._seen_at is None and own_priority != OWNER:
            # nobody was ever heard: after a boot that may be the switch port's doing
            waiting_since = max(waiting_since, settings.hold_until)
        deadline = waiting_since + settings.down_timer_adverts * interval + skew
        if self._resigned_at is not None:
            deadline = min(deadline, self._resigned_at + skew)
        preempting_since = self._preemption.fast_from(own_priority, settings)
        if preempting_since is not None:
            deadline = min(deadline, preempting_since + skew)
        return deadline

    def expired(self, own_priority: int, settings: Settings, now: int) -> TakeOver:
        """The deadline has passed: what this take-over is."""
        if self.adopted:
            return TakeOver("Adopted")
        if self._resigned_at is not None:
            return TakeOver("MasterResigned", now - self._resigned_at, contested=False)
        if self._seen_at is None:
            return TakeOver("NoMaster")
        preempting_since = self._preemption.fast_from(own_priority, settings)
        if self._lost_at is not None and preempting_since is not None:
            return TakeOver("MasterDown", now - self._lost_at)
        if self._silent(settings, now):
            return TakeOver("MasterDown", now - self._seen_at)
        # a living MASTER of lower priority, which lets go when it hears us
        since = self._seen_at if preempting_since is None else preempting_since
        return TakeOver("HigherPriority", now - since, contested=False)
