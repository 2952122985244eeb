"""What keeps a router from taking part is looked at again by itself: the engine whose kernel is a table."""

import dataclasses
import errno
import os
import socket
import struct
from typing import Any

import msgspec
import pytest

from fuzz.bench_engine import INDEX, VIPS, BenchEngine, _config
from virtualip_agent import ipc
from virtualip_agent import rtnetlink as rt
from virtualip_agent.realtime.interfaces import Interfaces, key_of
from virtualip_agent.realtime.route_socket import Change, RouteSocket
from virtualip_agent.rtnetlink import Address, Link
from virtualip_agent.vrrp.timing import MILLISECOND, SECOND

NAME = "v3-4"
ANOTHER = "192.168.122.210/24"


class Table(BenchEngine):
    """One router on eth0, which somebody else's address may be on."""

    def __init__(self, **config: Any) -> None:
        super().__init__()
        self.config = msgspec.structs.replace(_config(4, 51), name=NAME, **config)
        for router in list(self.engine._routers):
            self.engine.command(ipc.RemoveRouter(router), self.now)
        self.engine.flush(self.now)
        self.interfaces: Interfaces = self.engine._routes.interfaces
        self.theirs = Address(INDEX, VIPS[4, 51], 32)

    def set(self, **changes: Any) -> None:
        self.config = msgspec.structs.replace(self.config, **changes)
        self.engine.command(ipc.SetRouter(self.config), self.now)
        self.engine.flush(self.now)

    def contribute(self, contribution: ipc.Contribution) -> None:
        self.engine.command(ipc.SetContributions(NAME, {"check": contribution}), self.now)
        self.engine.flush(self.now)

    def news(self) -> None:
        self.engine.links_changed(self.now, {INDEX})
        self.engine.flush(self.now)

    @property
    def state(self) -> tuple[str, str]:
        router = self.engine._routers[NAME]
        assert router.last is not None
        return str(router.core.state), router.last.reason

    @property
    def holds(self) -> bool:
        return any(self.interfaces.is_ours(found) for found in self.interfaces.on_interface(INDEX))


@pytest.fixture
def refused() -> Table:
    """Somebody's address is in the way."""
    table = Table(trackers=("check",))
    table.interfaces.put(table.theirs)
    table.set()
    table.contribute(ipc.Contribution(0))
    table.run(6 * SECOND)
    assert table.state == ("FAULT", "AddressInUse")
    return table


def test_an_address_that_became_free_while_a_tracker_had_failed_is_taken(refused: Table) -> None:
    refused.contribute(ipc.Contribution(0, True, False))
    refused.interfaces.drop(refused.theirs)
    refused.news()
    refused.contribute(ipc.Contribution(0))
    refused.run(6 * SECOND)
    assert refused.state == ("MASTER", "NoMaster")


def test_an_address_that_is_edited_away_is_not_waited_for(refused: Table) -> None:
    refused.set(addresses=(ANOTHER,))
    refused.run(6 * SECOND)
    assert refused.state == ("MASTER", "NoMaster")


def test_an_address_that_became_free_while_there_was_no_carrier_is_taken(refused: Table) -> None:
    link = refused.interfaces.links[INDEX]
    refused.interfaces.links[INDEX] = dataclasses.replace(link, running=False)
    refused.news()
    refused.interfaces.drop(refused.theirs)
    refused.news()
    refused.interfaces.links[INDEX] = link
    refused.news()
    refused.run(6 * SECOND)
    assert refused.state == ("MASTER", "NoMaster")


def test_a_unicast_master_whose_last_peer_is_deleted_keeps_the_address() -> None:
    table = Table(transport="Unicast", members=("192.168.122.102",))
    table.set()
    table.run(6 * SECOND)
    table.set(members=(), alone=True, lifetime=30)
    table.run(60 * SECOND)
    assert (table.state, table.holds) == (("MASTER", "NoMaster"), True)
    table.set(alone=False)  # as in a manifest that names nobody else, where others may go on
    assert (table.state, table.holds) == (("FAULT", "NoPeers"), False)


def test_a_socket_that_could_not_be_opened_is_opened_five_seconds_later(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table()
    attempts = []

    def full(*_: Any) -> Any:
        attempts.append(table.now)
        raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))

    with monkeypatch.context() as patched:
        patched.setattr(table.engine._ports, "open", full)
        table.set()
        assert table.state == ("FAULT", "NoInterface")
        table.run(12 * SECOND)
    assert [moment - attempts[0] for moment in attempts] == [0, 5 * SECOND, 10 * SECOND]
    table.run(9 * SECOND)
    assert table.state == ("MASTER", "NoMaster")


