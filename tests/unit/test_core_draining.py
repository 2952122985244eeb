"""A draining node: effective priority 1, and where that moves nothing one resignation. Never without a holder."""

from typing import Any

import pytest

from group_lan import GroupLan
from one_router import FAILED, OneRouter, host
from virtual_lan import Node, VirtualLan
from virtualip_agent.vrrp import effects as fx
from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.priority import Contribution
from virtualip_agent.vrrp.timing import SECOND

CHECK = frozenset({"check"})
FINE = Contribution()
SLOW: list[dict[str, Any]] = [{"preempt": False}, {"preempt_delay": 100 * SECOND}, {"fast_preempt": False}]
"""Where priority 1 alone would move nothing, or not soon."""


def two(**settings: Any) -> tuple[VirtualLan, Node, Node]:
    lan = VirtualLan(**settings)
    server1, server2 = lan.node("server1", base_priority=244), lan.node("server2", base_priority=240)
    lan.run_until(10.25)
    assert lan.masters() == ["server1"]
    return lan, server1, server2


def a_master(**settings: Any) -> OneRouter:
    router = OneRouter(trackers=CHECK, preempt=False, **settings)
    router.contribute(check=FINE)
    router.become_master()
    return router


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("settings", [{}, *SLOW])
def test_a_draining_master_gives_its_vip_away_whatever_the_others_may_preempt(
    version: int, settings: dict[str, Any]
) -> None:
    lan, server1, server2 = two(version=version, **settings)
    lan.edit(server1, draining=True)
    lan.run_until(10.5)
    assert (lan.masters(), lan.holders(), server1.core.priority) == (["server2"], ["server2"], 1)
    assert lan.longest_gap(since=10) == 0
    lan.run_until(60)
    assert (server1.state, server2.state) == ("BACKUP", "MASTER")


@pytest.mark.parametrize(("settings", "holder"), [({}, "server1"), ({"preempt": False}, "server2")])
def test_uncordoned_it_comes_back_by_the_rules_of_preemption(settings: dict[str, Any], holder: str) -> None:
    lan, server1, _ = two(**settings)
    lan.edit(server1, draining=True)
    lan.run_until(20)
    lan.edit(server1, draining=False)
    lan.run_until(60)
    assert lan.masters() == [holder]
    assert lan.longest_gap(since=10) == 0


def test_where_the_others_preempt_at_once_priority_1_says_enough() -> None:
    """Nobody who drains too follows it, as everybody would a resignation."""
    router = OneRouter()
    router.become_master()
    assert router.edit(draining=True) == [fx.SendAdvertisement(1)]


@pytest.mark.parametrize("settings", [{}, *SLOW])
def test_everybody_drains_and_somebody_holds_it_without_going_round(settings: dict[str, Any]) -> None:
    lan = VirtualLan(**settings)
    nodes = [lan.node(f"server{index}", base_priority=base) for index, base in enumerate((244, 240, 236), 1)]
    lan.run_until(10)
    for node in nodes:
        lan.edit(node, draining=True)
    lan.run_until(20)
    assert len(lan.masters()) == 1
    settled = lan.masters()
    moves = len(lan.transcript)
    lan.run_until(300)
    assert lan.masters() == lan.holders() == settled
    assert not any("puts the address on" in line for line in lan.transcript[moves:])
    assert lan.longest_gap(since=9) == 0


def test_nobody_comes_and_it_goes_on_with_priority_1() -> None:
    router = a_master()
    start = router.now / SECOND
    assert router.edit(draining=True) == [fx.SendAdvertisement(0)]
    router.until(start + 1.049)
    assert [priority for _, priority in router.sent()] == [0, 0, 0]
    router.until(start + 60)
    assert (router.state, router.core.priority) == ("MASTER", 1)
    assert {priority for _, priority in router.sent()[3:]} == {1}
    assert not router.wanted(fx.RemoveAddresses)


