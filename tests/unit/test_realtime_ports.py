"""Which sockets are open, and what passes their filters. The kernel is a table of sockets here."""

import errno
import os
from collections.abc import Collection
from typing import Any, Final

import pytest

from virtualip_agent.realtime import ports as module
from virtualip_agent.realtime.packet_filter import ANYBODY, Sources
from virtualip_agent.realtime.ports import Audience, Ports
from virtualip_agent.rtnetlink import Link

ETH0: Final = Link(2, "eth0", b"\x52\x54\0\0\0\1", up=True, running=True)
ANOTHER_ETH0: Final = Link(2, "eth0", b"\x52\x54\0\0\0\1", up=True, running=True, incarnation=1)
PLACE: Final = (2, 2)
OURS: Final = bytes([10, 0, 0, 1])
PEER: Final = bytes([10, 0, 0, 2])
STRANGER: Final = bytes([10, 0, 0, 9])


class Kernel:
    """Its sockets, and how large a filter it has room for."""

    def __init__(self) -> None:
        self.receivers: list[Receiver] = []
        self.senders: list[Sender] = []
        self.changes = 0
        self.largest = 1000
        self.fails_at = -1
        """The change that is refused."""

    def hears(self, vrid: int, source: bytes = PEER) -> int:
        """In how many queues such a packet is."""
        return sum(receiver.passes(vrid, source) for receiver in self.receivers)


class Receiver:
    """A socket with a filter."""

    kernel: Kernel

    def __init__(
        self,
        _interface: str,
        index: int,
        _family: int,
        vrids: Collection[int] | None,
        sources: Sources = ANYBODY,
        incarnation: int = 0,
    ) -> None:
        self.index, self.incarnation = index, incarnation
        self.vrids, self.sources = vrids, sources
        self.kernel.receivers.append(self)

    def listen_to(self, vrids: Collection[int] | None, sources: Sources) -> None:
        full = len(vrids or ()) + len(sources.addresses) > self.kernel.largest
        if full or self.kernel.changes == self.kernel.fails_at:
            self.kernel.fails_at = -1
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        self.vrids, self.sources = None if vrids is None else set(vrids), sources
        self.kernel.changes += 1

    def passes(self, vrid: int, source: bytes) -> bool:
        listed = source in self.sources.addresses
        return (self.vrids is None or vrid in self.vrids) and listed is self.sources.wanted

    def close(self) -> None:
        self.kernel.receivers.remove(self)


class Sender:
    """A socket of a source address."""

    kernel: Kernel

    def __init__(self, _interface: str, _index: int, source: bytes) -> None:
        if source == STRANGER:
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        self.source = source
        self.kernel.senders.append(self)

    def close(self) -> None:
        self.kernel.senders.remove(self)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    for fake in (Receiver, Sender):
        monkeypatch.setattr(fake, "kernel", kernel, raising=False)
        monkeypatch.setattr(module, fake.__name__, fake)
    return kernel


@pytest.fixture
def ports(kernel: Kernel) -> Ports:
    """With one router, of VRID 51, that must hear one peer."""
    ports = Ports(lambda _: None, lambda _: None)
    _settle(ports, {51: ports.open(ETH0, OURS, 51)})
    return ports


def _settle(ports: Ports, routers: dict[int, Any], *acquaintances: bytes) -> None:
    audience = Audience(set(routers), acquaintances or (PEER,))
    ports.settle({PLACE: audience}, set(routers.values()))


def test_what_is_heard_is_our_vrids_each_in_one_queue(ports: Ports, kernel: Kernel) -> None:
    assert [kernel.hears(51), kernel.hears(51, STRANGER), kernel.hears(52)] == [1, 1, 0]


def test_one_vrid_more_is_heard_at_once_and_others_until_it_is_settled(ports: Ports, kernel: Kernel) -> None:
    sender = ports.open(ETH0, OURS, 52)
    assert [kernel.hears(vrid) for vrid in (51, 52, 53)] == [1, 1, 1]
    _settle(ports, {51: sender, 52: sender})
    assert [kernel.hears(vrid) for vrid in (51, 52, 53)] == [1, 1, 0]


