"""How often the API is asked while it answers lists and refuses watches."""

import pytest

from virtualip_agent.reporter.backoff import FIRST_PAUSE, LONGEST_PAUSE, STEADY, BackOff


class Rounds:
    """Rounds by an injected clock; without the random part of a pause."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("random.random", lambda: 0.5)
        self.now = 1000.0
        self._back_off = BackOff(lambda: self.now)

    def take(self, seconds: float, *, failed: bool) -> float:
        """One that lasts so long; the pause after it."""
        self._back_off.begin()
        self.now += seconds
        return self._back_off.ended(failed=failed)


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> Rounds:
    return Rounds(monkeypatch)


def test_a_watch_that_is_refused_after_each_good_list_is_tried_ever_more_seldom(rounds: Rounds) -> None:
    pauses = [rounds.take(0.05, failed=True) for _ in range(6)]
    assert pauses == [FIRST_PAUSE, 1.0, 2.0, 4.0, LONGEST_PAUSE, LONGEST_PAUSE]


def test_so_is_one_that_ends_at_once_without_an_error(rounds: Rounds) -> None:
    assert [rounds.take(0.05, failed=False) for _ in range(3)] == [FIRST_PAUSE, 1.0, 2.0]


def test_after_a_watch_that_lasted_the_next_begins_at_once(rounds: Rounds) -> None:
    for _ in range(5):
        rounds.take(0.05, failed=True)
    assert rounds.take(STEADY, failed=False) == 0.0
    assert rounds.take(0.05, failed=True) == FIRST_PAUSE


def test_a_watch_of_some_seconds_until_a_list_is_due_is_no_failure(rounds: Rounds) -> None:
    assert [rounds.take(3.0, failed=False) for _ in range(3)] == [0.0, 0.0, 0.0]
