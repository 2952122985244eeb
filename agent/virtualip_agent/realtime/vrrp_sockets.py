"""Raw sockets: one to receive on each interface, one to send for each source address, one for gratuitous ARP."""

import socket
import struct
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from virtualip_agent.realtime import packet_filter
from virtualip_agent.realtime.advertisement_cache import AdvertisementCache
from virtualip_agent.vrrp.packet import GROUP, PROTOCOL, TTL

_IP_MULTICAST_ALL: Final = 49
_SO_RCVBUFFORCE: Final = 33
_SO_MEMINFO: Final = 55
_MEMINFO: Final = struct.Struct("9I")
_DROPS: Final = 8
"""linux/sock_diag.h: SK_MEMINFO_DROPS."""
_RECEIVE_BUFFER: Final = 4 << 20
"""Room for what arrives while the process is stopped or late: it reads its queue before it speaks."""
_LARGEST_PACKET: Final = 2048
_MOST_AT_ONCE: Final = 2000
"""Packets read before timers get their turn, in a flood."""
_INTERNETWORK_CONTROL: Final = 0xC0
"""IP precedence 6, as routing protocols use it (RFC 791)."""
_PLAIN_HEADER: Final = 0x45
"""IPv4, 20 bytes: no options. The kernel gives a raw socket no packet with less than a whole header (ip_rcv)."""
_GROUP: Final = socket.inet_aton(GROUP)


class Packet(NamedTuple):
    """A VRRP message as it came."""

    said: bytes
    """Source and destination address, packed, and what followed the IP header: the same bytes each time that the same
    is said."""
    ttl: int

    def dissect(self) -> tuple[bytes, bytes, bytes]:
        """Source, destination and payload."""
        return self.said[:4], self.said[4:8], self.said[8:]


class Receiver:
    """Receives VRRP on one interface. Needs NET_RAW."""

    def __init__(self, interface: str, index: int, vrids: Collection[int], incarnation: int = 0) -> None:
        self.index = index
        self.incarnation = incarnation
        self.cache = AdvertisementCache()
        self._socket = socket.socket(
            socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, PROTOCOL
        )
        try:
            packet_filter.attach(self._socket, vrids)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
            self._socket.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
            membership = struct.pack("4s4si", _GROUP, b"\0\0\0\0", index)
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
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

    def listen_to(self, vrids: Collection[int]) -> None:
        """Has the kernel pass these VRIDs only."""
        packet_filter.attach(self._socket, vrids)

    @property
    def dropped(self) -> int:
        """Packets for which the kernel had no room in the queue."""
        counters = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
        return int(_MEMINFO.unpack(counters)[_DROPS])

    def packets(self) -> Iterator[Packet]:
        """What waits in the queue."""
        receive = self._socket.recv
        for _ in range(_MOST_AT_ONCE):
            try:
                packet = receive(_LARGEST_PACKET)
            except BlockingIOError:
                return
            except OSError:
                # ENETDOWN is reported once on a socket whose interface went; the link watch knows more
                return
            if packet[0] == _PLAIN_HEADER:
                yield Packet(packet[12:], packet[8])
            else:
                yield Packet(packet[12:20] + packet[(packet[0] & 0x0F) * 4 :], packet[8])


class Sender:
    """Sends advertisements from one source address on one interface."""

    destination = _GROUP

    def __init__(self, interface: str, index: int, source: bytes) -> None:
        self.source = source
        self._socket = socket.socket(
            socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, PROTOCOL
        )
        try:
            packet_filter.attach(self._socket, ())  # it only sends
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, TTL)
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _INTERNETWORK_CONTROL)
            out = struct.pack("4s4si", b"\0\0\0\0", source, index)
            self._socket.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, out)
            self._socket.bind((socket.inet_ntoa(source), 0))
        except BaseException:
            self._socket.close()
            raise

    def send(self, payload: bytes) -> None:
        """OSError as it comes (ENETDOWN, ENOBUFS ...)."""
        self._socket.sendto(payload, (GROUP, 0))

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()


class ArpSender:
    """Sends whole Ethernet frames. Needs NET_RAW."""

    def __init__(self) -> None:
        # protocol 0: it receives nothing
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)

    def send(self, interface: str, frame: bytes) -> None:
        """OSError as it comes."""
        self._socket.sendto(frame, (interface, 0))

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()


def stamp_hardware_address(template: bytes, hardware_address: bytes) -> bytes:
    """A gratuitous ARP template with our address as Ethernet source and as ARP sender (RFC 826)."""
    return template[:6] + hardware_address + template[12:22] + hardware_address + template[28:]
