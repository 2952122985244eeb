"""What nearly always happens, for hours: a MASTER's interval is over, and the same advertisement reaches the BACKUPs.

Both are answered without asking what only something else could have changed; a test holds the answers against those of
the whole state machine.
"""

from virtualip_agent.vrrp import effects as fx
from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.master_duties import Effects, MasterDuties
from virtualip_agent.vrrp.router_memory import Phase


class ShortCuts(MasterDuties):
    """Of one virtual router; what they need was prepared when the whole machine had the same event."""

    def repeats(self, event: ev.Event, now: int) -> bool:
        """Takes in what only says again what was heard last: the deadline is later, and that is all. False: anything
        else, of which nothing was taken in."""
        if event is not self._steady.repeating:
            return False
        self._watch.repeated(now)
        self.deadline = now + self._steady.wait
        return True

    def interval_over(self, now: int) -> int:
        """Carries out the TimerExpired of a MASTER for which nothing but its advertisement is due: the priority to
        advertise. 0: anything else, of which nothing was carried out."""
        steady, due = self._steady, self.deadline
        if now >= steady.speaks_until or due is None or not due <= now < due + steady.interval:
            return 0
        then = due + steady.interval
        self.spoke(now, then)
        return steady.priority

    @property
    def advertises_at(self) -> int:
        """When this MASTER's next advertisement is due."""
        return self._schedule.advertise_at

    @property
    def speaks_until(self) -> int:
        """Before then this MASTER has only to advertise, if nothing happens to it; 0: that is not known."""
        return self._steady.speaks_until

    def spoke(self, now: int, then: int) -> None:
        """It has advertised, for the last time `now`, and is to again `then`: as after `interval_over` each time."""
        self._schedule.said_in_turn(now, then)
        self.deadline = min(then, self._steady.speaks_until)

    def _prepare_for_the_same(self, event: ev.Event, effects: Effects, now: int) -> None:
        """The whole machine answered with these effects: would it say the same again?"""
        if self._phase is Phase.BACKUP:
            if type(event) is ev.Heard and not effects and self._reception.flawless:
                self._steady.heard(event, self._watch, self.priority, self.settings, now)
        elif self._phase is Phase.MASTER and self._hand_over is None and type(event) is ev.TimerExpired:
            undisturbed = not self.mismatches and not self.foreign
            if undisturbed and len(effects) == 1 and type(effects[0]) is fx.SendAdvertisement:
                self._steady.advertised(self.priority, self.settings, self._schedule.alone_until(self.settings))
