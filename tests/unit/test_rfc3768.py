"""VRRPv2: RFC 3768 (and RFC 2338 for PASS), sentence by sentence."""

import pytest

from one_router import OneRouter, host
from virtual_lan import GROUP, advertisement_template
from virtualip_agent.vrrp import effects as fx
from virtualip_agent.vrrp.packet import Advertisement, Drop, parse, stamp
from virtualip_agent.vrrp.timing import SECOND, master_down_interval, skew_time

PASSWORD = b"12345\0\0\0"


@pytest.mark.parametrize("interval", [1, 2, 10, 255])
@pytest.mark.parametrize(("priority", "numerator"), [(1, 255), (100, 156), (244, 12), (254, 2), (255, 1)])
def test_section_6_1_skew_time_is_in_seconds_whatever_the_interval(
    priority: int, numerator: int, interval: int
) -> None:
    assert skew_time(2, priority, interval * SECOND) == numerator * SECOND // 256
    assert master_down_interval(2, priority, interval * SECOND) == 3 * interval * SECOND + numerator * SECOND // 256


def test_section_6_1_a_backup_of_two_seconds_waits_six_and_its_skew_time() -> None:
    router = OneRouter(version=2, base_priority=128, advert_interval=2 * SECOND)
    assert router.deadline == 6.5


def test_section_7_1_the_password_is_compared_over_eight_zero_padded_bytes() -> None:
    router = OneRouter(version=2, authentication=PASSWORD)
    router.hear(200, 9, authentication=b"12345\0\0\0")
    assert router.core.drops == {}
    for other in (b"12345\0\0x", b"12345678", b"1234\0\0\0\0", bytes(8), b""):
        router.hear(200, 9, authentication=other)
    assert router.core.drops[Drop.AUTHENTICATION] == 5


def test_section_7_1_a_password_where_none_is_wanted_is_refused_too() -> None:
    router = OneRouter(version=2)
    router.hear(200, 9, authentication=PASSWORD)
    router.hear(200, 9, authentication=bytes(8))
    assert router.core.drops[Drop.AUTHENTICATION] == 2


def test_section_7_1_an_interval_that_is_not_ours_is_dropped_from_a_stranger() -> None:
    router = OneRouter(version=2)
    before = router.core.deadline
    router.sleep(1)
    router.hear(200, 9, interval=2)
    assert router.core.drops[Drop.INTERVAL] == 1
    assert router.core.deadline == before


def test_section_7_1_an_address_list_that_is_not_ours_is_counted_and_still_a_sign_of_life() -> None:
    router = OneRouter(version=2)
    router.sleep(1)
    router.hear(200, 9, addresses=frozenset({host(201)}))
    assert router.core.drops == {"mismatch": 1}
    assert router.deadline == pytest.approx(1 + 3 + 156 / 256)


def test_section_6_4_2_priority_0_is_answered_after_skew_time() -> None:
    router = OneRouter(version=2, base_priority=192)
    router.until(1)
    router.hear(200)
    router.until(2)
    router.hear(0)
    assert router.deadline == 2.25
    router.until(2.25)
    assert router.state == "MASTER"


def test_section_6_4_3_a_master_yields_to_a_higher_priority() -> None:
    router = OneRouter(version=2)
    router.become_master()
    assert fx.RemoveAddresses() in router.hear(101)
    assert router.state == "BACKUP"


def test_section_6_4_3_a_master_says_its_priority_every_interval() -> None:
    router = OneRouter(version=2, advert_interval=2 * SECOND)
    router.become_master()
    start = router.now / SECOND
    router.until(start + 101)  # long after the last gratuitous ARP
    sent = [(round(moment - start, 9), priority) for moment, priority in router.sent()]
    assert sent == [(seconds, 100) for seconds in range(2, 101, 2)]


def test_a_members_longer_interval_is_waited_for_when_an_edit_has_reached_half_of_the_nodes() -> None:
    router = OneRouter(version=2)
    router.until(1)
    router.hear(200, interval=5)
    assert router.core.mismatches == {host(102): "interval 5s"}
    assert router.deadline == pytest.approx(1 + 15 + 156 / 256)


def test_section_5_3_10_without_authentication_the_eight_bytes_are_not_looked_at() -> None:
    template = advertisement_template(OneRouter(version=2).core.settings)
    filled = stamp(template[:-8] + b"whatever", 100, host(102), GROUP)
    read = parse(filled, host(102), GROUP)
    assert isinstance(read, Advertisement)
    assert read.authentication == b""
