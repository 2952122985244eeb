"""VRRPv3: RFC 9568, sentence by sentence, with the number of the section. What differs on purpose is in test_core_*."""

import pytest

from one_router import OneRouter, host
from virtualip_agent.vrrp import effects as fx
from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.packet import Advertisement, Drop
from virtualip_agent.vrrp.timing import MILLISECOND, SECOND, master_down_interval, skew_time

TAKE_OVER = [fx.AddAddresses(), fx.SendGratuitousArp(first=True)]


# ---- 6.1 Parameters


@pytest.mark.parametrize(
    ("priority", "interval", "skew"),
    [
        (100, SECOND, 609_375_000),
        (254, SECOND, 7_812_500),
        (255, 10 * MILLISECOND, 39_062),
        (1, 40 * SECOND, 39_843_750_000),
    ],
)
def test_6_1_skew_time_is_a_part_of_the_interval_and_not_rounded_to_centiseconds(
    priority: int, interval: int, skew: int
) -> None:
    assert skew_time(3, priority, interval) == skew
    assert master_down_interval(3, priority, interval) == 3 * interval + skew


def test_6_1_the_address_owner_preempts_whatever_preempt_mode_says() -> None:
    router = OneRouter(base_priority=255, preempt=False)
    router.sleep(10)
    router.hear(200)  # it slept, and somebody took over
    assert router.state == "BACKUP"
    router.until(11)
    router.hear(200)
    router.until(11.1)
    assert router.state == "MASTER"


# ---- 6.4.1 Initialize


def test_6_4_1_the_address_owner_is_master_at_startup() -> None:
    router = OneRouter(base_priority=255, link=False)
    assert router.tell(ev.LinkUp(host(101))) == [*TAKE_OVER, fx.SendAdvertisement(255)]
    assert router.state == "MASTER"


def test_6_4_1_anybody_else_listens_for_a_master_down_interval() -> None:
    router = OneRouter()
    assert (router.state, router.reason) == ("BACKUP", "Listening")
    assert router.deadline == 3.609375
    router.until(3.609374)
    assert router.state == "BACKUP"
    router.until(3.609375)
    assert router.state == "MASTER"


# ---- 6.4.2 Backup


def test_6_4_2_the_masters_interval_is_learned() -> None:
    router = OneRouter()
    router.until(1)
    router.hear(200, interval=0.1)
    assert router.deadline == pytest.approx(1 + 0.3 + 0.1 * 156 / 256)


def test_6_4_2_a_lower_priority_is_discarded_and_never_extends_the_timer() -> None:
    router = OneRouter(fast_preempt=False)
    for tenth in range(36):
        router.until(tenth / 10)
        router.hear(99)
        assert router.deadline == 3.609375
    router.until(3.61)
    assert (router.state, router.reason) == ("MASTER", "HigherPriority")


def test_6_4_2_a_higher_or_equal_priority_resets_the_timer() -> None:
    router = OneRouter()
    for moment, priority in ((1, 101), (2, 100), (3, 254)):
        router.until(moment)
        router.hear(priority)
        assert router.deadline == moment + 3.609375


def test_6_4_2_without_preempt_mode_a_lower_priority_resets_the_timer() -> None:
    router = OneRouter(preempt=False)
    router.until(3)
    router.hear(1)
    assert router.deadline == 3 + 3.609375


def test_6_4_2_priority_0_sets_the_timer_to_skew_time() -> None:
    router = OneRouter()
    router.until(1)
    router.hear(200)
    router.until(1.5)
    router.hear(0)
    assert router.deadline == 1.5 + 0.609375
    router.until(3)
    assert router.times(fx.AddAddresses) == [1.5 + 0.609375]


def test_6_4_2_priority_0_said_again_does_not_arm_the_timer_again() -> None:
    router = OneRouter()
    router.until(1)
    router.hear(200)
    for moment in (1.5, 1.55, 1.6, 2.0):
        router.until(moment)
        router.hear(0)
        assert router.deadline == 1.5 + 0.609375


