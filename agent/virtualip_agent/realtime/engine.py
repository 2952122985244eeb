"""The virtual routers of this node: events in, effects carried out for all of them together.

Every wake-up goes the same way: packets first (who was late must know what it missed before it acts), then links and
addresses, then control, then timers; and at the end one batch of addresses, one burst of gratuitous ARP, the
advertisements, and only then the reports.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable
from typing import Final

from virtualip_agent import ipc
from virtualip_agent.realtime.addresses import AddressKeeper, Refusal
from virtualip_agent.realtime.ports import Ports
from virtualip_agent.realtime.route_socket import RouteSocket
from virtualip_agent.realtime.router import RunningRouter, parse_addresses, settings_of
from virtualip_agent.realtime.timers import Deadlines
from virtualip_agent.realtime.vrrp_sockets import ArpSender, Receiver
from virtualip_agent.vrrp import effects as fx
from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.packet import TTL, Drop, parse
from virtualip_agent.vrrp.priority import Contribution
from virtualip_agent.vrrp.sync_group import Outcome, SyncGroups
from virtualip_agent.vrrp.timing import MILLISECOND, SECOND
from virtualip_agent.vrrp.virtual_router import VirtualRouter

log = logging.getLogger(__name__)

REFRESH_PERIOD: Final = 1 * SECOND
_LATE_REFRESH: Final = REFRESH_PERIOD + 500 * MILLISECOND
_REFRESH: Final = ""
"""The name of the refresh among the deadlines; no router's."""


