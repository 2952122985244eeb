"""Fast preemption, and a priority that changes: where we are faster than the RFC, and where we must not be (S1, S5)."""

from dataclasses import replace

import pytest

from one_router import OneRouter
from virtual_lan import VirtualLan
from virtualip_agent.vrrp import effects as fx
from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.priority import Contribution
from virtualip_agent.vrrp.timing import SECOND

HTTPD = frozenset({"httpd"})
RUNS, STOPPED = Contribution(10), Contribution(0, healthy=False)


@pytest.mark.parametrize("version", [2, 3])
def test_s1_httpd_stops_and_the_vip_is_on_the_other_server_in_well_under_300_ms(version: int) -> None:
    lan = VirtualLan(version=version)
    server1 = lan.node("server1", base_priority=244, trackers=HTTPD)
    server2 = lan.node("server2", base_priority=240, trackers=HTTPD)
    lan.contribute(server1, httpd=RUNS)
    lan.contribute(server2, httpd=RUNS)
    lan.run_until(10.5)
    assert (lan.masters(), server1.core.priority) == (["server1"], 254)

    lan.contribute(server1, httpd=STOPPED)
    lan.run_until(10.8)
    assert (lan.masters(), lan.holders(), lan.served_by) == (["server2"], ["server2"], "server2")
    assert server1.core.priority == 244
    assert lan.longest_gap(since=10.5) == 0

    lan.contribute(server1, httpd=RUNS)
    lan.run_until(11.2)
    assert (lan.masters(), lan.holders(), lan.served_by) == (["server1"], ["server1"], "server1")


def test_without_fast_preempt_s1_takes_a_master_down_interval_as_the_rfc_has_it() -> None:
    lan = VirtualLan(fast_preempt=False)
    server1 = lan.node("server1", base_priority=244, trackers=HTTPD)
    lan.node("server2", base_priority=250)
    lan.contribute(server1, httpd=RUNS)
    lan.run_until(10.5)
    lan.contribute(server1, httpd=STOPPED)
    lan.run_until(13)
    assert lan.masters() == ["server1"]
    lan.run_until(13.6)
    assert lan.masters() == ["server2"]


def test_a_lower_priority_arms_what_is_left_or_the_skew_time_whatever_is_sooner() -> None:
    router = OneRouter()
    router.until(3.5)
    router.hear(101)
    router.until(4)
    router.hear(99)
    assert router.deadline == 4.609375
    # and a repeat does not arm it again
    router.until(4.5)
    router.hear(99)
    assert router.deadline == 4.609375
    router.until(5)
    assert (router.state, router.reason) == ("MASTER", "HigherPriority")


def test_nobody_preempts_fast_before_having_listened_for_a_master_down_interval() -> None:
    router = OneRouter()
    for moment in (1, 2, 3, 3.6):
        router.until(moment)
        router.hear(99)
        assert router.deadline == 3.609375


def test_nor_after_the_link_was_away() -> None:
    router = OneRouter()
    router.until(3.5)
    router.hear(101)
    router.tell(ev.LinkDown("LinkDown", "eth0 is down"))
    router.until(10)
    router.tell(ev.LinkUp(b"\xc0\xa8\x7a\x65"))
    router.hear(99)
    assert router.deadline == 10 + 3.609375


def test_a_changed_priority_is_told_at_once_and_then_every_interval() -> None:
    router = OneRouter(trackers=HTTPD)
    router.contribute(httpd=RUNS)
    router.become_master()
    start = router.now / SECOND
    router.until(start + 0.25)
    assert router.contribute(httpd=STOPPED) == [fx.SendAdvertisement(100)]
    assert router.contribute(httpd=STOPPED) == []
    router.until(start + 1.5)
    assert router.sent() == [(start + 0.25, 100), (start + 1.25, 100)]


def test_a_backups_own_rise_is_compared_with_the_master_it_hears() -> None:
    router = OneRouter(trackers=HTTPD)
    router.contribute(httpd=STOPPED)
    for moment in (1, 2, 3, 4):
        router.until(moment)
        router.hear(105)
    router.until(4.3)
    router.contribute(httpd=RUNS)
    assert router.deadline == pytest.approx(4.3 + 146 / 256)
    # and its fall takes that back: the last advertisement counts as a sign of life again
    router.until(4.4)
    router.contribute(httpd=STOPPED)
    assert router.deadline == pytest.approx(4 + 3 + 156 / 256)


