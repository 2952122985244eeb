"""The planned hand-over: priority 0, and the old MASTER answers on until it hears a new one."""

from dataclasses import replace
from typing import Any

import pytest

from one_router import FAILED, OneRouter, host
from virtual_lan import Node, VirtualLan
from virtualip_agent.vrrp import effects as fx
from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.priority import Contribution
from virtualip_agent.vrrp.timing import MILLISECOND, SECOND

CHECK = frozenset({"check"})
FINE = Contribution()
GIVES_UP = [fx.RemoveAddresses(), fx.SendAdvertisement(0)]


def a_master(**settings: Any) -> OneRouter:
    router = OneRouter(trackers=CHECK, **settings)
    router.contribute(check=FINE)
    router.become_master()
    return router


def two(**settings: Any) -> tuple[VirtualLan, Node, Node]:
    lan = VirtualLan(**settings)
    server1, server2 = lan.node("server1", base_priority=244), lan.node("server2", base_priority=240)
    lan.run_until(10.25)
    assert lan.masters() == ["server1"]
    return lan, server1, server2


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("withdrawn", [False, True])
def test_a_client_sees_no_gap(version: int, withdrawn: bool) -> None:
    lan, server1, server2 = two(version=version)
    lan.stop(server1, withdrawn=withdrawn)
    lan.run_until(12)
    assert lan.masters() == ["server2"]
    assert lan.holders() == ["server2"]
    assert lan.longest_gap(since=10) == 0
    assert server1.released
    assert server2.state == "MASTER"


def test_priority_0_is_said_again_as_one_lost_packet_must_not_turn_it_into_a_timeout() -> None:
    for lost in ({0}, {0, 1}):
        lan, server1, _ = two()
        sent = sum("advertises" in line for line in lan.transcript)
        lan.lose = {sent + index for index in lost}
        lan.stop(server1)
        lan.run_until(12)
        assert lan.masters() == ["server2"]
        assert lan.longest_gap(since=10) == 0


def test_it_lets_go_when_it_hears_the_new_master_and_says_0_again() -> None:
    router = a_master()
    start = router.now / SECOND
    assert router.tell(ev.Stop()) == [fx.SendAdvertisement(0)]
    router.until(start + 0.2)
    assert [priority for _, priority in router.sent()] == [0, 0, 0]
    assert router.times(fx.SendAdvertisement) == pytest.approx([start, start + 0.05, start + 0.1])
    assert router.core.is_master
    assert router.hear(50) == [*GIVES_UP, fx.Released()]


def test_priority_0_from_another_is_no_new_master() -> None:
    router = a_master()
    router.tell(ev.Stop())
    assert router.hear(0) == []
    assert router.core.is_master


@pytest.mark.parametrize(("version", "interval", "seconds"), [
    (2, SECOND, 1.1),
    (2, 5 * SECOND, 1.1),
    (3, SECOND, 1.1),
    (3, 10 * MILLISECOND, 0.11),
])  # fmt: skip
def test_nobody_comes_a_stopped_agent_leaves_the_address_to_its_lifetime(
    version: int, interval: int, seconds: float
) -> None:
    router = a_master(version=version, advert_interval=interval)
    start = router.now / SECOND
    router.tell(ev.Stop())
    router.log.clear()
    router.until(start + seconds - 0.001)
    assert not router.wanted(fx.Released)
    router.until(start + seconds)
    assert router.wanted(fx.Released)
    assert not router.wanted(fx.RemoveAddresses)
    assert router.core.stopped


def test_nobody_comes_a_withdrawn_vip_goes() -> None:
    router = a_master()
    start = router.now / SECOND
    router.tell(ev.Stop(withdrawn=True))
    router.until(start + 2)
    assert router.times(fx.RemoveAddresses) == pytest.approx([start + 1.1])
    assert router.core.stopped


def test_withdrawn_and_then_stopped_stays_withdrawn() -> None:
    router = a_master()
    start = router.now / SECOND
    router.tell(ev.Stop(withdrawn=True))
    router.until(start + 0.5)
    router.tell(ev.Stop())
    router.until(start + 2)
    assert router.wanted(fx.RemoveAddresses)


def test_nobody_comes_a_failed_tracker_takes_it_off_all_the_same() -> None:
    router = a_master()
    start = router.now / SECOND
    assert router.contribute(check=FAILED) == [fx.SendAdvertisement(0)]
    assert router.state == "MASTER"
    router.until(start + 2)
    assert router.times(fx.RemoveAddresses) == pytest.approx([start + 1.1])
    assert (router.state, router.reason, router.core.master) == ("FAULT", "TrackerFailed", b"")


def test_s6_a_failed_tracker_hands_over_without_a_gap_and_is_fault() -> None:
    lan = VirtualLan(trackers=CHECK)
    server1, server2 = lan.node("server1", base_priority=244), lan.node("server2", base_priority=240)
    lan.contribute(server1, check=FINE)
    lan.contribute(server2, check=FINE)
    lan.run_until(10)
    lan.contribute(server1, check=FAILED)
    lan.run_until(12)
    assert (server1.state, server2.state, lan.holders()) == ("FAULT", "MASTER", ["server2"])
    assert lan.longest_gap(since=9) == 0
    lan.contribute(server1, check=FINE)
    lan.run_until(13)
    assert (server1.state, server2.state, lan.holders()) == ("MASTER", "BACKUP", ["server1"])


