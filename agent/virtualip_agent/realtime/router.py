"""One virtual router as it runs here: the core beside its configuration, interface, templates and counters."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface
from socket import AF_INET
from typing import Final

from virtualip_agent import ipc
from virtualip_agent.realtime.announcements import stamp_announcement
from virtualip_agent.realtime.interfaces import Interfaces, Vip
from virtualip_agent.realtime.vrrp_sockets import Destination, Sender, destination, family_of, group_of
from virtualip_agent.rtnetlink import Link
from virtualip_agent.vrrp import effects as fx
from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.packet import stamp
from virtualip_agent.vrrp.priority import Contribution
from virtualip_agent.vrrp.settings import Garp, Settings
from virtualip_agent.vrrp.timing import PUNCTUALITY, SECOND
from virtualip_agent.vrrp.virtual_router import VirtualRouter
from virtualip_api.status import State

log = logging.getLogger(__name__)

_LARGEST_CACHE = 8
_MOST_PEERS: Final = 32
_OTHERS: Final = b""
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
    addresses: tuple[Vip, ...]
    contributions: dict[str, Contribution] = field(default_factory=dict)
    link: Link | None = None
    sender: Sender | None = None
    successor: ipc.RouterConfig | None = None
    """To be started when this one has been released: an edit that cannot be applied in place."""
    leaving: bool = False
    counters: dict[str, int] = field(default_factory=dict)
    sent: int = 0
    """Advertisements that were not resignations."""
    sent_to: dict[bytes, int] = field(default_factory=dict)
    """The same by peer, of a unicast router."""
    peers: dict[bytes, Peer] = field(default_factory=dict)
    bare_peers: dict[bytes, Peer] = field(default_factory=dict)
    """Those of version 3 over IPv4 whose checksum leaves the pseudo-header out (RFC 9568)."""
    last: fx.Transitioned | None = None
    since: float = 0.0
    listens_at: bytes = b""
    """The destination of the advertisements that are meant for this router: the group, or our own address."""
    acquainted: bytes = b""
    """The MASTER that is in the kernel's filter as known."""
    down: ev.LinkDown | None = None
    """Why it cannot take part where it is, as the core was told."""
    packed: tuple[bytes, ...] = field(init=False)
    """The addresses as the kernel and the wire have them."""
    unicast: bool = field(init=False)
    """Whether it speaks to its members instead of the group."""
    patience: int = field(init=False)
    """Nanoseconds of a MASTER's silence after which every other has taken over that can: skew_time is under an interval
    (RFC 9568, section 6.1)."""
    slot: int = field(init=False)
    """Nanoseconds: what a MASTER has to do beside advertising may be so late, so that routers share a wake-up."""
    stamped: dict[int, tuple[tuple[bytes, Destination], ...]] = field(default_factory=dict)
    """Advertisements by priority."""
    _members: tuple[bytes, ...] | None = None
    _announcements: tuple[bytes, ...] = ()
    _forwarding: bool = False

    def __post_init__(self) -> None:
        self._derive()

    def _derive(self) -> None:
        """What is asked for at each advertisement is worked out once for a configuration."""
        interval = self.config.advert_interval
        self.packed = tuple(address.ip.packed for address in self.addresses)
        self.unicast = self.config.transport == "Unicast"
        self.patience = (self.config.down_timer_adverts + 1) * interval
        self.slot = interval // PUNCTUALITY

    @property
    def name(self) -> str:
        """The VirtualIP's name, with both families `NAME/IPv4` or `NAME/IPv6`."""
        return self.config.name

    @property
    def lifetime(self) -> int:
        """L, seconds."""
        return self.config.lifetime

    @property
    def wakes_at(self) -> int | None:
        """When its timer is to fire, nanoseconds: a MASTER's at the end of its slot, or where an advertisement is due
        before. Its rounds of gratuitous ARP count from when it took over, each router's from another moment: so they
        share wake-ups all the same."""
        deadline = self.core.deadline
        if deadline is None or not self.core.is_master:
            return deadline
        return min(deadline + -deadline % self.slot, max(deadline, self.core.advertises_at))

    @property
    def index(self) -> int:
        """Of its interface; 0 where there is none."""
        return self.link.index if self.link is not None else 0

    @property
    def family(self) -> int:
        """AF_INET or AF_INET6."""
        return family_of(self.packed[0])

    @property
    def unicast_peers(self) -> tuple[bytes, ...]:
        """Whom a unicast router speaks to."""
        return self.members if self.unicast else ()

    @property
    def members(self) -> tuple[bytes, ...]:
        """The addresses of our family by which the other members are known; parsed once, as takers-over need them."""
        if self._members is None:
            packed = (ip_address(member).packed for member in self.config.members)
            self._members = tuple(member for member in packed if family_of(member) == self.family)
        return self._members

    @property
    def acquaintances(self) -> tuple[bytes, ...]:
        """Whom it must hear, whoever else speaks: whoever is MASTER, and the planned members."""
        return (self.core.master, *self.members) if self.core.master else self.members

    @property
    def sources(self) -> frozenset[bytes] | None:
        """What it may advertise from; None: whatever is best."""
        named = self.config.sources
        return None if named is None else frozenset(ip_address(source).packed for source in named)

    def contribute(self, contributions: Mapping[str, ipc.Contribution]) -> Mapping[str, Contribution]:
        """Takes in what control says of the trackers; all that is known of them. A control that has just started does
        not know every one yet: the last word stands until the next."""
        new = {key: Contribution(value.value, value.fault, value.healthy) for key, value in contributions.items()}
        known = self.contributions | new
        # in the order of the spec, whichever came first; those of an edit that is under way last
        names = dict.fromkeys((*self.config.trackers, *new))
        self.contributions = {name: known[name] for name in names if name in known}
        return self.contributions

    @property
    def decided(self) -> bool:
        """Whether every tracker's contribution is known."""
        return self.contributions.keys() >= set(self.config.trackers)

    def count(self, counter: str, by: int = 1) -> None:
        """One more."""
        self.counters[counter] = self.counters.get(counter, 0) + by

    def peer(self, source: bytes, *, bare_checksum: bool = False) -> Peer:
        """The counters of a source; of all others together, where there are too many to be true."""
        peers = self.bare_peers if bare_checksum else self.peers
        known = peers.get(source)
        if known is None:
            known = peers.setdefault(source if len(peers) < _MOST_PEERS else _OTHERS, Peer())
        return known

    def statistics(self) -> dict[str, int]:
        """Every counter; `received_from_ADDRESS` for each peer, and of a unicast router `sent_to_ADDRESS`."""
        peers: dict[str, int] = {}
        for source, peer in (*self.peers.items(), *self.bare_peers.items()):
            name = f"received_from_{_text(source) or 'others'}"
            peers[name] = peers.get(name, 0) + peer.received
        forms: dict[str, int] = {}
        if self.config.version == 3 and self.family == AF_INET:
            forms["received_rfc9568_checksum"] = sum(peer.received for peer in self.bare_peers.values())
            forms["received_pseudo_header_checksum"] = sum(peer.received for peer in self.peers.values())
        unread = sum(value for name, value in self.counters.items() if name.startswith("drop_"))
        received = sum(peers.values()) + unread
        # the codec and the core may drop for the same reason
        drops = {name: self.counters.get(name, 0) + count for name, count in self.core.drops.items()}
        sent = {f"sent_to_{_text(peer)}": count for peer, count in self.sent_to.items()}
        return self.counters | drops | peers | sent | forms | {"sent": self.sent, "received": received}

    def reconfigure(self, config: ipc.RouterConfig) -> None:
        """Takes a new configuration; the caller tells the core."""
        self.config = config
        self.addresses = parse_addresses(config)
        self._derive()
        self._members = None
        self._forget_templates()

    def attach(self, link: Link | None, sender: Sender | None) -> None:
        """Where it runs from now on."""
        if link is not None and link != self.link and not link.ethernet:
            log.warning("%s: %s is not Ethernet: no neighbour is told where the addresses are", self.name, link.name)
        self.link, self.sender, self.down = link, sender, None
        if sender is not None:
            self.listens_at = sender.source if self.unicast else group_of(self.family)
        self._forget_templates()

    def _forget_templates(self) -> None:
        self.stamped.clear()
        self._announcements = ()

    def advertisements(self, priority: int) -> tuple[tuple[bytes, Destination], ...]:
        """The payload for each destination; `stamped` has it from then on: a MASTER sends the same ones for hours."""
        if known := self.stamped.get(priority):
            return known
        assert self.sender is not None
        assert self.link is not None
        if len(self.stamped) >= _LARGEST_CACHE:
            self.stamped.clear()
        to = [destination(packed, self.link.index) for packed in self.unicast_peers or (group_of(self.family),)]
        source, template = self.sender.source, self.config.advertisement
        bare = self.config.checksum == "RFC9568"
        made = tuple((stamp(template, priority, source, one.packed, bare=bare), one) for one in to)
        self.stamped[priority] = made
        return made

    def peer_text(self, to: Destination) -> str:
        """The peer of a unicast router; '' is the group."""
        return to.address[0] if self.unicast else ""

    def set_forwarding(self, forwarding: bool) -> None:
        """Whether the interface forwards IPv6: the router flag of neighbour advertisements."""
        if forwarding != self._forwarding:
            self._forwarding = forwarding
            self._announcements = ()

    def announcements(self) -> tuple[bytes, ...]:
        """A gratuitous ARP or an unsolicited neighbour advertisement for each address; none but on Ethernet."""
        assert self.link is not None
        if not self._announcements and self.link.ethernet:
            hardware_address = self.link.hardware_address
            self._announcements = tuple(
                stamp_announcement(frame, hardware_address, router=self._forwarding)
                for frame in self.config.announcements
            )
        return self._announcements

    @property
    def told_as_master(self) -> bool:
        """Whether that is what was reported last."""
        return self.last is not None and self.last.state is State.MASTER

    def note(self, transition: fx.Transitioned) -> None:
        """Remembers what is to be reported."""
        if self.last is None or (transition.entered and transition.state is not self.last.state):
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
            wanted = set(self.packed)
            held = tuple(
                f"{ip_address(address.ip)}/{address.prefix_length}"
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
            asks=self.core.asks_segment,
            takeover=last.takeover,
            mismatches={_text(source): text for source, text in self.core.mismatches.items()},
            foreign={_text(source): text for source, text in self.core.foreign.items()},
        )


