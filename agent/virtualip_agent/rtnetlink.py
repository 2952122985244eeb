"""rtnetlink(7) messages for links and addresses: bytes in, values out.

Only what vrrp and the interface trackers need. pyroute2 does this too, but brings 20 MiB and asyncio into a process
that is locked in memory; the tests hold these bytes against it.
"""

import errno
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

DATAGRAM: Final = 1 << 17
"""Bytes, the most that the kernel sends at once."""
NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
RTM_NEWLINK: Final = 16
RTM_DELLINK: Final = 17
RTM_GETLINK: Final = 18
RTM_NEWADDR: Final = 20
RTM_DELADDR: Final = 21
RTM_GETADDR: Final = 22
RTM_NEWNETCONF: Final = 80
RTM_GETNETCONF: Final = 82

NLM_F_REQUEST: Final = 0x001
NLM_F_ACK: Final = 0x004
NLM_F_DUMP: Final = 0x300
NLM_F_REPLACE: Final = 0x100
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400

RTMGRP_LINK: Final = 0x1
RTMGRP_IPV4_IFADDR: Final = 0x10
RTMGRP_IPV6_IFADDR: Final = 0x100
RTMGRP_IPV6_NETCONF: Final = 1 << 24
"""RTNLGRP_IPV6_NETCONF is the 25th."""

TAG: Final = 112
"""IFA_PROTO of our addresses (VRRP's protocol number): ownership that survives the process."""

_LONGEST_LIFETIME: Final = 4200
"""Seconds; L is below that with the longest interval (40.95 s) and the most advertisements missed (100)."""

_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_IFA_CACHEINFO: Final = 6
_IFA_FLAGS: Final = 8
_IFA_PROTO: Final = 11
_IFA_F_TEMPORARY: Final = 0x01
_IFA_F_NODAD: Final = 0x02
_IFA_F_DADFAILED: Final = 0x08
_IFA_F_TENTATIVE: Final = 0x40
_IFA_F_NOPREFIXROUTE: Final = 0x200
_NETCONFA_IFINDEX: Final = 1
_NETCONFA_FORWARDING: Final = 2
_IFLA_ADDRESS: Final = 1
_IFLA_IFNAME: Final = 3
_IFLA_LINK: Final = 5
_IFLA_LINKINFO: Final = 18
_IFLA_LINK_NETNSID: Final = 37
_IFLA_INFO_KIND: Final = 1
_IFF_UP: Final = 0x1
_IFF_RUNNING: Final = 0x40
_ARPHRD_ETHER: Final = 1  # linux/if_arp.h

_KINDS_WITH_BASE: Final = (b"vlan", b"macvlan", b"macvtap", b"ipvlan")
"""A veth has its peer in IFLA_LINK, a tunnel what its packets leave by: they say so themselves, by their carrier."""

_HEADER: Final = struct.Struct("=IHHII")
_IFADDRMSG: Final = struct.Struct("=BBBBI")
_IFINFOMSG: Final = struct.Struct("=BxHiII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_CACHEINFO: Final = struct.Struct("=IIII")
_ERROR: Final = struct.Struct("=i")
_FLAGS: Final = struct.Struct("=I")
_NETCONFMSG: Final = struct.Struct("=Bxxx")


class Message(NamedTuple):
    """One netlink message without its header."""

    type: int
    sequence: int
    port: int
    """nlmsg_pid: the socket whose request caused it; 0 for the kernel's own doing."""
    payload: bytes


@dataclass(frozen=True, slots=True)
class Address:
    """An address on an interface; of which family says its length."""

    index: int
    ip: bytes
    prefix_length: int
    tag: int = 0
    """IFA_PROTO; 0 where the kernel (before 5.18) does not keep it."""
    unusable: str = ""
    """Why nothing may be sent from it (IPv6: `tentative`, `duplicate`, `temporary`); empty: it may."""


@dataclass(frozen=True, slots=True)
class Link:
    """An interface."""

    index: int
    name: str
    hardware_address: bytes
    up: bool
    running: bool
    """Carrier and operational state, as the kernel sums it up in IFF_RUNNING."""
    base: int = 0
    """Index of the interface below it (a VLAN's, a macvlan's), where that is in the same namespace; else 0."""
    incarnation: int = 0
    """How often an interface of this index was deleted before, as far as the reader knows."""
    ethernet: bool = True
    """Its frames are Ethernet's: neither a tunnel's (no addresses) nor InfiniBand's (20 bytes long)."""

    @property
    def usable(self) -> bool:
        """Administratively up, and running."""
        return self.up and self.running


def _message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, flags | NLM_F_REQUEST, sequence, 0) + body


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _family(address: Address) -> int:
    return socket.AF_INET if len(address.ip) == 4 else socket.AF_INET6


