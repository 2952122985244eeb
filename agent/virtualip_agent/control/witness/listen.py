"""A raw socket that hears all VRRP of one family on an interface but what is as it should be. Needs NET_RAW."""

import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from typing import Final, NamedTuple

from virtualip_agent.bpf import attach
from virtualip_agent.control.witness.post import IPAddress
from virtualip_agent.control.witness.survey_filter import program
from virtualip_agent.vrrp.packet import GROUP, GROUP_V6, PROTOCOL

_BUFFER: Final = 1 << 15
"""In a flood the kernel drops what has no room here, which costs it little and us nothing."""
_MOST_AT_ONCE: Final = 64
_LARGEST: Final = 2048
_ADDRESSES_AT: Final = 8


class Overheard(NamedTuple):
    """One VRRP message."""

    source: IPAddress
    ttl: int
    vrid: int
    priority: int
    addresses: frozenset[IPAddress]
    """As far as it can be read."""


class Heed(NamedTuple):
    """What is as it should be: these VRIDs, from these senders (packed)."""

    vrids: frozenset[int]
    known: frozenset[bytes]


class Listener:
    """OSError where the interface is gone."""

    def __init__(self, interface: str, version: int) -> None:
        self.interface = interface
        self.version = version
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self._heeded: Heed | None = None
        self._socket = socket.socket(family, kind, PROTOCOL)
        try:
            self.index = socket.if_nametoindex(interface)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            if version == 4:
                group = struct.pack("4s4si", socket.inet_aton(GROUP), bytes(4), self.index)
                self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
            else:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
                group = struct.pack("16si", socket.inet_pton(socket.AF_INET6, GROUP_V6), self.index)
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
        except BaseException:
            self._socket.close()
            raise

    def heed(self, heed: Heed) -> None:
        """What is as it should be from now on."""
        if heed is not self._heeded:
            self._heeded = heed
            attach(self._socket, program(self.version, *heed))

    def overheard(self) -> Iterator[Overheard]:
        """What waits, but no more than is worth the time."""
        for _ in range(_MOST_AT_ONCE):
            try:
                packet, ancillary, _, sender = self._socket.recvmsg(_LARGEST, socket.CMSG_SPACE(4))
            except OSError:
                return
            if self.version == 4:
                ttl, source, payload = packet[8], ip_address(packet[12:16]), packet[(packet[0] & 0x0F) * 4 :]
            else:
                ttl = next((int.from_bytes(value, sys.byteorder) for _, _, value in ancillary), -1)
                source, payload = ip_address(sender[0].partition("%")[0]), packet
            if len(payload) >= _ADDRESSES_AT:
                yield Overheard(source, ttl, payload[1], payload[2], _addresses(payload, self.version))

    def close(self) -> None:
        """Listens no more."""
        with suppress(OSError):
            self._socket.close()


def _addresses(payload: bytes, version: int) -> frozenset[IPAddress]:
    size = 4 if version == 4 else 16
    end = min(_ADDRESSES_AT + payload[3] * size, len(payload) - size + 1)
    return frozenset(ip_address(payload[at : at + size]) for at in range(_ADDRESSES_AT, end, size))
