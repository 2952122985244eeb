"""What a user reads, from what the nodes say."""

from typing import Any

import pytest

from virtualip_api.advice import Advice
from virtualip_api.status import Mismatch, NodeEntry, State, TrackerStatus, entry_to_json, format_time
from virtualip_operator.aggregation import SETTLE, Aggregate, View, aggregate, entries_from_status
from virtualip_operator.conditions import Condition
from virtualip_operator.narrator import BURST, REFILL, Budget, happenings

NOW = 1_800_000_000.0


def entry(node: str, state: str, priority: int = 100, at: float = NOW, **rest: Any) -> NodeEntry:
    return NodeEntry(node, State(state), priority, last_transition_time=format_time(at), **rest)


def told(
    *entries: NodeEntry,
    before: dict[str, Any] | None = None,
    members: tuple[str, ...] = ("server1", "server2", "server3"),
    silent: tuple[str, ...] = (),
    renewed: dict[str, float] | None = None,
    leaderless_for: float = 0.0,
    refused: Condition | None = None,
    now: float = NOW,
    **known: Any,
) -> Aggregate:
    view = View(
        generation=3,
        addresses=("192.0.2.10/32",),
        refused=refused,
        members=members,
        entries={found.node: found for found in entries},
        silent=frozenset(silent),
        renewed=renewed or {},
        leaderless_for=leaderless_for,
        **known,
    )
    return aggregate(view, before or {}, now)


def condition(result: Aggregate, name: str) -> dict[str, Any]:
    (found,) = (c for c in result.status["conditions"] if c["type"] == name)
    return dict(found)


def test_the_summary_names_every_member_in_the_order_of_the_plan() -> None:
    result = told(entry("server2", "BACKUP", 250), entry("server1", "MASTER", 254))
    assert result.status["summary"] == "server1=MASTER/254 server2=BACKUP/250 server3=?"
    assert (result.status["master"], result.status["priority"]) == ("server1", 254)


def test_master_is_the_latest_claim() -> None:
    result = told(entry("server1", "MASTER", 254, NOW - 60), entry("server2", "MASTER", 250, NOW))
    assert result.status["master"] == "server2"


def test_a_silent_nodes_claim_is_not_believed() -> None:
    result = told(entry("server1", "MASTER"), entry("server2", "BACKUP"), silent=("server1",))
    assert "master" not in result.status
    assert result.status["silentNodes"] == ["server1"]
    assert result.status["summary"] == "server1=? server2=BACKUP/100 server3=?"
    assert (condition(result, "Ready")["status"], condition(result, "Ready")["reason"]) == ("Unknown", "MasterSilent")


def test_an_entry_of_a_node_that_takes_no_part_is_ignored() -> None:
    result = told(entry("stranger", "MASTER"), entry("server1", "BACKUP"))
    assert "master" not in result.status
    assert "stranger" not in result.status["summary"]


def test_a_holder_that_takes_no_part_is_told_as_long_as_it_holds() -> None:
    result = told(entry("stranger", "MASTER", 90), entry("server1", "BACKUP"), holders=("stranger",))
    assert result.status["master"] == "stranger"
    assert result.status["summary"] == "server1=BACKUP/100 server2=? server3=? stranger=MASTER/90"
    ready = condition(result, "Ready")
    assert (ready["status"], ready["message"]) == ("True", "stranger is MASTER, though it takes no part by the plan")


def test_who_was_silent_and_says_the_same_as_before_has_not_moved() -> None:
    master, backup = entry("server1", "MASTER", at=NOW - 3600, reason="HigherPriority"), entry("server2", "BACKUP")
    status = told(master, backup).status
    for silent in (("server1",), (), ("server1",), ()):
        result = told(master, backup, before=status, silent=silent, leaderless_for=99.0)
        assert result.move is None
        status = result.status
    assert len(status["lastMoves"]) == 1
    anew = entry("server1", "MASTER", at=NOW, reason="Adopted")
    lost = told(master, backup, before=status, silent=("server1",), leaderless_for=99.0)
    back = told(anew, backup, before=lost.status)
    assert back.move is not None
    assert back.move.text() == "server1 -> server1: kept its addresses over a restart"


def test_the_claim_that_was_seen_later_counts_whatever_the_nodes_clocks_say() -> None:
    ahead, later = entry("server1", "MASTER", 254, NOW + 4), entry("server2", "MASTER", 250, NOW + 3)
    result = told(ahead, later, claims={"server1": 1, "server2": 2})
    assert result.status["master"] == "server2"


