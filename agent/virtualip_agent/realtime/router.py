"""One virtual router as it runs here: the core beside its configuration, interface, templates and counters."""

import time
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface
from typing import Final

from virtualip_agent import ipc
from virtualip_agent.realtime.interfaces import Interfaces
from virtualip_agent.realtime.vrrp_sockets import Sender, stamp_hardware_address
from virtualip_agent.rtnetlink import Link
from virtualip_agent.vrrp import effects as fx
from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.packet import stamp
from virtualip_agent.vrrp.priority import Contribution
from virtualip_agent.vrrp.settings import Garp, Settings
from virtualip_agent.vrrp.timing import SECOND
from virtualip_agent.vrrp.virtual_router import VirtualRouter

_LARGEST_CACHE = 8
_MOST_PEERS: Final = 32
_OTHERS: Final = b""
_SLOTS: Final = 16
BOOT: Final = time.monotonic_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
"""The machine's boot on the clock of the timers (CLOCK_MONOTONIC: it stands still while the machine is suspended)."""


@dataclass(slots=True)
class Peer:
    """A source address from which advertisements for a router came."""

    received: int = 0


@dataclass(slots=True)
class RunningRouter:
    """Everything about one virtual router that is not the core's."""

    config: ipc.RouterConfig
    core: VirtualRouter
    addresses: tuple[IPv4Interface, ...]
    contributions: dict[str, Contribution] = field(default_factory=dict)
    link: Link | None = None
    sender: Sender | None = None
    successor: ipc.RouterConfig | None = None
    """To be started when this one has been released: an edit that cannot be applied in place."""
    leaving: bool = False
    counters: dict[str, int] = field(default_factory=dict)
    sent: int = 0
    """Advertisements that were not resignations."""
    peers: dict[bytes, Peer] = field(default_factory=dict)
    last: fx.Transitioned | None = None
    since: float = 0.0
    _stamped: dict[int, bytes] = field(default_factory=dict)
    _garps: tuple[bytes, ...] = ()

    @property
    def name(self) -> str:
        """The VirtualIP's name."""
        return self.config.name

    @property
    def lifetime(self) -> int:
        """L, seconds."""
        return self.config.lifetime

    def count(self, counter: str, by: int = 1) -> None:
        """One more."""
        self.counters[counter] = self.counters.get(counter, 0) + by

    @property
    def slot(self) -> int:
        """Nanoseconds: a MASTER's timer may be so late, so that routers share a wake-up; a BACKUP's never."""
        return self.config.advert_interval // _SLOTS

    def peer(self, source: bytes) -> Peer:
        """The counters of a source; of all others together, where there are too many to be true."""
        known = self.peers.get(source)
        if known is None:
            known = self.peers.setdefault(source if len(self.peers) < _MOST_PEERS else _OTHERS, Peer())
        return known

    def statistics(self) -> dict[str, int]:
        """Every counter; `received_from_ADDRESS` for each peer."""
        peers = {f"received_from_{_text(source) or 'others'}": peer.received for source, peer in self.peers.items()}
        unread = sum(value for name, value in self.counters.items() if name.startswith("drop_"))
        received = sum(peer.received for peer in self.peers.values()) + unread
        return self.counters | self.core.drops | peers | {"sent": self.sent, "received": received}

    def reconfigure(self, config: ipc.RouterConfig) -> None:
        """Takes a new configuration; the caller tells the core."""
        self.config = config
        self.addresses = parse_addresses(config)
        self._forget_templates()

    def attach(self, link: Link | None, sender: Sender | None) -> None:
        """Where it runs from now on."""
        self.link, self.sender = link, sender
        self._forget_templates()

    def _forget_templates(self) -> None:
        self._stamped.clear()
        self._garps = ()

    def advertisement(self, priority: int) -> bytes:
        """The payload to send; kept, as a MASTER sends the same one for hours."""
        assert self.sender is not None
        payload = self._stamped.get(priority)
        if payload is None:
            if len(self._stamped) >= _LARGEST_CACHE:
                self._stamped.clear()
            payload = stamp(self.config.advertisement, priority, self.sender.source, self.sender.destination)
            self._stamped[priority] = payload
        return payload

    def garps(self) -> tuple[bytes, ...]:
        """A gratuitous ARP for each address."""
        assert self.link is not None
        if not self._garps:
            hardware_address = self.link.hardware_address
            self._garps = tuple(stamp_hardware_address(frame, hardware_address) for frame in self.config.announcements)
        return self._garps

    def note(self, transition: fx.Transitioned) -> None:
        """Remembers what is to be reported."""
        if transition.entered or self.last is None:
            self.since = time.time()
            self.count("transitions")
        self.last = transition

    def report(self, interfaces: Interfaces) -> ipc.RouterState | None:
        """The state for control; None before there is one."""
        last = self.last
        if last is None:
            return None
        held: tuple[str, ...] = ()
        if self.link is not None:
            wanted = {address.ip.packed for address in self.addresses}
            held = tuple(
                f"{IPv4Address(address.ip)}/{address.prefix_length}"
                for address in interfaces.on_interface(self.link.index)
                if address.ip in wanted
            )
        return ipc.RouterState(
            name=self.name,
            state=str(self.core.state),
            priority=self.core.priority,
            reason=last.reason,
            message=last.message,
            since=self.since,
            interface=self.link.name if self.link else "",
            source=_text(self.sender.source) if self.sender else "",
            addresses=held,
            master=_text(self.core.master),
            takeover=last.takeover,
            mismatches={_text(source): text for source, text in self.core.mismatches.items()},
        )


def _text(packed: bytes) -> str:
    return str(IPv4Address(packed)) if packed else ""


def parse_addresses(config: ipc.RouterConfig) -> tuple[IPv4Interface, ...]:
    """The addresses with their prefixes."""
    return tuple(IPv4Interface(text) for text in config.addresses)


def settings_of(config: ipc.RouterConfig) -> Settings:
    """What the core needs of a configuration."""
    return Settings(
        vrid=config.vrid,
        version=config.version,
        addresses=frozenset(address.ip.packed for address in parse_addresses(config)),
        base_priority=config.base_priority,
        advert_interval=config.advert_interval,
        preempt=config.preempt,
        fast_preempt=config.fast_preempt,
        preempt_delay=config.preempt_delay,
        hold_until=BOOT + config.startup_delay if config.startup_delay else 0,
        down_timer_adverts=config.down_timer_adverts,
        rank=config.rank,
        draining=config.draining,
        garp=Garp(
            repeat=config.garp.repeat,
            interval=config.garp.interval,
            delay=config.garp.delay,
            refresh=config.garp.refresh,
            refresh_repeat=config.garp.refresh_repeat,
        ),
        lifetime=config.lifetime * SECOND,
        authentication=config.authentication,
        members=frozenset(IPv4Address(member).packed for member in config.members),
        group=config.group,
        trackers=frozenset(config.trackers),
    )


def identity(config: ipc.RouterConfig) -> tuple[object, ...]:
    """What cannot change in place."""
    return config.vrid, config.version, config.interface


def link_problem(router: RunningRouter, problem: str) -> ev.LinkDown:
    """What is wrong with the link, for the core."""
    link = router.link
    if link is None:
        return ev.LinkDown("NoInterface", problem)
    if not link.usable:
        return ev.LinkDown("LinkDown", f"{link.name} is {'down' if not link.up else 'without carrier'}")
    if problem.startswith("VRID"):
        return ev.LinkDown("VRIDInUse", problem)
    return ev.LinkDown("NoInterface", problem or f"{link.name} has no address of its own to advertise from")
