"""Deadlines of many routers on one timerfd."""

import select
import time

from virtualip_agent.realtime.timers import Deadlines, TimerFd


def test_what_is_due_comes_in_the_order_of_time_and_once() -> None:
    deadlines = Deadlines()
    deadlines.arm("b", 20)
    deadlines.arm("a", 10)
    deadlines.arm("c", 30)

    assert deadlines.first == 10
    assert deadlines.due(20) == ["a", "b"]
    assert deadlines.due(20) == []
    assert deadlines.first == 30


def test_a_deadline_that_moves_earlier_is_seen_at_its_new_time_only() -> None:
    deadlines = Deadlines()
    deadlines.arm("a", 30)
    deadlines.arm("a", 10)

    assert deadlines.due(10) == ["a"]
    assert deadlines.due(30) == []


def test_a_deadline_that_moves_later_costs_no_new_entry() -> None:
    deadlines = Deadlines()
    deadlines.arm("a", 10)
    for at in range(11, 1000):
        deadlines.arm("a", at)

    assert deadlines.first == 10
    assert deadlines.due(10) == ["a"]
    assert deadlines.first is None


def test_those_of_one_moment_are_due_together_and_each_once() -> None:
    deadlines = Deadlines()
    for name in "abc":
        deadlines.arm(name, 30)
    deadlines.arm("a", 10)
    assert deadlines.due(10) == ["a"]
    deadlines.arm("a", 30)
    deadlines.forget("b")

    assert deadlines.due(30) == ["a", "c"]
    assert deadlines.first is None


def test_a_forgotten_name_is_never_due() -> None:
    deadlines = Deadlines()
    deadlines.arm("a", 10)
    deadlines.forget("a")

    assert deadlines.due(10) == []


def test_the_timer_fires_at_an_absolute_time_and_at_once_for_one_that_is_past() -> None:
    timer = TimerFd()
    poll = select.epoll()
    poll.register(timer, select.EPOLLIN)
    at = time.monotonic_ns() + 5_000_000

    timer.set(at)
    assert poll.poll(1)
    assert time.monotonic_ns() >= at
    timer.set(None)
    assert not poll.poll(0)

    timer.set(1)
    assert poll.poll(1)
    poll.close()
    timer.close()
