"""Links, refusals, restarts, stalls, and hands that take the address away."""

from dataclasses import replace

import pytest

from one_router import FAILED, OneRouter, host
from virtual_lan import VirtualLan
from virtualip_agent.vrrp import effects as fx
from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.priority import Contribution
from virtualip_agent.vrrp.timing import SECOND

TAKE_OVER = [fx.AddAddresses(), fx.SendGratuitousArp(first=True)]
CHECK = frozenset({"check"})


def a_master() -> OneRouter:
    router = OneRouter()
    router.become_master()
    return router


# ---- the link


def test_the_link_goes_the_address_goes_and_it_is_fault() -> None:
    router = a_master()
    assert router.tell(ev.LinkDown("LinkDown", "eth0 is down")) == [fx.RemoveAddresses()]
    assert (router.state, router.reason, router.core.master) == ("FAULT", "LinkDown", b"")


def test_the_link_comes_back_and_a_whole_master_down_interval_is_listened() -> None:
    router = a_master()
    router.tell(ev.LinkDown("LinkDown", "eth0 is down"))
    router.until(100)
    router.tell(ev.LinkUp(host(101)))
    assert router.deadline == 103.609375


def test_s10_the_master_cannot_be_reached_the_backup_takes_over_within_master_down_interval() -> None:
    lan = VirtualLan()
    server1, server2 = lan.node("server1", base_priority=244), lan.node("server2", base_priority=240)
    lan.run_until(10)
    lan.unplug(server1)
    lan.run_until(10 + 3 + 16 / 256 + 0.001)
    assert (server1.state, server2.state, lan.served_by) == ("FAULT", "MASTER", "server2")
    lan.plug(server1)
    lan.run_until(20)
    assert (server1.state, server2.state, lan.served_by) == ("MASTER", "BACKUP", "server1")


@pytest.mark.parametrize("moment", [step / 10 for step in range(10)])
def test_a_partition_that_heals_leaves_one_and_the_clients_with_it(moment: float) -> None:
    lan = VirtualLan()
    server1, server2 = lan.node("server1", base_priority=244), lan.node("server2", base_priority=240)
    lan.run_until(10)
    lan.cut(server1)
    lan.run_until(40 + moment)
    assert lan.masters() == ["server1", "server2"]
    assert lan.served_by == "server2"
    lan.heal()
    lan.run_until(41.01 + moment)
    assert lan.masters() == ["server1"]
    assert lan.holders() == ["server1"]
    assert lan.served_by == "server1"
    assert server2.core.master == server1.source


def test_a_new_source_address_is_told_at_once_so_that_its_resignation_will_count() -> None:
    router = a_master()
    router.sleep(4)
    assert router.tell(ev.LinkUp(host(111))) == [fx.SendGratuitousArp(first=True), fx.SendAdvertisement(100)]
    assert router.core.master == host(111)
    assert router.tell(ev.LinkUp(host(111))) == [fx.SendGratuitousArp(first=True)]


def test_the_loser_has_a_last_word_after_it_let_go_so_that_the_winner_tells_the_neighbours_again() -> None:
    loser, winner = a_master(), OneRouter(base_priority=101)
    winner.become_master()
    assert loser.hear(101) == [fx.SendAdvertisement(100), fx.RemoveAddresses()]
    assert winner.hear(100) == [fx.SendGratuitousArp(), fx.SendAdvertisement(101)]


# ---- refused addresses


def test_an_address_that_somebody_has_is_fault_and_it_is_said_until_it_is_free() -> None:
    router = a_master()
    assert router.tell(ev.AddressesRefused("AddressInUse", "192.168.122.200 is there and not ours")) == [
        fx.RemoveAddresses(),
        fx.SendAdvertisement(0),
    ]
    assert (router.state, router.reason) == ("FAULT", "AddressInUse")
    router.until(1000)
    assert router.state == "FAULT"
    router.tell(ev.AddressesFree())
    assert router.state == "BACKUP"
    router.until(1004)
    assert router.state == "MASTER"


