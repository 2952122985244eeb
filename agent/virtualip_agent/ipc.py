"""What control and vrrp say to each other: msgpack over a SEQPACKET socket, one message a packet.

control connects, says Hello, then its whole picture: a SetRouter for each virtual router and Complete with their names
(vrrp gives up what is not among them); then changes as they come. vrrp answers Hello, then a RouterState for each
router, and again at each change. If control goes away vrrp runs on with what it has.

Unknown message types and fields from a newer version are ignored, so that both may be one version apart.
"""

from typing import Final

import msgspec

LARGEST_MESSAGE: Final = 1 << 17


class Contribution(msgspec.Struct, frozen=True, array_like=True):
    """One tracker's part in the effective priority: added as it is; a failed one of weight 0 is FAULT."""

    value: int = 0
    fault: bool = False
    healthy: bool = True


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """First message of either side."""

    pid: int = 0
    scheduling: str = ""
    """From vrrp: what real-time scheduling it got, e.g. `SCHED_RR 50` or `nice -20 (SCHED_RR refused: ...)`."""
    active: bool = True
    """From vrrp: False while it stands by because another agent holds this node's lock."""
    decided: tuple[str, ...] = ()
    """From vrrp: the routers for which it has a contribution of every tracker, from a control before this one."""


class Garp(msgspec.Struct, frozen=True):
    """How a MASTER announces its addresses. Durations are nanoseconds."""

    repeat: int = 5
    interval: int = 50_000_000
    delay: int = 5_000_000_000
    refresh: int = 0
    refresh_repeat: int = 1


class RouterConfig(msgspec.Struct, frozen=True):
    """One virtual router, ready to run. Durations are nanoseconds; addresses are packed or text as named."""

    name: str
    vrid: int
    version: int
    interface: str | None
    """None: the interface whose subnet holds the first address."""
    addresses: tuple[str, ...]
    """With prefix, as the user wrote them; all of one family, which is the router's."""
    base_priority: int
    advert_interval: int
    preempt: bool = True
    fast_preempt: bool = True
    preempt_damping: bool = True
    preempt_delay: int = 0
    startup_delay: int = 0
    """Counted from the machine's boot."""
    ask_patience: int = 0
    """How long a first take-over, where no MASTER was heard, waits for SegmentAnswers; 0: nobody is to be asked."""
    down_timer_adverts: int = 3
    rank: int = 0
    draining: bool = False
    garp: Garp = Garp()
    lifetime: int = 30
    """L, seconds: after so long without a refresh the kernel drops the addresses."""
    authentication: bytes = b""
    """VRRPv2 PASS, 8 bytes; empty: none."""
    members: tuple[str, ...] = ()
    """Source addresses of the planned members, of the router's family."""
    sources: tuple[str, ...] | None = None
    """Our own addresses by which the others know us: it is sent from these alone. None: from whichever is best."""
    alone: bool = False
    """The plan knows of no other member."""
    unknown_to: tuple[str, ...] = ()
    """Nodes that would not hear us yet: until there are none we take no part."""
    strict_peers: bool = False
    """Only `members` are heard."""
    checksum: str = "PseudoHeader"
    """Or `RFC9568`: VRRPv3 over IPv4 is summed without the pseudo-header."""
    group: str = ""
    """Routers of the same group are MASTER together or not at all."""
    trackers: tuple[str, ...] = ()
    """Names whose contributions must be known before the router may take part."""
    advertised: tuple[str, ...] = ()
    """Those of the addresses that advertisements name, without prefix; empty: all."""
    advertisement: bytes = b""
    """Template by scapy: the VRRP payload with priority and checksum zero; vrrp stamps both."""
    announcements: tuple[bytes, ...] = ()
    """Templates by scapy, one an address: a gratuitous ARP or an unsolicited neighbour advertisement as an Ethernet
    frame with both hardware addresses (and, of the latter, router flag and checksum) zero; vrrp stamps them."""
    transport: str = "Multicast"
    """Or `Unicast`: to each of `members` instead of the group."""
    generation: int = 0


class SetRouter(msgspec.Struct, frozen=True, tag="set"):
    """Start this router, or change it in place."""

    config: RouterConfig


class SetContributions(msgspec.Struct, frozen=True, tag="contributions"):
    """The whole map of trackers of a router; a tracker that has not reported yet is absent."""

    name: str
    contributions: dict[str, Contribution]


class RemoveRouter(msgspec.Struct, frozen=True, tag="remove"):
    """Withdraw: hand over, then forget."""

    name: str


class SegmentAnswers(msgspec.Struct, frozen=True, tag="segment-answers"):
    """The answer to RouterState.asks."""

    name: str
    by: str = ""
    """Who answered for the router's addresses, for a person; empty: nobody."""


class Complete(msgspec.Struct, frozen=True, tag="complete"):
    """Every router there is; others are withdrawn."""

    names: tuple[str, ...]


class GetStatistics(msgspec.Struct, frozen=True, tag="get-statistics"):
    """Ask for Statistics messages."""

    names: tuple[str, ...] = ()
    """Of these routers; empty: of all."""


class RouterState(msgspec.Struct, frozen=True, tag="state"):
    """What a router is, whole."""

    name: str
    state: str
    """MASTER, BACKUP or FAULT."""
    priority: int
    reason: str
    message: str
    since: float
    """Seconds since the epoch when `state` was entered."""
    interface: str = ""
    source: str = ""
    """Source address of our advertisements."""
    addresses: tuple[str, ...] = ()
    """As they are on the interface now."""
    master: str = ""
    """Source address of the MASTER last heard, or our own."""
    asks: bool = False
    """SegmentAnswers are waited for: who has the addresses? While FAULT, again and again."""
    takeover: int = -1
    """Nanoseconds; -1 unless MASTER by a take-over."""
    mismatches: dict[str, str] = {}
    """Member's address -> what does not agree in its advertisements."""
    foreign: dict[str, str] = {}
    """Address that should not advertise this VRID -> why: it is no member, or our own. It is not obeyed."""


class RouterGone(msgspec.Struct, frozen=True, tag="gone"):
    """The router was withdrawn; its addresses are off."""

    name: str


class Statistics(msgspec.Struct, frozen=True, tag="statistics"):
    """Counters per router, by name of the counter; several messages where there are many routers."""

    routers: dict[str, dict[str, int]]
    process: dict[str, int]
    lateness: dict[str, int] = {}
    """The real-time timer's: upper bound of a bucket in microseconds (`inf`: none) -> how often it fired so late."""
    more: bool = False
    """Another part of the answer follows."""


ToVrrp = Hello | SetRouter | SetContributions | RemoveRouter | SegmentAnswers | Complete | GetStatistics
FromVrrp = Hello | RouterState | RouterGone | Statistics

_encoder = msgspec.msgpack.Encoder()
_to_vrrp: msgspec.msgpack.Decoder[ToVrrp] = msgspec.msgpack.Decoder(ToVrrp)
_from_vrrp: msgspec.msgpack.Decoder[FromVrrp] = msgspec.msgpack.Decoder(FromVrrp)


def encode(message: ToVrrp | FromVrrp) -> bytes:
    """One packet."""
    return _encoder.encode(message)


def decode_to_vrrp(packet: bytes) -> ToVrrp:
    """msgspec.DecodeError where it is not understood."""
    return _to_vrrp.decode(packet)


def decode_from_vrrp(packet: bytes) -> FromVrrp:
    """msgspec.DecodeError where it is not understood."""
    return _from_vrrp.decode(packet)
