"""A flood on a segment does not keep the timers waiting; who slept reads everything first."""

import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

from virtualip_agent.realtime.readers import Readers, slept
from virtualip_agent.realtime.timers import Chore, Deadlines
from virtualip_agent.vrrp.timing import MILLISECOND, SECOND

_PACKET: Final = MILLISECOND // 10


class FloodedEngine:
    """Reading a packet takes it 0.1 ms of an injected clock, and there is always another one."""

    def __init__(self) -> None:
        self.deadlines = Deadlines()
        self.now = 0
        self.waiting = 1 << 40
        self.heard_at = -1

    def monotonic_ns(self) -> int:
        return self.now

    def receive(self, _receiver: Any, now: int, until: int) -> None:
        self.heard_at = now
        while self.waiting and self.now <= until:
            self.waiting -= 1
            self.now += _PACKET


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Any:
    flooded = FloodedEngine()
    monkeypatch.setattr("virtualip_agent.realtime.readers.monotonic_ns", flooded.monotonic_ns)
    return flooded


@pytest.fixture
def epoll() -> Iterator[select.epoll]:
    with select.epoll() as one:
        yield one


@pytest.fixture
def receiver() -> Iterator[Any]:
    """Always readable."""
    here, there = socket.socketpair()
    there.send(b"x")
    yield here
    here.close()
    there.close()


def readable(epoll: select.epoll) -> list[int]:
    return [descriptor for descriptor, _ in epoll.poll(0)]


@contextmanager
def woken_by_something_else(epoll: select.epoll) -> Iterator[int]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        epoll.register(other, select.EPOLLOUT)
        yield other.fileno()


def test_an_interface_is_read_for_4_ms_and_left_alone_for_1(engine: Any, epoll: select.epoll, receiver: Any) -> None:
    readers = Readers(epoll)
    readers.register(receiver)
    readers.read(receiver, engine, slept=False)
    assert 4 * MILLISECOND < engine.now < 4 * MILLISECOND + 2 * _PACKET
    assert readable(epoll) == []
    readers.arm(engine)
    assert engine.deadlines.first == 5 * MILLISECOND
    with woken_by_something_else(epoll):
        readers.wait(engine, engine.now)
        assert receiver.fileno() not in readable(epoll)
        engine.now = 5 * MILLISECOND
        ready, _, slept = readers.wait(engine, engine.now)
    assert receiver.fileno() in {descriptor for descriptor, _ in ready}
    assert not slept


def test_of_two_that_rest_the_second_is_waited_for(engine: Any, epoll: select.epoll, receiver: Any) -> None:
    readers = Readers(epoll)
    readers.register(receiver)
    readers.read(receiver, engine, slept=False)
    readers.arm(engine)
    first_rested = engine.now + MILLISECOND
    engine.now += 5 * MILLISECOND // 10
    readers.read(receiver, engine, slept=False)
    readers.arm(engine)
    engine.deadlines.due(first_rested)
    readers.arm(engine)
    assert engine.deadlines.first > first_rested


def test_the_end_of_a_rest_hastens_no_look_for_a_socket(engine: Any, epoll: select.epoll, receiver: Any) -> None:
    engine.deadlines.arm(Chore.LOOK_AGAIN, 5 * SECOND)
    readers = Readers(epoll)
    readers.register(receiver)
    readers.read(receiver, engine, slept=False)
    readers.arm(engine)
    assert engine.deadlines.due(5 * MILLISECOND) == [Chore.READ_AGAIN]
    assert engine.deadlines.due(5 * SECOND) == [Chore.LOOK_AGAIN]


def test_what_is_read_in_less_is_read_on(engine: Any, epoll: select.epoll, receiver: Any) -> None:
    readers = Readers(epoll)
    readers.register(receiver)
    engine.waiting = 39
    readers.read(receiver, engine, slept=False)
    assert readable(epoll) == [receiver.fileno()]
    assert engine.deadlines.first is None


def test_who_slept_reads_all_that_it_missed(engine: Any, epoll: select.epoll, receiver: Any) -> None:
    readers = Readers(epoll)
    readers.register(receiver)
    engine.waiting = 1500
    readers.read(receiver, engine, slept=True)
    assert engine.waiting == 0


