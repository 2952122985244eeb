"""Asking the segment who has an address: ARP (RFC 826) and neighbour solicitations (RFC 4861, section 7.2.2).

Sockets live for one question: an interface may be another one by the next. Needs NET_RAW.
"""

import fcntl
import socket
import struct
import sys
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address
from types import TracebackType
from typing import Final, Self

from virtualip_agent.bpf import LOAD_HALF_ABSOLUTE, Instruction, attach, drop_unless_equal
from virtualip_agent.control.witness.answers import solicited_node
from virtualip_agent.control.witness.post import IPAddress

_ETHERTYPE_ARP: Final = 0x0806
_ETHERNET: Final = struct.Struct("!6s6sH")
_ARP: Final = struct.Struct("!HHBBH6s4s6s4s")
_REQUEST, _REPLY = 1, 2
_OPERATION_AT: Final = 20
_BROADCAST: Final = b"\xff" * 6
_SIOCGIFHWADDR: Final = 0x8927
_SOLICITATION, _ADVERTISEMENT = 135, 136
_SOLICIT: Final = struct.Struct("!BBHI16sBB6s")
_SOURCE_LINK_LAYER, _TARGET_LINK_LAYER = 1, 2
_ICMP6_FILTER: Final = 1
_HOP_LIMIT: Final = 255
_MOST_READ: Final = 512
"""Answers read of one question: a flood of them is not ours to follow."""


def asker(interface: str, version: int) -> "ArpAsker | NeighbourAsker":
    """For a family. OSError where the interface is gone."""
    return ArpAsker(interface) if version == 4 else NeighbourAsker(interface)


class _Asker:
    def __init__(self, interface: str, opened: socket.socket) -> None:
        self._socket = opened
        try:
            self._hardware = _hardware_address(opened, interface)
        except BaseException:
            opened.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def answers(self) -> dict[IPAddress, frozenset[str]]:
        found: dict[IPAddress, frozenset[str]] = {}
        for address, hardware in self._answers():
            found[address] = found.get(address, frozenset()) | {hardware.hex(":")}
        return found

    def _answers(self) -> Iterator[tuple[IPAddress, bytes]]:
        raise NotImplementedError


class ArpAsker(_Asker):
    """IPv4."""

    def __init__(self, interface: str) -> None:
        # protocol 0 until the filter is there: nothing else is to be queued
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
        try:
            attach(opened, [Instruction(LOAD_HALF_ABSOLUTE, 0, 0, _OPERATION_AT), *drop_unless_equal(_REPLY)])
            opened.bind((interface, _ETHERTYPE_ARP))
        except BaseException:
            opened.close()
            raise
        super().__init__(interface, opened)

    def ask(self, addresses: Iterable[IPAddress], source: IPAddress) -> None:
        header = _ETHERNET.pack(_BROADCAST, self._hardware, _ETHERTYPE_ARP)
        for address in addresses:
            packet = _ARP.pack(
                1, 0x0800, 6, 4, _REQUEST, self._hardware, source.packed, bytes(6), address.packed
            )  # fmt: skip
            self._socket.send(header + packet)

    def _answers(self) -> Iterator[tuple[IPAddress, bytes]]:
        for _ in range(_MOST_READ):
            try:
                frame = self._socket.recv(128)
            except OSError:
                return
            if len(frame) >= _ETHERNET.size + _ARP.size:
                fields = _ARP.unpack_from(frame, _ETHERNET.size)
                if fields[:5] == (1, 0x0800, 6, 4, _REPLY):
                    yield IPv4Address(fields[6]), fields[5]


class NeighbourAsker(_Asker):
    """IPv6."""

    def __init__(self, interface: str) -> None:
        opened = socket.socket(
            socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, socket.IPPROTO_ICMPV6
        )
        try:
            mask = bytearray(b"\xff" * 32)  # a set bit blocks the type (RFC 3542, section 3.2)
            mask[_ADVERTISEMENT >> 5 << 2 : (_ADVERTISEMENT >> 5 << 2) + 4] = struct.pack(
                "=I", 0xFFFFFFFF ^ (1 << (_ADVERTISEMENT & 31))
            )
            opened.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, bytes(mask))
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
            self._index = socket.if_nametoindex(interface)
            for option, value in (
                (socket.IPV6_MULTICAST_HOPS, _HOP_LIMIT),
                (socket.IPV6_UNICAST_HOPS, _HOP_LIMIT),
                (socket.IPV6_MULTICAST_LOOP, 0),
                (socket.IPV6_MULTICAST_IF, self._index),
                (socket.IPV6_RECVHOPLIMIT, 1),
            ):
                opened.setsockopt(socket.IPPROTO_IPV6, option, value)
        except BaseException:
            opened.close()
            raise
        super().__init__(interface, opened)

    def ask(self, addresses: Iterable[IPAddress], source: IPAddress) -> None:
        # never from the VIP itself, which a MASTER has
        self._socket.bind((str(source), 0, 0, self._index))
        for address in addresses:
            assert isinstance(address, IPv6Address)
            packet = _SOLICIT.pack(_SOLICITATION, 0, 0, 0, address.packed, _SOURCE_LINK_LAYER, 1, self._hardware)
            self._socket.sendto(packet, (str(solicited_node(address)), 0, 0, self._index))

    def _answers(self) -> Iterator[tuple[IPAddress, bytes]]:
        for _ in range(_MOST_READ):
            try:
                packet, ancillary, _, _ = self._socket.recvmsg(512, socket.CMSG_SPACE(4))
            except OSError:
                return
            limits = [
                int.from_bytes(value, sys.byteorder) for _, kind, value in ancillary if kind == socket.IPV6_HOPLIMIT
            ]
            hardware = _option(packet[24:], _TARGET_LINK_LAYER)
            if limits == [_HOP_LIMIT] and packet[:1] == bytes([_ADVERTISEMENT]) and len(hardware) == 6:
                yield IPv6Address(packet[8:24]), hardware


def _option(options: bytes, wanted: int) -> bytes:
    """RFC 4861, section 4.6: type, length in 8 bytes, value."""
    while len(options) >= 8 and options[1]:
        size = options[1] * 8
        if options[0] == wanted:
            return options[2:size]
        options = options[size:]
    return b""


def _hardware_address(opened: socket.socket, interface: str) -> bytes:
    request = struct.pack("16s24x", interface.encode())
    return fcntl.ioctl(opened, _SIOCGIFHWADDR, request)[18:24]