def test_equal_priority_never_preempts_so_equal_bases_do_not_return() -> None:
    lan = VirtualLan()
    server1, server2 = lan.node("server1", base_priority=100), lan.node("server2", base_priority=100, rank=1)
    lan.run_until(10)
    assert lan.masters() == ["server1"]
    lan.power_off(server1)
    lan.run_until(15)
    assert lan.masters() == ["server2"]
    lan.start(server1)
    lan.run_until(60)
    assert lan.masters() == ["server2"]
    assert server2.holds


def test_without_preempt_a_better_one_waits_until_the_master_is_gone() -> None:
    lan = VirtualLan(preempt=False)
    server1 = lan.node("server1", base_priority=200, start=False)
    server2 = lan.node("server2", base_priority=100)
    lan.run_until(5)
    lan.start(server1)
    lan.run_until(30)
    assert lan.masters() == ["server2"]
    assert any("MayNotPreempt" in line for line in lan.transcript)
    lan.power_off(server2)
    lan.run_until(34)
    assert lan.masters() == ["server1"]


@pytest.mark.parametrize(("change", "deadline"), [
    ({"preempt": False}, 4 + 3.609375),
    ({"fast_preempt": False}, 3.5 + 3.609375),
])  # fmt: skip
def test_an_edit_that_forbids_it_disarms_what_was_armed(change: dict[str, bool], deadline: float) -> None:
    router = OneRouter()
    router.until(3.5)
    router.hear(101)
    router.until(4)
    router.hear(99)
    router.tell(ev.SettingsChanged(replace(router.core.settings, **change)))  # type: ignore[arg-type]
    assert router.deadline == deadline


def test_of_two_masters_that_do_not_hear_each_other_only_the_one_that_will_win_counts() -> None:
    """Else every advertisement of the loser would arm the timer, and a third one be MASTER for a moment each time."""
    lan = VirtualLan()
    best, third = lan.node("best", base_priority=200), lan.node("third", base_priority=150)
    worst = lan.node("worst", base_priority=100, start=False)
    lan.run_until(10)
    assert lan.masters() == ["best"]
    lan.deafen(worst, best)
    lan.deafen(best, worst)
    lan.start(worst)
    lan.run_until(60)
    assert lan.masters() == ["best", "worst"]
    assert third.core.master == best.source
    assert not any("third puts the address on" in line for line in lan.transcript)
    assert sum("third is still" in line for line in lan.transcript) <= 1


def test_the_third_of_three_hears_the_second_and_stays() -> None:
    lan = VirtualLan(trackers=HTTPD)
    nodes = [lan.node(f"server{index}", base_priority=base) for index, base in enumerate((220, 210, 200), 1)]
    for node in nodes:
        lan.contribute(node, httpd=Contribution(0))
    lan.run_until(10)
    lan.contribute(nodes[0], httpd=Contribution(-50, healthy=False))
    lan.run_until(20)
    assert lan.masters() == ["server2"]
    assert not any("server3 puts" in line for line in lan.transcript)


def test_a_draining_node_gives_its_vip_away_and_someone_holds_it_when_all_are_draining() -> None:
    lan = VirtualLan()
    server1, server2 = lan.node("server1", base_priority=200), lan.node("server2", base_priority=100)
    lan.run_until(10)
    lan.edit(server1, draining=True)
    lan.run_until(11)
    assert lan.masters() == ["server2"]
    assert server1.core.priority == 1
    lan.edit(server2, draining=True)
    lan.run_until(60)
    assert lan.masters() == ["server2"]
    lan.edit(server1, draining=False)
    lan.run_until(61)
    assert lan.masters() == ["server1"]


def test_who_takes_over_from_the_dead_just_after_a_lower_router_did_says_that_the_master_died() -> None:
    """A late process: the third of three was faster by a moment, and is heard before our own timer's turn."""
    router = OneRouter(base_priority=240)
    for moment in (1, 2, 3, 4, 5):
        router.until(moment)
        router.hear(244, source=102)
    router.sleep(5 + 3.08)
    router.hear(236, source=103)
    router.until(5 + 3.09)

    assert router.state == "MASTER"
    assert router.reason == "MasterDown"
    (told,) = [effect for _, effect in router.log if isinstance(effect, fx.Transitioned) and effect.takeover >= 0]
    assert told.takeover == pytest.approx(3.08 * SECOND)