def test_ready_is_unknown_when_all_are_silent() -> None:
    result = told(entry("server1", "MASTER"), entry("server2", "BACKUP"), silent=("server1", "server2", "server3"))
    ready = condition(result, "Ready")
    assert (ready["status"], ready["reason"]) == ("Unknown", "NodesSilent")
    assert ready["message"] == "server1 is silent, was MASTER; server2 is silent, was BACKUP; server3 has not reported"


def test_ready_is_false_with_each_nodes_cause_when_nobody_is_master() -> None:
    result = told(
        entry("server1", "FAULT", 0, reason="TrackerFailed", message="check: exit 1"),
        entry("server2", "FAULT", 0, reason="LinkDown"),
        entry("server3", "BACKUP", reason="Listening"),
    )
    ready = condition(result, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "NoMaster")
    assert ready["message"] == (
        "server1 FAULT TrackerFailed, check: exit 1; server2 FAULT LinkDown; server3 BACKUP Listening"
    )


def test_ready_is_false_when_no_node_takes_part() -> None:
    assert condition(told(members=()), "Ready")["reason"] == "NoMembers"


def test_ready_says_of_one_that_was_never_accepted_that_it_is_not() -> None:
    ready = condition(told(members=(), refused=Condition("Accepted", "False", "VRIDInUse", "51 is db's")), "Ready")
    assert (ready["reason"], ready["message"]) == ("NotAccepted", "nobody runs it: 51 is db's")


def test_a_conditions_time_is_that_of_its_last_change() -> None:
    first = told(entry("server1", "MASTER"), now=NOW)
    same = told(entry("server1", "MASTER", 90), before=first.status, now=NOW + 100)
    lost = told(entry("server1", "FAULT"), before=same.status, leaderless_for=SETTLE, now=NOW + 200)
    times = [condition(result, "Ready")["lastTransitionTime"] for result in (first, same, lost)]
    assert times == ["2027-01-15T08:00:00Z", "2027-01-15T08:00:00Z", "2027-01-15T08:03:20Z"]


def test_conditions_tell_the_generation_they_are_about() -> None:
    assert {c["observedGeneration"] for c in told().status["conditions"]} == {3}


def test_the_same_news_again_makes_the_same_status() -> None:
    entries = (entry("server1", "MASTER"), entry("server2", "BACKUP"))
    first = told(*entries)
    again = told(*entries, before=first.status, now=NOW + 1000)
    assert again.status == first.status
    assert (again.move, again.turned) == (None, ())


# Moves


def test_a_move_says_from_where_to_where_why_and_how_fast() -> None:
    apache = TrackerStatus("apache", True, 10, "2 processes", format_time(NOW - 0.2))
    before = told(entry("server2", "MASTER", 240, NOW - 60)).status
    result = told(
        entry("server1", "MASTER", 254, reason="HigherPriority", takeover="12ms", trackers=(apache,)),
        entry("server2", "BACKUP", 240),
        before=before,
    )
    assert result.status["lastMove"] == "server2 -> server1: apache healthy, 12ms"
    assert result.status["lastMoves"][0] == {
        "from": "server2",
        "to": "server1",
        "time": format_time(NOW),
        "reason": "HigherPriority",
        "takeover": "12ms",
    }
    (event,) = happenings(result)
    assert (event.type, event.reason) == ("Normal", "Moved")
    assert event.note == "server2 -> server1: apache healthy, 12ms (HigherPriority; apache: 2 processes)"


def test_the_first_master_moved_from_nobody() -> None:
    result = told(entry("server1", "MASTER", reason="MasterDown"))
    assert result.status["lastMove"] == "nobody -> server1: no advertisements from the MASTER"
    assert "from" not in result.status["lastMoves"][0]


def test_ten_moves_are_kept_the_newest_first() -> None:
    status: dict[str, Any] = {}
    for number in range(15):
        master, other = (f"server{1 + (number + turn) % 2}" for turn in (0, 1))
        status = told(
            entry(master, "MASTER", at=NOW + number, reason="HigherPriority"), entry(other, "BACKUP"), before=status
        ).status
    assert len(status["lastMoves"]) == 10
    assert [move["time"] for move in status["lastMoves"][:2]] == [format_time(NOW + 14), format_time(NOW + 13)]


def test_moves_outlive_a_restart_as_they_come_from_the_status() -> None:
    before = told(entry("server1", "MASTER")).status
    assert told(entry("server1", "MASTER"), before=before).status["lastMoves"] == before["lastMoves"]