def test_what_the_kernel_refused_is_tried_again() -> None:
    lan = VirtualLan()
    server1 = lan.node("server1", base_priority=100)
    server1.kernel.refusal = ("KernelRefused", "no buffer space")
    lan.run_until(30)
    assert server1.state != "MASTER"
    assert not any("gratuitous" in line or "advertises 100" in line for line in lan.transcript)
    server1.kernel.refusal = None
    lan.run_until(45)
    assert (server1.state, server1.holds) == ("MASTER", True)


def test_a_refusal_that_is_over_leaves_no_timer_behind() -> None:
    router = a_master()
    router.tell(ev.AddressesRefused("KernelRefused", "no"))
    router.tell(ev.AddressesFree())
    router.tell(ev.LinkDown("LinkDown", "eth0 is down"))
    assert router.core.deadline is None


def test_a_refused_node_leaves_the_vip_to_the_next_one() -> None:
    lan = VirtualLan()
    server1, server2 = lan.node("server1", base_priority=244), lan.node("server2", base_priority=240)
    server1.kernel.refusal = ("AddressInUse", "somebody has it")
    lan.run_until(20)
    assert (server1.state, server2.state) == ("FAULT", "MASTER")


# ---- waiting for the trackers


def test_nothing_is_done_before_every_tracker_has_reported() -> None:
    router = OneRouter(trackers=frozenset({"a", "b"}))
    router.contribute(a=Contribution(10))
    assert (router.state, router.reason, router.core.deadline) == ("BACKUP", "WaitingForTrackers", None)
    router.contribute(a=Contribution(10), b=Contribution(5))
    assert (router.reason, router.core.priority) == ("Listening", 115)


def test_a_tracker_that_fails_from_the_start_is_fault() -> None:
    router = OneRouter(trackers=CHECK)
    router.contribute(check=FAILED)
    assert (router.state, router.reason) == ("FAULT", "TrackerFailed")


def test_a_tracker_that_an_edit_adds_takes_nothing_from_a_master() -> None:
    router = a_master()
    router.tell(ev.SettingsChanged(replace(router.core.settings, trackers=CHECK)))
    assert router.state == "MASTER"
    router.contribute(check=FAILED)
    router.until(router.now / SECOND + 2)
    assert router.state == "FAULT"


def test_an_edit_that_removes_the_failed_tracker_ends_the_fault() -> None:
    router = OneRouter(trackers=CHECK)
    router.contribute(check=FAILED)
    router.tell(ev.SettingsChanged(replace(router.core.settings, trackers=frozenset())))
    assert router.state == "BACKUP"


# ---- a process that starts again


def test_a_restarted_process_adopts_its_addresses_and_goes_on_after_one_interval() -> None:
    lan = VirtualLan()
    server1, server2 = lan.node("server1", base_priority=244), lan.node("server2", base_priority=240)
    lan.run_until(10)
    lan.restart(server1)
    lan.run_until(11.2)
    assert (server1.state, server2.state) == ("MASTER", "BACKUP")
    assert lan.longest_gap(since=9) == 0


def test_it_gives_them_up_when_it_hears_a_master() -> None:
    router = OneRouter(adopted=True)
    router.until(0.5)
    assert router.hear(1) == [fx.RemoveAddresses()]
    assert router.hear(1) == []
    assert router.deadline == 0.5 + 3.609375


def test_also_while_it_still_waits_for_its_trackers() -> None:
    router = OneRouter(adopted=True, trackers=CHECK)
    assert router.hear(1) == [fx.RemoveAddresses()]
    router.until(0.2)
    router.contribute(check=Contribution())
    assert router.deadline == 0.2 + 3.609375


def test_priority_0_is_no_master_to_give_them_up_to() -> None:
    router = OneRouter(adopted=True)
    assert router.hear(0) == []
    router.until(1.2)
    assert (router.state, router.reason) == ("MASTER", "Adopted")


@pytest.mark.parametrize("event", [
    ev.LinkDown("LinkDown", "eth0 is down"),
    ev.ContributionsChanged({"check": FAILED}),
    ev.Stop(withdrawn=True),
    ev.AddressesRefused("AddressInUse", "somebody has it"),
])  # fmt: skip
def test_what_was_adopted_goes_when_this_node_may_not_hold_it(event: ev.Event) -> None:
    router = OneRouter(adopted=True, trackers=CHECK)
    router.contribute(check=Contribution())
    assert fx.RemoveAddresses() in router.tell(event)