def test_what_a_master_decided_before_it_was_stopped_is_not_said_after_it_but_a_resignation_is() -> None:
    table = Table()
    table.set()
    table.run(6 * SECOND)
    sender: Any = table.engine._routers[NAME].sender
    said = sender.sent
    table.stopped = 5 * SECOND
    table.run(1 * SECOND)
    assert sender.sent == said
    table.now += 5 * SECOND
    table.stopped = 0
    table.run(500 * MILLISECOND)
    assert sender.sent == said  # whoever took over meanwhile is heard first
    table.run(1 * SECOND)
    assert sender.sent == said + 1
    table.stopped = 5 * SECOND
    table.engine.stop(table.now)
    table.engine.flush(table.now)
    assert sender.sent == said + 2


def test_a_router_whose_link_is_back_listens_from_when_it_is_attached_and_not_from_the_news() -> None:
    """Many are attached one after the other, and who spoke before is not heard: RFC 9568, section 6.4.1."""
    table = Table()
    table.stopped = 300 * MILLISECOND
    table.set()
    table.stopped = 0
    deadline = table.engine._routers[NAME].core.deadline
    assert deadline == table.now + 300 * MILLISECOND + 3 * SECOND + 156 * SECOND // 256


class Overrun:
    """A netlink socket: what it holds, an error among it."""

    def __init__(self, *held: bytes | int) -> None:
        self.held = list(held)

    def recv(self, _size: int) -> bytes:
        if not self.held:
            raise BlockingIOError
        first = self.held.pop(0)
        if isinstance(first, int):
            raise OSError(first, os.strerror(first))
        return first

    def send(self, _data: bytes) -> None: ...


def a_route_socket(monkeypatch: pytest.MonkeyPatch, found: Interfaces, **sockets: Any) -> RouteSocket:
    routes = RouteSocket.__new__(RouteSocket)
    values = {
        "interfaces": Interfaces(),
        "behind": False,
        "_deleted_links": {},
        "_port": 4711,
        "_sequence": 0,
    } | sockets
    for name, value in values.items():
        setattr(routes, name, value)
    monkeypatch.setattr(routes, "resynchronise", lambda: setattr(routes, "interfaces", found))
    return routes


def test_after_an_overrun_older_news_does_not_stand_over_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel tells of the overrun first, and then hands out what was in the queue."""
    now = Interfaces()
    now.links[2] = Link(2, "eth0", b"\x52\x54\0\0\0\1", up=True, running=True)
    body = rt._IFINFOMSG.pack(socket.AF_UNSPEC, 1, 2, 0x1, 0) + rt._attribute(3, b"eth0\0")
    lost_carrier = rt._message(rt.RTM_NEWLINK, 0, 0, body)
    gone = rt._message(rt.RTM_DELLINK, 0, 0, body)
    notifications = Overrun(errno.ENOBUFS, lost_carrier, gone)
    known = Interfaces()
    known.links[2] = now.links[2]
    routes = a_route_socket(monkeypatch, now, _notifications=notifications, interfaces=known)
    assert routes.read_notifications() == {2}
    assert routes.interfaces.links[2].running
    assert routes._deleted_links == {2: 1}  # it may have been away, and its sockets are deaf


def test_a_long_queue_of_notifications_is_read_in_parts_so_that_packets_are_read_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter(range(0, 1 << 62, 1_500_000))
    monkeypatch.setattr("virtualip_agent.realtime.route_socket.time.monotonic_ns", lambda: next(clock))
    news = [rt.new_address(Address(2, bytes([10, 0, 0, last]), 24), 0, 0, exclusive=False) for last in range(10)]
    waiting = Overrun(*news)
    routes = a_route_socket(monkeypatch, Interfaces(), _notifications=waiting)
    assert routes.read_notifications() == {2}
    assert 0 < len(waiting.held) < 10
    while waiting.held:
        assert routes.read_notifications() == {2}
    assert len(routes.interfaces.on_interface(2)) == 10


def test_an_address_that_expired_while_the_refresh_was_stopped_and_came_back_by_it_is_known_to_be_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The kernel's word that it is gone is older than our own doing, and read after it."""
    ours = Address(2, VIPS[4, 51], 24, rt.TAG)
    expired = rt.delete_address(ours, 0)
    refreshed = bytearray(rt.new_address(ours, 5, 1, exclusive=False))
    struct.pack_into("=I", refreshed, 12, 4711)  # nlmsg_pid: ours
    routes = a_route_socket(monkeypatch, Interfaces(), _notifications=Overrun(expired, bytes(refreshed)))
    routes.interfaces.put(ours)
    assert routes.read_notifications() == {2}
    assert routes.interfaces.ours_on(2, VIPS[4, 51]) == ours


