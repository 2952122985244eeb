"""The effective priority: recomputed from the whole map of trackers, never adjusted (scenarios S1, S2, S4, S5, S9)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtualip_agent.vrrp.priority import Contribution, effective_priority

contributions = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=3),
    st.builds(Contribution, st.integers(-254, 254), st.booleans(), st.booleans()),
    max_size=8,
)


@pytest.mark.parametrize(("scenario", "base", "trackers", "priority"), [
    ("S1: httpd runs, weight 10", 244, {"httpd": 10}, 254),
    ("S1: httpd does not run", 244, {"httpd": 0}, 244),
    ("S2: the file says 5, weight 1", 244, {"file": 5}, 249),
    ("S2: the file says 6", 244, {"file": 6}, 250),
    ("S5: ens9 is up, weight 5", 244, {"ens9": 5}, 249),
    ("S5: ens9 is down", 244, {"ens9": 0}, 244),
    ("S9: they add up", 200, {"httpd": 10, "file": 5, "ens9": 5}, 220),
    ("S9: and take away", 200, {"httpd": 10, "check": -60}, 150),
])  # fmt: skip
def test_the_scenarios_figures(scenario: str, base: int, trackers: dict[str, int], priority: int) -> None:
    effective = effective_priority(base, {name: Contribution(value) for name, value in trackers.items()})
    assert effective.priority == priority, scenario
    assert effective.failed == ()


def test_the_message_is_the_sum_a_person_would_write() -> None:
    trackers = {"apache": Contribution(10), "check": Contribution(-60), "idle": Contribution(0)}
    assert effective_priority(244, trackers).message == "244 + apache 10 - check 60"
    assert effective_priority(250, {"a": Contribution(10)}).message == "250 + a 10 = 260, limited to 254"
    assert effective_priority(5, {"a": Contribution(-10)}).message == "5 - a 10 = -5, limited to 1"


def test_a_failed_tracker_of_weight_0_is_named() -> None:
    trackers = {"check": Contribution(0, fault=True, healthy=False), "httpd": Contribution(10)}
    assert effective_priority(100, trackers).failed == ("check",)


def test_an_address_owner_never_changes() -> None:
    assert effective_priority(255, {"httpd": Contribution(-100)}).priority == 255


def test_a_draining_node_has_priority_1_whatever_it_is_and_an_owner_too() -> None:
    assert effective_priority(244, {"httpd": Contribution(10)}, draining=True).priority == 1
    assert effective_priority(255, {}, draining=True).priority == 1


@given(st.integers(1, 254), contributions)
def test_it_is_the_sum_clamped_once_to_1_and_254(base: int, trackers: dict[str, Contribution]) -> None:
    total = base + sum(contribution.value for contribution in trackers.values())
    assert effective_priority(base, trackers).priority == sorted((1, total, 254))[1]


@given(st.integers(1, 254), contributions)
def test_the_order_in_which_trackers_spoke_does_not_matter(base: int, trackers: dict[str, Contribution]) -> None:
    backwards = dict(reversed(trackers.items()))
    forwards, other = effective_priority(base, trackers), effective_priority(base, backwards)
    assert (forwards.priority, set(forwards.failed)) == (other.priority, set(other.failed))


@given(st.integers(1, 255), contributions, st.booleans())
def test_nobody_but_an_owner_ever_has_255_and_nobody_0(
    base: int, trackers: dict[str, Contribution], draining: bool
) -> None:
    priority = effective_priority(base, trackers, draining).priority
    assert 1 <= priority <= (255 if base == 255 and not draining else 254)
