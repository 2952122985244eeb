"""A MASTER's intervals end where slots begin, so that many routers share a wake-up."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from one_router import OneRouter, host
from virtualip_agent.vrrp import effects as fx
from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.settings import Garp
from virtualip_agent.vrrp.timing import MILLISECOND, SECOND

INTERVAL = 100 * MILLISECOND
SLOT = 25 * MILLISECOND
ONE_ROUND = Garp(repeat=1, delay=0)


def a_master(began: int, later: int = 0) -> OneRouter:
    """Of 100 ms, whose process began at this moment (nanoseconds) of the clock; `later` than when it took over."""
    router = OneRouter(link=False, in_slots=True, advert_interval=INTERVAL, garp=ONE_ROUND)
    router.now = began
    router.tell(ev.LinkUp(host(101)))
    router.become_master()
    router.until((router.now + later) / SECOND)
    router.log.clear()
    return router


def gaps(router: OneRouter, since: int) -> list[int]:
    """Between its advertisements, from one that was said then."""
    said = [since, *(round(at * SECOND) for at, effect in router.log if isinstance(effect, fx.SendAdvertisement))]
    return [later - earlier for earlier, later in pairwise(said)]


MOMENTS = st.integers(SECOND, 2 * SECOND)


@given(MOMENTS)
def test_the_first_interval_is_less_than_a_slot_shorter_and_all_others_are_whole(began: int) -> None:
    """RFC 9568, section 6.4.3: never longer, as a BACKUP counts them."""
    router = a_master(began)
    taken = router.now
    router.until(taken / SECOND + 2)
    first, *others = gaps(router, taken)
    assert INTERVAL - SLOT < first <= INTERVAL
    assert (taken + first) % SLOT == 0
    assert len(others) >= 18
    assert set(others) == {INTERVAL}


@given(MOMENTS, st.integers(1, INTERVAL - 1))
def test_an_advertisement_out_of_turn_makes_no_interval_longer(began: int, later: int) -> None:
    router = a_master(began, later)
    router.hear(50)  # which it answers
    told = router.now
    router.until(told / SECOND + 1)
    said, first, *others = gaps(router, told)
    assert said == 0
    assert INTERVAL - SLOT < first <= INTERVAL
    assert set(others) == {INTERVAL}


@given(MOMENTS, st.integers(1, INTERVAL - 1))
def test_a_shorter_interval_holds_from_when_it_is_edited(began: int, later: int) -> None:
    router = a_master(began, later)
    edited = router.now
    router.edit(advert_interval=20 * MILLISECOND)
    router.until(edited / SECOND + 1)
    said, first, *others = gaps(router, edited)
    assert said == 0
    assert 0 < first <= 20 * MILLISECOND
    assert set(others) == {20 * MILLISECOND}


@given(MOMENTS, st.integers(1, INTERVAL - 1))
def test_a_longer_interval_begins_when_the_old_one_is_over(began: int, later: int) -> None:
    """Those who still wait by the old one hear it twice, an interval of theirs apart at most."""
    router = a_master(began, later)
    due = router.core.advertises_at
    edited = router.now
    router.edit(advert_interval=SECOND)
    router.until(edited / SECOND + 4)
    said, old, first, *others = gaps(router, edited)
    assert said == 0
    assert edited + old == due
    assert SECOND - SECOND // 4 < first <= SECOND
    assert set(others) == {SECOND}


@pytest.mark.parametrize("late", [1, INTERVAL - 1])
def test_a_late_wake_up_keeps_the_phase(late: int) -> None:
    router = a_master(SECOND)
    assert router.core.deadline is not None
    due = router.core.deadline
    router.now = due + late
    router.until(router.now / SECOND)
    assert router.core.deadline == due + INTERVAL
