"""Why it moved, in a user's words."""

import pytest

from virtualip_api.status import NodeEntry, State, TrackerStatus, format_time
from virtualip_operator.moves import Explanation, explain

AT = 1_800_000_000.0
WINDOW = 6.0


def new(reason: str, *trackers: TrackerStatus, priority: int = 254, message: str = "") -> NodeEntry:
    return NodeEntry(
        "server1", State.MASTER, priority, 1, format_time(AT), reason=reason, message=message, trackers=trackers
    )


def old(state: str, reason: str = "", *trackers: TrackerStatus, priority: int = 240, message: str = "") -> NodeEntry:
    return NodeEntry("server2", State(state), priority, 1, reason=reason, message=message, trackers=trackers)


def tracker(name: str, healthy: bool, changed: float, contribution: int = 0) -> TrackerStatus:
    return TrackerStatus(name, healthy, contribution, last_transition_time=format_time(changed))


def cause(before: NodeEntry | None, after: NodeEntry) -> str:
    return explain(before, after, before.node if before else "server2", WINDOW).cause


def test_a_tracker_that_has_become_healthy_on_the_new_master() -> None:
    assert cause(old("BACKUP"), new("HigherPriority", tracker("apache", True, AT - 0.2))) == "apache healthy"


@pytest.mark.parametrize("reason", ["HigherPriority", "MasterResigned"])
def test_a_node_that_drains_whatever_its_trackers_say_meanwhile(reason: str) -> None:
    """kubectl drain evicts what the trackers look at, too."""
    before = old("MASTER", "", tracker("apache", False, AT - 0.1))  # its own word of that may come later
    assert explain(before, new(reason), "server2", WINDOW, "server2 is draining").cause == "server2 is draining"


def test_a_node_that_drained_and_died_was_not_followed_for_draining() -> None:
    assert explain(None, new("MasterDown"), "server2", WINDOW, "server2 is draining").cause == (
        "no advertisements from server2"
    )


def test_a_tracker_that_has_failed_on_the_old_master() -> None:
    assert cause(old("BACKUP", "", tracker("apache", False, AT - 0.2)), new("HigherPriority")) == (
        "apache failed on server2"
    )


def test_a_file_tracker_that_says_another_number_on_the_old_master() -> None:
    assert cause(old("BACKUP", "", tracker("app", True, AT - 1, -5)), new("HigherPriority")) == "app -5 on server2"


def test_the_tracker_that_changed_last_is_the_cause() -> None:
    trackers = (tracker("one", True, AT - 3), tracker("two", True, AT - 1))
    assert cause(old("BACKUP"), new("HigherPriority", *trackers)) == "two healthy"


def test_a_change_of_long_ago_is_not_the_cause() -> None:
    assert cause(old("BACKUP"), new("HigherPriority", tracker("apache", True, AT - 60))) == (
        "priority 254 is above server2's 240"
    )


def test_clocks_that_differ_a_little_do_not_hide_the_cause() -> None:
    assert cause(old("BACKUP", "", tracker("apache", False, AT + 0.5)), new("HigherPriority")) == (
        "apache failed on server2"
    )


def test_a_fault_of_the_old_master_is_the_cause_whatever_the_new_one_heard() -> None:
    failed = old("FAULT", "TrackerFailed", tracker("check", False, AT - 100))
    assert cause(failed, new("MasterResigned")) == "server2 check failed"
    assert cause(old("FAULT", "LinkDown"), new("MasterDown")) == "server2 link down"


def test_a_hand_over_says_what_for() -> None:
    assert cause(old("BACKUP", "HandedOver", message="cordoned"), new("MasterResigned")) == (
        "server2 handed over (cordoned)"
    )


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("MasterDown", "no advertisements from server2"),
        ("MasterResigned", "server2 handed over"),
        ("Owner", "owner of the address"),
        ("Adopted", "kept its addresses over a restart"),
    ],
)
def test_each_reason_has_its_words_also_where_the_old_master_is_silent(reason: str, words: str) -> None:
    assert explain(None, new(reason), "server2", WINDOW) == Explanation(reason, words)


def test_an_unknown_reason_is_told_as_it_is() -> None:
    assert explain(None, new("Sorcery", message="by magic"), "", WINDOW) == Explanation("Sorcery", "by magic")
    assert explain(None, new(""), "", WINDOW) == Explanation("Unknown", "Unknown")


def test_what_the_cause_said_is_told_beside_it() -> None:
    apache = TrackerStatus("apache", False, 0, "0 processes, 1 wanted", format_time(AT - 0.2))
    assert explain(old("BACKUP", "", apache), new("HigherPriority"), "server2", WINDOW) == Explanation(
        "HigherPriority", "apache failed on server2", "apache: 0 processes, 1 wanted"
    )
    fault = old("FAULT", "LinkDown", message="eth0 is without carrier")
    assert explain(fault, new("MasterDown"), "server2", WINDOW) == Explanation(
        "MasterDown", "server2 link down", "eth0 is without carrier"
    )
