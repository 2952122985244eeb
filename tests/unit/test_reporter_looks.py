"""When a reporter looks whether its entries are still there."""

from itertools import pairwise

from virtualip_agent.reporter.looks import FIRST_PAUSE, LONGEST_PAUSE, LOOKS_A_ROUND, Looks

ROUND = 10_000_000_000
HOUR = 3600_000_000_000


def test_a_new_entry_is_looked_at_in_the_next_round() -> None:
    assert Looks().take(["web"], 5) == ["web"]


def test_one_that_is_there_each_time_is_looked_at_ever_more_seldom_and_never_less_than_every_five_minutes() -> None:
    looks, seen = Looks(), []
    for now in range(0, HOUR, ROUND):
        for name in looks.take(["web"], now):
            seen.append(now)
            looks.was_there(name, now)
    pauses = [after - before for before, after in pairwise(seen)]
    assert pauses[0] == FIRST_PAUSE
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE
    assert len(seen) < 20


def test_one_that_was_lost_is_looked_at_again_as_often_as_a_new_one() -> None:
    looks = Looks()
    for now in range(0, HOUR, ROUND):
        for name in looks.take(["web"], now):
            looks.was_there(name, now)
    looks.was_lost("web", HOUR)
    assert looks.take(["web"], HOUR + ROUND) == ["web"]
    looks.was_there("web", HOUR + ROUND)
    assert looks.take(["web"], HOUR + ROUND + FIRST_PAUSE) == ["web"]


def test_one_that_could_not_be_looked_at_is_due_in_the_next_round_after_the_others() -> None:
    looks, names = Looks(), [f"vip{number}" for number in range(LOOKS_A_ROUND + 2)]
    first = looks.take(names, 0)
    assert first == names[:LOOKS_A_ROUND]
    assert looks.take(names, ROUND) == [*names[LOOKS_A_ROUND:], *names[: LOOKS_A_ROUND - 2]]


def test_what_has_gone_and_come_again_is_new() -> None:
    looks = Looks()
    looks.take(["web"], 0)
    looks.was_there("web", 0)
    looks.take([], ROUND // 2)
    assert looks.take(["web"], ROUND // 2) == ["web"]
