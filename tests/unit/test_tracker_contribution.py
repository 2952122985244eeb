"""What a tracker's result is worth, by the rules of keepalived.conf(5): track_script, track_process, track_file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtualip_agent.control.trackers.base import Check, Number, Unusable
from virtualip_agent.control.trackers.contribution import HIGHEST, contribution
from virtualip_agent.ipc import Contribution
from virtualip_api.trackers import FileTracker, ProcessTracker, Tracker


def process(weight: int = 0, reverse: bool = False) -> Tracker:
    return Tracker("apache", ProcessTracker("httpd"), weight=weight, reverse=reverse)


def file(weight: int = 1, reverse: bool = False, on_missing: str = "Zero") -> Tracker:
    return Tracker("app", FileTracker("/run/value", on_missing), weight=weight, reverse=reverse)


weights = st.integers(-254, 254)
values = st.integers(-(10**6), 10**6)


def test_s1_a_running_process_of_weight_10_adds_10_and_a_dead_one_nothing() -> None:
    assert contribution(process(weight=10), Check(True)) == Contribution(10, healthy=True)
    assert contribution(process(weight=10), Check(False)) == Contribution(0, healthy=False)


def test_a_negative_weight_takes_its_amount_away_while_unhealthy() -> None:
    assert contribution(process(weight=-60), Check(False)) == Contribution(-60, healthy=False)
    assert contribution(process(weight=-60), Check(True)) == Contribution(0, healthy=True)


def test_without_a_weight_a_failure_is_fault() -> None:
    assert contribution(process(), Check(False)) == Contribution(fault=True, healthy=False)
    assert contribution(process(), Check(True)) == Contribution()


def test_without_a_weight_and_reversed_success_is_fault() -> None:
    assert contribution(process(reverse=True), Check(True)) == Contribution(fault=True, healthy=False)
    assert contribution(process(reverse=True), Check(False)) == Contribution()


@given(weights.filter(bool), st.booleans())
def test_reverse_flips_the_sign_of_a_weight_and_nothing_else(weight: int, passed: bool) -> None:
    straight = contribution(process(weight), Check(passed))
    flipped = contribution(process(weight, reverse=True), Check(passed))
    assert flipped.value == -straight.value
    assert not straight.fault
    assert not flipped.fault


@given(weights, st.booleans())
def test_healthy_is_always_the_better_of_the_two_parts(weight: int, reverse: bool) -> None:
    tracker = process(weight, reverse)
    passed, failed = contribution(tracker, Check(True)), contribution(tracker, Check(False))
    better, worse = (passed, failed) if passed.healthy else (failed, passed)
    assert better.healthy
    assert not worse.healthy
    assert (better.fault, -better.value) < (worse.fault, -worse.value)


@given(weights, st.booleans(), st.booleans())
def test_a_check_contributes_its_weight_or_nothing(weight: int, reverse: bool, passed: bool) -> None:
    assert abs(contribution(process(weight, reverse), Check(passed)).value) in (0, abs(weight))


@pytest.mark.parametrize(("content", "adds"), [(5, 5), (6, 6), (0, 0), (-4, -4)])
def test_s2_a_file_adds_its_value_times_the_weight(content: int, adds: int) -> None:
    assert contribution(file(), Number(content)) == Contribution(adds)


@given(st.integers(1, 50), st.integers(-5, 5))
def test_s2_with_another_weight_or_reversed_the_product_counts(weight: int, value: int) -> None:
    assert contribution(file(weight), Number(value)).value == weight * value
    assert contribution(file(weight, reverse=True), Number(value)).value == -weight * value


@pytest.mark.parametrize("value", [1, -1, 253, 10**9])
def test_s3_with_weight_0_any_value_but_0_is_fault(value: int) -> None:
    assert contribution(file(weight=0), Number(0)) == Contribution()
    assert contribution(file(weight=0), Number(value)).fault


def test_s3_with_weight_0_and_reversed_0_is_fault() -> None:
    assert contribution(file(weight=0, reverse=True), Number(0)).fault
    assert not contribution(file(weight=0, reverse=True), Number(7)).fault


@pytest.mark.parametrize(
    ("weight", "value", "fault"),
    [(1, -253, False), (1, -254, True), (254, -1, True), (254, 1, False), (-254, 1, True), (-1, 253, False)],
)
def test_s4_a_product_below_minus_253_is_fault(weight: int, value: int, fault: bool) -> None:
    assert contribution(file(weight), Number(value)).fault is fault


def test_s4_a_weight_of_254_adds_no_more_than_253() -> None:
    assert contribution(file(254), Number(1)).value == HIGHEST


@given(weights.filter(bool), values, st.booleans())
def test_s4_a_file_is_within_bounds_or_fault(weight: int, value: int, reverse: bool) -> None:
    worth = contribution(file(weight, reverse), Number(value))
    assert worth.fault == (value * (-weight if reverse else weight) < -253)
    assert worth.healthy != worth.fault
    assert -253 <= worth.value <= 253


@given(weights, st.booleans())
def test_what_the_user_wants_to_be_a_failure_is_fault_whatever_the_weight(weight: int, reverse: bool) -> None:
    assert contribution(file(weight, reverse, "Fail"), Unusable("missing")) == Contribution(fault=True, healthy=False)
