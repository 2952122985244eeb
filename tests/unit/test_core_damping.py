"""Voluntary moves are damped: four preemptions in 180 s, and the addresses stay where they are until it is quiet."""

from typing import Any

import pytest

from one_router import OneRouter
from virtual_lan import Node, VirtualLan
from virtualip_agent.vrrp import effects as fx
from virtualip_agent.vrrp.priority import Contribution
from virtualip_agent.vrrp.timing import SECOND

HTTPD = frozenset({"httpd"})
RUNS, STOPPED = Contribution(10), Contribution(0, healthy=False)
FAILS = Contribution(0, fault=True, healthy=False)


def s1(**settings: Any) -> tuple[VirtualLan, Node, Node]:
    """The article's two servers, httpd running on both."""
    lan = VirtualLan(version=2, **settings)
    server1 = lan.node("server1", base_priority=244, trackers=HTTPD)
    server2 = lan.node("server2", base_priority=240, trackers=HTTPD)
    for server in (server1, server2):
        lan.contribute(server, httpd=RUNS)
    lan.run_until(10)
    assert lan.masters() == ["server1"]
    return lan, server1, server2


def flap(lan: VirtualLan, server: Node, times: int, every: float = 2.0) -> list[str]:
    """httpd stops and starts on a server; who is MASTER after each of it."""
    seen = []
    for _ in range(times):
        for contribution in (STOPPED, RUNS):
            lan.contribute(server, httpd=contribution)
            lan.run(every)
            seen += lan.masters()
    return seen


def reason(node: Node) -> str:
    """Why it is what it is, as last told."""
    return node.core._report.reason


def test_s1_flips_httpd_twice_within_three_minutes_and_is_not_damped() -> None:
    lan, server1, _ = s1()
    assert flap(lan, server1, 2) == ["server2", "server1"] * 2


def test_a_service_that_flaps_moves_the_vip_to_the_server_that_does_not_and_there_it_stays() -> None:
    lan, server1, server2 = s1()
    assert flap(lan, server1, 10) == ["server2", "server1"] * 2 + ["server2"] * 16
    assert reason(server1) == "PreemptionDamped"
    assert server2.core.priority < server1.core.priority
    assert lan.longest_gap(since=10) == 0


def test_when_it_has_been_quiet_the_better_one_takes_the_vip_back() -> None:
    lan, server1, _ = s1()
    flap(lan, server1, 3)
    lan.run(170)
    assert lan.masters() == ["server2"]
    lan.run(15)
    assert lan.masters() == ["server1"]


def test_flapping_on_prolongs_it() -> None:
    lan, server1, _ = s1()
    flap(lan, server1, 3)
    assert set(flap(lan, server1, 30, every=10)) == {"server2"}


def test_moves_that_are_minutes_apart_are_never_damped() -> None:
    lan, server1, _ = s1()
    assert flap(lan, server1, 10, every=60.1) == ["server2", "server1"] * 10


def test_it_is_switchable() -> None:
    lan, server1, _ = s1(preempt_damping=False)
    assert flap(lan, server1, 10) == ["server2", "server1"] * 10


def test_two_that_flap_in_turn_are_held_too() -> None:
    """Their MASTER becomes worse each time: the fifth move alone is made away from it."""
    lan, server1, server2 = s1()
    masters = []
    for _ in range(10):
        for one, other in ((server1, server2), (server2, server1)):
            lan.contribute(one, httpd=STOPPED)
            lan.contribute(other, httpd=RUNS)
            lan.run(2)
            masters += lan.masters()
    assert sum(before != after for before, after in zip(["server1", *masters], masters, strict=False)) <= 5


@pytest.mark.parametrize("fault", ["power", "link", "fault", "stop", "withdrawn", "killed"])
def test_a_damped_backup_takes_over_from_a_master_that_ends_as_any_other(fault: str) -> None:
    lan, server1, server2 = s1()
    flap(lan, server1, 5)
    assert (lan.masters(), reason(server1)) == (["server2"], "PreemptionDamped")
    begin = lan.now / SECOND
    match fault:
        case "power":
            lan.power_off(server2)
        case "killed":
            lan.kill(server2)
        case "link":
            lan.unplug(server2)
        case "fault":
            lan.contribute(server2, httpd=FAILS)
        case _:
            lan.stop(server2, withdrawn=fault == "withdrawn")
    # v2: 3 intervals and server1's skew_time of 2/256 s
    lan.run_until(begin + 3.02)
    assert "server1" in lan.masters()


def test_and_from_one_that_drains() -> None:
    lan, server1, server2 = s1()
    flap(lan, server1, 5)
    lan.edit(server2, draining=True)
    lan.run(0.1)
    assert lan.masters() == ["server1"]


def test_a_master_yields_to_a_higher_priority_whatever_it_has_seen() -> None:
    router = OneRouter(base_priority=100)
    for round_ in range(8):
        router.become_master()
        router.hear(200)
        assert router.state == "BACKUP", round_
        router.hear(0)


def test_a_third_node_counts_what_the_others_do() -> None:
    lan = VirtualLan(trackers=HTTPD)
    best, second = lan.node("best", base_priority=200), lan.node("second", base_priority=195)
    third = lan.node("third", base_priority=150)
    for node in (best, second, third):
        lan.contribute(node, httpd=RUNS)
    lan.run_until(10)
    flap(lan, best, 3)
    assert lan.masters() == ["second"]
    # it is now the best one, by a tracker of its own, and leaves the living MASTER alone
    lan.contribute(third, httpd=Contribution(100))
    lan.run(5)
    assert (lan.masters(), reason(third)) == (["second"], "PreemptionDamped")
    lan.power_off(second)
    lan.run(4)
    assert lan.masters() == ["third"]


def test_resignations_deaths_and_ties_are_no_voluntary_moves() -> None:
    lan, server1, server2 = s1()
    for _ in range(6):
        lan.power_off(server1)
        lan.run(4)
        lan.start(server1)
        lan.stop(server2, withdrawn=True)
        lan.run(5)
        assert lan.masters() == ["server1"]
        lan.start(server2)
        lan.run(5)
    assert flap(lan, server1, 1) == ["server2", "server1"]


def test_the_reason_is_told_once_and_costs_no_advertisement() -> None:
    router = OneRouter(base_priority=100, trackers=HTTPD)
    router.contribute(httpd=STOPPED)
    for _ in range(4):
        router.become_master()
        router.hear(150)
    start = router.now / SECOND
    router.hear(105)
    router.log.clear()
    router.contribute(httpd=Contribution(50))
    for moment in range(1, 6):
        router.until(start + moment)
        assert router.hear(105) == []
    told = [effect.reason for _, effect in router.log if isinstance(effect, fx.Transitioned)]
    assert told[-1] == "PreemptionDamped"
    assert told.count("PreemptionDamped") == 1
