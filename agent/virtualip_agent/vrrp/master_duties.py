"""What a MASTER says and holds while nobody takes it over: RFC 9568, section 6.4.3."""

from virtualip_agent.vrrp import effects as fx
from virtualip_agent.vrrp.router_memory import Phase, RouterMemory

Effects = list[fx.Effect]


class MasterDuties(RouterMemory):
    """Its advertisements, its answers to others who advertise, and the addresses that somebody takes away."""

    def _speaks(self, now: int) -> bool:
        """MASTER, neither handing over nor back from so long a sleep that it listens first."""
        return self.is_master and self._hand_over is None and not self._schedule.outlived(self.settings, now)

    def _advertise(self, now: int, effects: Effects) -> None:
        effects.append(fx.SendAdvertisement(self.priority))
        self._schedule.advertised(self.settings, now)
        self.unsaid = False

    def _say_what_is_unsaid(self, now: int, effects: Effects) -> None:
        if self.unsaid and self._phase is Phase.MASTER and self._hand_over is None:
            self._advertise(now, effects)
        self.unsaid = False

    def _reply(self, now: int, effects: Effects) -> None:
        if self._schedule.may_reply(now):
            effects.append(fx.SendGratuitousArp())
            self._schedule.announce_again(self.settings, now)
            self._advertise(now, effects)

    def _do_what_is_due(self, now: int, effects: Effects) -> None:
        if self._schedule.outlived(self.settings, now):
            if self._schedule.listens(self.settings, now):
                return
            # nobody spoke: it goes on, and says again what may not have been said
            effects.append(fx.SendGratuitousArp())
        if self._schedule.put_back.due(now):
            self._put_addresses_back(now, effects)
        if self._schedule.reply_due(now):
            self._reply(now, effects)
        if self._schedule.garp_due(self.settings, now):
            effects.append(fx.SendGratuitousArp())
        if self._schedule.advertisement_due(self.settings, now):
            effects.append(fx.SendAdvertisement(self.priority))

    def _resignation_heard(self, now: int, effects: Effects) -> None:
        # RFC 9568: advertise at once; and the neighbours hear from us last. Not where we overslept: whoever let go may
        # have been our successor, and there may be another.
        if not self._schedule.overslept(self.settings, now):
            self._reply(now, effects)

    def _tie_is_the_groups(self, now: int) -> bool:
        """Whether the addresses of another segment decide: those of the first router of our sync group. Not where we
        overslept: then it was right to take over, and the first router may not hear it."""
        group = self.fitness.group
        if group is None or group.first or self._schedule.overslept(self.settings, now):
            return False
        return not self._schedule.tie_lasts(self.settings, now)

    def _addresses_removed(self, now: int, effects: Effects) -> None:
        if self._phase is not Phase.MASTER:
            return
        if self._schedule.overslept(self.settings, now):
            # the kernel let them expire while we slept: who has taken over since is to be heard first
            self._schedule.put_back.postpone(now)
        elif self._schedule.put_back.removed(now):
            self._put_addresses_back(now, effects)

    def _put_addresses_back(self, now: int, effects: Effects) -> None:
        effects += (fx.AddAddresses(), fx.SendGratuitousArp(first=True))
        self._schedule.announce(self.settings, now)
