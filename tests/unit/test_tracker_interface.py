"""Interfaces: the rule by recorded links (this kernel makes no VLAN or bond), the watch by real ones."""

import asyncio
import contextlib
import errno
import os
from collections.abc import Iterator

import pytest

from segment import Namespace, unavailable
from virtualip_agent.control.trackers import link_watch
from virtualip_agent.control.trackers.base import Check, Result
from virtualip_agent.control.trackers.interface import RunningInterfaceTracker, result_of
from virtualip_agent.control.trackers.link_watch import LinkWatch
from virtualip_agent.rtnetlink import Link
from virtualip_api.trackers import InterfaceTracker

needs_namespaces = pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "-")


def table(*links: Link) -> dict[int, Link]:
    return {link.index: link for link in links}


def link(index: int, name: str, up: bool = True, running: bool = True, base: int = 0) -> Link:
    return Link(index, name, b"", up, running, base)


def test_s5_up_and_running_is_healthy() -> None:
    assert result_of("ens9", table(link(2, "ens9"))) == Check(True, "up")


def test_s5_down_or_without_carrier_is_a_failure() -> None:
    assert result_of("ens9", table(link(2, "ens9", up=False, running=False))) == Check(False, "down")
    assert result_of("ens9", table(link(2, "ens9", running=False))) == Check(False, "without carrier")


def test_an_interface_that_does_not_exist_is_a_failure() -> None:
    assert result_of("ens9", table(link(2, "eth0"))) == Check(False, "there is no interface ens9")


def test_a_vlan_fails_with_its_base_and_a_macvlan_on_it_too() -> None:
    vlan, macvlan = link(3, "ens9.7", base=2), link(4, "mac0", base=3)
    assert result_of("mac0", table(link(2, "ens9"), vlan, macvlan)).passed
    down = table(link(2, "ens9", up=False), vlan, macvlan)
    assert result_of("ens9.7", down) == result_of("mac0", down) == Check(False, "its base ens9 is down")


def test_a_base_that_is_gone_is_a_failure() -> None:
    assert result_of("ens9.7", table(link(3, "ens9.7", base=2))) == Check(False, "its base (interface 2) is gone")


def test_interfaces_that_name_each_other_as_base_end_the_search() -> None:
    assert result_of("a", table(link(1, "a", base=2), link(2, "b", base=1))).passed


def test_a_bond_is_judged_by_its_own_state() -> None:
    assert result_of("bond0", table(link(5, "bond0"), link(2, "ens9", up=False))).passed


def links(node: Namespace, *lines: str) -> None:
    node.run("ip -batch -", stdin="".join(f"link {line}\n" for line in lines))


class Watched:
    """A tracker, and a wait for what it says."""

    def __init__(self, watch: LinkWatch, name: str) -> None:
        self.last: Result | None = None
        self._changed = asyncio.Event()
        self.tracker = RunningInterfaceTracker(InterfaceTracker(name), self._report, watch)

    def _report(self, result: Result) -> None:
        self.last = result
        self._changed.set()

    async def becomes(self, result: Result) -> None:
        async with asyncio.timeout(10):
            while self.last != result:
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture
def node() -> Iterator[Namespace]:
    namespace = Namespace("node")
    yield namespace
    namespace.close()


@contextlib.contextmanager
def watching(node: Namespace, name: str) -> Iterator[Watched]:
    watch = LinkWatch()
    with node.entered():
        watched = Watched(watch, name)
    yield watched
    watched.tracker.close()
    assert watch.links == {}  # nobody listens: the socket is closed


@needs_namespaces
async def test_an_interface_comes_goes_and_comes_back_with_another_index(node: Namespace) -> None:
    with watching(node, "ens9") as watched:
        assert watched.last == Check(False, "there is no interface ens9")
        for index in (101, 202):
            node.run(f"ip link add ens9 index {index} type veth peer name far")
            await watched.becomes(Check(False, "down"))
            node.run("ip link set ens9 up")
            await watched.becomes(Check(False, "without carrier"))
            node.run("ip link set far up")
            await watched.becomes(Check(True, "up"))
            node.run("ip link del ens9")
            await watched.becomes(Check(False, "there is no interface ens9"))


@needs_namespaces
async def test_a_renamed_interface_is_another(node: Namespace) -> None:
    node.run("ip link add ens9 type veth peer name far")
    with watching(node, "ens9") as watched:
        node.run("ip link set ens9 name ens10")
        await watched.becomes(Check(False, "there is no interface ens9"))


@needs_namespaces
async def test_leaving_a_bridge_is_not_vanishing(node: Namespace) -> None:
    lines = (
        "link add ens9 type veth peer name far\nlink add br0 type bridge\nlink set ens9 master br0 up\nlink set far up"
    )
    node.run("ip -batch -", stdin=lines)
    with watching(node, "ens9") as watched:
        await watched.becomes(Check(True, "up"))
        node.run("ip link set ens9 nomaster")
        node.run("ip link set far down")
        await watched.becomes(Check(False, "without carrier"))


@needs_namespaces
async def test_a_macvlan_follows_its_base(node: Namespace) -> None:
    lines = (
        "link add ens9 type veth peer name far\nlink add mac0 link ens9 type macvlan\nlink set far up\nlink set ens9 up"
    )
    node.run("ip -batch -", stdin=lines + "\nlink set mac0 up")
    with watching(node, "mac0") as watched:
        await watched.becomes(Check(True, "up"))
        node.run("ip link set ens9 down")
        await watched.becomes(Check(False, "without carrier"))
        node.run("ip link set ens9 up")
        await watched.becomes(Check(True, "up"))


@needs_namespaces
async def test_lost_notifications_are_made_up_for_by_asking_again(node: Namespace) -> None:
    node.run("ip link add ens9 type veth peer name far")
    node.run("ip link set far up")
    with watching(node, "ens9") as watched:
        # more than the receive buffer holds, while the loop does not read
        flap = "link set ens9 up\nlink set ens9 down\n" * 1500
        node.run("ip -batch -", stdin=flap + "link set ens9 up")
        with node.entered():  # the question is asked in the namespace
            await watched.becomes(Check(True, "up"))


async def test_a_kernel_that_could_not_be_asked_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    links, results = LinkWatch(), asyncio.Queue[Result]()
    answers = [False, True, False, True]

    def ask(watch: LinkWatch = links) -> None:
        if not answers.pop(0):
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
        watch.links = table(link(2, "ens9", running=bool(answers)))

    monkeypatch.setattr(links, "_ask_for_all", ask)
    monkeypatch.setattr(link_watch, "RETRY", 0.001)
    monkeypatch.setattr("virtualip_agent.control.trackers.interface.RETRY", 0.001)
    tracker = RunningInterfaceTracker(InterfaceTracker("ens9"), results.put_nowait, links)
    try:
        async with asyncio.timeout(5):
            assert await results.get() == Check(False, "the kernel does not tell: No buffer space available")
            assert await results.get() == Check(True, "up")
            links._catch_up()  # an overrun, and nobody answers
            assert await results.get() == Check(False, "without carrier")
    finally:
        tracker.close()