def test_6_4_2_a_resignation_that_is_taken_back_gives_the_whole_interval_again() -> None:
    router = OneRouter()
    router.until(1)
    router.hear(200)
    router.until(1.5)
    router.hear(0)
    router.until(1.6)
    router.hear(200)
    assert router.deadline == 1.6 + 3.609375


def test_6_4_2_a_backup_that_takes_over_puts_the_address_on_tells_the_neighbours_and_advertises() -> None:
    router = OneRouter()
    router.sleep(3.609375)
    assert router.tell(ev.TimerExpired()) == [*TAKE_OVER, fx.SendAdvertisement(100)]


# ---- 6.4.3 Active (we say MASTER)


def test_6_4_3_a_master_hearing_priority_0_advertises_at_once() -> None:
    router = OneRouter()
    router.become_master()
    assert router.hear(0) == [fx.SendGratuitousArp(), fx.SendAdvertisement(100)]
    assert router.state == "MASTER"


def test_6_4_3_a_master_hearing_a_higher_priority_becomes_backup() -> None:
    router = OneRouter()
    router.become_master()
    assert fx.RemoveAddresses() in router.hear(101)
    assert (router.state, router.reason, router.core.master) == ("BACKUP", "HigherPriorityHeard", host(102))


def test_6_4_3_and_waits_by_the_interval_of_the_one_it_yielded_to() -> None:
    router = OneRouter()
    router.become_master()
    router.hear(101, interval=5)
    assert router.deadline == pytest.approx(router.now / SECOND + 15 + 5 * 156 / 256)


@pytest.mark.parametrize(("ours", "theirs", "yields"), [
    (b"\x7f\0\0\x01", b"\x80\0\0\x01", True),  # unsigned: as signed numbers it would be the other way round
    (b"\x80\0\0\x01", b"\x7f\0\0\x01", False),
    (b"\x0a\0\0\x09", b"\x0a\0\0\x0a", True),  # as numbers, not as text: .9 is below .10
    (b"\x0a\0\0\x0a", b"\x0a\0\0\x09", False),
])  # fmt: skip
def test_6_4_3_of_equal_priorities_the_higher_address_stays_compared_unsigned(
    ours: bytes, theirs: bytes, yields: bool
) -> None:
    router = OneRouter(link=False)
    router.tell(ev.LinkUp(ours))
    router.become_master()
    router.tell(ev.Heard(Advertisement(3, 51, 100, SECOND, router.core.settings.addresses), theirs))
    assert router.core.is_master is not yields


def test_6_4_3_a_master_hearing_a_lower_priority_asserts_itself_at_once() -> None:
    router = OneRouter()
    router.become_master()
    router.until(router.now / SECOND + 0.3)
    router.log.clear()
    assert router.hear(99) == [fx.SendGratuitousArp(), fx.SendAdvertisement(100)]
    assert router.deadline <= router.now / SECOND + 1


def test_6_4_3_preempt_mode_never_keeps_a_master_from_yielding() -> None:
    router = OneRouter(preempt=False)
    router.become_master()
    router.hear(101)
    assert router.state == "BACKUP"


def test_6_4_3_a_master_that_shuts_down_says_priority_0() -> None:
    router = OneRouter()
    router.become_master()
    assert router.tell(ev.Stop()) == [fx.SendAdvertisement(0)]


# ---- 7.1 Receiving


def test_7_1_our_own_address_from_elsewhere_is_dropped_and_counted() -> None:
    router = OneRouter()
    router.become_master()
    assert router.hear(254, 101) == []
    assert router.core.drops == {Drop.OWN_ADDRESS: 1}
    assert router.state == "MASTER"


def test_7_1_the_interval_of_another_is_no_mistake_with_version_3() -> None:
    router = OneRouter()
    router.hear(200, 9, interval=0.01)
    assert router.core.drops == {}


def test_7_1_another_version_is_dropped_and_counted() -> None:
    router = OneRouter()
    other = OneRouter(version=2)
    router.tell(ev.Heard(Advertisement(2, 51, 200, SECOND, other.core.settings.addresses), host(102)))
    assert router.core.drops == {Drop.VERSION: 1}
    assert router.deadline == 3.609375
