"""One virtual router: RFC 9568, section 6.4 (and RFC 3768, section 6.4, where v2 differs).

`handle(event, now)` returns effects; `deadline` says when TimerExpired is due. Every timer is recomputed from what was
heard and when, never adjusted, so an edit or a tracker can change at any time without leaving a stale one behind.
"""

from collections import deque
from collections.abc import Mapping
from enum import Enum, auto
from typing import Final, assert_never

from virtualip_agent.vrrp import effects as fx
from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.acceptance import judge
from virtualip_agent.vrrp.garp_rounds import garp_rounds
from virtualip_agent.vrrp.packet import Drop
from virtualip_agent.vrrp.priority import OWNER, Contribution, Effective, effective_priority
from virtualip_agent.vrrp.settings import Settings
from virtualip_agent.vrrp.timing import MILLISECOND, SECOND, master_down_interval, skew_time
from virtualip_api.status import State

Effects = list[fx.Effect]

_RANK_STEP: Final = 2 * MILLISECOND
_RESIGN_REPEATS: Final = 3
_RESIGN_SPACING: Final = 50 * MILLISECOND
"""One lost packet must not turn a planned hand-over into a timeout; a repeat re-arms nobody's timer."""
_HAND_OVER_MARGIN: Final = 100 * MILLISECOND
_REPLY_SPACING: Final = 20 * MILLISECOND
"""A MASTER answers losing advertisements at most so often: a neighbour's flood must not become ours."""
_RETRY: Final = 5 * SECOND
_REMOVALS_AT_ONCE: Final = 5
_REMOVAL_WINDOW: Final = 10 * SECOND
_REMOVAL_BACKOFF: Final = 1 * SECOND


class _Phase(Enum):
    INITIALIZE = auto()
    """Waiting for the link or the first tracker results; reported as BACKUP."""
    BACKUP = auto()
    MASTER = auto()
    FAULT = auto()
    STOPPED = auto()