def test_many_routers_on_a_link_change_its_filters_as_often_as_one(kernel: Kernel) -> None:
    """250 of them took 240 ms, in which a router that was attached first did nothing."""

    def changes(many: int) -> int:
        before = kernel.changes
        ports = Ports(lambda _: None, lambda _: None)
        _settle(ports, {vrid: ports.open(ETH0, OURS, vrid) for vrid in range(1, many + 1)})
        ports.close()
        return kernel.changes - before

    assert changes(250) == changes(1)


def test_a_vrid_that_nobody_has_any_more_passes_until_it_is_settled(ports: Ports, kernel: Kernel) -> None:
    sender = ports.open(ETH0, OURS, 52)
    _settle(ports, {51: sender, 52: sender})
    _settle(ports, {51: sender})
    assert [kernel.hears(51), kernel.hears(52)] == [1, 0]


def test_a_source_that_nobody_sends_from_is_closed_and_the_interface_with_the_last(
    ports: Ports, kernel: Kernel
) -> None:
    another: Any = ports.open(ETH0, PEER, 51)
    _settle(ports, {51: another})
    assert kernel.senders == [another]
    ports.settle({}, ())
    assert (kernel.senders, kernel.receivers) == ([], [])


def test_where_a_source_cannot_be_sent_from_nothing_listens(kernel: Kernel) -> None:
    with pytest.raises(OSError, match="Cannot assign requested address"):
        Ports(lambda _: None, lambda _: None).open(ETH0, STRANGER, 51)
    assert (kernel.senders, kernel.receivers) == ([], [])


def test_an_interface_that_was_made_anew_is_heard_by_new_sockets(ports: Ports, kernel: Kernel) -> None:
    old = list(kernel.receivers)
    sender: Any = ports.open(ANOTHER_ETH0, OURS, 51)
    assert not set(old) & set(kernel.receivers)
    _settle(ports, {51: sender})
    assert (kernel.hears(51), kernel.senders) == (1, [sender])


def test_sources_that_do_not_fit_leave_the_filters_as_they_are_and_that_is_said_once(
    ports: Ports, kernel: Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    sender = ports.open(ETH0, OURS, 51)
    kernel.largest = 2
    for _ in range(3):
        _settle(ports, {51: sender}, PEER, STRANGER)
    assert [kernel.hears(51), kernel.hears(51, STRANGER), kernel.hears(52)] == [1, 1, 0]
    assert [record.getMessage() for record in caplog.records] == [
        "interface 2: filters stay as they are: Cannot allocate memory"
    ]


def test_a_vrid_whose_filter_does_not_fit_is_heard(ports: Ports, kernel: Kernel) -> None:
    kernel.largest = 1
    sender = ports.open(ETH0, OURS, 52)
    _settle(ports, {51: sender, 52: sender})
    assert all(kernel.hears(vrid, source) for vrid in (51, 52) for source in (PEER, STRANGER))


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_change_of_which_only_a_part_is_done_is_done_anew(ports: Ports, kernel: Kernel, which: int) -> None:
    sender = ports.open(ETH0, OURS, 52)
    _settle(ports, {51: sender, 52: sender})
    kernel.fails_at = kernel.changes + which
    _settle(ports, {51: sender}, STRANGER)
    assert kernel.hears(51)
    assert kernel.hears(51, STRANGER)
    ports.open(ETH0, OURS, 52)
    _settle(ports, {51: sender, 52: sender})
    assert all(kernel.hears(vrid, source) == 1 for vrid in (51, 52) for source in (PEER, STRANGER))


def test_where_not_even_the_known_sources_fit_all_share_a_queue(
    ports: Ports, kernel: Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    kernel.largest = 0
    ports.open(ETH0, OURS, 52)
    assert all(kernel.hears(vrid, source) == 1 for vrid in (51, 52) for source in (PEER, STRANGER))
    assert "known senders share the queue of all" in caplog.text