def _text(packed: bytes) -> str:
    return str(ip_address(packed)) if packed else ""


def parse_addresses(config: ipc.RouterConfig) -> tuple[Vip, ...]:
    """The addresses with their prefixes."""
    return tuple(ip_interface(text) for text in config.addresses)


def settings_of(config: ipc.RouterConfig) -> Settings:
    """What the core needs of a configuration."""
    return Settings(
        vrid=config.vrid,
        version=config.version,
        addresses=frozenset(address.ip.packed for address in parse_addresses(config)),
        advertised=frozenset(ip_address(address).packed for address in config.advertised),
        base_priority=config.base_priority,
        advert_interval=config.advert_interval,
        in_slots=True,
        preempt=config.preempt,
        fast_preempt=config.fast_preempt,
        preempt_damping=config.preempt_damping,
        preempt_delay=config.preempt_delay,
        hold_until=BOOT + config.startup_delay if config.startup_delay else 0,
        ask_patience=config.ask_patience,
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
        members=frozenset(ip_address(member).packed for member in config.members),
        group=config.group,
        strict_peers=config.strict_peers or config.transport == "Unicast",
        trackers=frozenset(config.trackers),
    )


def identity(config: ipc.RouterConfig) -> tuple[object, ...]:
    """What cannot change in place, but for the interface: of that it counts which one it is, not how it is named."""
    return config.vrid, config.version, ip_interface(config.addresses[0]).version, config.transport
