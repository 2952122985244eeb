"""When the neighbours are told, and how often."""

import itertools
from collections.abc import Callable

import pytest

from one_router import FAILED, OneRouter, host
from virtualip_agent.vrrp import effects as fx
from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.garp_rounds import GarpRounds
from virtualip_agent.vrrp.priority import Contribution
from virtualip_agent.vrrp.settings import Garp
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
    assert rounds[:5] == [0, 0.05, 0.1, 0.15, 0.2]
    until_expiry = [moment for moment in rounds if moment <= 6]
    gaps = [later - earlier for earlier, later in itertools.pairwise(until_expiry)]
    assert max(gaps) <= 0.5
    assert until_expiry[-1] == rounds[-1] == 6


@pytest.mark.parametrize("resigns", [True, False])
def test_a_take_over_from_one_that_lets_go_is_told_five_times_and_five_times_again_after_5_s(resigns: bool) -> None:
    router = OneRouter()
    for moment in (1, 2, 3, 4):
        router.until(moment)
        router.hear(200)
    router.hear(0 if resigns else 50)
    assert rounds_after_take_over(router) == [0, 0.05, 0.1, 0.15, 0.2, 5, 5.05, 5.1, 5.15, 5.2]


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


@pytest.mark.parametrize("lifetime", [0, 3, 4, 30])
def test_rounds_come_one_after_the_other_and_end(lifetime: int) -> None:
    rounds, garp = GarpRounds(), Garp()
    rounds.announce(garp, 7, lifetime=lifetime * SECOND)
    times = []
    while (at := rounds.deadline(garp)) is not None:
        assert not rounds.due(garp, at - 1)
        assert rounds.due(garp, at)
        times.append(at)
    assert times == sorted(set(times))
    assert times[0] == 7 + 50 * MILLISECOND
    assert times[-1] == 7 + max(5_200 * MILLISECOND, (lifetime + 2) * SECOND if lifetime else 0)


def resigned_to(**garp: int) -> OneRouter:
    """A router that will be MASTER after another's resignation."""
    router = OneRouter(garp=Garp(**garp))
    for moment in (1, 2, 3, 4):
        router.until(moment)
        router.hear(200)
    router.hear(0)
    return router


def test_how_often_and_when_is_a_setting() -> None:
    assert rounds_after_take_over(resigned_to(repeat=2, interval=SECOND, delay=10 * SECOND)) == [0, 1, 10, 11]
    assert rounds_after_take_over(resigned_to(repeat=1, delay=0)) == [0]
    assert rounds_after_take_over(resigned_to(repeat=1, delay=SECOND)) == [0, 1]


def test_a_refresh_comes_for_as_long_as_we_are_master() -> None:
    router = resigned_to(repeat=1, delay=0, refresh=20 * SECOND, refresh_repeat=2)
    assert rounds_after_take_over(router) == [0, 20, 20.05, 40, 40.05, 60]
    router.hear(250)
    router.log.clear()
    router.until(router.now / SECOND + 2)
    assert not router.wanted(fx.SendGratuitousArp)


def test_a_refresh_that_is_edited_holds_at_once() -> None:
    router = resigned_to(repeat=1, delay=0)
    rounds_after_take_over(router)
    router.log.clear()
    start = router.now / SECOND
    router.edit(garp=Garp(repeat=1, delay=0, refresh=3600 * SECOND))
    assert router.core.deadline is not None
    router.edit(garp=Garp(repeat=1, delay=0, refresh=100 * SECOND))
    router.until(start + 41)
    assert router.times(fx.SendGratuitousArp) == [pytest.approx(start + 40)]


def test_who_answers_a_loser_tells_the_neighbours_with_a_whole_burst_but_not_each_time() -> None:
    router = resigned_to()
    rounds_after_take_over(router)
    router.log.clear()
    start = router.now / SECOND
    for moment in range(5):
        router.until(start + moment)
        router.hear(50)
    router.until(start + 20)
    rounds = [round(moment - start, 6) for moment in router.times(fx.SendGratuitousArp)]
    assert rounds == [0, 0.05, 0.1, 0.15, 0.2, 1, 2, 3, 4, 5, 5.05, 5.1, 5.15, 5.2]


def test_a_link_that_is_another_while_we_are_master_is_told_to_the_neighbours() -> None:
    router = OneRouter(lifetime=3 * SECOND)
    router.become_master()
    router.until(30)
    router.log.clear()
    assert router.tell(ev.LinkUp(host(101))) == [fx.SendGratuitousArp(first=True)]
    router.until(40)
    assert router.times(fx.SendGratuitousArp) == pytest.approx(
        [30, 30.05, 30.1, 30.15, 30.2, 35, 35.05, 35.1, 35.15, 35.2]
    )


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


@pytest.mark.parametrize(
    "happens",
    [
        lambda router: router.tell(ev.AddressesRemoved()),
        lambda router: router.edit(addresses=router.core.settings.addresses | {bytes([192, 168, 122, 201])}),
        lambda router: router.tell(ev.LinkUp(host(101))),
    ],
    ids=["address taken off", "address added", "another port"],
)
def test_whatever_happens_to_the_new_master_it_goes_on_telling_until_the_old_ones_addresses_have_expired(
    happens: Callable[[OneRouter], object],
) -> None:
    router = OneRouter(lifetime=5 * SECOND)
    router.hear(200)
    router.until(router.deadline)
    took_over = router.now / SECOND
    router.until(took_over + 0.5)
    happens(router)
    router.until(took_over + 7)
    told = [0.0, *(moment - took_over for moment in router.times(fx.SendGratuitousArp)), 7.0]
    assert max(after - before for before, after in itertools.pairwise(told)) < 0.51
