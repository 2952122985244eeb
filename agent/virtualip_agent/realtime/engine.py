"""The virtual routers of this node: events in, effects carried out for all of them together.

Every wake-up goes the same way: packets first (who was late must know what it missed before it acts), then links and
addresses, then control, then timers; and at the end one batch of addresses, one burst of gratuitous ARP, the
advertisements, and only then the reports.
"""

import logging
from collections.abc import Callable, Collection, Iterable
from typing import Final

from virtualip_agent import ipc
from virtualip_agent.realtime.addresses import AddressKeeper, Place, Refusal
from virtualip_agent.realtime.choirs import Choirs
from virtualip_agent.realtime.counters import statistics
from virtualip_agent.realtime.garp_pacer import GarpPacer
from virtualip_agent.realtime.listeners import Listeners
from virtualip_agent.realtime.location import concerns, locate, stays
from virtualip_agent.realtime.ports import Ports
from virtualip_agent.realtime.process_statistics import ProcessStatistics
from virtualip_agent.realtime.route_socket import ASK_AGAIN, RouteSocket
from virtualip_agent.realtime.router import RunningRouter, identity, parse_addresses, settings_of
from virtualip_agent.realtime.speech import Speech
from virtualip_agent.realtime.timers import Chore, Deadlines
from virtualip_agent.realtime.vrrp_sockets import Packet, Receiver
from virtualip_agent.vrrp import effects as fx
from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.packet import TTL
from virtualip_agent.vrrp.priority import Contribution
from virtualip_agent.vrrp.sync_group import SyncGroups
from virtualip_agent.vrrp.timing import MILLISECOND, SECOND
from virtualip_agent.vrrp.virtual_router import VirtualRouter

log = logging.getLogger(__name__)

REFRESH_PERIOD: Final = 1 * SECOND
_LATE_REFRESH: Final = REFRESH_PERIOD + 500 * MILLISECOND
_LONGEST_HEARING: Final = 1 * MILLISECOND
"""Before a take-over is told: nobody who sends without end is to delay it."""
_TIMER_EXPIRED: Final = ev.TimerExpired()
_LOOK_PERIOD: Final = 5 * SECOND


