"""The real engine on a table: its sockets and its kernel are lists."""

import socket
import sys
from collections import deque
from collections.abc import Collection, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from virtual_lan import advertisement_template
from virtualip_agent import ipc
from virtualip_agent.realtime.advertisement_cache import AdvertisementCache
from virtualip_agent.realtime.batch import Batch
from virtualip_agent.realtime.engine import Engine
from virtualip_agent.realtime.interfaces import Interfaces
from virtualip_agent.realtime.route_socket import Change
from virtualip_agent.realtime.speech import Speech
from virtualip_agent.realtime.vrrp_sockets import Receiver
from virtualip_agent.rtnetlink import Address, Link
from virtualip_agent.vrrp.packet import GROUP, GROUP_V6
from virtualip_agent.vrrp.settings import Settings
from virtualip_agent.vrrp.timing import SECOND
from virtualip_agent.vrrp.virtual_router import VirtualRouter

if TYPE_CHECKING:
    from collections.abc import Callable

    from fuzz.packets import Drawn

INDEX: Final = 2
SOURCES: Final = {4: bytes([192, 168, 122, 101]), 6: bytes([0xFE, 0x80, *bytes(12), 1, 1])}
MEMBERS: Final = {4: bytes([192, 168, 122, 102]), 6: bytes([0xFE, 0x80, *bytes(12), 1, 2])}
GROUPS: Final = {4: ip_address(GROUP).packed, 6: ip_address(GROUP_V6).packed}
VIPS: Final = {
    (4, 51): bytes([192, 168, 122, 200]),
    (4, 52): bytes([192, 168, 122, 201]),
    (6, 51): ip_address("2001:db8::200").packed,
}
"""By family and VRID."""
PASSWORD: Final = b"12345\0\0\0"
_NO_HURRY: Final = 1 << 62


class Routes:
    """A kernel that does what it is asked."""

    behind = False

    def __init__(self) -> None:
        self.meanwhile: Callable[[], object] = lambda: None
        """What goes on while the kernel adds addresses."""
        self.interfaces = Interfaces()
        self.interfaces.links[INDEX] = Link(INDEX, "eth0", b"\x52\x54\0\0\0\1", up=True, running=True)
        self.interfaces.put(Address(INDEX, SOURCES[4], 24))
        self.interfaces.put(Address(INDEX, SOURCES[6], 64))

    def change(self, changes: Sequence[Change]) -> list[int]:
        for change in changes:
            if change.add:
                self.interfaces.put(change.address)
                self.interfaces.ours.add((change.address.index, change.address.ip, change.address.prefix_length))
            else:
                self.interfaces.drop(change.address)
        if any(change.add for change in changes):
            self.meanwhile()
        return [0] * len(changes)

    def resynchronise(self) -> None: ...


class Sender:
    """Counts what is sent."""

    def __init__(self, source: bytes) -> None:
        self.source = source
        self.sent = 0

    def send(self, *_: Any) -> None:
        self.sent += 1

    def send_all(self, batch: Batch) -> list[tuple[int, OSError]]:
        """As sendmmsg(2) does it: one after the other."""
        failed: list[tuple[int, OSError]] = []
        for number, message in enumerate(batch.messages):
            try:
                self.send(*message)
            except OSError as error:
                failed.append((number, error))
        return failed


class Ports:
    """A socket for each family, in which nothing is lost."""

    lost: Final = {"lost_in_socket": 0, "lost_of_known": 0}

    def __init__(self) -> None:
        self.senders = {source: Sender(source) for source in SOURCES.values()}
        self.caches = {family: AdvertisementCache() for family in SOURCES}
        self.queues = {family: Queue() for family in SOURCES}
        self.sockets = {family: _receiver(family, self.queues[family], self.caches[family]) for family in SOURCES}

    def receivers(self, _indices: Collection[int]) -> Collection[Receiver]:
        return self.sockets.values()

    def open(self, _link: Any, source: bytes, _vrid: int) -> Sender:
        return self.senders[source]

    def settle(self, *_: Any) -> None: ...

    def forget_advertisements(self) -> None:
        for cache in self.caches.values():
            cache.clear()


