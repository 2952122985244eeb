"""Raw sockets: to receive on each interface and family, to send from each source address, and for whole frames."""

import socket
import struct
import sys
from collections.abc import Collection, Iterator
from time import monotonic_ns
from typing import Final, NamedTuple

from virtualip_agent.realtime import packet_filter
from virtualip_agent.realtime.advertisement_cache import AdvertisementCache
from virtualip_agent.realtime.batch import Batch
from virtualip_agent.realtime.interfaces import is_link_local
from virtualip_agent.vrrp.packet import GROUP, GROUP_V6, PROTOCOL, TTL

_IP_MULTICAST_ALL: Final = 49
_IPV6_MULTICAST_ALL: Final = 29
_SO_RCVBUFFORCE: Final = 33
_SO_MEMINFO: Final = 55
_MEMINFO: Final = struct.Struct("9I")
_DROPS: Final = 8
"""linux/sock_diag.h: SK_MEMINFO_DROPS."""
_RECEIVE_BUFFER: Final = 4 << 20
"""Room for what arrives while the process is stopped or late: it reads its queue before it speaks."""
_LARGEST_PACKET: Final = 8192
"""255 IPv6 addresses are 4,088 bytes; we name fewer, but somebody else may send them, in fragments."""
_MOST_AT_ONCE: Final = 2000
"""Packets read before timers get their turn, in a flood."""
_INTERNETWORK_CONTROL: Final = 0xC0
"""IP precedence 6, as routing protocols use it (RFC 791)."""
_PLAIN_HEADER: Final = 0x45
"""IPv4, 20 bytes: no options. The kernel gives a raw socket no packet with less than a whole header (ip_rcv)."""
_GROUP: Final = socket.inet_aton(GROUP)
_GROUP_V6: Final = socket.inet_pton(socket.AF_INET6, GROUP_V6)
_ANCILLARY: Final = socket.CMSG_SPACE(20) + socket.CMSG_SPACE(4)


class Packet(NamedTuple):
    """A VRRP message as it came."""

    said: bytes
    """Source and destination address, packed, and what followed the IP header: the same bytes each time that the same
    is said."""
    ttl: int
    """IPv6: hop limit."""

    def dissect(self, family: int) -> tuple[bytes, bytes, bytes]:
        """Source, destination and payload."""
        size = 4 if family == socket.AF_INET else 16
        return self.said[:size], self.said[size : 2 * size], self.said[2 * size :]


def family_of(source: bytes) -> int:
    """Of a packed address."""
    return socket.AF_INET if len(source) == 4 else socket.AF_INET6


def group_of(family: int) -> bytes:
    """Where multicast advertisements go, packed."""
    return _GROUP if family == socket.AF_INET else _GROUP_V6