def test_a_stopped_agent_leaves_what_it_adopted_for_the_next() -> None:
    assert OneRouter(adopted=True).tell(ev.Stop()) == [fx.Released()]


def test_addresses_found_while_we_are_backup_already_are_not_adopted() -> None:
    router = OneRouter()
    router.until(1)
    router.hear(200)
    router.until(2)
    assert router.tell(ev.LinkUp(host(101), adopted=True)) == [fx.RemoveAddresses()]
    assert router.deadline == 1 + 3.609375


# ---- a process that was late


def test_a_late_master_yields_to_whoever_took_over() -> None:
    router = a_master()
    router.sleep(router.now / SECOND + 10)
    # the priority 0 makes the other tell the neighbours again, who may have heard of us last
    assert router.hear(1) == [fx.RemoveAddresses(), fx.SendAdvertisement(0)]
    assert (router.state, router.reason) == ("BACKUP", "Overslept")


def test_a_late_lone_master_goes_on_without_a_burst() -> None:
    router = a_master()
    start = router.now / SECOND
    router.sleep(start + 100.5)
    router.tell(ev.TimerExpired())
    router.until(start + 101.4)
    assert router.sent() == []  # whoever took over meanwhile is heard first
    router.until(start + 103)
    assert router.sent() == [(start + 101.5, 100), (start + 102.5, 100)]


def test_what_the_kernel_let_expire_while_we_slept_is_not_put_back_before_the_queue_was_heard() -> None:
    router = a_master()
    router.sleep(router.now / SECOND + 40)
    assert router.tell(ev.AddressesRemoved()) == []
    assert router.hear(1) == [fx.RemoveAddresses(), fx.SendAdvertisement(0)]
    assert not router.wanted(fx.AddAddresses)


def test_and_is_put_back_by_a_lone_master_who_has_heard_nobody_for_an_interval() -> None:
    router = a_master()
    woke = router.now / SECOND + 40
    router.sleep(woke)
    router.tell(ev.AddressesRemoved())
    router.tell(ev.TimerExpired())
    router.until(woke + 0.99)
    assert not router.wanted(fx.AddAddresses)
    router.until(woke + 1)
    assert router.times(fx.AddAddresses) == [woke + 1]
    assert router.sent() == [(woke + 1, 100)]


def test_who_overslept_and_hears_nothing_yet_leaves_a_successor_whose_packets_were_lost_an_interval_to_speak() -> None:
    router = a_master()
    woke = router.now / SECOND + 10
    router.sleep(woke)
    assert router.tell(ev.TimerExpired()) == []
    assert router.contribute(check=Contribution(10)) == []  # a priority that changes is told later too
    router.until(woke + 0.9)
    assert router.hear(1) == [fx.RemoveAddresses(), fx.SendAdvertisement(0)]
    assert router.reason == "Overslept"


def test_an_edit_of_the_interval_does_not_cut_the_listening_short() -> None:
    """Found by simulation: by the longer one it had not slept for so long."""
    router = a_master()
    woke = router.now / SECOND + 4.5
    router.sleep(woke)
    assert router.tell(ev.TimerExpired()) == []
    for interval in (4 * SECOND, SECOND):
        assert router.edit(advert_interval=interval) == []
    router.until(woke + 0.9)
    assert router.sent() == []


def test_a_priority_0_does_not_make_up_for_having_overslept() -> None:
    """The first successor, say, which was refused its address: there is another by now."""
    router = a_master()
    router.sleep(router.now / SECOND + 10)
    assert router.hear(0, 102) == []
    assert router.hear(1, 103) == [fx.RemoveAddresses(), fx.SendAdvertisement(0)]