@pytest.mark.parametrize("tag", [rt.TAG, 0], ids=["tagged", "before Linux 5.18"])
def test_a_batch_whose_answer_is_lost_is_done_where_the_address_is_there(
    monkeypatch: pytest.MonkeyPatch, tag: int
) -> None:
    ours = Address(2, VIPS[4, 51], 24, tag)
    found = Interfaces()
    found.put(ours)
    found.ours.add(key_of(ours))
    routes = a_route_socket(monkeypatch, found, _requests=Overrun(errno.ENOBUFS))
    assert routes.change([Change(ours, add=True, lifetime=5)]) == [0]


def a_route_socket_that_cannot_ask(monkeypatch: pytest.MonkeyPatch, **sockets: Any) -> RouteSocket:
    """It is on eth0 with one of our addresses, and each question meets an error."""
    routes = a_route_socket(monkeypatch, Interfaces(), **sockets)
    monkeypatch.undo()
    routes.interfaces.links[2] = Link(2, "eth0", b"\x52\x54\0\0\0\1", up=True, running=True)
    routes.interfaces.put(Address(2, VIPS[4, 51], 24, rt.TAG))
    return routes


def test_two_netlink_errors_in_a_row_are_the_batchs_answer_and_leave_the_tables_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    routes = a_route_socket_that_cannot_ask(monkeypatch, _requests=Overrun(errno.ENOBUFS, errno.ENOMEM))
    tables = routes.interfaces
    known, new = Address(2, VIPS[4, 51], 24, rt.TAG), Address(2, VIPS[4, 52], 24)
    changes = [Change(known, add=True, lifetime=5), Change(new, add=True, exclusive=True, lifetime=5)]
    assert routes.change(changes) == [errno.ENOBUFS, errno.ENOBUFS]
    assert routes.interfaces is tables
    assert routes.behind


def test_an_overrun_of_notifications_about_which_the_kernel_cannot_be_asked_is_asked_about_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    routes = a_route_socket_that_cannot_ask(
        monkeypatch, _notifications=Overrun(errno.ENOBUFS), _requests=Overrun(errno.ENOMEM)
    )
    assert routes.read_notifications() == {2}
    assert routes.behind


class KernelWithoutMemory:
    """Of a table: how often it was asked, until it has memory again."""

    def __init__(self, table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
        self.routes: Any = table.engine._routes
        self.asked, self.refreshed = 0, 0
        self.has_memory = False
        change = self.routes.change

        def counted(changes: list[Change]) -> list[int]:
            self.refreshed += any(one.add and not one.exclusive for one in changes)
            return list(change(changes))

        monkeypatch.setattr(self.routes, "resynchronise", self.ask)
        monkeypatch.setattr(self.routes, "change", counted)
        self.routes.behind = True

    def ask(self) -> None:
        self.asked += 1
        self.routes.behind = not self.has_memory


def test_a_kernel_that_could_not_be_asked_is_asked_again_soon_and_nothing_is_refreshed_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What somebody took away meanwhile would be brought back."""
    table = Table()
    table.set()
    table.run(6 * SECOND)
    assert table.state == ("MASTER", "NoMaster")
    kernel = KernelWithoutMemory(table, monkeypatch)
    table.news()
    table.run(SECOND)
    assert 8 <= kernel.asked <= 11
    assert kernel.refreshed == 0
    kernel.has_memory = True
    table.run(200 * MILLISECOND)
    assert not kernel.routes.behind
    asked = kernel.asked
    table.run(3 * SECOND)
    assert kernel.asked == asked
    assert kernel.refreshed >= 3
    assert table.state == ("MASTER", "NoMaster")


def test_an_address_that_the_kernel_has_and_nobody_can_say_whose_it_is_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = Table()
    kernel = KernelWithoutMemory(table, monkeypatch)
    asked_for: list[Change] = []

    def there_already(changes: list[Change]) -> list[int]:
        asked_for.extend(changes)
        return [errno.EEXIST] * len(changes)

    monkeypatch.setattr(kernel.routes, "change", there_already)
    table.set()
    table.run(4 * SECOND)
    assert table.state[0] != "MASTER"
    assert asked_for
    assert all(change.exclusive for change in asked_for if change.add)