class VirtualRouter:
    """The state machine. Not thread-safe; one event at a time."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.deadline: int | None = None
        self.drops: dict[str, int] = {}
        self.mismatches: dict[bytes, str] = {}
        """Member's source address -> what differs in its advertisements."""
        self.master: bytes = b""
        """Source address of the MASTER that is heard, or our own."""
        self._phase = _Phase.INITIALIZE
        self._contributions: dict[str, Contribution] = {}
        self._effective: Effective = effective_priority(settings.base_priority, {}, settings.draining)
        self._source = b""
        self._link: ev.LinkDown | None = None
        self._refused: ev.AddressesRefused | None = None
        self._reported: tuple[object, ...] = ()
        self._reason = ""
        self._fault_message = ""
        self._takeover = -1
        # BACKUP
        self._adopted = False
        self._listening_since: int | None = None
        self._heard_at = 0
        self._seen_at: int | None = None
        self._learned_interval = settings.advert_interval
        self._master_priority = 0
        self._resigned_at: int | None = None
        self._lower_since: int | None = None
        # MASTER
        self._advertise_at = 0
        self._advertised_at = 0
        self._replied_at = 0
        self._garp_at: deque[int] = deque()
        self._put_back_at: int | None = None
        self._removals: deque[int] = deque()
        self._leave_by: int | None = None
        self._resigns_left = 0
        # leaving for good
        self._stop: ev.Stop | None = None
        self._retry_at: int | None = None

    @property
    def state(self) -> State:
        """As reported: a router that is not ready yet is a BACKUP with a reason."""
        if self._phase is _Phase.MASTER:
            return State.MASTER
        return State.FAULT if self._phase is _Phase.FAULT else State.BACKUP

    @property
    def priority(self) -> int:
        """The effective priority."""
        return self._effective.priority

    @property
    def is_master(self) -> bool:
        """MASTER, also while handing over: the addresses are held and refreshed."""
        return self._phase is _Phase.MASTER

    @property
    def stopped(self) -> bool:
        """Released."""
        return self._phase is _Phase.STOPPED

    def handle(self, event: ev.Event, now: int) -> Effects:
        """Carries out one event at the time `now` (nanoseconds). See effects.py for the order of what it returns."""
        effects: Effects = []
        if self._phase is _Phase.STOPPED:
            return effects
        match event:
            case ev.Heard():
                self._heard(event, now, effects)
            case ev.TimerExpired():
                self._timer_expired(now, effects)
            case ev.ContributionsChanged(contributions):
                self._contributions = dict(contributions)
                self._reconsider(now, effects)
            case ev.SettingsChanged(settings):
                self._settings_changed(settings, now, effects)
            case ev.LinkUp(source, adopted):
                self._link_up(source, adopted, now, effects)
            case ev.LinkDown():
                self._link, self._source = event, b""
                self._reconsider(now, effects)
            case ev.AddressesRefused():
                self._refused = event
                self._retry_at = None if event.reason == "AddressInUse" else now + _RETRY
                self._reconsider(now, effects)
            case ev.AddressesFree():
                self._refused = None
                self._reconsider(now, effects)
            case ev.AddressesRemoved():
                self._addresses_removed(now, effects)
            case ev.Stop():
                self._stop_asked(event, now, effects)
            case _:
                assert_never(event)
        self._report(effects)
        self._arm()
        return effects

    # ---- what decides between the phases

    def _fault(self) -> tuple[str, str] | None:
        if self._link is not None:
            return self._link.reason, self._link.message
        if self._effective.failed:
            return "TrackerFailed", ", ".join(self._effective.failed)
        if self._refused is not None:
            return self._refused.reason, self._refused.message
        return None

    def _ready(self) -> bool:
        return bool(self._source) and self.settings.trackers <= self._contributions.keys()

    def _reconsider(self, now: int, effects: Effects) -> None:
        """After anything but an advertisement or a timer: which phase is right now?"""
        before = self._effective
        self._effective = effective_priority(
            self.settings.base_priority, self._known_contributions(), self.settings.draining
        )
        fault = self._fault()
        if self._phase is _Phase.MASTER:
            self._reconsider_master(fault, before, now, effects)
        elif fault is not None and (self._link is not None or self._phase is not _Phase.INITIALIZE or self._ready()):
            self._enter_fault(*fault, effects)
        elif self._phase in (_Phase.INITIALIZE, _Phase.FAULT):
            if self._ready():
                self._start(now, effects)
            elif self._phase is _Phase.FAULT:
                self._phase = _Phase.INITIALIZE
        elif self._effective.priority != before.priority:
            self._compare_with_master(now)
        if self._phase is _Phase.INITIALIZE:
            self._reason = "WaitingForTrackers"

    def _known_contributions(self) -> Mapping[str, Contribution]:
        trackers = self.settings.trackers
        return {name: value for name, value in self._contributions.items() if name in trackers}

    def _reconsider_master(self, fault: tuple[str, str] | None, before: Effective, now: int, effects: Effects) -> None:
        if self._link is not None or self._refused is not None:
            # nothing can be sent, or nothing is held: there is nothing to hand over
            assert fault is not None
            effects.append(fx.RemoveAddresses())
            if self._link is None:
                effects.append(fx.SendAdvertisement(0))
            self._enter_fault(*fault, effects)
            if self._stop is not None:
                self._release(effects)
        elif fault is not None:
            if self._leave_by is None:
                self._resign(now, effects)
        elif self._leave_by is not None and self._stop is None:
            self._leave_by = None  # the tracker came back before anybody took over
            self._advertise(now, effects)
        elif self._leave_by is None and self._effective.priority != before.priority:
            # a changed priority is told at once: with fast preemption the VIP moves now, not in an interval
            self._advertise(now, effects)

    def _start(self, now: int, effects: Effects) -> None:
        """RFC 9568, section 6.4.1: Startup."""
        deaf = self._listening_since is None
        if self._listening_since is None:
            self._listening_since = now
            self._seen_at = None
            self.master = b""
        if self._effective.priority == OWNER:
            self._become_master("Owner", now, effects, contested=False)
            return
        self._become_backup("Adopted" if self._adopted else "Listening", now)
        if not deaf:
            # back from a tracker's FAULT, in which we went on listening
            self._compare_with_master(now)

    # ---- BACKUP: RFC 9568, section 6.4.2

    def _become_backup(self, reason: str, now: int) -> None:
        self._phase = _Phase.BACKUP
        self._reason = reason
        self._takeover = -1
        self._heard_at = now
        self._resigned_at = self._lower_since = None
        self._leave_by = None
        self._put_back_at = None
        self._garp_at.clear()

    def _backup_deadline(self) -> int:
        settings = self.settings
        interval = self._learned_interval
        skew = skew_time(settings.version, self.priority, interval)
        skew += settings.rank * min(_RANK_STEP, interval // 20)
        if self._adopted:
            # one interval tells whether somebody took over while we were away
            return self._heard_at + settings.advert_interval + skew // 4
        deadline = self._heard_at + 3 * interval + skew
        if self._resigned_at is not None:
            deadline = min(deadline, self._resigned_at + skew)
        if self._lower_since is not None:
            deadline = min(deadline, self._lower_since + skew)
        return deadline

    def _may_preempt_fast(self, now: int) -> bool:
        settings = self.settings
        long_enough = master_down_interval(settings.version, self.priority, settings.advert_interval)
        return (
            settings.preempt
            and settings.fast_preempt
            and self._listening_since is not None
            and now - self._listening_since >= long_enough
        )

    def _compare_with_master(self, now: int) -> None:
        """Our priority changed: is the MASTER that was heard last still one to wait for?"""
        if self._seen_at is None or self._resigned_at is not None:
            return
        if self.settings.preempt and self._master_priority < self.priority:
            if self._lower_since is None and self._may_preempt_fast(now):
                self._lower_since = now
        else:
            self._lower_since = None
            self._heard_at = max(self._heard_at, self._seen_at)

    def _backup_heard(self, event: ev.Heard, now: int, effects: Effects) -> None:
        priority = event.advertisement.priority
        if priority and self._adopted:
            # somebody took over while we were away: what was left of ours goes
            self._adopted = False
            effects.append(fx.RemoveAddresses())
            self._heard_at = now
        if priority == 0:
            # A repeat of it must not re-arm: the old MASTER says it several times. And only the MASTER can resign: a
            # BACKUP that heard the old one's last word after the new one's first must not stand up against it.
            if self._resigned_at is None and self.master in (b"", event.source):
                self._resigned_at = now
            return
        self._seen_at = now
        self._master_priority = priority
        self.master = event.source
        self._resigned_at = None
        if self.settings.preempt and priority < self.priority:
            # RFC 9568, section 6.4.2: discard; the timer is never extended. Fast preemption shortens it.
            if self._lower_since is None and self._may_preempt_fast(now):
                self._lower_since = now
            return
        self._lower_since = None
        self._heard_at = now
        self._reason = "LowerPriority" if priority > self.priority else "EqualPriority"
        if self.settings.version == 3:
            self._learned_interval = event.advertisement.interval

    def _backup_expired(self, now: int, effects: Effects) -> None:
        if self._adopted:
            self._become_master("Adopted", now, effects, contested=True)
        elif self._resigned_at is not None:
            self._takeover = now - self._resigned_at
            self._become_master("MasterResigned", now, effects, contested=False)
        elif self._seen_at is None:
            self._become_master("NoMaster", now, effects, contested=True)
        elif self._lower_since is not None or now - self._seen_at < 3 * self._learned_interval:
            # a living MASTER of lower priority, which lets go when it hears us
            self._takeover = now - (self._seen_at if self._lower_since is None else self._lower_since)
            self._become_master("HigherPriority", now, effects, contested=False)
        else:
            self._takeover = now - self._seen_at
            self._become_master("MasterDown", now, effects, contested=True)

    # ---- MASTER: RFC 9568, section 6.4.3

    def _become_master(self, reason: str, now: int, effects: Effects, *, contested: bool) -> None:
        self._phase = _Phase.MASTER
        self._reason = reason
        self._adopted = False
        self.master = self._source
        self._leave_by = self._put_back_at = None
        self._learned_interval = self.settings.advert_interval
        self._removals.clear()
        self._garp_at = garp_rounds(now, self.settings.lifetime, contested=contested)
        effects += (fx.AddAddresses(), fx.SendGratuitousArp(first=True))
        self._advertise(now, effects)

    def _advertise(self, now: int, effects: Effects) -> None:
        effects.append(fx.SendAdvertisement(self.priority))
        self._advertised_at = now
        self._advertise_at = now + self.settings.advert_interval

    def _master_heard(self, event: ev.Heard, now: int, effects: Effects) -> None:
        priority = event.advertisement.priority
        if self._leave_by is not None:
            if priority:
                self._leave(now, effects, heard=event)
            return
        if priority == 0:
            # RFC 9568: advertise at once; and the neighbours hear from us last
            self._reply(now, effects)
        elif self._outranks(priority, event.source) or now - self._advertised_at > 3 * self.settings.advert_interval:
            # The second: we slept so long that others were right to take over. Whoever did keeps it; what our
            # kernel let expire must not flip back (preemption is theirs to allow).
            effects.append(fx.RemoveAddresses())
            self._become_backup("HigherPriorityHeard", now)
            self._seen_at = now
            self._master_priority = priority
            self.master = event.source
            if self.settings.version == 3:
                self._learned_interval = event.advertisement.interval
        else:
            # RFC 9568, section 6.4.3: assert ourselves; and again to those who learned the loser's address
            self._reply(now, effects)

    def _outranks(self, priority: int, source: bytes) -> bool:
        """Whether a sender beats us: priority, then the greater source address (unsigned, as bytes compare)."""
        return priority > self.priority or (priority == self.priority and source > self._source)

    def _reply(self, now: int, effects: Effects) -> None:
        if now - self._replied_at >= _REPLY_SPACING:
            self._replied_at = now
            effects.append(fx.SendGratuitousArp())
            self._advertise(now, effects)

    def _master_expired(self, now: int, effects: Effects) -> None:
        if self._leave_by is not None:
            if now >= self._leave_by:
                self._leave(now, effects, heard=None)
            elif now >= self._advertise_at and self._resigns_left:
                self._say_zero(now, effects)
            return
        if self._put_back_at is not None and now >= self._put_back_at:
            self._put_back(now, effects)
        if self._garp_at and now >= self._garp_at[0]:
            while self._garp_at and now >= self._garp_at[0]:
                self._garp_at.popleft()
            effects.append(fx.SendGratuitousArp())
        if now >= self._advertise_at:
            effects.append(fx.SendAdvertisement(self.priority))
            self._advertised_at = now
            # keep the phase of the timer, but never send a burst to catch up
            self._advertise_at += self.settings.advert_interval
            if self._advertise_at <= now:
                self._advertise_at = now + self.settings.advert_interval

    def _addresses_removed(self, now: int, effects: Effects) -> None:
        """Put back at once; slower only where somebody keeps taking it away."""
        if self._phase is not _Phase.MASTER:
            return
        while self._removals and now - self._removals[0] > _REMOVAL_WINDOW:
            self._removals.popleft()
        self._removals.append(now)
        if len(self._removals) <= _REMOVALS_AT_ONCE:
            self._put_back(now, effects)
        elif self._put_back_at is None:
            self._put_back_at = now + _REMOVAL_BACKOFF

    def _put_back(self, now: int, effects: Effects) -> None:
        self._put_back_at = None
        effects += (fx.AddAddresses(), fx.SendGratuitousArp(first=True))
        self._garp_at = garp_rounds(now, self.settings.lifetime, contested=False)

    # ---- leaving MASTER by our own will: the old one answers on until the new one is heard

    def _resign(self, now: int, effects: Effects) -> None:
        settings = self.settings
        self._leave_by = now + (SECOND if settings.version == 2 else settings.advert_interval) + _HAND_OVER_MARGIN
        self._garp_at.clear()
        self._put_back_at = None
        self._resigns_left = _RESIGN_REPEATS
        self._say_zero(now, effects)

    def _say_zero(self, now: int, effects: Effects) -> None:
        self._resigns_left -= 1
        self._advertise_at = now + _RESIGN_SPACING
        effects.append(fx.SendAdvertisement(0))

    def _leave(self, now: int, effects: Effects, *, heard: ev.Heard | None) -> None:
        """The end of a hand-over: a new MASTER was heard, or nobody came."""
        fault = self._fault()
        withdrawn = self._stop is None or self._stop.withdrawn
        if heard is not None or withdrawn:
            # lingering pulls clients back; the second priority 0 makes the new MASTER say GARP once more
            effects += (fx.RemoveAddresses(), fx.SendAdvertisement(0))
        self._become_backup("HandedOver", now)
        if heard is not None:
            self._seen_at = now
            self._master_priority = heard.advertisement.priority
            self.master = heard.source
        if self._stop is not None:
            self._release(effects)
        elif fault is not None:
            self._enter_fault(*fault, effects)

    def _stop_asked(self, stop: ev.Stop, now: int, effects: Effects) -> None:
        self._stop = stop
        if self._phase is _Phase.MASTER:
            if self._leave_by is None:
                self._resign(now, effects)
            return
        if stop.withdrawn and self._adopted:
            effects.append(fx.RemoveAddresses())
        self._release(effects)

    def _release(self, effects: Effects) -> None:
        self._phase = _Phase.STOPPED
        self._reason = "Stopped"
        effects.append(fx.Released())

    # ---- FAULT, link, settings

    def _enter_fault(self, reason: str, message: str, effects: Effects) -> None:
        if self._adopted:
            self._adopted = False
            effects.append(fx.RemoveAddresses())
        if self._phase is not _Phase.FAULT:
            self._takeover = -1
        self._phase = _Phase.FAULT
        self._leave_by = None
        self._garp_at.clear()
        self._reason = reason
        self._fault_message = message

    def _link_up(self, source: bytes, adopted: bool, now: int, effects: Effects) -> None:
        was_down = self._link is not None
        self._link, self._source = None, source
        self._adopted = adopted and self._phase is not _Phase.MASTER
        if self._phase is _Phase.MASTER:
            self.master = source
        if was_down:
            # we were deaf: nothing heard before counts
            self._listening_since = self._seen_at = None
            self._resigned_at = self._lower_since = None
        self._reconsider(now, effects)

    def _settings_changed(self, settings: Settings, now: int, effects: Effects) -> None:
        before = self.settings
        self.settings = settings
        if settings.version == 2 or settings.advert_interval != before.advert_interval:
            self._learned_interval = settings.advert_interval
        self.mismatches = {source: text for source, text in self.mismatches.items() if source in settings.members}
        if self._phase is _Phase.MASTER:
            self._advertise_at = min(self._advertise_at, now + settings.advert_interval)
            if settings.addresses != before.addresses:
                effects += (fx.AddAddresses(), fx.SendGratuitousArp(first=True))
                self._garp_at = garp_rounds(now, settings.lifetime, contested=False)
        self._reconsider(now, effects)

    # ---- shared by the phases

    def _heard(self, event: ev.Heard, now: int, effects: Effects) -> None:
        if event.source == self._source:
            self._count(Drop.OWN_ADDRESS)
            return
        drop, mismatch = judge(event.advertisement, event.source, self.settings)
        if mismatch:
            self._count("mismatch")
        if self.mismatches.get(event.source, "") != mismatch and event.source in self.settings.members:
            others = {source: text for source, text in self.mismatches.items() if source != event.source}
            self.mismatches = others | ({event.source: mismatch} if mismatch else {})
        if drop is not None:
            self._count(drop)
        elif self._phase is _Phase.BACKUP:
            self._backup_heard(event, now, effects)
        elif self._phase is _Phase.MASTER:
            self._master_heard(event, now, effects)
        elif self._phase is _Phase.FAULT and event.advertisement.priority:
            self._seen_at = now
            self._master_priority = event.advertisement.priority
            self.master = event.source

    def _timer_expired(self, now: int, effects: Effects) -> None:
        if self.deadline is None or now < self.deadline:
            return
        if self._phase is _Phase.BACKUP:
            self._backup_expired(now, effects)
        elif self._phase is _Phase.MASTER:
            self._master_expired(now, effects)
        elif self._phase is _Phase.FAULT and self._retry_at is not None:
            self._retry_at = self._refused = None
            self._reconsider(now, effects)

    def _count(self, name: str) -> None:
        self.drops[name] = self.drops.get(name, 0) + 1

    def _arm(self) -> None:
        match self._phase:
            case _Phase.BACKUP:
                self.deadline = self._backup_deadline()
            case _Phase.MASTER:
                due = [self._advertise_at] if self._leave_by is None or self._resigns_left else []
                if self._garp_at:
                    due.append(self._garp_at[0])
                due += [at for at in (self._put_back_at, self._leave_by) if at is not None]
                self.deadline = min(due)
            case _Phase.FAULT:
                self.deadline = self._retry_at
            case _:
                self.deadline = None

    def _report(self, effects: Effects) -> None:
        message = self._fault_message if self._phase is _Phase.FAULT else self._effective.message
        seen = (self.state, self.priority, self._reason, message, self.master, self.mismatches)
        if seen != self._reported:
            entered = not self._reported or self._reported[0] != self.state
            self._reported = seen
            effects.append(fx.Transitioned(self.state, self._reason, message, self._takeover, entered))
