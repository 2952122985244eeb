"""preemptDelay, startupDelay and downTimerAdverts: who waits, for whom, and for whom not."""

import pytest

from one_router import FAILED, OneRouter, host
from virtual_lan import VirtualLan
from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.priority import Contribution
from virtualip_agent.vrrp.timing import SECOND

HTTPD = frozenset({"httpd"})
RUNS, STOPPED = Contribution(10), Contribution(0, healthy=False)
DELAY = 30 * SECOND


def hears_every_second(router: OneRouter, priority: int, until: int, since: int = 1) -> None:
    """A MASTER of this priority, alive until then."""
    for moment in range(since, until + 1):
        router.until(moment)
        router.hear(priority)


# ---- preemptDelay


@pytest.mark.parametrize(("fast", "at"), [(True, 30 + 156 / 256), (False, 30 + 3 + 156 / 256)])
def test_a_living_lower_master_is_left_alone_for_the_delay_from_when_we_are_ready(fast: bool, at: float) -> None:
    router = OneRouter(preempt_delay=DELAY, fast_preempt=fast)
    hears_every_second(router, 99, 29)
    assert (router.state, router.reason) == ("BACKUP", "PreemptDelay")
    # keepalived: what is heard while the delay runs is a sign of life, and afterwards it is not
    router.until(29.5)
    router.hear(99)
    for moment in (30, 31, 32, 33):
        if moment < at:
            router.until(moment)
            router.hear(99)
    assert router.state == "BACKUP"
    assert router.deadline == pytest.approx(at if fast else 29.5 + 3 + 156 / 256)
    router.until(router.deadline)
    assert (router.state, router.reason) == ("MASTER", "HigherPriority")


def test_a_lower_master_that_dies_while_the_delay_runs_is_followed_as_any_other() -> None:
    router = OneRouter(preempt_delay=DELAY)
    hears_every_second(router, 99, 10)
    assert router.deadline == 10 + 3 + 156 / 256
    router.until(router.deadline)
    assert (router.state, router.reason) == ("MASTER", "MasterDown")


def test_and_one_that_resigns_after_our_skew_time() -> None:
    router = OneRouter(preempt_delay=DELAY)
    hears_every_second(router, 99, 10)
    router.hear(0)
    router.until(10 + 156 / 256)
    assert (router.state, router.reason) == ("MASTER", "MasterResigned")


def test_without_a_master_the_delay_delays_nothing() -> None:
    router = OneRouter(preempt_delay=DELAY)
    assert router.deadline == 3 + 156 / 256


@pytest.mark.parametrize("link", [True, False])
def test_the_delay_is_counted_anew_after_a_fault(link: bool) -> None:
    router = OneRouter(preempt_delay=DELAY, trackers=HTTPD)
    router.contribute(httpd=RUNS)
    hears_every_second(router, 99, 40)
    assert router.state == "MASTER"
    router.tell(ev.LinkDown("LinkDown", "eth0 is down")) if link else router.contribute(httpd=FAILED)
    hears_every_second(router, 99, 49, since=45)
    router.until(50)
    router.tell(ev.LinkUp(host(101))) if link else router.contribute(httpd=RUNS)
    hears_every_second(router, 99, 79, since=50)
    assert (router.state, router.reason) == ("BACKUP", "PreemptDelay")
    hears_every_second(router, 99, 81, since=80)
    assert router.state == "MASTER"
    (taken,) = [moment for moment, priority in router.sent() if moment > 50 and priority][:1]
    assert taken == pytest.approx(80 + (256 - 110) / 256)


def test_the_delay_counts_from_when_a_tracker_makes_us_the_better_one() -> None:
    router = OneRouter(preempt_delay=DELAY, trackers=HTTPD)
    router.contribute(httpd=STOPPED)
    hears_every_second(router, 105, 100)
    router.contribute(httpd=RUNS)
    hears_every_second(router, 105, 129, since=101)
    assert router.state == "BACKUP"
    router.until(131)
    assert (router.state, router.reason) == ("MASTER", "HigherPriority")


def test_a_better_master_that_is_heard_starts_it_anew() -> None:
    router = OneRouter(preempt_delay=DELAY)
    hears_every_second(router, 99, 20)
    hears_every_second(router, 101, 25, since=21)
    hears_every_second(router, 99, 55, since=26)
    assert router.state == "BACKUP"
    hears_every_second(router, 99, 57, since=56)
    assert router.state == "MASTER"


