"""When the neighbours are told, and how often."""

import itertools

import pytest

from one_router import FAILED, OneRouter
from virtualip_agent.vrrp import effects as fx
from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.garp_rounds import garp_rounds
from virtualip_agent.vrrp.priority import Contribution
from virtualip_agent.vrrp.timing import MILLISECOND, SECOND


def rounds_after_take_over(router: OneRouter) -> list[float]:
    """When, after AddAddresses, gratuitous ARP is said, take-over included."""
    router.until(router.deadline)
    assert router.core.is_master
    start = router.now / SECOND
    router.until(start + 60)
    return [round(moment - start, 6) for moment in router.times(fx.SendGratuitousArp)]


def test_a_take_over_without_a_resignation_is_told_again_until_the_old_masters_address_has_expired() -> None:
    router = OneRouter(lifetime=4 * SECOND)
    router.until(1)
    router.hear(200)
    rounds = rounds_after_take_over(router)
    assert rounds[:2] == [0, 0.05]
    until_expiry = [moment for moment in rounds if moment <= 6]
    gaps = [later - earlier for earlier, later in itertools.pairwise(until_expiry)]
    assert max(gaps) <= 0.5
    assert until_expiry[-1] == 6
    assert all(moment <= 6 for moment in rounds)


@pytest.mark.parametrize("resigns", [True, False])
def test_a_take_over_from_one_that_lets_go_is_told_at_50_ms_1_s_and_5_s(resigns: bool) -> None:
    router = OneRouter()
    for moment in (1, 2, 3, 4):
        router.until(moment)
        router.hear(200)
    router.hear(0 if resigns else 50)
    assert rounds_after_take_over(router) == [0, 0.05, 1, 5]


def test_the_first_round_is_marked_as_it_is_not_paced() -> None:
    router = OneRouter()
    router.until(4)
    told = [effect for _, effect in router.log if isinstance(effect, fx.SendGratuitousArp)]
    assert [effect.first for effect in told[:3]] == [True, False, False]


def test_rounds_that_were_slept_through_are_one() -> None:
    router = OneRouter()
    router.become_master()
    router.sleep(router.now / SECOND + 4)
    router.tell(ev.TimerExpired())
    assert len(router.times(fx.SendGratuitousArp)) == 1


def test_nothing_is_announced_after_we_resigned() -> None:
    router = OneRouter(trackers=frozenset({"check"}))
    router.contribute(check=Contribution())
    router.become_master()
    router.contribute(check=FAILED)
    router.until(router.now / SECOND + 10)
    assert not router.wanted(fx.SendGratuitousArp)


def test_a_flood_of_losing_advertisements_is_answered_at_most_every_20_ms() -> None:
    router = OneRouter()
    router.become_master()
    start = router.now / SECOND
    for step in range(1000):
        router.until(start + step / 1000)
        router.hear(50)
    assert 49 <= len(router.times(fx.SendGratuitousArp)) <= 60
    assert len(router.sent()) <= 60


def test_the_first_losing_advertisement_is_answered_whatever_the_clock_says() -> None:
    router = OneRouter(base_priority=255)
    assert fx.SendGratuitousArp() in router.hear(50)


@pytest.mark.parametrize("lifetime", [3, 4, 30])
def test_rounds_are_in_order_and_end(lifetime: int) -> None:
    for contested in (False, True):
        rounds = list(garp_rounds(7, lifetime * SECOND, contested=contested))
        assert rounds == sorted(set(rounds))
        assert rounds[0] == 7 + 50 * MILLISECOND
        assert rounds[-1] == 7 + max(5 * SECOND, (lifetime + 2) * SECOND if contested else 0)


def test_a_losing_advertisement_that_came_too_soon_to_be_answered_is_followed_by_gratuitous_arp_all_the_same() -> None:
    """Of three MASTERs that meet, one loser asserts itself against the other after the winner has spoken."""
    router = OneRouter()
    router.become_master()
    start = router.now / SECOND
    router.until(start + 10.5)
    router.log.clear()
    router.hear(99, 102)
    router.until(start + 10.501)
    assert router.hear(98, 103) == []
    router.until(start + 10.6)
    assert [round(moment - start, 3) for moment in router.times(fx.SendGratuitousArp)] == [10.5, 10.52]