def test_it_resigns_once_for_each_time_that_it_drains() -> None:
    router = a_master()
    router.edit(draining=True)
    router.until(router.now / SECOND + 5)
    assert router.edit(draining=True, base_priority=50) == []
    router.edit(draining=False)
    assert router.edit(draining=True) == [fx.SendAdvertisement(0)]


def test_uncordoned_in_the_middle_it_takes_its_resignation_back() -> None:
    router = a_master()
    router.edit(draining=True)
    router.until(router.now / SECOND + 0.3)
    assert router.edit(draining=False) == [fx.SendAdvertisement(100)]
    router.log.clear()
    router.until(router.now / SECOND + 3)
    assert {priority for _, priority in router.sent()} == {100}


def test_a_tracker_that_speaks_in_the_middle_does_not_take_it_back() -> None:
    router = a_master()
    router.edit(draining=True)
    assert router.contribute(check=Contribution(10)) == []
    assert router.hear(50) == [fx.RemoveAddresses(), fx.SendAdvertisement(0)]


def test_a_tracker_that_fails_in_the_middle_makes_it_fault_though_nobody_comes() -> None:
    router = a_master()
    router.edit(draining=True)
    router.contribute(check=FAILED)
    router.until(router.now / SECOND + 2)
    assert router.wanted(fx.RemoveAddresses)
    assert router.state == "FAULT"


def test_cordoned_in_the_middle_of_a_fault_that_passes_it_drains() -> None:
    router = a_master()
    router.contribute(check=FAILED)
    router.edit(draining=True)
    assert router.contribute(check=FINE) == [fx.SendAdvertisement(0)]
    assert router.hear(50) == [fx.RemoveAddresses(), fx.SendAdvertisement(0)]
    assert router.state == "BACKUP"


def test_the_agent_stops_in_the_middle() -> None:
    router = a_master()
    router.edit(draining=True)
    assert router.tell(ev.Stop()) == []
    router.until(router.now / SECOND + 2)
    assert router.core.stopped
    assert not router.wanted(fx.RemoveAddresses)  # left to their lifetime, as nobody came


def test_who_is_elected_while_it_drains_keeps_it() -> None:
    """Nobody was there who does not drain: to resign would hand it round."""
    router = OneRouter(preempt=False, draining=True)
    router.become_master()
    router.until(router.now / SECOND + 10)
    assert {priority for _, priority in router.sent()} == {1}


def test_cordoned_while_its_agent_was_away_it_adopts_the_addresses_and_gives_them_up() -> None:
    router = OneRouter(preempt=False, draining=True, adopted=True)
    router.until(2)
    assert router.sent()[:2] == [(router.sent()[0][0], 1), (router.sent()[0][0], 0)]
    assert router.hear(50) == [fx.RemoveAddresses(), fx.SendAdvertisement(0)]
    assert router.core.master == host(102)


@pytest.mark.parametrize("settings", [{}, {"preempt": False}])
def test_a_sync_group_drains_as_one(settings: dict[str, Any]) -> None:
    lan = GroupLan(2, **settings)
    server1 = lan.machine("server1", 244, 200)
    lan.machine("server2", 240, 190)
    lan.run_until(10)
    assert lan.holder() == "server1"
    lan.segments[1].edit(lan.node(server1, 1), draining=True)  # one of them is enough
    lan.run_until(12)
    assert lan.holder() == "server2"
    assert lan.longest_gap(since=9) == 0
    lan.segments[1].edit(lan.node(server1, 1), draining=False)
    lan.run_until(60)
    assert lan.holder() == ("server1" if not settings else "server2")


def test_a_sync_group_that_nobody_takes_stays_whole() -> None:
    lan = GroupLan(3, preempt=False)
    server1 = lan.machine("server1", 244)
    lan.run_until(10)
    lan.segments[1].edit(lan.node(server1, 1), draining=True)
    lan.run_until(60)
    assert lan.holder() == "server1"
    assert lan.longest_gap(since=9) == 0
