"""One virtual router: RFC 9568, section 6.4 (and RFC 3768, section 6.4, where v2 differs).

`handle(event, now)` returns effects; `deadline` says when TimerExpired is due. Here are the phases and the ways between
them; what a phase remembers is its own small object (master_watch.py, master_schedule.py, hand_over.py), and what
decides whether to take part at all is in fitness.py.
"""

from enum import Enum, auto
from typing import assert_never

from virtualip_agent.vrrp import effects as fx
from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.fitness import Fitness
from virtualip_agent.vrrp.hand_over import HandOver
from virtualip_agent.vrrp.master_schedule import MasterSchedule
from virtualip_agent.vrrp.master_watch import MasterWatch, TakeOver
from virtualip_agent.vrrp.priority import OWNER, outranks
from virtualip_agent.vrrp.reception import Reception
from virtualip_agent.vrrp.report import Report
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
        self._phase = _Phase.INITIALIZE
        self._fitness = Fitness(settings)
        self._watch = MasterWatch(settings)
        self._reception = Reception()
        self._schedule = MasterSchedule()
        self._hand_over: HandOver | None = None
        self._stop: ev.Stop | None = None
        self._report = Report()

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
    def drops(self) -> dict[str, int]:
        """Counters of what was heard and did not count, and `mismatch`."""
        return self._reception.drops

    @property
    def mismatches(self) -> dict[bytes, str]:
        """Member's source address -> what differs in its advertisements."""
        return self._reception.mismatches

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
                self._addresses_removed(now, effects)
            case ev.Stop():
                self._stop_asked(event, now, effects)
            case _:
                assert_never(event)
        self._reception.forget(self.settings, now)
        effective = self._fitness.effective
        news = self._report.news(self.state, effective.priority, effective.message, self.master, self.mismatches)
        if news is not None:
            effects.append(news)
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
            self._report.reason = "WaitingForTrackers"

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
        first = self._watch.startup(self.settings, now)
        if self.priority == OWNER:
            self._become_master(TakeOver("Owner", contested=False), now, effects)
            return
        self._become_backup("Adopted" if self._watch.adopted else "Listening", now)
        if not first:
            # back from a tracker's FAULT, in which we went on listening
            self._watch.compare(self.priority, self.settings, now)

    # ---- BACKUP: RFC 9568, section 6.4.2

    def _become_backup(self, reason: str, now: int) -> None:
        self._phase = _Phase.BACKUP
        self._report.reason, self._report.takeover = reason, -1
        self._watch.wait(now)
        self._watch.let_go()
        self._hand_over = None

    def _backup_heard(self, event: ev.Heard, now: int, effects: Effects) -> None:
        if event.advertisement.priority and self._watch.adopted:
            # somebody took over while we were away: what was left of ours goes
            self._watch.adopted = False
            effects.append(fx.RemoveAddresses())
            self._watch.wait(now)
        reason = self._watch.heard(event.advertisement, event.source, self.priority, self.settings, now)
        self._report.reason = reason or self._report.reason

    # ---- MASTER: RFC 9568, section 6.4.3

    def _become_master(self, take_over: TakeOver, now: int, effects: Effects) -> None:
        self._phase = _Phase.MASTER
        self._report.reason, self._report.takeover = take_over.reason, take_over.takeover
        self._watch.take_over(self._fitness.source, self.settings)
        self._hand_over = None
        self._schedule = MasterSchedule()
        self._schedule.announce(self.settings, now, contested=take_over.contested)
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
        elif outranks(priority, event.source, self.priority, self._fitness.source):
            # a last word of ours makes the winner tell the neighbours again, who after a partition still believe us
            effects.append(fx.SendAdvertisement(self.priority))
            self._yield_to(event, "HigherPriorityHeard", now, effects)
        elif self._schedule.overslept(self.settings, now):
            # We slept so long that others were right to take over. Whoever did keeps it; what our kernel let expire
            # must not flip back (preemption is theirs to allow).
            self._yield_to(event, "Overslept", now, effects)
        else:
            # RFC 9568, section 6.4.3: assert ourselves; and again to those who learned the loser's address
            self._reply(now, effects)

    def _yield_to(self, event: ev.Heard, reason: str, now: int, effects: Effects) -> None:
        effects.append(fx.RemoveAddresses())
        self._become_backup(reason, now)
        self._watch.note(event.advertisement, event.source, self.settings, now)
        self._watch.learn(event.advertisement)

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

    def _addresses_removed(self, now: int, effects: Effects) -> None:
        if self._phase is not _Phase.MASTER:
            return
        if self._hand_over is None and self._schedule.overslept(self.settings, now):
            # the kernel let them expire while we slept: who has taken over since is to be heard first
            self._schedule.put_back.postpone(now)
        elif self._schedule.put_back.removed(now):
            self._put_addresses_back(now, effects)

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
            self._watch.note(heard.advertisement, heard.source, self.settings, now)
            self._watch.learn(heard.advertisement)
        if self._stop is not None:
            self._release(effects)
        elif fault is not None:
            self._enter_fault(*fault, effects)

    def _stop_asked(self, stop: ev.Stop, now: int, effects: Effects) -> None:
        # withdrawn stays withdrawn, though the agent ends before the hand-over does
        self._stop = ev.Stop(withdrawn=stop.withdrawn or (self._stop is not None and self._stop.withdrawn))
        if self._phase is _Phase.MASTER:
            if self._hand_over is None:
                self._resign(now, effects)
            return
        if stop.withdrawn and self._watch.adopted:
            effects.append(fx.RemoveAddresses())
        self._release(effects)

    def _release(self, effects: Effects) -> None:
        self._phase = _Phase.STOPPED
        self._report.reason = "Stopped"
        effects.append(fx.Released())

    # ---- FAULT, link, settings

    def _enter_fault(self, reason: str, message: str, effects: Effects) -> None:
        if self._watch.adopted:
            self._watch.adopted = False
            effects.append(fx.RemoveAddresses())
        self._report.takeover = -1
        if self._phase is _Phase.MASTER:
            self._watch.let_go()
        self._phase = _Phase.FAULT
        self._hand_over = None
        self._report.reason, self._report.fault_message = reason, message

    def _link_up(self, event: ev.LinkUp, now: int, effects: Effects) -> None:
        was_down = self._fitness.link_up(event.source)
        if was_down:
            self._watch.deafen()
        if self._phase is _Phase.MASTER and self._watch.master != event.source:
            # a resignation counts only from the address that was heard as MASTER
            self._watch.master = event.source
            if self._hand_over is None:
                self._advertise(now, effects)
        elif self._phase is _Phase.BACKUP and event.adopted:
            effects.append(fx.RemoveAddresses())  # we take part already: they are not ours to hold
        elif self._phase in (_Phase.INITIALIZE, _Phase.FAULT):
            self._watch.adopted = event.adopted
        self._reconsider(now, effects)

    def _settings_changed(self, settings: Settings, now: int, effects: Effects) -> None:
        before = self.settings
        self.settings = settings
        if self._phase is _Phase.MASTER:
            self._schedule.hasten(settings, now)
            if settings.addresses != before.addresses:
                self._put_addresses_back(now, effects)
        self._reconsider(now, effects)
        if self._phase is _Phase.BACKUP:
            self._watch.settings_changed(self.priority, settings, now)
        elif settings.advert_interval != before.advert_interval and self.is_master and self._hand_over is None:
            # told at once, and again when the old interval is over: where one is lost, those who still wait by the
            # old one would take a longer one for silence
            effects.append(fx.SendAdvertisement(self.priority))

    # ---- shared by the phases

    def _heard(self, event: ev.Heard, now: int, effects: Effects) -> None:
        if not self._reception.accepts(event, self._fitness.source, self.settings, now):
            return
        if self._phase is _Phase.BACKUP:
            self._backup_heard(event, now, effects)
        elif self._phase is _Phase.MASTER:
            self._master_heard(event, now, effects)
        elif event.advertisement.priority:
            self._deaf_heard(event, now, effects)

    def _deaf_heard(self, event: ev.Heard, now: int, effects: Effects) -> None:
        """While we do not take part (yet): who is MASTER is good to know, and what an earlier process left goes."""
        if self._watch.adopted:
            self._watch.adopted = False
            effects.append(fx.RemoveAddresses())
        if self._watch.note(event.advertisement, event.source, self.settings, now):
            self._watch.learn(event.advertisement)

    def _timer_expired(self, now: int, effects: Effects) -> None:
        if self.deadline is None or now < self.deadline:
            return
        if self._phase is _Phase.BACKUP:
            self._become_master(self._watch.expired(self.priority, self.settings, now), now, effects)
        elif self._phase is _Phase.MASTER:
            self._master_expired(now, effects)
        elif self._phase is _Phase.FAULT and self._fitness.retry_at is not None:
            self._fitness.forget_refusal()
            self._reconsider(now, effects)

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
