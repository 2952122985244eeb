"""What is seen on the wire, with the kernel's own time of each frame."""

import contextlib
import select
import socket
import struct
import time
from collections.abc import Iterator
from typing import NamedTuple, Self

from segment import Host

_SO_RCVBUFFORCE, _SO_TIMESTAMPNS = 33, 35
_BUFFER = 64 << 20
_ETH_P_ALL, _ETH_P_ARP, _ETH_P_IP = 0x0003, 0x0806, 0x0800
_VRRP = 112


class Seen(NamedTuple):
    """A gratuitous ARP or an advertisement."""

    at: float
    """time.monotonic()."""
    mac: str
    what: str
    """The address of a gratuitous ARP; the sender's of an advertisement."""
    priority: int = -1
    """-1: a gratuitous ARP."""


class Sniffer:
    """A packet socket in a host's namespace; what it missed while nobody read waits in the kernel."""

    def __init__(self, host: Host, interface: str, *, advertisements: bool = False) -> None:
        protocol = _ETH_P_ALL if advertisements else _ETH_P_ARP
        self._socket = host.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(protocol))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.bind((interface, protocol))
        self._socket.setblocking(False)
        self._to_monotonic = time.monotonic() - time.time()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def read(self) -> Iterator[Seen]:
        """What waits."""
        with contextlib.suppress(BlockingIOError):
            while True:
                frame, ancillary, _, _ = self._socket.recvmsg(2048, 64)
                seconds, nanoseconds = struct.unpack("qq", ancillary[0][2][:16])
                found = _seen(frame, seconds + nanoseconds / 1e9 + self._to_monotonic)
                if found is not None:
                    yield found

    def drain(self) -> None:
        """What was seen up to now is of no interest."""
        for _ in self.read():
            pass

    def wait_for(self, mac: str, addresses: set[str], timeout: float) -> dict[str, float]:
        """The first gratuitous ARP for each address from this MAC; what was not seen in time is missing."""
        found: dict[str, float] = {}
        deadline = time.monotonic() + timeout
        while len(found) < len(addresses) and (left := deadline - time.monotonic()) > 0:
            select.select([self._socket], [], [], left)
            for seen in self.read():
                if seen.priority < 0 and seen.mac == mac and seen.what in addresses:
                    found.setdefault(seen.what, seen.at)
        return found


def _seen(frame: bytes, at: float) -> Seen | None:
    kind = int.from_bytes(frame[12:14], "big")
    mac = ":".join(f"{byte:02x}" for byte in frame[6:12])
    if kind == _ETH_P_ARP and len(frame) >= 42 and frame[28:32] == frame[38:42]:
        return Seen(at, mac, socket.inet_ntoa(frame[28:32]))
    if kind == _ETH_P_IP and len(frame) >= 42 and frame[23] == _VRRP:
        return Seen(at, mac, socket.inet_ntoa(frame[26:30]), frame[14 + (frame[14] & 0x0F) * 4 + 2])
    return None