class Receiver:
    """Receives VRRP of one family on one interface, to the group and to the node's own addresses, from some sources or
    from all others. Needs NET_RAW."""

    def __init__(
        self,
        interface: str,
        index: int,
        family: int,
        vrids: Collection[int] | None,
        sources: packet_filter.Sources = packet_filter.ANYBODY,
        incarnation: int = 0,
    ) -> None:
        self.index = index
        self.family = family
        self.incarnation = incarnation
        self.cache = AdvertisementCache()
        self._socket = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, PROTOCOL)
        try:
            packet_filter.attach(self._socket, vrids, sources)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
            if family == socket.AF_INET:
                self._socket.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
                membership = struct.pack("4s4si", _GROUP, b"\0\0\0\0", index)
                self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
            else:
                self._socket.setsockopt(socket.IPPROTO_IPV6, _IPV6_MULTICAST_ALL, 0)
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
                membership = struct.pack("16si", _GROUP_V6, index)
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
            except PermissionError:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        except BaseException:
            self._socket.close()
            raise

    def fileno(self) -> int:
        """For epoll."""
        return self._socket.fileno()

    def close(self) -> None:
        """Leaves the group."""
        self._socket.close()

    def listen_to(self, vrids: Collection[int] | None, sources: packet_filter.Sources) -> None:
        """Has the kernel pass these VRIDs (None: all) and sources only."""
        packet_filter.attach(self._socket, vrids, sources)

    @property
    def dropped(self) -> int:
        """Packets for which the kernel had no room in the queue."""
        counters = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        return int(_MEMINFO.unpack(counters)[_DROPS])

    def packets(self, until: int) -> Iterator[tuple[bytes, int]]:
        """What waits in the queue, each as what a Packet is made of; what is not begun by `until` (CLOCK_MONOTONIC)
        goes on waiting."""
        return self._packets(until) if self.family == socket.AF_INET else self._packets_v6(until)

    def _packets(self, until: int) -> Iterator[tuple[bytes, int]]:
        receive = self._socket.recv
        for _ in range(_MOST_AT_ONCE):
            if monotonic_ns() > until:
                return
            try:
                packet = receive(_LARGEST_PACKET)
            except BlockingIOError:
                return
            except OSError:
                # ENETDOWN is reported once on a socket whose interface went; the link watch knows more
                return
            if packet[0] == _PLAIN_HEADER:
                yield packet[12:], packet[8]
            else:
                yield packet[12:20] + packet[(packet[0] & 0x0F) * 4 :], packet[8]

    def _packets_v6(self, until: int) -> Iterator[tuple[bytes, int]]:
        # the kernel takes the IPv6 header off, and tells what was in it beside the data (RFC 3542, section 6)
        receive = self._socket.recvmsg
        for _ in range(_MOST_AT_ONCE):
            if monotonic_ns() > until:
                return
            try:
                payload, ancillary, _, sender = receive(_LARGEST_PACKET, _ANCILLARY)
            except OSError:
                return
            hop_limit, destination = -1, b""
            for _, kind, value in ancillary:
                if kind == socket.IPV6_HOPLIMIT:
                    hop_limit = int.from_bytes(value, sys.byteorder)
                elif kind == socket.IPV6_PKTINFO:
                    destination = value[:16]
            source = socket.inet_pton(socket.AF_INET6, sender[0].partition("%")[0])
            yield source + destination + payload, hop_limit


SocketAddress = tuple[str, int] | tuple[str, int, int, int]
"""As Python's sockets take one of IPv4 or of IPv6."""


class Destination(NamedTuple):
    """Where an advertisement goes."""

    packed: bytes
    """For the pseudo-header of its checksum."""
    address: SocketAddress
    """As sendto takes it."""


def destination(packed: bytes, index: int) -> Destination:
    """A group or a peer that is reached by the interface."""
    family = family_of(packed)
    text = socket.inet_ntop(family, packed)
    if family == socket.AF_INET:
        return Destination(packed, (text, 0))
    return Destination(packed, (text, 0, 0, index if is_link_local(packed) or packed[0] == 0xFF else 0))


class Sender:
    """Sends advertisements from one source address on one interface."""

    def __init__(self, interface: str, index: int, source: bytes) -> None:
        self.source = source
        family = family_of(source)
        self._socket = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, PROTOCOL)
        try:
            packet_filter.attach(self._socket, ())  # it only sends
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
            if family == socket.AF_INET:
                self._set_ipv4_options(index)
            else:
                self._set_ipv6_options(index)
            self._socket.bind(destination(source, index).address)
        except BaseException:
            self._socket.close()
            raise
        self.send = self._socket.sendto
        """An advertisement to a Destination's address; OSError as it comes (ENETDOWN, ENOBUFS ...)."""

    def send_all(self, batch: Batch) -> list[tuple[int, OSError]]:
        """Several at once; which ones the kernel did not take, and why."""
        return batch.send(self._socket.fileno())

    def _set_ipv4_options(self, index: int) -> None:
        out = struct.pack("4s4si", b"\0\0\0\0", self.source, index)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, TTL)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, TTL)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _INTERNETWORK_CONTROL)
        self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, out)

    def _set_ipv6_options(self, index: int) -> None:
        self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, TTL)
        self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, TTL)
        self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
        self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _INTERNETWORK_CONTROL)
        self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()


class FrameSender:
    """Sends whole Ethernet frames. Needs NET_RAW; PermissionError without it, and then nothing else is worth trying."""

    def __init__(self) -> None:
        try:
            # protocol 0: it receives nothing
            self._socket = socket.socket(
                socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0
            )
        except PermissionError as error:
            raise PermissionError(error.errno, "raw sockets need the capability NET_RAW") from None

    def send(self, interface: str, frame: bytes) -> None:
        """OSError as it comes."""
        self._socket.sendto(frame, (interface, 0))

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()