def test_the_tracker_comes_back_in_the_middle_and_the_hand_over_is_off() -> None:
    router = a_master()
    start = router.now / SECOND
    router.contribute(check=FAILED)
    router.until(start + 0.3)
    assert router.contribute(check=FINE) == [fx.SendAdvertisement(100)]
    router.log.clear()
    router.until(start + 3)
    assert router.sent() == [(start + 1.3, 100), (start + 2.3, 100)]
    assert not router.wanted(fx.RemoveAddresses)


def test_a_backup_believes_the_one_that_took_its_resignation_back() -> None:
    lan = VirtualLan(trackers=CHECK)
    server1, server2 = lan.node("server1", base_priority=244), lan.node("server2", base_priority=1)
    lan.contribute(server1, check=FINE)
    lan.contribute(server2, check=FINE)
    lan.run_until(10)
    lan.contribute(server1, check=FAILED)
    lan.run_until(10.5)
    lan.contribute(server1, check=FINE)
    lan.run_until(20)
    assert lan.masters() == ["server1"]
    assert lan.longest_gap(since=9) == 0
    assert not any("server2 puts" in line for line in lan.transcript)


def test_a_tracker_that_comes_back_does_not_take_a_stop_back() -> None:
    router = a_master()
    router.contribute(check=FAILED)
    router.tell(ev.Stop())
    assert router.contribute(check=FINE) == []
    assert router.hear(50) == [*GIVES_UP, fx.Released()]


def test_an_edit_of_the_base_priority_in_the_middle_changes_nothing() -> None:
    router = a_master()
    start = router.now / SECOND
    router.tell(ev.Stop())
    router.until(start + 0.2)
    assert router.tell(ev.SettingsChanged(replace(router.core.settings, base_priority=200))) == []
    assert router.hear(150) == [*GIVES_UP, fx.Released()]


def test_an_edited_interval_neither_hurries_nor_delays_the_end() -> None:
    router = a_master()
    start = router.now / SECOND
    router.tell(ev.Stop())
    router.tell(ev.SettingsChanged(replace(router.core.settings, advert_interval=10 * SECOND)))
    router.until(start + 1.2)
    assert router.core.stopped
    assert [priority for _, priority in router.sent()] == [0, 0, 0]


def test_the_link_goes_in_the_middle() -> None:
    router = a_master()
    router.tell(ev.Stop())
    assert router.tell(ev.LinkDown("LinkDown", "eth0 is down")) == [fx.RemoveAddresses(), fx.Released()]


def test_the_kernel_refuses_the_address_in_the_middle() -> None:
    router = a_master()
    router.tell(ev.Stop())
    assert router.tell(ev.AddressesRefused("KernelRefused", "no")) == [*GIVES_UP, fx.Released()]


def test_an_address_taken_away_in_the_middle_is_put_back_as_we_answer_on() -> None:
    router = a_master()
    router.contribute(check=FAILED)
    assert router.tell(ev.AddressesRemoved()) == [fx.AddAddresses(), fx.SendGratuitousArp(first=True)]


def test_without_preempt_a_resignation_is_followed_all_the_same() -> None:
    lan, server1, server2 = two(preempt=False)
    lan.stop(server1)
    lan.run_until(11)
    assert lan.masters() == ["server2"]
    lan.start(server1)
    lan.run_until(40)
    assert server2.state == "MASTER"


def test_of_three_the_best_takes_over_and_the_old_ones_last_word_raises_nobody_else() -> None:
    lan = VirtualLan()
    nodes = [lan.node(f"server{index}", base_priority=base) for index, base in enumerate((244, 240, 239), 1)]
    lan.run_until(10)
    lan.stop(nodes[0])
    lan.run_until(20)
    assert lan.masters() == ["server2"]
    assert not any("server3 puts" in line for line in lan.transcript)


def test_priority_0_from_one_that_is_not_the_master_means_nothing() -> None:
    router = OneRouter()
    router.until(1)
    router.hear(200, 102)
    router.until(2)
    router.hear(0, 103)
    assert router.deadline == 1 + 3.609375


def test_rolling_update_every_agent_in_turn_and_never_a_gap() -> None:
    lan = VirtualLan()
    nodes = [lan.node(f"server{index}", base_priority=base) for index, base in enumerate((244, 240, 100), 1)]
    lan.run_until(10)
    for node in nodes:
        lan.stop(node)
        lan.run(2)
        lan.start(node)
        lan.run(6)
    assert lan.masters() == ["server1"]
    assert lan.longest_gap(since=9) == 0


def test_everybody_stops_at_once_and_the_last_one_leaves_the_address_to_its_lifetime() -> None:
    lan, server1, server2 = two()
    lan.stop(server1)
    lan.stop(server2)
    lan.run(2)
    assert lan.masters() == []
    assert lan.holders() == ["server1"]
    lan.run(31)
    assert lan.holders() == []


def test_handed_over_we_wait_by_the_new_masters_interval() -> None:
    router = a_master()
    router.contribute(check=FAILED)
    router.hear(200, interval=5)
    router.contribute(check=FINE)
    assert (router.state, router.core.master) == ("BACKUP", host(102))
    assert router.deadline == pytest.approx(router.now / SECOND + 15 + 5 * 156 / 256)