def test_while_a_move_is_under_way_the_old_master_is_named_and_nothing_is_alarmed() -> None:
    before = told(entry("server1", "MASTER", 200)).status
    result = told(entry("server1", "BACKUP"), before=before, leaderless_for=SETTLE / 2)
    assert (result.status["master"], result.status["priority"]) == ("server1", 200)
    assert condition(result, "Ready")["status"] == "True"
    assert result.status["summary"].startswith("server1=BACKUP")  # the truth of now
    assert (result.settling, happenings(result)) == (True, [])


def test_a_move_that_nobody_ends_is_told() -> None:
    before = told(entry("server1", "MASTER", 200)).status
    result = told(entry("server1", "FAULT", reason="LinkDown"), before=before, leaderless_for=SETTLE)
    assert "master" not in result.status
    (event,) = happenings(result)
    assert (event.type, event.reason) == ("Warning", "NotReady")
    assert event.note.startswith("NoMaster: server1 FAULT LinkDown")


def test_a_master_that_comes_back_is_told_with_where_it_was_last() -> None:
    status = told(entry("server1", "MASTER")).status
    status = told(entry("server1", "FAULT"), before=status, leaderless_for=SETTLE).status
    result = told(entry("server1", "MASTER", at=NOW + 9, reason="MasterDown"), before=status)
    assert result.move is not None
    assert (result.move.source, result.move.target) == ("server1", "server1")


# Two masters


def test_two_claims_are_two_masters_only_when_both_lived_on_after_the_later_one() -> None:
    claims = (entry("server1", "MASTER", at=NOW - 60), entry("server2", "MASTER", at=NOW))
    one = told(*claims, renewed={"server1": NOW - 5, "server2": NOW + 1})
    both = told(*claims, renewed={"server1": NOW + 5, "server2": NOW + 1})
    assert condition(one, "SingleMaster")["status"] == "True"
    assert condition(both, "SingleMaster")["status"] == "False"
    assert condition(both, "SingleMaster")["message"] == "server2 and server1 say that they are MASTER"
    assert one.contested
    assert both.contested


def test_a_power_cut_is_no_split_brain() -> None:
    result = told(
        entry("server1", "MASTER", at=NOW - 60),
        entry("server2", "MASTER", at=NOW),
        silent=("server1",),
        renewed={"server1": NOW + 5, "server2": NOW + 5},
    )
    assert condition(result, "SingleMaster")["status"] == "True"
    assert result.status["master"] == "server2"


# Trackers


def httpd(healthy: bool, message: str = "") -> tuple[TrackerStatus, ...]:
    return (TrackerStatus("httpd", healthy, 0, message),)


def test_a_failed_tracker_is_told_also_where_it_moves_nothing() -> None:
    result = told(
        entry("server1", "MASTER", trackers=httpd(True)),
        entry("server2", "BACKUP", trackers=httpd(False, "0 processes, 1 wanted")),
        trackers={"httpd": False},
    )
    found = condition(result, "TrackersHealthy")
    assert (found["status"], found["reason"]) == ("False", "TrackersFailed")
    assert found["message"] == "server2: httpd failed (0 processes, 1 wanted)"
    assert condition(result, "Ready")["status"] == "True"
    assert [event.reason for event in happenings(result)] == ["Moved"]


def test_a_tracker_with_reverse_is_to_fail() -> None:
    silent_one = told(entry("server1", "MASTER", trackers=httpd(False)), trackers={"httpd": True})
    assert condition(silent_one, "TrackersHealthy")["reason"] == "AllHealthy"
    loud_one = told(entry("server1", "FAULT", trackers=httpd(True)), trackers={"httpd": True})
    assert condition(loud_one, "TrackersHealthy")["message"] == "server1: httpd is healthy, and reverse is set"


def test_trackers_of_silent_nodes_are_not_believed() -> None:
    result = told(entry("server1", "BACKUP", trackers=httpd(False)), silent=("server1",), trackers={"httpd": False})
    found = condition(result, "TrackersHealthy")
    assert (found["status"], found["reason"]) == ("Unknown", "NoResults")


def test_without_trackers_none_has_failed() -> None:
    found = condition(told(entry("server1", "MASTER")), "TrackersHealthy")
    assert (found["status"], found["reason"]) == ("True", "NoTrackers")