def test_an_edit_of_the_delay_holds_at_once() -> None:
    router = OneRouter(preempt_delay=DELAY)
    hears_every_second(router, 99, 10)
    router.edit(preempt_delay=0)
    router.until(10 + 156 / 256)
    assert router.state == "MASTER"


def test_an_owner_is_not_delayed() -> None:
    router = OneRouter(preempt_delay=DELAY, hold_until=DELAY, base_priority=255)
    assert router.state == "MASTER"


def test_an_address_comes_back_after_the_delay_and_no_client_sees_it() -> None:
    lan = VirtualLan(preempt_delay=DELAY)
    server1, server2 = lan.node("server1", base_priority=244), lan.node("server2", base_priority=240)
    lan.run_until(10)
    lan.power_off(server1)
    lan.run_until(20)
    assert lan.masters() == ["server2"]
    lan.start(server1)
    lan.run_until(49.9)
    assert lan.masters() == ["server2"]
    lan.run_until(50.2)
    assert (lan.masters(), lan.holders(), lan.longest_gap(since=20)) == (["server1"], ["server1"], 0)
    lan.power_off(server1)
    lan.start(server1)
    lan.run_until(60)
    lan.power_off(server2)  # while the delay runs again
    lan.run_until(64)
    assert lan.masters() == ["server1"]


# ---- startupDelay


def test_who_hears_nobody_after_a_boot_waits_for_the_port_to_forward_and_then_listens() -> None:
    router = OneRouter(hold_until=30 * SECOND)
    assert router.deadline == 30 + 3 + 156 / 256
    router.until(34)
    assert (router.state, router.reason) == ("MASTER", "NoMaster")


def test_a_living_master_is_left_alone_until_then() -> None:
    router = OneRouter(hold_until=30 * SECOND)
    hears_every_second(router, 99, 29)
    assert (router.state, router.reason) == ("BACKUP", "StartupDelay")
    router.until(31)
    assert (router.state, router.reason) == ("MASTER", "HigherPriority")


def test_but_one_that_was_heard_and_died_is_followed_because_the_port_forwards() -> None:
    router = OneRouter(hold_until=30 * SECOND)
    hears_every_second(router, 200, 5)
    router.until(9)
    assert (router.state, router.reason) == ("MASTER", "MasterDown")


def test_what_an_earlier_process_held_is_kept() -> None:
    router = OneRouter(hold_until=30 * SECOND, adopted=True)
    router.until(2)
    assert (router.state, router.reason) == ("MASTER", "Adopted")


def test_an_agent_that_starts_later_is_not_delayed() -> None:
    lan = VirtualLan(hold_until=30 * SECOND)
    lan.run_until(100)
    lan.node("server1", base_priority=100)
    lan.run_until(104)
    assert lan.masters() == ["server1"]


# ---- downTimerAdverts


@pytest.mark.parametrize("adverts", [1, 5, 100])
def test_the_master_may_be_silent_for_so_many_intervals(adverts: int) -> None:
    router = OneRouter(down_timer_adverts=adverts)
    router.until(0.5)
    router.hear(200)
    router.until(router.deadline)
    assert (router.now / SECOND, router.reason) == (0.5 + adverts + 156 / 256, "MasterDown")


def test_the_masters_interval_is_learned_and_as_many_of_those_are_waited_out() -> None:
    # RFC 9568, section 6.4.2: Active_Adver_Interval
    router = OneRouter(down_timer_adverts=5)
    router.until(1)
    router.hear(200, interval=0.1)
    assert router.deadline == pytest.approx(1 + 5 * 0.1 + 0.1 * 156 / 256)


def test_with_one_advert_nothing_moves_while_none_is_lost() -> None:
    lan = VirtualLan(down_timer_adverts=1)
    lan.node("server1", base_priority=244)
    lan.node("server2", base_priority=240)
    lan.run_until(3)
    assert lan.masters() == ["server1"]
    lan.run_until(60)
    assert lan.transcript[-1].endswith("server1 advertises 244")
    assert not any("server2 is MASTER" in line for line in lan.transcript)


def test_a_master_that_slept_longer_than_that_lets_whoever_took_over_keep_it() -> None:
    router = OneRouter(down_timer_adverts=5, preempt=True)
    router.become_master()
    start = router.now / SECOND
    router.sleep(start + 4.5)
    router.hear(99)
    assert router.state == "MASTER"
    router.sleep(start + 10)
    router.hear(99)
    assert (router.state, router.reason) == ("BACKUP", "Overslept")
