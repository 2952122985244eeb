"""One virtual router: RFC 9568, section 6.4 (and RFC 3768, section 6.4, where v2 differs).

`handle(event, now)` returns effects; `deadline` says when TimerExpired is due. Here are the phases and the ways between
them; what a phase remembers is its own small object (master_watch.py, master_schedule.py, hand_over.py), and what
decides whether to take part at all is in fitness.py.
"""

from enum import Enum, auto
from typing import assert_never

from virtualip_agent.vrrp import effects as fx
from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.acceptance import judge
from virtualip_agent.vrrp.fitness import Fitness
from virtualip_agent.vrrp.hand_over import HandOver
from virtualip_agent.vrrp.master_schedule import MasterSchedule
from virtualip_agent.vrrp.master_watch import MasterWatch
from virtualip_agent.vrrp.packet import Drop
from virtualip_agent.vrrp.priority import OWNER
from virtualip_agent.vrrp.settings import Settings
from virtualip_api.status import State

Effects = list[fx.Effect]


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
        self._phase = _Phase.INITIALIZE
        self._fitness = Fitness(settings)
        self._watch = MasterWatch(settings)
        self._schedule = MasterSchedule()
        self._hand_over: HandOver | None = None
        self._stop: ev.Stop | None = None
        # what is told
        self._reason = ""
        self._fault_message = ""
        self._takeover = -1
        self._reported: tuple[object, ...] = ()

    @property
    def state(self) -> State:
        """As reported: a router that is not ready yet is a BACKUP with a reason."""
        if self._phase is _Phase.MASTER:
            return State.MASTER
        return State.FAULT if self._phase is _Phase.FAULT else State.BACKUP

    @property
    def priority(self) -> int:
        """The effective priority."""
        return self._fitness.effective.priority

    @property
    def master(self) -> bytes:
        """Source address of the MASTER that is heard, or our own."""
        return self._watch.master

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
                self._fitness.contribute(contributions)
                self._reconsider(now, effects)
            case ev.SettingsChanged(settings):
                self._settings_changed(settings, now, effects)
            case ev.LinkUp():
                self._link_up(event, now, effects)
            case ev.LinkDown():
                self._fitness.link_lost(event)
                self._reconsider(now, effects)
            case ev.AddressesRefused():
                self._fitness.refuse(event, now)
                self._reconsider(now, effects)
            case ev.AddressesFree():
                self._fitness.forget_refusal()
                self._reconsider(now, effects)
            case ev.AddressesRemoved():
                if self._phase is _Phase.MASTER and self._schedule.put_back.removed(now):
                    self._put_addresses_back(now, effects)
            case ev.Stop():
                self._stop_asked(event, now, effects)
            case _:
                assert_never(event)
        self._report(effects)
        self._arm()
        return effects

    # ---- what decides between the phases

    def _reconsider(self, now: int, effects: Effects) -> None:
        """After anything but an advertisement or a timer: which phase is right now?"""
        changed = self._fitness.recompute(self.settings)
        fault, ready = self._fitness.fault(), self._fitness.ready(self.settings)
        if self._phase is _Phase.MASTER:
            self._reconsider_master(fault, changed, now, effects)
        elif fault is not None and (
            self._fitness.link_down is not None or self._phase is not _Phase.INITIALIZE or ready
        ):
            self._enter_fault(*fault, effects)
        elif self._phase in (_Phase.INITIALIZE, _Phase.FAULT):
            if ready:
                self._start(now, effects)
            elif self._phase is _Phase.FAULT:
                self._phase = _Phase.INITIALIZE
        elif changed:
            self._watch.compare(self.priority, self.settings, now)
        if self._phase is _Phase.INITIALIZE:
            self._reason = "WaitingForTrackers"

    def _reconsider_master(self, fault: tuple[str, str] | None, changed: bool, now: int, effects: Effects) -> None:
        if fault is not None and (self._fitness.link_down is not None or self._fitness.refused is not None):
            # nothing can be sent, or nothing is held: there is nothing to hand over
            effects.append(fx.RemoveAddresses())
            if self._fitness.link_down is None:
                effects.append(fx.SendAdvertisement(0))
            self._enter_fault(*fault, effects)
            if self._stop is not None:
                self._release(effects)
        elif fault is not None:
            if self._hand_over is None:
                self._resign(now, effects)
        elif self._hand_over is not None and self._stop is None:
            self._hand_over = None  # the tracker came back before anybody took over
            self._advertise(now, effects)
        elif self._hand_over is None and changed:
            # a changed priority is told at once: with fast preemption the VIP moves now, not in an interval
            self._advertise(now, effects)

    def _start(self, now: int, effects: Effects) -> None:
        """RFC 9568, section 6.4.1: Startup."""
        first = self._watch.startup(now)
        if self.priority == OWNER:
            self._become_master("Owner", -1, now, effects, contested=False)
            return
        self._become_backup("Adopted" if self._watch.adopted else "Listening", now)
        if not first:
            # back from a tracker's FAULT, in which we went on listening
            self._watch.compare(self.priority, self.settings, now)

    # ---- BACKUP: RFC 9568, section 6.4.2

    def _become_backup(self, reason: str, now: int) -> None:
        self._phase = _Phase.BACKUP
        self._reason = reason
        self._takeover = -1
        self._watch.wait(now)
        self._hand_over = None

    def _backup_heard(self, event: ev.Heard, now: int, effects: Effects) -> None:
        if event.advertisement.priority and self._watch.adopted:
            # somebody took over while we were away: what was left of ours goes
            self._watch.adopted = False
            effects.append(fx.RemoveAddresses())
            self._watch.wait(now)
        reason = self._watch.heard(event.advertisement, event.source, self.priority, self.settings, now)
        self._reason = reason or self._reason

    def _backup_expired(self, now: int, effects: Effects) -> None:
        reason, takeover, contested = self._watch.expired(now)
        self._become_master(reason, takeover, now, effects, contested=contested)

    # ---- MASTER: RFC 9568, section 6.4.3

    def _become_master(self, reason: str, takeover: int, now: int, effects: Effects, *, contested: bool) -> None:
        self._phase = _Phase.MASTER
        self._reason = reason
        self._takeover = takeover
        self._watch.adopted = False
        self._watch.master = self._fitness.source
        self._watch.use_interval(self.settings.advert_interval)
        self._hand_over = None
        self._schedule = MasterSchedule()
        self._schedule.announce(self.settings, now, contested=contested)
        effects += (fx.AddAddresses(), fx.SendGratuitousArp(first=True))
        self._advertise(now, effects)

    def _advertise(self, now: int, effects: Effects) -> None:
        effects.append(fx.SendAdvertisement(self.priority))
        self._schedule.advertised(self.settings, now)

    def _master_heard(self, event: ev.Heard, now: int, effects: Effects) -> None:
        priority = event.advertisement.priority
        if self._hand_over is not None:
            if priority:
                self._leave(now, effects, heard=event)
            return
        if priority == 0:
            # RFC 9568: advertise at once; and the neighbours hear from us last
            self._reply(now, effects)
        elif self._outranks(priority, event.source) or self._schedule.overslept(self.settings, now):
            # The second: we slept so long that others were right to take over. Whoever did keeps it; what our
            # kernel let expire must not flip back (preemption is theirs to allow).
            effects.append(fx.RemoveAddresses())
            self._become_backup("HigherPriorityHeard", now)
            self._watch.note(priority, event.source, now)
            if self.settings.version == 3:
                self._watch.use_interval(event.advertisement.interval)
        else:
            # RFC 9568, section 6.4.3: assert ourselves; and again to those who learned the loser's address
            self._reply(now, effects)

    def _outranks(self, priority: int, source: bytes) -> bool:
        """Whether a sender beats us: priority, then the greater source address (unsigned, as bytes compare)."""
        return priority > self.priority or (priority == self.priority and source > self._fitness.source)

    def _reply(self, now: int, effects: Effects) -> None:
        if self._schedule.may_reply(now):
            effects.append(fx.SendGratuitousArp())
            self._advertise(now, effects)

    def _master_expired(self, now: int, effects: Effects) -> None:
        if self._hand_over is not None:
            if now >= self._hand_over.leave_by:
                self._leave(now, effects, heard=None)
            elif self._hand_over.zero_due(now):
                effects.append(fx.SendAdvertisement(0))
            return
        if self._schedule.put_back.due(now):
            self._put_addresses_back(now, effects)
        if self._schedule.garp_due(now):
            effects.append(fx.SendGratuitousArp())
        if self._schedule.advertisement_due(self.settings, now):
            effects.append(fx.SendAdvertisement(self.priority))

    def _put_addresses_back(self, now: int, effects: Effects) -> None:
        effects += (fx.AddAddresses(), fx.SendGratuitousArp(first=True))
        self._schedule.announce(self.settings, now, contested=False)

    # ---- leaving MASTER by our own will

    def _resign(self, now: int, effects: Effects) -> None:
        self._hand_over = HandOver(self.settings, now)
        self._schedule.resign()
        if self._hand_over.zero_due(now):
            effects.append(fx.SendAdvertisement(0))

    def _leave(self, now: int, effects: Effects, *, heard: ev.Heard | None) -> None:
        """The end of a hand-over: a new MASTER was heard, or nobody came."""
        fault = self._fitness.fault()
        withdrawn = self._stop is None or self._stop.withdrawn
        if heard is not None or withdrawn:
            # lingering pulls clients back; the second priority 0 makes the new MASTER say GARP once more
            effects += (fx.RemoveAddresses(), fx.SendAdvertisement(0))
        self._become_backup("HandedOver", now)
        if heard is not None:
            self._watch.note(heard.advertisement.priority, heard.source, now)
        if self._stop is not None:
            self._release(effects)
        elif fault is not None:
            self._enter_fault(*fault, effects)

    def _stop_asked(self, stop: ev.Stop, now: int, effects: Effects) -> None:
        self._stop = stop
        if self._phase is _Phase.MASTER:
            if self._hand_over is None:
                self._resign(now, effects)
            return
        if stop.withdrawn and self._watch.adopted:
            effects.append(fx.RemoveAddresses())
        self._release(effects)

    def _release(self, effects: Effects) -> None:
        self._phase = _Phase.STOPPED
        self._reason = "Stopped"
        effects.append(fx.Released())

    # ---- FAULT, link, settings

    def _enter_fault(self, reason: str, message: str, effects: Effects) -> None:
        if self._watch.adopted:
            self._watch.adopted = False
            effects.append(fx.RemoveAddresses())
        if self._phase is not _Phase.FAULT:
            self._takeover = -1
        self._phase = _Phase.FAULT
        self._hand_over = None
        self._reason = reason
        self._fault_message = message

    def _link_up(self, event: ev.LinkUp, now: int, effects: Effects) -> None:
        was_down = self._fitness.link_up(event.source)
        self._watch.adopted = event.adopted and self._phase is not _Phase.MASTER
        if self._phase is _Phase.MASTER:
            self._watch.master = event.source
        if was_down:
            self._watch.deafen()
        self._reconsider(now, effects)

    def _settings_changed(self, settings: Settings, now: int, effects: Effects) -> None:
        before = self.settings
        self.settings = settings
        if settings.version == 2 or settings.advert_interval != before.advert_interval:
            self._watch.use_interval(settings.advert_interval)
        self.mismatches = {source: text for source, text in self.mismatches.items() if source in settings.members}
        if self._phase is _Phase.MASTER:
            self._schedule.hasten(settings, now)
            if settings.addresses != before.addresses:
                self._put_addresses_back(now, effects)
        self._reconsider(now, effects)

    # ---- shared by the phases

    def _heard(self, event: ev.Heard, now: int, effects: Effects) -> None:
        if event.source == self._fitness.source:
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
            self._watch.note(event.advertisement.priority, event.source, now)

    def _timer_expired(self, now: int, effects: Effects) -> None:
        if self.deadline is None or now < self.deadline:
            return
        if self._phase is _Phase.BACKUP:
            self._backup_expired(now, effects)
        elif self._phase is _Phase.MASTER:
            self._master_expired(now, effects)
        elif self._phase is _Phase.FAULT and self._fitness.retry_at is not None:
            self._fitness.forget_refusal()
            self._reconsider(now, effects)

    def _count(self, name: str) -> None:
        self.drops[name] = self.drops.get(name, 0) + 1

    def _arm(self) -> None:
        match self._phase:
            case _Phase.BACKUP:
                self.deadline = self._watch.deadline(self.priority, self.settings)
            case _Phase.MASTER if self._hand_over is not None:
                self.deadline = self._hand_over.deadline
            case _Phase.MASTER:
                self.deadline = self._schedule.deadline
            case _Phase.FAULT:
                self.deadline = self._fitness.retry_at
            case _:
                self.deadline = None

    def _report(self, effects: Effects) -> None:
        message = self._fault_message if self._phase is _Phase.FAULT else self._fitness.effective.message
        seen = (self.state, self.priority, self._reason, message, self.master, self.mismatches)
        if seen != self._reported:
            entered = not self._reported or self._reported[0] != self.state
            self._reported = seen
            effects.append(fx.Transitioned(self.state, self._reason, message, self._takeover, entered))