def test_two_that_were_stopped_at_once_and_woken_at_once_are_master_and_backup_as_before() -> None:
    """A hypervisor that stalls: nobody has spoken, and nobody was to be heard."""
    lan = VirtualLan(preempt=False)
    server1 = lan.node("server1", base_priority=240)
    lan.run_until(10)
    server2 = lan.node("server2", base_priority=244)
    lan.run_until(20)
    assert lan.masters() == ["server1"]
    for stalled in (server1, server2):
        lan.stall(stalled, deaf=True)
    lan.run(60)
    for stalled in (server2, server1):
        lan.resume(stalled)
    lan.run(20)
    assert lan.masters() == ["server1"]
    assert server2.core.master == server1.source


def test_a_backup_whose_queue_was_lost_while_it_slept_listens_for_two_intervals_before_it_takes_over() -> None:
    lan = VirtualLan()
    server1, server2 = lan.node("server1", base_priority=244), lan.node("server2", base_priority=240)
    lan.run_until(10)
    del lan.transcript[:]
    lan.stall(server2, deaf=True)
    lan.run(6)
    lan.resume(server2)
    lan.run(10)
    assert not any("MASTER" in line for line in lan.transcript)
    lan.stall(server2, deaf=True)
    lan.power_off(server1)
    lan.run(6)
    lan.resume(server2)
    lan.run(1.99)
    assert lan.masters() == []
    lan.run(0.02)
    assert lan.masters() == ["server2"]


@pytest.mark.parametrize("seconds", [1, 3.5, 10, 60])
def test_sigstop_and_sigcont_leave_one_master_and_no_flip_back_without_preempt(seconds: float) -> None:
    lan = VirtualLan(preempt=False, lifetime=5 * SECOND)
    server1 = lan.node("server1", base_priority=244)
    server2 = lan.node("server2", base_priority=240)
    lan.run_until(10)
    assert lan.masters() == ["server1"]
    lan.stall(server1)
    lan.run(seconds)
    lan.resume(server1)
    holders = lan.holders()
    lan.run(20)
    assert lan.masters() == (["server1"] if seconds < 3 else ["server2"])
    assert lan.holders() == holders == lan.masters()
    assert server2.state == ("BACKUP" if seconds < 3 else "MASTER")


def test_a_late_backup_reads_its_queue_first_and_stays() -> None:
    lan = VirtualLan()
    lan.node("server1", base_priority=244)
    server2 = lan.node("server2", base_priority=240)
    lan.run_until(10)
    lan.stall(server2)
    lan.run(30)
    lan.resume(server2)
    lan.run(10)
    assert lan.masters() == ["server1"]
    assert not any("server2 puts" in line for line in lan.transcript)


# ---- taken away behind our back


def test_an_address_that_is_taken_away_is_put_back_at_once_and_told() -> None:
    assert a_master().tell(ev.AddressesRemoved()) == TAKE_OVER


def test_slower_where_somebody_keeps_taking_it_away() -> None:
    router = a_master()
    start = router.now / SECOND
    for step in range(40):
        router.until(start + step / 10)
        router.tell(ev.AddressesRemoved())
    router.until(start + 6)
    times = [round(moment - start, 3) for moment in router.times(fx.AddAddresses)]
    assert times == [0, 0.1, 0.2, 0.3, 0.4, 1.5, 2.5, 3.5, 4.5]


def test_and_at_once_again_when_it_was_quiet() -> None:
    router = a_master()
    start = router.now / SECOND
    for _ in range(7):
        router.tell(ev.AddressesRemoved())
    router.until(start + 12)
    assert router.tell(ev.AddressesRemoved()) == TAKE_OVER


def test_a_backup_puts_nothing_back() -> None:
    assert OneRouter().tell(ev.AddressesRemoved()) == []


# ---- the end


def test_what_is_stopped_does_nothing_more() -> None:
    router = OneRouter()
    assert router.tell(ev.Stop()) == [fx.Released()]
    assert router.core.stopped
    for event in (ev.TimerExpired(), ev.LinkUp(host(101)), ev.Stop(withdrawn=True), ev.AddressesRemoved()):
        assert router.tell(event) == []
    assert router.hear(0) == []
    assert router.core.deadline is None