def test_of_many_failed_trackers_some_are_named_and_the_rest_counted() -> None:
    failed = tuple(TrackerStatus(f"t{number}", False, 0, "x" * 256) for number in range(32))
    result = told(entry("server1", "FAULT", trackers=failed), trackers={"t0": False})
    message = condition(result, "TrackersHealthy")["message"]
    assert message.endswith("; 24 more")
    assert len(message) < 4096


# Warnings

SATURATED = Advice("PrioritySaturated", "spec.priority: too much")


def warned(result: Aggregate) -> list[str]:
    return [event.reason for event in happenings(result) if event.type == "Warning"]


def test_what_is_probably_not_meant_is_the_reason_of_accepted_and_an_event_once_a_generation() -> None:
    result = told(advice=(SATURATED,))
    found = condition(result, "Accepted")
    assert (found["status"], found["reason"]) == ("True", "PrioritySaturated")
    assert found["message"] == "3 nodes take part; PrioritySaturated: spec.priority: too much"
    assert warned(result) == ["PrioritySaturated"]
    assert warned(told(advice=(SATURATED,), before=result.status)) == []
    edited = {"conditions": [found | {"observedGeneration": 2}]}
    assert warned(told(advice=(SATURATED,), before=edited)) == ["PrioritySaturated"]


def test_a_member_that_is_set_otherwise_is_warned_of_by_its_name() -> None:
    before = told(advice=(SATURATED,)).status
    heard = entry("server2", "BACKUP", mismatches=(Mismatch("192.0.2.101", "password"),))
    result = told(heard, before=before, advice=(SATURATED,), names={"192.0.2.101": "server1"})
    found = condition(result, "Accepted")
    assert (found["status"], found["reason"]) == ("True", "PrioritySaturated,ConfigMismatch")
    assert "ConfigMismatch: server2 hears server1 with other settings than its own: password" in found["message"]
    assert warned(result) == ["ConfigMismatch"]
    assert condition(told(entry("server2", "BACKUP"), before=result.status), "Accepted")["reason"] == "Planned"


def test_two_warnings_of_a_kind_are_one_reason_and_two_events() -> None:
    result = told(advice=(SATURATED, Advice("WeightTooSmall", "one"), Advice("WeightTooSmall", "two")))
    assert condition(result, "Accepted")["reason"] == "PrioritySaturated,WeightTooSmall"
    assert warned(result) == ["PrioritySaturated", "WeightTooSmall", "WeightTooSmall"]


def test_a_spec_that_is_not_followed_is_not_warned_of() -> None:
    refused = Condition("Accepted", "False", "VRIDInUse", "spec.vrid: 51 is VirtualIP web's")
    result = told(refused=refused, advice=(SATURATED,))
    assert condition(result, "Accepted")["reason"] == "VRIDInUse"
    assert warned(result) == ["NotAccepted"]


# Events


def test_a_refused_spec_is_told_once() -> None:
    refused = Condition("Accepted", "False", "InvalidSpec", "spec.vrid: 300 is not within 1..255")
    result = told(refused=refused, before=told().status)
    assert [(event.reason, event.note) for event in happenings(result)] == [
        ("NotAccepted", "InvalidSpec: spec.vrid: 300 is not within 1..255")
    ]
    assert happenings(told(refused=refused, before=result.status)) == []


def test_a_new_virtual_ip_that_has_no_master_yet_is_no_warning() -> None:
    assert happenings(told()) == []


def test_events_of_a_virtual_ip_that_flaps_are_bounded_and_those_left_out_are_counted() -> None:
    budget = Budget(0.0)
    assert [budget.take(0.0) for _ in range(BURST)] == [0] * BURST
    assert [budget.take(1.0) for _ in range(3)] == [None] * 3
    assert budget.take(1.0 + REFILL) == 3


# What cannot be read


def test_an_entry_of_a_newer_agent_hides_no_other() -> None:
    good = entry_to_json(entry("server1", "BACKUP"))
    entries = entries_from_status({"nodes": [{"node": "server2", "state": "INIT", "priority": 1}, good]})
    assert entries.keys() == {"server1"}


@pytest.mark.parametrize("count", [1, 3, 4])
def test_addresses_are_shown_in_one_line(count: int) -> None:
    view = View(1, tuple(f"192.0.2.{n}/32" for n in range(1, count + 1)), None, (), {}, frozenset(), {})
    shown = aggregate(view, {}, NOW).status["addresses"]
    assert shown == ",".join(f"192.0.2.{n}/32" for n in range(1, min(count, 3) + 1)) + (",+1" if count == 4 else "")
