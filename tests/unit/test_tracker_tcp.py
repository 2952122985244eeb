"""A port that takes connections: real sockets."""

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tried import Tried
from virtualip_agent.control.trackers import connect
from virtualip_agent.control.trackers.base import Check
from virtualip_agent.control.trackers.periodic import within
from virtualip_agent.control.trackers.rise_fall import Outcome
from virtualip_agent.control.trackers.tcp import start_tcp, try_once
from virtualip_api.duration import MILLISECOND, SECOND
from virtualip_api.trackers import TcpTracker


def tried(host: str, port: int, timeout: int = 500, fall: int = 1) -> Tried:
    check = TcpTracker(host, port, interval=100 * MILLISECOND, timeout=timeout * MILLISECOND, fall=fall)
    return Tried(lambda report: start_tcp(check, report))


@contextlib.contextmanager
def listening(host: str = "127.0.0.1", port: int = 0) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((host, port))
        server.listen(128)
        yield server


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
async def test_a_port_that_takes_connections_is_healthy(host: str) -> None:
    with listening(host if host != "localhost" else "127.0.0.1") as server:
        async with tried(host, server.getsockname()[1]) as one:
            assert await one.first() == Check(True, "connected")


async def test_a_port_that_closes_and_opens_again_is_followed() -> None:
    with listening() as server:
        port = server.getsockname()[1]
        one = tried("127.0.0.1", port)
        await one.__aenter__()
        assert await one.becomes(True) == "connected"
    assert await one.becomes(False) == "Connection refused"
    with listening(port=port):
        assert await one.becomes(True) == "connected"
    await one.__aexit__()