def test_the_interval_of_a_master_that_died_while_we_were_in_fault_is_not_waited_by() -> None:
    """RFC 9568, section 6.4.1: at Startup the interval is the configured one."""
    router = OneRouter(advert_interval=10 * SECOND, trackers=CHECK)
    router.contribute(check=Contribution(0))
    for second in (1, 11, 21):
        router.until(second)
        router.hear(200)
    router.contribute(check=FAILED)
    router.until(3600)
    router.edit(advert_interval=SECOND)
    router.until(3700)
    router.contribute(check=Contribution(0))
    assert router.deadline == pytest.approx(3703.609, abs=0.001)


def test_an_interval_that_was_edited_while_nobody_was_heard_is_not_taken_for_the_masters() -> None:
    """Found by simulation: a second edit then waited by the first one's."""
    router = OneRouter(trackers=CHECK)
    router.contribute(check=Contribution(0))
    router.hear(200)
    router.contribute(check=FAILED)
    for second, interval in ((20, 10 * SECOND), (30, SECOND)):
        router.until(second)
        router.edit(advert_interval=interval)
    router.contribute(check=Contribution(0))
    assert router.deadline == pytest.approx(33.609, abs=0.001)


def test_news_of_the_link_while_an_adoption_is_decided_takes_nothing_off() -> None:
    router = OneRouter(adopted=True)
    router.until(0.2)
    assert router.tell(ev.LinkUp(host(101), adopted=True)) == []
    router.until(router.deadline)
    assert (router.state, router.reason) == ("MASTER", "Adopted")


def test_a_master_that_woke_a_little_late_has_not_overslept() -> None:
    router = OneRouter(down_timer_adverts=1, base_priority=200)
    router.become_master()
    taken = router.now
    router.now = taken + SECOND + SECOND // 20
    router.hear(100)
    assert router.core.is_master
    router.now += SECOND + SECOND // 10
    router.hear(100)
    assert (router.state, router.reason) == ("BACKUP", "Overslept")


def test_a_flood_of_made_up_sources_is_not_remembered() -> None:
    router = OneRouter(strict_peers=True)
    router.become_master()
    for number in range(1000):
        router.now += SECOND // 2
        router.hear(200, source=1 + number % 98)
    assert router.core.is_master
    assert len(router.core.foreign) <= 8
    assert len(router.core._reception._until) <= 65


def test_an_edit_between_three_intervals_of_a_silent_master_and_its_skew_time_hastens_nothing() -> None:
    """Found by simulation: it took over by its own interval."""
    router = OneRouter(base_priority=1)
    router.hear(200, interval=4)
    before = router.deadline
    assert before == pytest.approx(12 + 4 * 255 / 256, abs=0.01)
    router.until(12.5)
    router.edit(garp=replace(router.core.settings.garp, refresh=60 * SECOND))
    assert router.deadline == before


def test_who_overslept_and_drains_before_it_has_put_its_address_back_does_so_when_nobody_takes_it_over() -> None:
    router = a_master()
    router.sleep(router.now / SECOND + 40)
    router.tell(ev.AddressesRemoved())
    router.tell(ev.TimerExpired())
    router.edit(draining=True)
    router.until(router.now / SECOND + 3)
    assert (router.state, router.wanted(fx.AddAddresses)) == ("MASTER", True)


def test_who_sleeps_again_while_it_listens_listens_anew() -> None:
    router = a_master()
    woke = router.now / SECOND + 10
    router.sleep(woke)
    router.tell(ev.TimerExpired())
    router.sleep(woke + 20)
    assert router.tell(ev.TimerExpired()) == []
    assert router.hear(1) == [fx.RemoveAddresses(), fx.SendAdvertisement(0)]


def test_a_backup_that_slept_and_hears_the_master_resign_takes_over_as_any_other() -> None:
    router = OneRouter()
    router.hear(200)
    router.sleep(router.now / SECOND + 10)
    router.tell(ev.TimerExpired())
    router.hear(200)
    router.hear(0)
    router.until(router.now / SECOND + 0.7)  # a skew_time of 156/256 s
    assert (router.state, router.reason) == ("MASTER", "MasterResigned")
