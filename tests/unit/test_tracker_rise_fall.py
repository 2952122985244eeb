"""rise and fall (keepalived.conf(5), vrrp_script: counters are of consecutive results), and what is told."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from virtualip_agent.control.trackers.base import Check
from virtualip_agent.control.trackers.rise_fall import Outcome, RiseFall

GOOD, BAD = Outcome(True, "exit code 0"), Outcome(False, "exit code 1")


def healths(state: RiseFall, results: str) -> str:
    """`+` and `-` in, `+` and `-` out."""
    shown = []
    for result in results:
        state = state.after(GOOD if result == "+" else BAD)
        assert state.shown is not None
        shown.append("+" if state.shown.passed else "-")
    return "".join(shown)


def test_s6_one_failure_alone_changes_nothing() -> None:
    assert healths(RiseFall(3, 3), "+-+--+--+") == "+++++++++"


def test_s6_three_failures_in_a_row_fail_and_three_successes_heal() -> None:
    assert healths(RiseFall(3, 3), "+---++-+++") == "+++------+"


def test_the_first_result_decides_by_itself() -> None:
    assert healths(RiseFall(3, 3), "+") == "+"
    assert healths(RiseFall(3, 3), "-") == "-"


def test_init_fail_starts_as_failed_and_takes_rise_successes() -> None:
    state = RiseFall.failed(3, 3, "not run yet")
    assert state.shown == Check(False, "not run yet")
    assert healths(state, "++-+++") == "-----+"


def test_while_an_earlier_result_counts_one_failure_alone_changes_nothing_either() -> None:
    # after an edit, or in a control that was started anew beside a MASTER
    def shown(results: str) -> str:
        state = RiseFall.start(2, 3, resumed=True)
        told = []
        for result in results:
            state = state.after(GOOD if result == "+" else BAD)
            told.append("?" if state.shown is None else "+" if state.shown.passed else "-")
        return "".join(told)

    assert shown("-++-") == "??++"
    assert shown("--+---") == "?????-"
    assert shown("+--+-++") == "??????+"


@given(st.integers(1, 5), st.integers(1, 5), st.text("+-", min_size=1, max_size=60))
def test_it_changes_exactly_when_enough_disagree_in_a_row(rise: int, fall: int, results: str) -> None:
    shown = healths(RiseFall(rise, fall), results)
    for index, (before, after) in enumerate(itertools.pairwise(shown), 1):
        wanted = rise if before == "-" else fall
        last = results[: index + 1][-wanted:]
        enough = len(last) == wanted and before not in last
        assert (after != before) == enough


@given(st.text("+-", min_size=1, max_size=60))
def test_with_rise_and_fall_1_it_is_the_last_result(results: str) -> None:
    assert healths(RiseFall(), results) == results


def test_another_detail_alone_is_not_told() -> None:
    state = RiseFall().after(Outcome(True, "exit code 0", "time=0.31 ms"))
    assert state.shown == Check(True, "exit code 0: time=0.31 ms")
    assert state.after(Outcome(True, "exit code 0", "time=0.32 ms")).shown == state.shown


def test_another_reason_is() -> None:
    state = RiseFall().after(BAD).after(Outcome(False, "timed out after 5s"))
    assert state.shown == Check(False, "timed out after 5s")


def test_a_failure_that_does_not_count_yet_is_not_told() -> None:
    assert RiseFall(1, 3).after(GOOD).after(BAD).shown == Check(True, "exit code 0")
