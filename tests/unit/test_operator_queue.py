"""Whose turn it is."""

import threading
from queue import SimpleQueue

from virtualip_operator.work_queue import FIRST_BACK_OFF, LONGEST_BACK_OFF, WorkQueue


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def taken(queue: WorkQueue) -> list[str]:
    found = []
    while (name := queue.take(0.0)) is not None:
        found.append(name)
    return found


def test_a_name_added_many_times_has_one_turn() -> None:
    queue = WorkQueue(Clock())
    for name in ("a", "b", "a", "a"):
        queue.add(name)
    assert len(queue) == 2
    assert sorted(taken(queue)) == ["a", "b"]


def test_a_name_is_never_in_two_hands_and_not_forgotten_either() -> None:
    queue = WorkQueue(Clock())
    queue.add("a")
    assert taken(queue) == ["a"]
    queue.add("a")
    assert taken(queue) == []
    queue.done("a")
    assert taken(queue) == ["a"]


def test_others_go_on_while_a_name_waits_for_its_own_turn_to_end() -> None:
    queue = WorkQueue(Clock())
    queue.add("a")
    taken(queue)
    queue.add("a")
    queue.add("b")
    assert taken(queue) == ["b"]


def test_a_delayed_name_waits_and_the_earliest_time_counts() -> None:
    clock = Clock()
    queue = WorkQueue(clock)
    queue.add("a", 5.0)
    queue.add("a", 1.0)
    queue.add("a", 9.0)
    assert taken(queue) == []
    clock.now = 1.0
    assert taken(queue) == ["a"]
    queue.done("a")
    clock.now = 100.0
    assert taken(queue) == []


def test_failures_in_a_row_wait_longer_and_longer_up_to_a_bound() -> None:
    clock = Clock()
    queue = WorkQueue(clock)
    queue.add("a")
    delays = []
    for _ in range(12):
        assert taken(queue) == ["a"]
        delays.append(queue.failed("a"))
        clock.now += delays[-1]
    assert delays[:3] == [FIRST_BACK_OFF, 2 * FIRST_BACK_OFF, 4 * FIRST_BACK_OFF]
    assert delays[-1] == LONGEST_BACK_OFF


def test_a_success_ends_the_back_off() -> None:
    clock = Clock()
    queue = WorkQueue(clock)
    queue.add("a")
    taken(queue)
    clock.now += queue.failed("a")
    assert taken(queue) == ["a"]
    queue.done("a")
    queue.add("a")
    taken(queue)
    assert queue.failed("a") == FIRST_BACK_OFF


def test_what_was_added_during_a_turn_that_fails_waits_with_it() -> None:
    queue = WorkQueue(Clock())
    queue.add("a")
    taken(queue)
    queue.add("a")
    queue.take(0.0)
    queue.failed("a")
    assert taken(queue) == []


def test_who_waits_is_woken_by_what_is_added_and_by_the_end() -> None:
    queue = WorkQueue()
    found: SimpleQueue[str | None] = SimpleQueue()

    def wait_twice() -> None:
        found.put(queue.take(30.0))
        found.put(queue.take(30.0))

    waiting = threading.Thread(target=wait_twice)
    waiting.start()
    queue.add("a")
    assert found.get(timeout=10.0) == "a"
    queue.close()
    assert found.get(timeout=10.0) is None
    waiting.join(10.0)


def test_what_failed_is_known_until_it_has_been_done() -> None:
    queue = WorkQueue(Clock())
    queue.add("a")
    assert taken(queue) == ["a"]
    queue.failed("a")
    assert queue.fails("a")
    queue.done("a")
    assert not queue.fails("a")