class Engine:
    """Owns the routers. `publish` is given every message for control."""

    def __init__(self, routes: RouteSocket, ports: Ports, arp: ArpSender, publish: Callable[[ipc.FromVrrp], None]):
        self.deadlines = Deadlines()
        self._routes = routes
        self._ports = ports
        self._arp = arp
        self._publish = publish
        self._keeper = AddressKeeper(routes)
        self._routers: dict[str, RunningRouter] = {}
        self._groups = SyncGroups()
        self._by_port: dict[tuple[int, int], RunningRouter] = {}
        self._pending: list[tuple[RunningRouter, fx.Effect]] = []
        self._refreshed_at = 0
        self._stopping = False
        self._unknown: dict[str, int] = {}

    @property
    def finished(self) -> bool:
        """After stop: every router is released."""
        return self._stopping and not self._routers

    # ---- inputs

    def receive(self, receiver: Receiver, now: int) -> None:
        """Reads what arrived on an interface."""
        for source, destination, ttl, payload in receiver.packets():
            if len(payload) < 2 or ttl != TTL:
                self._count_unknown(Drop.TTL if ttl != TTL else Drop.LENGTH)
                continue
            router = self._by_port.get((receiver.index, payload[1]))
            if router is None:
                self._count_unknown(Drop.VRID)
                continue
            router.count("received")
            advertisement = parse(payload, source, destination)
            if isinstance(advertisement, Drop):
                router.count(advertisement)
            else:
                self._handle(router, ev.Heard(advertisement, source), now)

    def links_changed(self, now: int) -> None:
        """After notifications: which routers does it concern?"""
        for router in list(self._routers.values()):
            self._attach(router, now)
            if router.core.is_master and self._keeper.missing(router):
                log.warning("%s: an address was taken off %s", router.name, router.link.name if router.link else "?")
                router.count("put_back")
                self._handle(router, ev.AddressesRemoved(), now)
            elif router.last is not None and router.last.reason == "AddressInUse" and not self._keeper.in_use(router):
                self._handle(router, ev.AddressesFree(), now)

    def command(self, message: ipc.ToVrrp, now: int) -> None:
        """Carries out what control says."""
        match message:
            case ipc.SetRouter(config):
                self._set(config, now)
            case ipc.SetContributions(name, contributions):
                self._set_contributions(name, contributions, now)
            case ipc.RemoveRouter(name):
                self._remove(name, now)
            case ipc.Complete(names):
                for name in self._routers.keys() - set(names):
                    self._remove(name, now)
            case ipc.GetStatistics():
                self._publish(self._statistics())
            case ipc.Hello():
                log.info("control (pid %d) is here", message.pid)

    def expire(self, now: int) -> None:
        """Carries out what is due."""
        for name in self.deadlines.due(now):
            if name == _REFRESH:
                self._refresh(now)
            elif name in self._routers:
                self._handle(self._routers[name], ev.TimerExpired(), now)

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
        elif _identity(config) != _identity(router.config):
            log.info("%s: VRID, version or interface changed: withdrawn and started anew", config.name)
            router.successor = config
            self._withdraw(router, now)
        elif config != router.config:
            kept = frozenset(address.ip.packed for address in parse_addresses(config))
            if router.core.is_master:
                self._take_off([router], kept)
            router.reconfigure(config)
            self._handle(router, ev.SettingsChanged(settings_of(config)), now)

    def _create(self, config: ipc.RouterConfig, now: int, contributions: dict[str, Contribution]) -> None:
        core = VirtualRouter(settings_of(config))
        router = RunningRouter(config, core, parse_addresses(config), contributions)
        self._routers[config.name] = router
        self._groups.add(config.name, core)
        if contributions:
            self._handle(router, ev.ContributionsChanged(contributions), now)
        self._attach(router, now)

    def _set_contributions(self, name: str, contributions: dict[str, ipc.Contribution], now: int) -> None:
        router = self._routers.get(name)
        if router is None:
            return
        # A control that has just started does not know every tracker yet: the last word stands until the next.
        known = {key: value for key, value in router.contributions.items() if key in router.config.trackers}
        new = {key: Contribution(value.value, value.fault, value.healthy) for key, value in contributions.items()}
        router.contributions = known | new
        self._handle(router, ev.ContributionsChanged(router.contributions), now)

    def _remove(self, name: str, now: int) -> None:
        router = self._routers.get(name)
        if router is not None:
            router.successor = None
            self._withdraw(router, now)

    def _withdraw(self, router: RunningRouter, now: int) -> None:
        router.leaving = True
        self._handle(router, ev.Stop(withdrawn=True), now)

    def _attach(self, router: RunningRouter, now: int) -> None:
        """Finds interface and source address, and tells the core where they are new."""
        interfaces = self._routes.interfaces
        link, problem = interfaces.find(router.config.interface, router.addresses)
        source = None if link is None else interfaces.source(link.index, router.addresses)
        before = (router.link, router.sender)
        port = None
        if link is not None and link.usable and source is not None:
            try:
                port = self._ports.open(link, source, router.config.vrid)
            except OSError as error:
                problem = f"{link.name}: {error.strerror}"
        if port is not None and link is not None:
            holder = self._by_port.get((link.index, router.config.vrid), router)
            if holder is not router:
                problem, port = f"VRID {router.config.vrid} on {link.name} is {holder.name}'s", None
        if port is None:
            if router.last is None or router.sender is not None or router.link != link:
                if link is None or (router.link is not None and router.link.index != link.index):
                    self._take_off([router])
                self._detach(router)
                router.attach(link, None)
                self._close_ports()
                self._handle(router, _link_problem(router, problem), now)
            return
        if before == (link, port):
            return
        moved = router.link is not None and link is not None and router.link.index != link.index
        if moved and router.core.is_master:
            self._take_off([router])
        self._detach(router)
        router.attach(link, port)
        assert link is not None
        if router.core.is_master and before[0] is not None and before[0].hardware_address != link.hardware_address:
            self._pending.append((router, fx.SendGratuitousArp(first=True)))
        self._by_port[link.index, router.config.vrid] = router
        adopted = not router.core.is_master and self._keeper.adoptable(router)
        self._handle(router, ev.LinkUp(port.source, adopted), now)

    def _take_off(self, routers: Collection[RunningRouter], keep: Collection[bytes] = ()) -> None:
        """Removes these routers' addresses, but not what another MASTER here has by now: an address may have moved
        between VirtualIPs by an edit."""
        if not routers:
            return
        names = {router.name for router in routers}
        others = {
            address.ip.packed
            for other in self._routers.values()
            if other.core.is_master and other.name not in names
            for address in other.addresses
        }
        self._keeper.remove(routers, others.union(keep))

    def _close_ports(self) -> None:
        senders = {other.sender for other in self._routers.values() if other.sender is not None}
        self._ports.close_unused(set(self._by_port), senders)

    def _detach(self, router: RunningRouter) -> None:
        for key in [key for key, other in self._by_port.items() if other is router]:
            del self._by_port[key]

    def _forget(self, router: RunningRouter, now: int) -> None:
        self._detach(router)
        del self._routers[router.name]
        self._want(self._groups.remove(router.name, now))
        self.deadlines.forget(router.name)
        self._close_ports()
        for waiting in [other for other in self._routers.values() if other.sender is None]:
            self._attach(waiting, now)  # its VRID may be free now
        if router.successor is not None:
            self._create(router.successor, now, router.contributions)
        elif not self._stopping:
            self._publish(ipc.RouterGone(router.name))

    def _handle(self, router: RunningRouter, event: ev.Event, now: int) -> None:
        self._want(self._groups.handle(router.name, event, now))

    def _want(self, outcome: Outcome) -> None:
        for name, effects in outcome:
            router = self._routers[name]
            self._pending += [(router, effect) for effect in effects]
            if router.core.deadline is not None:
                self.deadlines.arm(name, router.core.deadline)

    # ---- effects

    def flush(self, now: int) -> None:
        """Carries out what this wake-up decided, in the order of effects.py, for all routers together."""
        while self._pending:
            pending, self._pending = self._pending, []
            refused = self._change_addresses(pending, now)
            for router, effect in pending:
                # not for one that took over and yielded within this wake-up: the neighbours would learn the wrong node
                if isinstance(effect, fx.SendGratuitousArp) and router.core.is_master and router.name not in refused:
                    self._send_garps(router)
            for router, effect in pending:
                if isinstance(effect, fx.SendAdvertisement) and router.name not in refused:
                    self._send_advertisement(router, effect.priority)
            for name, refusal in refused.items():
                router = self._routers[name]
                log.error("%s: %s", name, refusal.message)
                self._handle(router, ev.AddressesRefused(refusal.reason, refusal.message), now)
            reports: dict[str, RunningRouter] = {}
            for router, effect in pending:
                if isinstance(effect, fx.Transitioned):
                    router.note(effect)
                if isinstance(effect, fx.Transitioned | fx.AddAddresses) and router.name not in refused:
                    reports[router.name] = router
            for router in reports.values():
                self._report(router)
            for router, effect in pending:
                if isinstance(effect, fx.Released):
                    self._forget(router, now)

    def _change_addresses(self, pending: Iterable[tuple[RunningRouter, fx.Effect]], now: int) -> dict[str, Refusal]:
        # the last word of this wake-up counts: a router may have become MASTER and yielded within it
        last: dict[str, tuple[RunningRouter, fx.Effect]] = {}
        for router, effect in pending:
            if isinstance(effect, fx.AddAddresses | fx.RemoveAddresses):
                last[router.name] = (router, effect)
        self._take_off([router for router, effect in last.values() if isinstance(effect, fx.RemoveAddresses)])
        added = [router for router, effect in last.values() if isinstance(effect, fx.AddAddresses)]
        if added:
            self._refreshed_at = self._refreshed_at or now
            self.deadlines.arm(_REFRESH, now + REFRESH_PERIOD)
        return self._keeper.add(added)

    def _send_garps(self, router: RunningRouter) -> None:
        link = router.link
        if link is None:
            return
        try:
            for frame in router.garps():
                self._arp.send(link.name, frame)
                router.count("garp_sent")
        except OSError as error:
            router.count("send_failed")
            log.warning("%s: gratuitous ARP on %s: %s", router.name, link.name, error.strerror)

    def _send_advertisement(self, router: RunningRouter, priority: int) -> None:
        if router.sender is None:
            return
        try:
            router.sender.send(router.advertisement(priority))
            router.count("sent" if priority else "sent_priority_0")
        except OSError as error:
            router.count("send_failed")
            log.warning("%s: advertisement: %s", router.name, error.strerror)

    def _report(self, router: RunningRouter) -> None:
        state = router.report(self._routes.interfaces)
        if state is not None:
            self._publish(state)

    # ---- the dead man's switch

    def _refresh(self, now: int) -> None:
        """Renews the lifetime of everything that is held, in one batch."""
        masters = [router for router in self._routers.values() if router.core.is_master]
        if masters and self._refreshed_at and now - self._refreshed_at > _LATE_REFRESH:
            # we slept: the kernel may have let them expire, and a refresh would bring them back silently
            self._routes.resynchronise()
            self.links_changed(now)
        just_now = {router.name for router, _ in self._pending}
        for router in masters:
            if router.name not in just_now and self._keeper.missing(router):
                # whatever took it away, and whatever the notifications said: what is wanted is put back
                self._handle(router, ev.AddressesRemoved(), now)
        self._keeper.refresh(masters)
        self._refreshed_at = now if masters else 0
        if masters:
            self.deadlines.arm(_REFRESH, now + REFRESH_PERIOD)

    # ---- counters

    def _count_unknown(self, counter: str) -> None:
        self._unknown[counter] = self._unknown.get(counter, 0) + 1

    def _statistics(self) -> ipc.Statistics:
        return ipc.Statistics(
            routers={name: router.counters | router.core.drops for name, router in self._routers.items()},
            process={**self._unknown, "cpu_ms": time.process_time_ns() // MILLISECOND},
        )


def _identity(config: ipc.RouterConfig) -> tuple[object, ...]:
    """What cannot change in place."""
    return config.vrid, config.version, config.interface


def _link_problem(router: RunningRouter, problem: str) -> ev.LinkDown:
    link = router.link
    if link is None:
        return ev.LinkDown("NoInterface", problem)
    if not link.usable:
        return ev.LinkDown("LinkDown", f"{link.name} is {'down' if not link.up else 'without carrier'}")
    if problem.startswith("VRID"):
        return ev.LinkDown("VRIDInUse", problem)
    return ev.LinkDown("NoInterface", problem or f"{link.name} has no address of its own to advertise from")