def _address_body(address: Address, *more: bytes) -> bytes:
    return (
        _IFADDRMSG.pack(_family(address), address.prefix_length, 0, 0, address.index)
        + _attribute(_IFA_LOCAL, address.ip)
        + _attribute(_IFA_ADDRESS, address.ip)
        + b"".join(more)
    )


def new_address(address: Address, lifetime: int, sequence: int, *, exclusive: bool, answered: bool = True) -> bytes:
    """Adds the address (EEXIST where it is there) or refreshes it; `lifetime` in seconds, preferred 0.

    IPv6: without duplicate address detection (the MASTER before may answer on for a moment, and a second of waiting is
    a second without the address), and without a prefix route, which would end with the address.

    answered: also where it was done; an error is answered always.
    """
    flags = _answer(answered) | NLM_F_CREATE | (NLM_F_EXCL if exclusive else NLM_F_REPLACE)
    return _message(RTM_NEWADDR, flags, sequence, _address_with_lifetime(address, lifetime))


@lru_cache(maxsize=1024)
def _address_with_lifetime(address: Address, lifetime: int) -> bytes:
    """Kept: the same ones are refreshed every second."""
    return _address_body(
        address,
        _attribute(_IFA_CACHEINFO, _CACHEINFO.pack(0, lifetime, 0, 0)),
        _attribute(_IFA_PROTO, bytes([TAG])),
        *_ipv6_flags(address),
    )


def _ipv6_flags(address: Address) -> tuple[bytes, ...]:
    if _family(address) != socket.AF_INET6:
        return ()
    return (_attribute(_IFA_FLAGS, _FLAGS.pack(_IFA_F_NODAD | _IFA_F_NOPREFIXROUTE)),)


def delete_address(address: Address, sequence: int, *, answered: bool = True) -> bytes:
    """Takes the address off; EADDRNOTAVAIL where it is not there."""
    return _message(RTM_DELADDR, _answer(answered), sequence, _address_body(address))


def _answer(wanted: bool) -> int:
    return NLM_F_ACK if wanted else 0


def dump_addresses(sequence: int) -> bytes:
    """Asks for all addresses of either family."""
    return _message(RTM_GETADDR, NLM_F_DUMP, sequence, _IFADDRMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0))


def dump_forwarding(sequence: int) -> bytes:
    """Asks for the IPv6 settings of all interfaces; EOPNOTSUPP where the kernel has no IPv6."""
    return _message(RTM_GETNETCONF, NLM_F_DUMP, sequence, _NETCONFMSG.pack(socket.AF_INET6))


def dump_links(sequence: int) -> bytes:
    """Asks for all interfaces."""
    return _message(RTM_GETLINK, NLM_F_DUMP, sequence, _IFINFOMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0))


