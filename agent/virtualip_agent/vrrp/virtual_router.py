"""One virtual router: RFC 9568, section 6.4 (and RFC 3768, section 6.4, where v2 differs).

`handle(event, now)` returns effects; `deadline` says when TimerExpired is due. Here are the phases and the ways between
them; what it remembers is in router_memory.py, what a MASTER says and holds in master_duties.py, and what nearly always
happens in short_cuts.py.
"""

from collections.abc import Sequence
from typing import assert_never

from virtualip_agent.vrrp import effects as fx
from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.group_view import Standing
from virtualip_agent.vrrp.hand_over import HandOver
from virtualip_agent.vrrp.master_duties import Effects
from virtualip_agent.vrrp.master_schedule import MasterSchedule
from virtualip_agent.vrrp.master_watch import TakeOver
from virtualip_agent.vrrp.priority import OWNER, outranks
from virtualip_agent.vrrp.router_memory import Phase
from virtualip_agent.vrrp.settings import Settings
from virtualip_agent.vrrp.short_cuts import ShortCuts


class VirtualRouter(ShortCuts):
    """The state machine. Not thread-safe; one event at a time."""

    def handle(self, event: ev.Event, now: int) -> Sequence[fx.Effect]:
        """Carries out one event at the time `now` (nanoseconds). See effects.py for the order of what it returns."""
        if self.repeats(event, now):
            return ()
        if type(event) is ev.TimerExpired and self.interval_over(now):
            return self._steady.advertise()
        return self._handle(event, now)

    def _handle(self, event: ev.Event, now: int) -> Effects:
        effects: Effects = []
        self._steady.forget()
        if self._phase is Phase.STOPPED:
            return effects
        self._account_for_sleep(now)
        match event:
            case ev.Heard():
                self._heard(event, now, effects)
            case ev.TimerExpired():
                self._timer_expired(now, effects)
            case ev.ContributionsChanged(contributions):
                self.fitness.contribute(contributions)
                self._reconsider(now, effects)
            case ev.SettingsChanged(settings):
                self._settings_changed(settings, now, effects)
            case ev.LinkUp():
                self._link_up(event, now, effects)
            case ev.LinkDown():
                self.fitness.link_lost(event)
                self._reconsider(now, effects)
            case ev.AddressesRefused():
                self.fitness.refuse(event, now)
                self._reconsider(now, effects)
            case ev.AddressesFree():
                self.fitness.forget_refusal()
                self._reconsider(now, effects)
            case ev.SegmentAnswered(by):
                self._segment_answered(by, now, effects)
            case ev.AddressesRemoved():
                self._addresses_removed(now, effects)
            case ev.GroupChanged(group):
                self.fitness.group = group
                self._reconsider(now, effects)
                self._say_what_is_unsaid(now, effects)
            case ev.GroupTakesOver(elected):
                if elected:
                    self._draining.elected()
                self._group_takes_over(now, effects)
            case ev.GroupYields():
                if self.standing is Standing.MASTER:
                    self._resign(now, effects, follows=True)
            case ev.Stop():
                self._stop_asked(event, now, effects)
            case _:
                assert_never(event)
        self._reception.forget(self.settings, now)
        effects += self._report.news(
            self.state, *self.fitness.effective[:2], self.master, self.mismatches, self.foreign
        )
        self._arm(now)
        self._prepare_for_the_same(event, effects, now)
        return effects

    # ---- what decides between the phases

    def _reconsider(self, now: int, effects: Effects) -> None:
        """After anything but an advertisement or a timer: which phase is right now?"""
        changed = self.fitness.recompute(self.settings)
        self._draining.saw(draining=self.fitness.draining(self.settings))
        fault, ready = self.fitness.fault(), self.fitness.ready(self.settings)
        if self._phase is Phase.MASTER:
            self._reconsider_master(fault, changed, now, effects)
        elif fault is not None and (self.fitness.link_down is not None or self._phase is not Phase.INITIALIZE or ready):
            self._enter_fault(*fault, effects)
        elif self._phase in (Phase.INITIALIZE, Phase.FAULT):
            if ready:
                self._start(now, effects)
            elif self._phase is Phase.FAULT:
                self._phase = Phase.INITIALIZE
        elif changed:
            self._watch.compare(self.priority, self.settings, now)
        if self._phase is Phase.INITIALIZE:
            self._report.reason = "WaitingForTrackers"

    def _reconsider_master(self, fault: tuple[str, str] | None, changed: bool, now: int, effects: Effects) -> None:
        if fault is not None and self.fitness.holds_nothing:
            # nothing can be sent, or nothing is held: there is nothing to hand over
            effects.append(fx.RemoveAddresses())
            if self.fitness.link_down is None:
                effects.append(fx.SendAdvertisement(0))
            self._enter_fault(*fault, effects)
            if self._stop is not None:
                self._release(effects)
        elif fault is not None:
            if self._hand_over is None:
                self._resign(now, effects)
        else:
            if self.standing is Standing.RESIGNING and not (self._drains() and self._draining.now):
                self._hand_over = None  # the reason has gone before anybody took over: that is to be told
                self.unsaid = self.fitness.group is not None
                changed = changed or not self.unsaid
            if self._hand_over is None and self._draining.resigns(self.settings):
                self._resign(now, effects, drains=True)
            elif changed and self._speaks(now):
                # a changed priority is told at once: with fast preemption the VIP moves now, not in an interval
                self._advertise(now, effects)

    def _start(self, now: int, effects: Effects) -> None:
        """RFC 9568, section 6.4.1: Startup."""
        first = self._watch.startup(self.settings, now)
        asks_first = self._question.pending(self.settings) and not self._watch.adopted
        if self.priority == OWNER and not asks_first:
            self._become_master(TakeOver("Owner", contested=False), now, effects)
            return
        self._become_backup("Adopted" if self._watch.adopted else "Listening", now)
        if self.priority == OWNER:
            self._ask(now)
        if not first:
            # back from a tracker's FAULT, in which we went on listening
            self._watch.compare(self.priority, self.settings, now)

    # ---- BACKUP: RFC 9568, section 6.4.2

    def _become_backup(self, reason: str, now: int) -> None:
        self._phase = Phase.BACKUP
        self._report.reason, self._report.takeover = reason, -1
        self._watch.wait(now)
        self._watch.let_go()
        self._hand_over = None
        self._question.begin()

    def _ask(self, now: int) -> None:
        """A take-over is due, and no MASTER was ever heard: who answers for the addresses?"""
        self._question.ask(now)
        self._report.reason = "AskingSegment"

    def _segment_answered(self, by: str, now: int, effects: Effects) -> None:
        if not self._question.open or self.fitness.link_down is not None:
            return  # a MASTER was heard meanwhile; or nobody can have heard the question
        if by and not self._question.respects(now):
            self._question.settle()
            by = ""
        if by or self.fitness.claimed:
            # gone: listened to and asked anew, as it was at the start
            self.fitness.claimed = by
            self._reconsider(now, effects)
            return
        self._question.settle()
        if self._phase is Phase.BACKUP and self.priority == OWNER:
            self._become_master(TakeOver("Owner", contested=False), now, effects)

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
        self._phase = Phase.MASTER
        self._report.reason, self._report.takeover = take_over.reason, take_over.takeover
        if take_over.reason == "HigherPriority":
            self._watch.moved(now)
        self._watch.take_over(self.fitness.source, self.settings)
        self._hand_over = None
        if not self._question.open:
            self._question.settle()
        self._schedule = MasterSchedule()
        self._schedule.announce(self.settings, now, contested=take_over.contested)
        effects += (fx.AddAddresses(), fx.SendGratuitousArp(first=True))
        self._advertise(now, effects)
        if take_over.reason != "Adopted":
            self._draining.elected()
        elif self._draining.resigns(self.settings):
            self._resign(now, effects, drains=True)

    def _group_takes_over(self, now: int, effects: Effects) -> None:
        if self.standing is Standing.FOLLOWING:
            self._hand_over = None  # nobody has taken over yet
            self._advertise(now, effects)
        elif self._phase is Phase.BACKUP and self.willing(now):
            self._become_master(self._watch.expired(self.priority, self.settings, now), now, effects)
        elif self._phase is Phase.BACKUP:
            self._become_master(TakeOver("SyncGroup"), now, effects)

    def _master_heard(self, event: ev.Heard, now: int, effects: Effects) -> None:
        priority = event.advertisement.priority
        if self._hand_over is not None:
            if priority:
                self._leave(now, effects, heard=event)
            return
        if priority == 0:
            self._resignation_heard(now, effects)
        elif outranks(priority, event.source, self.priority, self.fitness.source):
            if priority == self.priority and self._tie_is_the_groups(now):
                # should it be gone before this is decided, the neighbours must hear of us again
                self._schedule.reply_after_tie(self.settings, now)
                return
            # a last word of ours makes the winner tell the neighbours again, who after a partition still believe us
            effects.append(fx.SendAdvertisement(self.priority))
            if priority > self.priority:
                self._watch.moved(now)
            self._yield_to(event, "HigherPriorityHeard", now, effects)
        elif self._schedule.overslept(self.settings, now):
            # We slept so long that others were right to take over. Whoever did keeps it; what our kernel let expire
            # must not flip back (preemption is theirs to allow). The priority 0 makes it tell the neighbours once more.
            self._yield_to(event, "Overslept", now, effects)
            effects.append(fx.SendAdvertisement(0))
        else:
            # RFC 9568, section 6.4.3: assert ourselves; and again to those who learned the loser's address
            self._reply(now, effects)

    def _yield_to(self, event: ev.Heard, reason: str, now: int, effects: Effects) -> None:
        effects.append(fx.RemoveAddresses())
        self._become_backup(reason, now)
        self._watch.note(event.advertisement, event.source, self.settings, now)
        self._watch.learn(event.advertisement)

    def _master_expired(self, now: int, effects: Effects) -> None:
        if self._hand_over is not None:
            if now >= self._hand_over.leave_by:
                self._nobody_came(now, effects)
            elif self._hand_over.zero_due(now):
                effects.append(fx.SendAdvertisement(0))
            return
        self._do_what_is_due(now, effects)

    # ---- leaving MASTER by our own will

    def _resign(self, now: int, effects: Effects, *, follows: bool = False, drains: bool = False) -> None:
        self._hand_over = HandOver(self.settings, now, self.fitness.group, follows=follows, drains=drains)
        self._schedule.resign()
        if self._hand_over.zero_due(now):
            effects.append(fx.SendAdvertisement(0))

    def _nobody_came(self, now: int, effects: Effects) -> None:
        if self._drains() and self._stop is None and self.fitness.fault() is None:
            self._hand_over = None
            self._advertise(now, effects)
        else:
            self._leave(now, effects, heard=None)

    def _leave(self, now: int, effects: Effects, *, heard: ev.Heard | None) -> None:
        """The end of a hand-over: a new MASTER was heard, or nobody came."""
        fault = self.fitness.fault()
        withdrawn = self._stop is None or self._stop.withdrawn
        if heard is not None or withdrawn:
            # lingering pulls clients back; the second priority 0 makes the new MASTER say GARP once more
            effects += (fx.RemoveAddresses(), fx.SendAdvertisement(0))
        follows = self._hand_over is not None and self._hand_over.follows
        self._become_backup("SyncGroup" if follows else "HandedOver", now)
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
        if self._phase is Phase.MASTER:
            if self._hand_over is None:
                self._resign(now, effects)
            return
        if stop.withdrawn and self._watch.adopted:
            effects.append(fx.RemoveAddresses())
        self._release(effects)

    def _release(self, effects: Effects) -> None:
        self._phase = Phase.STOPPED
        self._report.reason = "Stopped"
        effects.append(fx.Released())

    # ---- FAULT, link, settings

    def _enter_fault(self, reason: str, message: str, effects: Effects) -> None:
        if self._watch.adopted:
            self._watch.adopted = False
            effects.append(fx.RemoveAddresses())
        self._report.takeover = -1
        if self._phase is Phase.MASTER:
            self._watch.let_go()
        self._phase = Phase.FAULT
        self._hand_over = None
        self._report.reason, self._report.fault_message = reason, message

    def _link_up(self, event: ev.LinkUp, now: int, effects: Effects) -> None:
        was_down = self.fitness.link_up(event.source)
        if was_down:
            self._watch.deafen()
        if self._phase is Phase.MASTER:
            if self._speaks(now):
                # it may be another port of the switch, or another hardware address
                effects.append(fx.SendGratuitousArp(first=True))
                self._schedule.announce(self.settings, now)
                if self._watch.master != event.source:
                    # a resignation counts only from the address that was heard as MASTER
                    self._advertise(now, effects)
            self._watch.master = event.source
        elif self._phase is Phase.BACKUP and event.adopted and not self._watch.adopted:
            effects.append(fx.RemoveAddresses())  # we take part already: they are not ours to hold
        elif self._phase in (Phase.INITIALIZE, Phase.FAULT):
            self._watch.adopted = event.adopted
        self._reconsider(now, effects)

    def _settings_changed(self, settings: Settings, now: int, effects: Effects) -> None:
        before, speaks = self.settings, self._speaks(now)
        self.settings = settings
        if self._phase is Phase.MASTER:
            self._schedule.hasten(settings, now)
            if settings.addresses != before.addresses:
                self._put_addresses_back(now, effects)
        self._reconsider(now, effects)
        if self._phase is Phase.BACKUP:
            self._watch.settings_changed(self.priority, settings, now)
        elif settings.advert_interval != before.advert_interval and speaks and self.standing is Standing.MASTER:
            # told at once, and again when the old interval is over: where one is lost, those who still wait by the
            # old one would take a longer one for silence
            effects.append(fx.SendAdvertisement(self.priority))
            self._schedule.interjected(now)

    # ---- shared by the phases

    def _heard(self, event: ev.Heard, now: int, effects: Effects) -> None:
        if not self._reception.accepts(event, self.fitness.source, self.settings, now):
            return
        self._question.settle()
        if self._phase is Phase.BACKUP:
            self._backup_heard(event, now, effects)
        elif self._phase is Phase.MASTER:
            self._master_heard(event, now, effects)
        elif event.advertisement.priority:
            self._deaf_heard(event, now, effects)
        if self.fitness.claimed:
            # it was a MASTER who answered: we wait for that one as any BACKUP does
            self.fitness.claimed = ""
            self._reconsider(now, effects)

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
        if self._phase is Phase.BACKUP and self._must_ask:
            self._ask(now)
        elif self._phase is Phase.BACKUP and self.fitness.group is None:
            self._become_master(self._watch.expired(self.priority, self.settings, now), now, effects)
        elif self._phase is Phase.MASTER:
            self._master_expired(now, effects)
        elif self._phase is Phase.FAULT and self.fitness.retry_at is not None:
            self.fitness.forget_refusal()
            self._reconsider(now, effects)
