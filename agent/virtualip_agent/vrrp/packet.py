"""The VRRP advertisement as bytes: reading one, and stamping priority and checksum into a template.

VRRPv2: RFC 3768, section 5 (PASS: RFC 2338, section 5.3.6). VRRPv3: RFC 9568, section 5. The family is that of the
packed addresses that come along: 4 bytes are IPv4, 16 are IPv6.
"""

import struct
from enum import StrEnum
from typing import Final, NamedTuple

PROTOCOL: Final = 112
TTL: Final = 255
"""RFC 9568, section 5.1.1.3: whatever passed a router is not from this segment."""
GROUP: Final = "224.0.0.18"
GROUP_V6: Final = "ff02::12"

_HEADER: Final = struct.Struct("!BBBBHH")
_IPV6: Final = 16
"""Bytes of an address."""
_ADVERTISEMENT: Final = 1
_AUTH_NONE: Final = 0
_AUTH_PASS: Final = 1
_AUTH_LENGTH: Final = 8
_CENTISECOND: Final = 10_000_000
_SECOND: Final = 1_000_000_000
_PRIORITY_OFFSET: Final = 2
_CHECKSUM: Final = slice(6, 8)


class Drop(StrEnum):
    """Why an advertisement was not even looked at; each is a counter."""

    TTL = "drop_ttl"
    LENGTH = "drop_length"
    VERSION = "drop_version"
    TYPE = "drop_type"
    CHECKSUM = "drop_checksum"
    VRID = "drop_vrid"
    NO_ADDRESSES = "drop_no_addresses"
    ZERO_INTERVAL = "drop_zero_interval"
    AUTHENTICATION = "drop_authentication"
    INTERVAL = "drop_interval"
    OWN_ADDRESS = "drop_own_address"
    DESTINATION = "drop_destination"
    """To the group where the router is unicast, or to our own address where it is multicast."""
    UNKNOWN_SENDER = "drop_unknown_sender"
    """From no member, where only members are heard."""


class Advertisement(NamedTuple):
    """A well-formed advertisement."""

    version: int
    vrid: int
    priority: int
    interval: int
    """Nanoseconds."""
    addresses: frozenset[bytes]
    """Packed."""
    authentication: bytes = b""
    """v2: the 8 bytes of PASS; empty for type 0 and for v3."""
    bare_checksum: bool = False
    """v3 over IPv4: summed without a pseudo-header, as RFC 9568 has it."""


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of data, odd lengths padded."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pseudo_header(source: bytes, destination: bytes, length: int) -> bytes:
    """The pseudo-header of a VRRP message (IPv4: RFC 793, section 3.1; IPv6: RFC 8200, section 8.1)."""
    if len(source) == _IPV6:
        return source + destination + struct.pack("!II", length, PROTOCOL)
    return source + destination + struct.pack("!BBH", 0, PROTOCOL, length)


def parse(payload: bytes, source: bytes, destination: bytes) -> Advertisement | Drop:
    """Reads what followed the IP header; source and destination are packed addresses, for the checksum."""
    if len(payload) < _HEADER.size:
        return Drop.LENGTH
    kind, vrid, priority, count, field, _ = _HEADER.unpack_from(payload)
    version = kind >> 4
    size = len(source)
    # version 2 is for IPv4 alone (RFC 3768, section 1)
    if version != 3 and (version != 2 or size == _IPV6):
        return Drop.VERSION
    if kind & 0x0F != _ADVERTISEMENT:
        return Drop.TYPE
    if not vrid:
        return Drop.VRID
    if not count:
        return Drop.NO_ADDRESSES
    length = _HEADER.size + size * count + (_AUTH_LENGTH if version == 2 else 0)
    if len(payload) < length:
        return Drop.LENGTH
    # RFC 3768 sums the VRRP message only; so does RFC 9568 for IPv4, but RFC 5798 was read to include the
    # pseudo-header, and keepalived and FRR send that by default: both are accepted. For IPv6 it is always summed
    # (RFC 9568, section 5.2.8).
    bare = size != _IPV6 and not checksum(payload)
    if not bare and (version == 2 or checksum(pseudo_header(source, destination, len(payload)) + payload)):
        return Drop.CHECKSUM
    if version == 2:
        auth_type, interval = field >> 8, (field & 0xFF) * _SECOND
        authentication = payload[length - _AUTH_LENGTH : length] if auth_type == _AUTH_PASS else b""
        if auth_type not in (_AUTH_NONE, _AUTH_PASS):
            return Drop.AUTHENTICATION
    else:
        # the upper nibble is reserved and ignored on receipt (RFC 9568, section 5.2.6)
        interval, authentication = (field & 0x0FFF) * _CENTISECOND, b""
    if not interval:
        return Drop.ZERO_INTERVAL
    end = _HEADER.size + size * count
    addresses = frozenset(payload[offset : offset + size] for offset in range(_HEADER.size, end, size))
    return Advertisement(version, vrid, priority, interval, addresses, authentication, bare and version == 3)


def stamp(template: bytes, priority: int, source: bytes, destination: bytes, *, bare: bool = False) -> bytes:
    """The template with priority and checksum filled in.

    v3 over IPv4 sums the pseudo-header, as its deployed peers expect, unless `bare` asks for RFC 9568's form
    (section 5.2.8).
    """
    payload = bytearray(template)
    payload[_PRIORITY_OFFSET] = priority
    payload[_CHECKSUM] = b"\0\0"
    summed = bytes(payload)
    if payload[0] >> 4 == 3 and not (bare and len(source) != _IPV6):
        summed = pseudo_header(source, destination, len(payload)) + summed
    payload[_CHECKSUM] = checksum(summed).to_bytes(2, "big")
    return bytes(payload)
