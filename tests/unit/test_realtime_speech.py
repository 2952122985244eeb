"""A round of gratuitous ARP where the kernel does not take (all of) it."""

import errno
import os
import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from virtualip_agent.realtime.speech import Speech
from virtualip_agent.vrrp.timing import SECOND

if TYPE_CHECKING:
    from virtualip_agent.realtime.router import RunningRouter
    from virtualip_agent.realtime.vrrp_sockets import FrameSender

ROUND = (b"first", b"second", b"third")


class Wire:
    """Takes frames, but for those that are refused."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.refused: dict[bytes, int] = {}

    def send(self, _interface: str, frame: bytes) -> None:
        if number := self.refused.get(frame):
            raise OSError(number, os.strerror(number))
        self.sent.append(frame)


class Router(SimpleNamespace):
    name, family, link, patience = "web", socket.AF_INET, SimpleNamespace(name="eth0"), 4 * SECOND

    def count(self, what: str) -> None:
        self.counters[what] = self.counters.get(what, 0) + 1


def test_one_address_that_cannot_be_announced_does_not_keep_the_others_from_it_and_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    wire = Wire()
    speech = Speech(cast("FrameSender", wire), lambda: 0)
    router = cast("RunningRouter", Router(counters={}))
    wire.refused = {b"second": errno.ENOBUFS}
    for _ in range(3):
        speech.announce(router, ROUND)
    assert wire.sent == [b"first", b"third"] * 3
    assert router.counters == {"garp_sent": 6, "send_failed": 3}
    wire.refused = dict.fromkeys(ROUND, errno.ENETDOWN)
    speech.announce(router, ROUND)
    wire.refused.clear()
    for _ in range(2):
        speech.announce(router, ROUND)
    assert [record.getMessage() for record in caplog.records] == [
        "web: announcing the addresses on eth0: No buffer space available",
        "web: announcing the addresses on eth0: Network is down",
        "web: the addresses are announced again",
    ]


def test_a_round_that_was_decided_before_a_stop_of_more_than_a_masters_longest_silence_is_not_said() -> None:
    """Another was right to take over meanwhile, and the neighbours would learn the wrong node."""
    now, wire = 0, Wire()
    speech = Speech(cast("FrameSender", wire), lambda: now)
    router = cast("RunningRouter", Router(counters={}))
    for stopped, said in ((4 * SECOND, 3), (4 * SECOND + 1, 0)):
        wire.sent.clear()
        speech.begin(now)
        now += stopped
        speech.announce(router, ROUND)
        assert len(wire.sent) == said
    now += 1
    speech.announce(router, ROUND)  # decided in the same wake-up
    assert wire.sent == []


def test_what_takes_long_is_no_stop() -> None:
    """Thousands of addresses that are put on, or announced."""
    now, wire = 0, Wire()
    speech = Speech(cast("FrameSender", wire), lambda: now)
    router = cast("RunningRouter", Router(counters={}))
    speech.begin(now)
    now += 10 * SECOND
    speech.go_on()
    for _ in range(10):
        now += SECOND
        speech.announce(router, ROUND)
    assert len(wire.sent) == 30
