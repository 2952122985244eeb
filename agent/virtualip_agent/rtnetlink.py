"""rtnetlink(7) messages for links and addresses: bytes in, values out.

Only what vrrp and the interface trackers need. pyroute2 does this too, but brings 20 MiB and asyncio into a process
that is locked in memory; the tests hold these bytes against it.
"""

import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
RTM_NEWLINK: Final = 16
RTM_DELLINK: Final = 17
RTM_GETLINK: Final = 18
RTM_NEWADDR: Final = 20
RTM_DELADDR: Final = 21
RTM_GETADDR: Final = 22

NLM_F_REQUEST: Final = 0x001
NLM_F_ACK: Final = 0x004
NLM_F_DUMP: Final = 0x300
NLM_F_REPLACE: Final = 0x100
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400

RTMGRP_LINK: Final = 0x1
RTMGRP_IPV4_IFADDR: Final = 0x10

TAG: Final = 112
"""IFA_PROTO of our addresses (VRRP's protocol number): ownership that survives the process."""

_IFA_ADDRESS: Final = 1
_IFA_LOCAL: Final = 2
_IFA_CACHEINFO: Final = 6
_IFA_PROTO: Final = 11
_IFLA_ADDRESS: Final = 1
_IFLA_IFNAME: Final = 3
_IFLA_LINK: Final = 5
_IFLA_LINKINFO: Final = 18
_IFLA_LINK_NETNSID: Final = 37
_IFLA_INFO_KIND: Final = 1
_IFF_UP: Final = 0x1
_IFF_RUNNING: Final = 0x40

_KINDS_WITH_BASE: Final = (b"vlan", b"macvlan", b"macvtap", b"ipvlan")
"""A veth has its peer in IFLA_LINK, a tunnel what its packets leave by: they say so themselves, by their carrier."""

_HEADER: Final = struct.Struct("=IHHII")
_IFADDRMSG: Final = struct.Struct("=BBBBI")
_IFINFOMSG: Final = struct.Struct("=BxHiII")
_ATTRIBUTE: Final = struct.Struct("=HH")
_CACHEINFO: Final = struct.Struct("=IIII")
_ERROR: Final = struct.Struct("=i")


class Message(NamedTuple):
    """One netlink message without its header."""

    type: int
    sequence: int
    port: int
    """nlmsg_pid: the socket whose request caused it; 0 for the kernel's own doing."""
    payload: bytes


@dataclass(frozen=True, slots=True)
class Address:
    """An IPv4 address on an interface."""

    index: int
    ip: bytes
    prefix_length: int
    tag: int = 0
    """IFA_PROTO; 0 where the kernel (before 5.18) does not keep it."""


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

    @property
    def usable(self) -> bool:
        """Administratively up, and running."""
        return self.up and self.running


def _message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    return _HEADER.pack(_HEADER.size + len(body), kind, flags | NLM_F_REQUEST, sequence, 0) + body


def _attribute(kind: int, value: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def _address_body(address: Address, *more: bytes) -> bytes:
    return (
        _IFADDRMSG.pack(socket.AF_INET, address.prefix_length, 0, 0, address.index)
        + _attribute(_IFA_LOCAL, address.ip)
        + _attribute(_IFA_ADDRESS, address.ip)
        + b"".join(more)
    )


def new_address(address: Address, lifetime: int, sequence: int, *, exclusive: bool) -> bytes:
    """Adds the address (EEXIST where it is there) or refreshes it; `lifetime` in seconds, preferred 0."""
    flags = NLM_F_ACK | NLM_F_CREATE | (NLM_F_EXCL if exclusive else NLM_F_REPLACE)
    body = _address_body(
        address,
        _attribute(_IFA_CACHEINFO, _CACHEINFO.pack(0, lifetime, 0, 0)),
        _attribute(_IFA_PROTO, bytes([TAG])),
    )
    return _message(RTM_NEWADDR, flags, sequence, body)


def delete_address(address: Address, sequence: int) -> bytes:
    """Takes the address off; EADDRNOTAVAIL where it is not there."""
    return _message(RTM_DELADDR, NLM_F_ACK, sequence, _address_body(address))


def dump_addresses(sequence: int) -> bytes:
    """Asks for all IPv4 addresses."""
    return _message(RTM_GETADDR, NLM_F_DUMP, sequence, _IFADDRMSG.pack(socket.AF_INET, 0, 0, 0, 0))


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
    """The address of an RTM_NEWADDR or RTM_DELADDR; None where it is not IPv4."""
    family, prefix_length, _, _, index = _IFADDRMSG.unpack_from(payload)
    if family != socket.AF_INET:
        return None
    attributes = _attributes(payload, _IFADDRMSG.size)
    ip = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
    if ip is None:
        return None
    return Address(index, ip, prefix_length, (attributes.get(_IFA_PROTO) or b"\0")[0])


def parse_link(payload: bytes) -> Link | None:
    """The interface of an RTM_NEWLINK or RTM_DELLINK; None where the message is of a bridge's port (AF_BRIDGE): an
    RTM_DELLINK of those says that an interface has left its bridge, not that it is gone."""
    family, _, index, flags, _ = _IFINFOMSG.unpack_from(payload)
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
    )


def _base(attributes: dict[int, bytes]) -> int:
    kind = _attributes(attributes.get(_IFLA_LINKINFO, b""), 0).get(_IFLA_INFO_KIND, b"").rstrip(b"\0")
    link = attributes.get(_IFLA_LINK)
    if kind not in _KINDS_WITH_BASE or link is None or _IFLA_LINK_NETNSID in attributes:
        return 0
    return int.from_bytes(link, sys.byteorder)