class Engine:
    """Owns the routers. `publish` is given every message for control."""

    def __init__(self, routes: RouteSocket, ports: Ports, speech: Speech, publish: Callable[[ipc.FromVrrp], None]):
        self.deadlines = Deadlines()
        self._choirs = Choirs(self.deadlines)
        self.process = ProcessStatistics()
        self._routes = routes
        self._ports = ports
        self._publish = publish
        self._keeper = AddressKeeper(routes)
        self._routers: dict[str, RunningRouter] = {}
        self._groups = SyncGroups()
        self._listeners = Listeners(ports, self.process)
        self._pacer = GarpPacer()
        self._speech = speech
        self._pending: list[tuple[RunningRouter, fx.Effect]] = []
        self._advertisements: list[tuple[RunningRouter, int]] = []
        """Those that are pending, with their priority."""
        self._refreshed_at = 0
        self._stopping = False

    @property
    def finished(self) -> bool:
        """After stop: every router is released."""
        return self._stopping and not self._routers

    @property
    def decided(self) -> list[str]:
        """The routers of which every tracker's contribution is known."""
        return [name for name, router in self._routers.items() if router.decided]

    # ---- inputs

    def receive(self, receiver: Receiver, now: int, until: int) -> None:
        """Reads what arrived on an interface, for no longer than `until`."""
        entries = receiver.cache.entries
        for said, ttl in receiver.packets(until):
            known = entries.get(said)
            if known is None or ttl != TTL:
                known = self._listeners.understand(receiver, Packet(said, ttl))
                if known is None:
                    continue
            known.peer.received += 1
            if not known.router.core.repeats(known.event, now):
                self._handle(known.router, known.event, now)

    def links_changed(self, now: int, changed: Collection[int] | None = None) -> None:
        """After notifications about interfaces of these indices (None: of all): which routers does it concern?

        Each pod that comes or goes is some, and none of it is about the interface of a router that runs; whoever waits
        for an interface, a source or an address to be free looks at all of it.
        """
        subnets = changed is not None and self._routes.interfaces.have_subnet(changed)
        for router in list(self._routers.values()):
            if changed is not None and not concerns(router, changed, subnets=subnets):
                continue
            self._attach(router, now)
            if self._has_lost(router):
                log.warning("%s: an address was taken off %s", router.name, router.link.name if router.link else "?")
                router.count("put_back")
                self._handle(router, ev.AddressesRemoved(), now)
            elif self._keeper.is_free_again(router):
                self._handle(router, ev.AddressesFree(), now)
        self._keeper.give_way(self._routers.values())

    def _has_lost(self, router: RunningRouter) -> bool:
        """Whether a MASTER's address is not there; who took over in this wake-up is about to get it."""
        missing = router.core.is_master and self._keeper.missing(router)
        return missing and not any(one is router and isinstance(said, fx.AddAddresses) for one, said in self._pending)

    def command(self, message: ipc.ToVrrp, now: int) -> None:
        """Carries out what control says."""
        match message:
            case ipc.SetRouter(config):
                self._set(config, now)
            case ipc.SetContributions(name, contributions):
                self._set_contributions(name, contributions, now)
            case ipc.RemoveRouter(name):
                self._remove(name, now)
            case ipc.SegmentAnswers(name, by):
                if (router := self._routers.get(name)) is not None:
                    self._handle(router, ev.SegmentAnswered(by), now)
            case ipc.Complete(names):
                for name in self._routers.keys() - set(names):
                    self._remove(name, now)
            case ipc.GetStatistics(names):
                asked = [router for router in self._routers.values() if not names or router.name in names]
                self._choirs.count(asked)
                for part in statistics(asked, self.process, self._ports.lost):
                    self._publish(part)
            case ipc.Hello():
                log.info("control (pid %d) is here", message.pid)

    def expire(self, now: int) -> None:
        """Carries out what is due."""
        first = self.deadlines.first
        if first is None or first > now:
            return
        self.process.late(now - first)
        for name in self.deadlines.due(now):
            if (router := self._routers.get(name)) is not None:
                self._timer_expired(router, now)
            elif name == Chore.REFRESH:
                self._refresh(now)
            elif name == Chore.LOOK_AGAIN:
                self._attach_waiting(now)
            else:
                for router in self._choirs.turn(name, now):
                    self._timer_expired(router, now)

    def _timer_expired(self, router: RunningRouter, now: int) -> None:
        if priority := router.core.interval_over(now):
            self._advertisements.append((router, priority))
        elif router.core.deadline is not None and router.core.deadline <= now:
            self._handle(router, _TIMER_EXPIRED, now)
            return
        self._arm(router)  # also where a MASTER was heard meanwhile

    def stop(self, now: int) -> None:
        """Hands everything over; `finished` says when."""
        self._stopping = True
        for router in list(self._routers.values()):
            router.successor, router.leaving = None, True
            self._handle(router, ev.Stop(), now)

    def publish_all(self) -> None:
        """The whole picture, for a control that is new."""
        for router in self._routers.values():
            self._report(router)

    # ---- routers

    def _set(self, config: ipc.RouterConfig, now: int) -> None:
        if self._stopping:
            return
        router = self._routers.get(config.name)
        if router is None:
            self._create(config, now, {})
        elif router.leaving:
            router.successor = config
        elif identity(config) != identity(router.config) or not stays(router, config, self._routes.interfaces):
            log.info("%s: what cannot change in place was edited: withdrawn and started anew", config.name)
            router.successor = config
            self._withdraw(router, now)
        elif config != router.config:
            if router.core.is_master and router.link is not None:
                index = router.link.index
                self._take_off([router], {(index, address.ip.packed) for address in parse_addresses(config)})
            router.reconfigure(config)
            self._speech.forget(config.name)
            self._handle(router, ev.SettingsChanged(settings_of(config)), now)
            self._attach(router, now)  # the members and the addresses decide on the source
            if self._keeper.is_free_again(router):
                self._handle(router, ev.AddressesFree(), now)
            self._listeners.unsettle()

    def _create(self, config: ipc.RouterConfig, now: int, contributions: dict[str, Contribution]) -> None:
        core = VirtualRouter(settings_of(config))
        router = RunningRouter(config, core, parse_addresses(config), contributions)
        self._routers[config.name] = router
        self._groups.add(config.name, core)
        if contributions:
            self._handle(router, ev.ContributionsChanged(contributions), now)
        self._attach(router, now)

    def _set_contributions(self, name: str, contributions: dict[str, ipc.Contribution], now: int) -> None:
        if (router := self._routers.get(name)) is not None:
            self._handle(router, ev.ContributionsChanged(router.contribute(contributions)), now)

    def _remove(self, name: str, now: int) -> None:
        if (router := self._routers.get(name)) is not None:
            router.successor = None
            self._withdraw(router, now)

    def _withdraw(self, router: RunningRouter, now: int) -> None:
        router.leaving = True
        self._handle(router, ev.Stop(withdrawn=True), now)

    def _attach(self, router: RunningRouter, now: int) -> None:
        """Finds interface and source address, and tells the core where they are new."""
        link, found = locate(router, self._routes.interfaces, self._listeners, self._ports)
        router.set_forwarding(link is not None and link.index in self._routes.interfaces.forwarding)
        if isinstance(found, ev.LinkDown):
            if router.down != found or router.link != link:
                if link is None or (router.link is not None and router.index != link.index):
                    self._take_off([router])
                self._listeners.remove(router)
                router.attach(link, None)
                router.down = found
                self._handle(router, found, now)
            if link is not None and found.reason == "NoInterface":
                self.deadlines.arm(Chore.LOOK_AGAIN, now + _LOOK_PERIOD)  # a socket that was refused, perhaps
            return
        if (router.link, router.sender) == (link, found):
            return
        assert link is not None
        if router.link is not None and router.index != link.index:
            if router.core.is_master:
                self._take_off([router])
            if router.link.name != link.name:  # what was heard on the other says nothing here
                self._handle(router, ev.LinkDown("LinkDown", f"it is to be on {link.name} now"), now)
        self._listeners.remove(router)
        router.attach(link, found)
        self._listeners.add(link.index, router)
        adopted = not router.core.is_master and self._keeper.adoptable(router)
        # heard from this moment on; those that were attached before it took their time
        self._handle(router, ev.LinkUp(found.source, adopted), self._speech.clock())

    def _attach_waiting(self, now: int) -> None:
        for waiting in [other for other in self._routers.values() if other.sender is None]:
            self._attach(waiting, now)

    def _take_off(self, routers: Collection[RunningRouter], keep: Collection[Place] = ()) -> None:
        if routers:
            self._keeper.remove(routers, self._routers.values(), keep)

    def _forget(self, router: RunningRouter, now: int) -> None:
        self._listeners.remove(router)
        self._speech.forget(router.name)
        del self._routers[router.name]
        for name, effects in self._groups.remove(router.name, now):
            self._want(self._routers[name], effects)
        self.deadlines.forget(router.name)
        self._attach_waiting(now)  # the VRID of one may be free now
        if router.successor is not None:
            self._create(router.successor, now, router.contributions)
        elif not self._stopping:
            self._publish(ipc.RouterGone(router.name))

    def _handle(self, router: RunningRouter, event: ev.Event, now: int) -> None:
        if priority := self._choirs.leave(router.name):
            self._advertisements.append((router, priority))
        if router.config.group or type(event) is ev.SettingsChanged:
            for name, effects in self._groups.handle(router.name, event, now):
                self._want(self._routers[name], effects)
        else:
            self._want(router, router.core.handle(event, now))

    def _want(self, router: RunningRouter, effects: Iterable[fx.Effect]) -> None:
        for effect in effects:
            if type(effect) is fx.SendAdvertisement:
                self._advertisements.append((router, effect.priority))
            else:
                self._pending.append((router, effect))
        self._arm(router)

    def _arm(self, router: RunningRouter) -> None:
        if (at := router.wakes_at) is not None:
            self.deadlines.arm(router.config.name, at)

    # ---- effects

    def flush(self, now: int) -> None:
        """Carries out what this wake-up decided, in the order of effects.py, for all routers together."""
        self._speech.begin(now)
        while self._pending or self._advertisements or self._choirs.unsaid:
            pending, self._pending = self._pending, []
            advertisements, self._advertisements = self._advertisements, []
            refused, outrun = self._change_addresses(pending, now) if pending else ({}, set[str]())
            untold = refused.keys() | outrun
            for router, effect in pending:
                # not for one that took over and yielded within this wake-up: the neighbours would learn the wrong node
                if isinstance(effect, fx.SendGratuitousArp) and router.core.is_master and router.name not in untold:
                    if effect.first:
                        self._speech.announce(router, router.announcements())
                    else:
                        self._pacer.want(router)
            if untold:
                advertisements = [said for said in advertisements if said[0].name not in untold]
            for choir in self._choirs.take_unsaid():
                for router in (*self._speech.sing(choir, now), *choir.departing()):
                    self._choirs.leave(router.name)
                    self._arm(router)
            self._speech.advertise(advertisements, now)
            self._choirs.join(router for router, _ in advertisements if router.name not in self._speech.unsent.troubles)
            for name, refusal in refused.items():
                router = self._routers[name]
                log.error("%s: %s", name, refusal.message)
                self._handle(router, ev.AddressesRefused(refusal.reason, refusal.message), now)
            changed = self._speech.unsent.take_changed() - untold
            reports = {name: self._routers[name] for name in changed & self._routers.keys()}
            for router, effect in pending:
                if isinstance(effect, fx.Transitioned | fx.AddAddresses) and router.name not in untold:
                    reports[router.name] = router
                    if isinstance(effect, fx.Transitioned):
                        router.note(effect)
            again = {router.name for router, effect in self._pending if isinstance(effect, fx.Transitioned)}
            for router in [reports[name] for name in reports if name not in again]:
                if router.core.master != router.acquainted:
                    self._listeners.unsettle()
                self._report(router)
            for router, effect in pending:
                if isinstance(effect, fx.Released):
                    self._forget(router, now)
        self._listeners.settle()
        for router, frames in self._pacer.due(now):
            self._speech.announce(router, frames)
        if self._pacer.next_at is not None:
            self.deadlines.arm(Chore.PACED, self._pacer.next_at)
        if self._routes.behind:
            self.deadlines.arm(Chore.REFRESH, now + ASK_AGAIN)

    def _change_addresses(
        self, pending: Iterable[tuple[RunningRouter, fx.Effect]], now: int
    ) -> tuple[dict[str, Refusal], set[str]]:
        """Who is refused them, and who was outrun: the kernel may take its time, and of those who take over at once
        another may have spoken meanwhile, so that it is heard before anything is said here."""
        # the last word of this wake-up counts: a router may have become MASTER and yielded within it
        last: dict[str, tuple[RunningRouter, fx.Effect]] = {}
        for router, effect in pending:
            if isinstance(effect, fx.AddAddresses | fx.RemoveAddresses):
                last[router.name] = (router, effect)
        self._take_off([router for router, effect in last.values() if isinstance(effect, fx.RemoveAddresses)])
        added = [router for router, effect in last.values() if isinstance(effect, fx.AddAddresses)]
        if not added:
            return {}, set()
        self._refreshed_at = self._refreshed_at or now
        self.deadlines.arm(Chore.REFRESH, now + REFRESH_PERIOD)
        refused = self._keeper.add(added)
        until = self._speech.clock() + _LONGEST_HEARING
        for receiver in self._ports.receivers({router.index for router in added}):
            self.receive(receiver, self._speech.clock(), until)
        self._speech.go_on()
        outrun = {router.name for router in added if not router.core.is_master and not router.told_as_master}
        self._advertisements = [said for said in self._advertisements if said[0].name not in outrun]  # no last word
        return refused, outrun

    def _report(self, router: RunningRouter) -> None:
        if (state := router.report(self._routes.interfaces)) is not None:
            self._publish(self._speech.amended(state) if router.core.is_master else state)

    # ---- the dead man's switch

    def _refresh(self, now: int) -> None:
        """Renews the lifetime of everything that is held, in one batch."""
        masters = [router for router in self._routers.values() if router.core.is_master]
        late = masters and self._refreshed_at and now - self._refreshed_at > _LATE_REFRESH
        if late:
            self.process.count("refresh_late")
        if late or self._routes.behind:
            # we slept, say: the kernel may have let them expire, and a refresh would bring them back silently
            self._routes.resynchronise()
            if self._routes.behind:
                return  # `flush` arms it again
            self.links_changed(now)
        for router in masters:
            if self._has_lost(router):
                # whatever took it away, and whatever the notifications said: what is wanted is put back
                self._handle(router, ev.AddressesRemoved(), now)
        self._keeper.refresh(masters)
        self._refreshed_at = now if masters else 0
        if masters:
            self.deadlines.arm(Chore.REFRESH, now + REFRESH_PERIOD)