class Queue:
    """A socket that has received."""

    def __init__(self) -> None:
        self.packets: deque[Drawn] = deque()

    def recv(self, size: int) -> bytes:
        """IPv4: with its header."""
        return self._next().ipv4[:size]

    def recvmsg(self, size: int, _: int) -> tuple[bytes, list[tuple[int, int, bytes]], int, tuple[str, int, int, int]]:
        """IPv6: what was in the header comes beside the data."""
        packet = self._next()
        ancillary = [
            (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT, packet.ttl.to_bytes(4, sys.byteorder)),
            (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, packet.destination + INDEX.to_bytes(4, sys.byteorder)),
        ]
        return packet.message[:size], ancillary, 0, (f"{ip_address(packet.source)}%eth0", 0, 0, INDEX)

    def _next(self) -> "Drawn":
        if not self.packets:
            raise BlockingIOError
        return self.packets.popleft()


class BenchEngine:
    """Three routers on eth0: VRID 51 is v3, for each family; VRID 52 is v2 with a password. A second member is
    planned."""

    def __init__(self) -> None:
        self.published: list[Any] = []
        self.now = SECOND
        self.stopped = 0
        """For how long the process is stopped between what it decides and what it says."""
        ports = Ports()
        self.kernel: Any = Routes()
        self.frames = Sender(b"")
        frames: Any = self.frames
        speech = Speech(frames, lambda: self.now + self.stopped)
        self.engine = Engine(self.kernel, ports, speech, self.published.append)  # type: ignore[arg-type]
        self.queues, self.receivers = ports.queues, ports.sockets
        for family, vrid in VIPS:
            self.engine.command(ipc.SetRouter(_config(family, vrid)), self.now)
        self.engine.flush(self.now)

    def receive(self, packets: "list[Drawn]") -> None:
        """One wake-up."""
        for packet in packets:
            self.queues[packet.family].packets.append(packet)
        for family, queue in self.queues.items():
            self.engine.receive(self.receivers[family], self.now, _NO_HURRY)
            assert not queue.packets

    def run(self, nanoseconds: int) -> None:
        """Time passes."""
        end = self.now + nanoseconds
        while (first := self.engine.deadlines.first) is not None and first <= end:
            self.now = max(self.now, first)
            self.engine.expire(self.now)
            self.engine.flush(self.now)
        self.now = end

    def snapshot(self) -> list[tuple[object, ...]]:
        """Everything that a packet may change, but for counters."""
        return [
            (core.state, core.priority, core.master, self._deadline(name, core), self._mismatches(core))
            for name, core in ((router.name, router.core) for router in self.engine._routers.values())
        ]

    def _deadline(self, name: str, core: VirtualRouter) -> int | None:
        """Who is in a choir learns of its own when it leaves."""
        choir = self.engine._choirs._of.get(name)
        return core.deadline if choir is None else choir.moment

    def _mismatches(self, core: VirtualRouter) -> dict[bytes, str]:
        """Without those that are too old: whatever comes next makes the core forget them."""
        until = core._reception._until
        return {source: text for source, text in core.mismatches.items() if self.now <= until[source]}

    def statistics(self) -> ipc.Statistics:
        """As control gets them."""
        self.engine.command(ipc.GetStatistics(), self.now)
        answer = self.published.pop()
        assert isinstance(answer, ipc.Statistics)
        self.published.clear()
        return answer


def _receiver(family: int, queue: Queue, cache: AdvertisementCache) -> Receiver:
    receiver = Receiver.__new__(Receiver)
    receiver.index, receiver.cache = INDEX, cache
    receiver.family = socket.AF_INET if family == 4 else socket.AF_INET6
    receiver._socket = queue  # type: ignore[assignment]
    return receiver


def _config(family: int, vrid: int) -> ipc.RouterConfig:
    vip, version = VIPS[family, vrid], 2 if vrid == 52 else 3
    password = PASSWORD if version == 2 else b""
    settings = Settings(vrid, version, frozenset({vip}), 100, authentication=password)
    return ipc.RouterConfig(
        name=f"v{version}-{family}",
        vrid=vrid,
        version=version,
        interface="eth0",
        addresses=(f"{ip_address(vip)}/{24 if family == 4 else 128}",),
        base_priority=100,
        advert_interval=SECOND,
        authentication=password,
        members=(str(ip_address(SOURCES[family])), str(ip_address(MEMBERS[family]))),
        advertisement=advertisement_template(settings),
    )
