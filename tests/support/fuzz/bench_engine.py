"""The real engine on a table: its sockets and its kernel are lists."""

import socket
from collections import deque
from collections.abc import Sequence
from typing import Any

from virtual_lan import advertisement_template
from virtualip_agent import ipc
from virtualip_agent.realtime.advertisement_cache import AdvertisementCache
from virtualip_agent.realtime.engine import Engine
from virtualip_agent.realtime.interfaces import Interfaces
from virtualip_agent.realtime.route_socket import Change
from virtualip_agent.realtime.vrrp_sockets import Receiver
from virtualip_agent.rtnetlink import Address, Link
from virtualip_agent.vrrp.packet import GROUP
from virtualip_agent.vrrp.settings import Settings
from virtualip_agent.vrrp.timing import SECOND

INDEX = 2
SOURCE = bytes([192, 168, 122, 101])
MEMBER = bytes([192, 168, 122, 102])
DESTINATION = bytes(int(part) for part in GROUP.split("."))
PASSWORD = b"12345\0\0\0"
_NO_HURRY = 1 << 62


class Routes:
    """A kernel that does what it is asked."""

    def __init__(self) -> None:
        self.interfaces = Interfaces()
        self.interfaces.links[INDEX] = Link(INDEX, "eth0", b"\x52\x54\0\0\0\1", up=True, running=True)
        self.interfaces.put(Address(INDEX, SOURCE, 24))

    def change(self, changes: Sequence[Change]) -> list[int]:
        for change in changes:
            if change.add:
                self.interfaces.put(change.address)
                self.interfaces.ours.add((change.address.index, change.address.ip, change.address.prefix_length))
            else:
                self.interfaces.drop(change.address)
        return [0] * len(changes)

    def resynchronise(self) -> None: ...


class Sender:
    """Counts what is sent."""

    destination = DESTINATION

    def __init__(self, source: bytes) -> None:
        self.source = source
        self.sent = 0

    def send(self, *_: Any) -> None:
        self.sent += 1


class Ports:
    """One socket, in which nothing is lost."""

    dropped = 0

    def __init__(self) -> None:
        self.sender = Sender(SOURCE)
        self.cache = AdvertisementCache()

    def open(self, *_: Any) -> Sender:
        return self.sender

    def close_unused(self, *_: Any) -> None: ...

    def forget_advertisements(self) -> None:
        self.cache.clear()


class Queue:
    """A socket that has received."""

    def __init__(self) -> None:
        self.packets: deque[bytes] = deque()

    def recv(self, size: int) -> bytes:
        if not self.packets:
            raise BlockingIOError
        return self.packets.popleft()[:size]


class BenchEngine:
    """Two routers on eth0: VRID 51 is v3, VRID 52 is v2 with a password. A second member is planned."""

    def __init__(self) -> None:
        self.published: list[Any] = []
        ports = Ports()
        routes: Any = Routes()
        self.engine = Engine(routes, ports, Sender(b""), self.published.append)  # type: ignore[arg-type]
        self.queue = Queue()
        self.receiver = Receiver.__new__(Receiver)
        self.receiver.index, self.receiver.family, self.receiver.cache = INDEX, socket.AF_INET, ports.cache
        self.receiver._socket = self.queue  # type: ignore[assignment]
        self.now = SECOND
        for vrid, version in ((51, 3), (52, 2)):
            self.engine.command(ipc.SetRouter(_config(vrid, version)), self.now)
        self.engine.flush(self.now)

    def receive(self, packets: list[bytes]) -> None:
        """One wake-up."""
        self.queue.packets.extend(packets)
        self.engine.receive(self.receiver, self.now, _NO_HURRY)
        assert not self.queue.packets

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
            (core.state, core.priority, core.master, core.deadline, core.mismatches)
            for core in (router.core for router in self.engine._routers.values())
        ]

    def statistics(self) -> ipc.Statistics:
        """As control gets them."""
        self.engine.command(ipc.GetStatistics(), self.now)
        answer = self.published.pop()
        assert isinstance(answer, ipc.Statistics)
        self.published.clear()
        return answer


def _config(vrid: int, version: int) -> ipc.RouterConfig:
    vip = bytes([192, 168, 122, 149 + vrid])
    password = PASSWORD if version == 2 else b""
    settings = Settings(vrid, version, frozenset({vip}), 100, authentication=password)
    return ipc.RouterConfig(
        name=f"v{version}",
        vrid=vrid,
        version=version,
        interface="eth0",
        addresses=(".".join(map(str, vip)) + "/24",),
        base_priority=100,
        advert_interval=SECOND,
        authentication=password,
        members=("192.168.122.101", "192.168.122.102"),
        advertisement=advertisement_template(settings),
    )