def messages(data: bytes) -> Iterator[Message]:
    """The messages of one datagram."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _, sequence, port = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            return
        yield Message(kind, sequence, port, data[offset + _HEADER.size : offset + length])
        offset += (length + 3) & ~3


def drain(notifications: socket.socket) -> None:
    """After an overrun: forgets the messages that are still in the queue of a non-blocking socket. They are newer than
    what was lost, and older than what the kernel is asked for next. OSError as it comes, but for another overrun."""
    while True:
        try:
            notifications.recv(DATAGRAM)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise


def error_code(payload: bytes) -> int:
    """The errno of an NLMSG_ERROR; 0 is an acknowledgement."""
    code: int = _ERROR.unpack_from(payload)[0]
    return -code


def _attributes(payload: bytes, offset: int) -> dict[int, bytes]:
    found = {}
    while offset + _ATTRIBUTE.size <= len(payload):
        length, kind = _ATTRIBUTE.unpack_from(payload, offset)
        if length < _ATTRIBUTE.size:
            break
        found[kind & 0x3FFF] = payload[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
    return found


def parse_address(payload: bytes) -> Address | None:
    """The address of an RTM_NEWADDR or RTM_DELADDR; None where it is neither IPv4 nor IPv6."""
    family, prefix_length, flags, _, index = _IFADDRMSG.unpack_from(payload)
    if family not in (socket.AF_INET, socket.AF_INET6):
        return None
    attributes = _attributes(payload, _IFADDRMSG.size)
    ip = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
    if ip is None:
        return None
    unusable = ""
    if family == socket.AF_INET6:
        if _IFA_FLAGS in attributes:
            (flags,) = _FLAGS.unpack(attributes[_IFA_FLAGS])
        unusable = _unusable(flags)
    return Address(index, ip, prefix_length, (attributes.get(_IFA_PROTO) or b"\0")[0], unusable)


def ends_by_itself(payload: bytes) -> bool:
    """Whether the address of an RTM_NEWADDR has a lifetime as ours do: preferred 0, valid no longer than ours can be.
    Neither a person nor a DHCP client gives one such."""
    information = _attributes(payload, _IFADDRMSG.size).get(_IFA_CACHEINFO, b"")
    if len(information) < _CACHEINFO.size:
        return False
    preferred, valid, _, _ = _CACHEINFO.unpack_from(information)
    return bool(preferred == 0 and 0 < valid <= _LONGEST_LIFETIME)


def _unusable(flags: int) -> str:
    # a duplicate stays tentative as well
    for flag, why in (
        (_IFA_F_DADFAILED, "duplicate"),
        (_IFA_F_TENTATIVE, "tentative"),
        (_IFA_F_TEMPORARY, "temporary"),
    ):
        if flags & flag:
            return why
    return ""


def parse_forwarding(payload: bytes) -> tuple[int, bool] | None:
    """Interface index and `forwarding` of an RTM_NEWNETCONF for IPv6; None where it is about something else."""
    attributes = _attributes(payload, _NETCONFMSG.size)
    index, forwarding = attributes.get(_NETCONFA_IFINDEX), attributes.get(_NETCONFA_FORWARDING)
    if payload[0] != socket.AF_INET6 or index is None or forwarding is None:
        return None
    return int.from_bytes(index, sys.byteorder, signed=True), forwarding != bytes(4)


def parse_link(payload: bytes) -> Link | None:
    """The interface of an RTM_NEWLINK or RTM_DELLINK; None where the message is of a bridge's port (AF_BRIDGE): an
    RTM_DELLINK of those says that an interface has left its bridge, not that it is gone."""
    family, kind, index, flags, _ = _IFINFOMSG.unpack_from(payload)
    if family != socket.AF_UNSPEC:
        return None
    attributes = _attributes(payload, _IFINFOMSG.size)
    return Link(
        index,
        attributes.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode(errors="replace"),
        attributes.get(_IFLA_ADDRESS, b""),
        bool(flags & _IFF_UP),
        bool(flags & _IFF_RUNNING),
        _base(attributes),
        ethernet=kind == _ARPHRD_ETHER,
    )


def _base(attributes: dict[int, bytes]) -> int:
    kind = _attributes(attributes.get(_IFLA_LINKINFO, b""), 0).get(_IFLA_INFO_KIND, b"").rstrip(b"\0")
    link = attributes.get(_IFLA_LINK)
    if kind not in _KINDS_WITH_BASE or link is None or _IFLA_LINK_NETNSID in attributes:
        return 0
    return int.from_bytes(link, sys.byteorder)