def test_one_that_is_closed_while_it_is_left_alone_is_forgotten(
    engine: Any, epoll: select.epoll, receiver: Any
) -> None:
    readers = Readers(epoll)
    readers.register(receiver)
    readers.read(receiver, engine, slept=False)
    readers.unregister(receiver)
    receiver.close()
    engine.now = 5 * MILLISECOND
    with woken_by_something_else(epoll) as other:
        ready, _, _ = readers.wait(engine, engine.now)
    assert [descriptor for descriptor, _ in ready] == [other]


class StoppedAfterPolling:
    """The epoll of a process that is stopped for 5 s as soon as the kernel has given it its first answer."""

    def __init__(self, epoll: select.epoll, engine: FloodedEngine, meanwhile: Callable[[], object]) -> None:
        self._epoll = epoll
        self._engine = engine
        self._meanwhile = meanwhile

    def poll(self, timeout: float | None = None, maxevents: int = -1) -> list[tuple[int, int]]:
        ready = self._epoll.poll(timeout, maxevents)
        if not self._engine.now:
            self._meanwhile()
            self._engine.now = 5 * SECOND
        return ready


def test_who_is_stopped_with_the_kernels_answer_in_hand_hears_who_spoke_meanwhile_before_its_timer_acts(
    engine: Any, epoll: select.epoll
) -> None:
    timer, sets = socket.socketpair()
    segment, neighbour = socket.socketpair()
    with timer, sets, segment, neighbour:
        epoll.register(timer, select.EPOLLIN)
        epoll.register(segment, select.EPOLLIN)
        sets.send(b"due")
        engine.deadlines.arm("web", 0)
        stopped: Any = StoppedAfterPolling(epoll, engine, lambda: neighbour.send(b"I am MASTER"))
        ready, now, slept = Readers(stopped).wait(engine, 0)
        assert {descriptor for descriptor, _ in ready} == {timer.fileno(), segment.fileno()}
        assert (now, slept) == (5 * SECOND, True)


def test_who_is_woken_in_time_did_not_sleep(engine: Any, epoll: select.epoll, receiver: Any) -> None:
    epoll.register(receiver, select.EPOLLIN)
    assert Readers(epoll).wait(engine, 0) == ([(receiver.fileno(), select.EPOLLIN)], 0, False)


def test_who_is_stopped_while_it_reads_reads_on_before_its_timer_acts(
    engine: Any, epoll: select.epoll, receiver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks as if a flood had kept it for so long, and one that floods is left alone."""
    readers = Readers(epoll)
    readers.register(receiver)

    def stopped(*_: Any) -> None:
        engine.now += 5 * SECOND

    with monkeypatch.context() as patched:
        patched.setattr(engine, "receive", stopped)
        readers.read(receiver, engine, slept=False)
    readers.arm(engine)
    engine.deadlines.arm("web", 3 * SECOND)
    with woken_by_something_else(epoll):
        ready, _, _ = readers.wait(engine, engine.now)
    assert receiver.fileno() in {descriptor for descriptor, _ in ready}


def test_what_is_read_after_a_stop_was_heard_after_it(engine: Any, epoll: select.epoll, receiver: Any) -> None:
    """By the moment of the wake-up it would be an old sign of the MASTER, and the queue is empty then."""
    readers = Readers(epoll)
    readers.register(receiver)
    readers.wait(engine, 0)
    engine.now = 5 * SECOND
    readers.read(receiver, engine, slept=False)
    assert engine.heard_at == 5 * SECOND


@pytest.mark.parametrize(("due", "done", "woke", "answer"), [
    (100, 50, 109, False),  # late, but not by much
    (100, 50, 111, True),
    (100, 108, 109, False),  # its own work made it late: a flood, say
    (100, 108, 119, True),
    (100, 50, 60, False),  # woken by a packet
    (None, 50, 900, False),  # nothing was due
])  # fmt: skip
def test_to_be_late_by_ones_own_work_is_not_to_sleep(
    engine: Any, due: int | None, done: int, woke: int, answer: bool
) -> None:
    if due is not None:
        engine.deadlines.arm("web", due * MILLISECOND)
    assert slept(engine, woke * MILLISECOND, done * MILLISECOND) is answer
