"""What is told of a VirtualIP."""

from typing import Any

from virtualip_agent import ipc
from virtualip_agent.control.instance import Instance, Source
from virtualip_agent.control.state import Situation, node_entry, vip_line
from virtualip_api.status import State, TrackerStatus, entry_from_json
from virtualip_api.virtual_ip import parse_spec

SPEC = parse_spec({"addresses": ["192.168.122.200/24"], "vrid": 51, "version": 2})
WEB = Instance("web", Source.DESIRED, SPEC, 244, generation=3)


def router(**more: Any) -> ipc.RouterState:
    whole: dict[str, Any] = {
        "name": "web",
        "state": "MASTER",
        "priority": 254,
        "reason": "HigherPriority",
        "message": "244 + apache 10",
        "since": 1795383185.5,
        "interface": "eth0",
        "source": "192.168.122.101",
        "addresses": ("192.168.122.200/24",),
        "master": "192.168.122.101",
    }
    return ipc.RouterState(**whole | more)


def situation(**more: Any) -> Situation:
    whole: dict[str, Any] = {"node": "server1", "name": "web", "instance": WEB, "router": router()}
    return Situation(**whole | more)


def test_a_master_is_told_as_vrrp_says_with_its_trackers() -> None:
    trackers = (TrackerStatus("apache", True, 10, "running"),)
    entry = node_entry(situation(trackers=trackers, router=router(takeover=12_000_000)))
    assert (entry.node, entry.state, entry.priority, entry.observed_generation) == ("server1", State.MASTER, 254, 3)
    assert (entry.reason, entry.message, entry.takeover) == ("HigherPriority", "244 + apache 10", "12ms")
    assert entry.last_transition_time == "2026-11-22T21:33:05.500000Z"
    assert entry.trackers == trackers


def test_the_line_can_be_read_back_as_an_entry_of_the_resource() -> None:
    line = vip_line(situation())
    assert entry_from_json(line["entry"]) == node_entry(situation())
    assert line["detail"]["source"] == "Desired"
    assert line["detail"]["addresses"] == line["detail"]["declared"] == ["192.168.122.200/24"]
    assert line["detail"]["sourceAddress"] == "192.168.122.101"


def test_a_tracker_that_makes_it_fault_is_told_with_its_reason() -> None:
    trackers = (
        TrackerStatus("app", True, 5, "value 5"),
        TrackerStatus("apache", False, 0, "0 processes, 1 wanted"),
        TrackerStatus("light", False, 0, "0 processes, 1 wanted"),
    )
    entry = node_entry(
        situation(trackers=trackers, router=router(state="FAULT", reason="TrackerFailed", message="apache"))
    )
    assert entry.message == "apache: 0 processes, 1 wanted"


def test_before_vrrp_has_answered_it_is_a_backup_that_waits() -> None:
    entry = node_entry(situation(router=None, since=1.0))
    assert (entry.state, entry.priority, entry.reason) == (State.BACKUP, 0, "WaitingForVrrp")


def test_what_cannot_be_run_is_fault_with_the_reason() -> None:
    entry = node_entry(situation(instance=None, router=None, problems=("web: refused: VRID 51 on eth0 is api's",)))
    assert (entry.state, entry.reason) == (State.FAULT, "Refused")
    assert entry.message == "web: refused: VRID 51 on eth0 is api's"


def test_while_vrrp_is_away_its_last_word_stands_and_is_called_stale() -> None:
    line = vip_line(situation(stale=True))
    assert line["entry"]["state"] == "MASTER"
    assert line["detail"]["stale"]


def test_when_vrrp_has_been_away_for_longer_than_its_addresses_live_nothing_is_held() -> None:
    line = vip_line(situation(stale=True, expired=True))
    assert (line["entry"]["state"], line["entry"]["reason"]) == ("FAULT", "VrrpNotRunning")
    assert line["detail"]["addresses"] == []


def test_a_conflict_with_the_manifest_and_members_that_do_not_agree_are_in_the_detail() -> None:
    said = {"192.168.122.102": "password"}
    detail = vip_line(situation(conflict="the manifest stays", router=router(mismatches=said)))["detail"]
    assert (detail["conflict"], detail["mismatches"]) == ("the manifest stays", said)


def test_members_that_do_not_agree_are_told_once_that_has_lasted() -> None:
    heard = router(mismatches={"192.168.122.103": "addresses", "192.168.122.102": "password, " * 50})
    assert node_entry(situation(router=heard)).mismatches == ()
    line = vip_line(situation(router=heard, disagrees=True))
    assert [found["source"] for found in line["entry"]["mismatches"]] == ["192.168.122.102", "192.168.122.103"]
    assert [len(found["differs"]) for found in line["entry"]["mismatches"]] == [128, 9]
    assert entry_from_json(line["entry"]) == node_entry(situation(router=heard, disagrees=True))