class GivenThatVeryPort(socket.socket):
    """A client to whom the kernel gives the port that it connects to."""

    def connect(self, address: Any) -> None:
        self.bind(address)
        super().connect(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_connection_that_meets_itself_has_reached_nobody(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(host) as server:
        port = server.getsockname()[1]
    with monkeypatch.context() as patched:
        patched.setattr(socket, "socket", GivenThatVeryPort)
        with pytest.raises(connect.NotConnected, match=r"^Connection refused$"):
            await connect.connect(host, port, SECOND)
    with socket.socket(server.family) as service:
        service.bind((host, port))  # which is not in use


@contextlib.contextmanager
def filtered(host: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """A port that does not answer, not even by a refusal: its queue is full, and further SYNs are dropped."""
    with listening(host, port) as server, contextlib.ExitStack() as stack:
        server.listen(0)
        address = server.getsockname()
        for _ in range(4):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(address)
        yield address[1]


async def test_one_that_does_not_answer_at_all_fails_in_time() -> None:
    with filtered() as port:
        async with tried("127.0.0.1", port, timeout=200) as late:
            began = time.monotonic()
            assert await late.first() == Check(False, "no answer within 200ms")
            assert time.monotonic() - began < 1.5


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.fixture
def addresses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Those of every name, in this order."""
    found: list[str] = []

    def resolve(_host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return found


@pytest.mark.parametrize("timeout", [100 * MILLISECOND, 2 * SECOND])
async def test_an_address_that_does_not_answer_leaves_time_for_the_next_one(addresses: list[str], timeout: int) -> None:
    addresses += ["127.0.0.2", "127.0.0.3", "127.0.0.1"]
    with listening() as server:
        port = server.getsockname()[1]
        with filtered("127.0.0.2", port), filtered("127.0.0.3", port):
            before = descriptors()
            outcome = await within(timeout, try_once(TcpTracker("api.example.com", port, timeout=timeout)))
            assert outcome == Outcome(True, "connected")
            await asyncio.sleep(0)  # what is given up hangs up
            assert descriptors() == before


async def test_the_time_limit_leaves_no_address_open(addresses: list[str]) -> None:
    addresses += ["127.0.0.2", "127.0.0.3"]
    timeout = 100 * MILLISECOND
    with filtered("127.0.0.2") as port, filtered("127.0.0.3", port):
        before = descriptors()
        outcome = await within(timeout, try_once(TcpTracker("api.example.com", port, timeout=timeout)))
        assert outcome == Outcome(False, "no answer within 100ms")
        await asyncio.sleep(0)
        assert descriptors() == before


async def test_an_address_that_refuses_is_followed_by_the_next_one_at_once(
    addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses += ["127.0.0.2", "127.0.0.1"]
    monkeypatch.setattr(connect, "NEXT_ADDRESS", 3600)
    with listening() as server:
        async with asyncio.timeout(5):
            connected = await connect.connect("api.example.com", server.getsockname()[1], 7200 * SECOND)
        with connected:
            assert connected.getpeername() == server.getsockname()


async def test_where_several_addresses_answer_the_first_is_taken_and_the_others_are_hung_up(
    addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses += ["127.0.0.1", "127.0.0.2"]
    monkeypatch.setattr(connect, "NEXT_ADDRESS", 0)
    with listening() as server, listening("127.0.0.2", server.getsockname()[1]):
        before = descriptors()
        for _ in range(20):
            (await connect.connect("api.example.com", server.getsockname()[1], SECOND)).close()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert descriptors() == before


async def test_where_every_address_fails_the_last_one_says_why(addresses: list[str]) -> None:
    addresses += ["127.0.0.2", "224.0.0.1", "127.0.0.1"]
    with pytest.raises(connect.NotConnected, match=r"^Connection refused$"):
        await connect.connect("api.example.com", 1, SECOND)
    addresses.clear()
    with pytest.raises(connect.NotConnected, match=r"^api\.example\.com has no address$"):
        await connect.connect("api.example.com", 1, SECOND)


async def test_a_name_that_does_not_resolve_is_a_failure_with_a_message() -> None:
    async with tried("nowhere.invalid", 80, timeout=5000) as one:
        result = await one.first()
        assert isinstance(result, Check)
        assert not result.passed
        assert result.message.startswith(("name not resolved:", "no answer within"))


@pytest.fixture
async def hanging_resolver(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    ended = threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        ended.wait(30)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    yield
    ended.set()
    for thread in threading.enumerate():
        if thread.name == "lookup":
            await asyncio.to_thread(thread.join)


@pytest.mark.usefixtures("hanging_resolver")
async def test_a_resolver_that_hangs_is_bounded_in_time_and_number_and_addresses_go_on() -> None:
    async with contextlib.AsyncExitStack() as stack:
        hosts = [f"db{number}.example.com" for number in range(20)]
        names = [await stack.enter_async_context(tried(host, 80, timeout=100)) for host in hosts]
        with listening() as server:
            address = await stack.enter_async_context(tried("127.0.0.1", server.getsockname()[1]))
            assert await address.first() == Check(True, "connected")
        for name in names:
            await name.more_reports(1)
            result = name.results[-1]
            assert isinstance(result, Check)
            assert not result.passed
        lookups = [thread for thread in threading.enumerate() if thread.name == "lookup"]
        assert len(lookups) <= connect.MOST_LOOKUPS


async def test_a_link_local_address_without_its_interface_is_a_failure() -> None:
    async with tried("fe80::1%nowhere", 80) as one:
        assert await one.first() == Check(False, "there is no interface nowhere")


async def test_fall_3_means_three_refusals_in_a_row() -> None:
    with listening() as server:
        port = server.getsockname()[1]
        one = tried("127.0.0.1", port, fall=3)
        await one.__aenter__()
        await one.becomes(True)
        before = one.reports
    await one.becomes(False)
    assert one.reports - before >= 3
    await one.__aexit__()


async def test_nothing_is_reported_once_it_is_closed() -> None:
    with listening() as server:
        async with tried("127.0.0.1", server.getsockname()[1]) as one:
            await one.first()
        reports = one.reports
        await asyncio.sleep(0.25)
        assert one.reports == reports


async def test_a_lookup_for_which_there_is_no_thread_takes_nobodys_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        for _ in range(connect.MOST_LOOKUPS + 1):
            with pytest.raises(connect.NotConnected, match="name not resolved: can't start new thread"):
                await connect._look_up("localhost", 80)
    async with asyncio.timeout(5):
        assert await connect._look_up("localhost", 80)


class Resolver:
    """Answers with 127.0.0.1, of the names that hang only when they are released; keeps what it was asked."""

    def __init__(self, *hanging: str) -> None:
        self.asked: list[str] = []
        self.release = threading.Event()
        self._hanging = hanging

    def __call__(self, host: str, *_: object, **__: object) -> list[tuple[Any, ...]]:
        self.asked.append(host)
        if host in self._hanging:
            assert self.release.wait(30)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]


async def give_up_at_once(host: str) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0):
            await connect._look_up(host, 80)


async def test_a_name_that_hangs_holds_one_lookup_however_often_it_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    resolver = Resolver("db.example.com")
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    for _ in range(connect.MOST_LOOKUPS + 1):
        await give_up_at_once("db.example.com")
    async with asyncio.timeout(5):
        assert await connect._look_up("localhost", 80) == [(socket.AF_INET, ("127.0.0.1", 80))]
    assert resolver.asked == ["db.example.com", "localhost"]
    resolver.release.set()


async def test_who_asks_while_a_name_is_looked_up_is_given_that_answer_each_with_its_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolver = Resolver("db.example.com")
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    await give_up_at_once("db.example.com")
    asked = [asyncio.create_task(connect._look_up("db.example.com", port)) for port in (80, 443)]
    await asyncio.sleep(0)
    resolver.release.set()
    async with asyncio.timeout(5):
        assert await asyncio.gather(*asked) == [[(socket.AF_INET, ("127.0.0.1", port))] for port in (80, 443)]
        assert resolver.asked == ["db.example.com"]
        await connect._look_up("db.example.com", 80)
    assert resolver.asked == ["db.example.com"] * 2  # an answer is not kept


async def test_more_names_than_lookups_wait_for_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = [f"db{number}.example.com" for number in range(connect.MOST_LOOKUPS + 4)]
    resolver = Resolver(*hosts)
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    asked = [asyncio.create_task(connect._look_up(host, 80)) for host in hosts]
    await asyncio.sleep(0)
    resolver.release.set()
    async with asyncio.timeout(5):
        assert all(await asyncio.gather(*asked))
