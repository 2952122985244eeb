"""Who is silent, by Leases."""

from typing import Any

from virtualip_api.names import lease_name
from virtualip_api.status import format_time
from virtualip_operator.silence import DEFAULT_DURATION, GRACE, Silence

WALL = 1_800_000_000.0
"""Seconds since the epoch at second 0 of the monotonic clock."""


def lease(node: str, renewed: float, duration: int = 30) -> dict[str, Any]:
    spec = {"renewTime": format_time(WALL + renewed), "leaseDurationSeconds": duration}
    return {"metadata": {"name": lease_name(node)}, "spec": spec}


def watching(*leases: dict[str, Any], now: float = 0.0) -> Silence:
    silence = Silence(now)
    silence.listed(list(leases), now, WALL + now)
    return silence


def test_a_node_is_silent_when_its_lease_ran_out_here() -> None:
    silence = watching(lease("a", 0))
    silence.observe(lease("a", 10), 10, WALL + 10)
    assert not silence.is_silent("a", 40, before=False)
    assert silence.is_silent("a", 40.1, before=False)


def test_it_is_judged_by_our_clock_not_by_the_nodes() -> None:
    silence = watching(lease("a", -3600))
    silence.observe(lease("a", -3590), 10, WALL + 10)  # an hour behind, and alive
    assert not silence.is_silent("a", 39, before=False)


def test_a_stale_lease_gets_the_time_of_one_renewal_at_first() -> None:
    silence = watching(lease("a", -3600))
    assert not silence.is_silent("a", GRACE, before=False)
    assert silence.is_silent("a", GRACE + 0.1, before=False)


def test_who_was_silent_stays_so_over_a_restart_until_it_renews() -> None:
    silence = watching(lease("a", -3600))
    assert silence.is_silent("a", 1, before=True)
    silence.observe(lease("a", 2), 2, WALL + 2)
    assert not silence.is_silent("a", 3, before=True)


def test_who_came_back_while_we_were_away_is_believed_at_once() -> None:
    assert not watching(lease("a", -2)).is_silent("a", 0, before=True)


def test_a_node_without_a_lease_is_silent_only_after_a_grace() -> None:
    silence = watching()
    assert not silence.is_silent("a", DEFAULT_DURATION, before=False)
    assert silence.is_silent("a", DEFAULT_DURATION + 0.1, before=False)


def test_nobody_falls_silent_while_we_hear_nobody() -> None:
    silence = watching(lease("a", 0))
    silence.blind(5)
    assert not silence.is_silent("a", 1000, before=False)


def test_after_an_outage_everybody_gets_the_time_of_one_renewal() -> None:
    silence = watching(lease("a", 0), lease("b", -3600))
    silence.blind(20)
    silence.listed([lease("a", 0), lease("b", -3600)], 1000, WALL + 1000)
    assert not silence.is_silent("a", 1000 + GRACE, before=False)
    assert silence.is_silent("a", 1000 + GRACE + 0.1, before=False)
    assert silence.is_silent("b", 1000, before=False)  # it was silent before


def test_a_deleted_lease_is_no_news_of_the_node_yet() -> None:
    silence = watching(lease("a", 0))
    silence.listed([], 10, WALL + 10)
    assert not silence.is_silent("a", 29, before=False)
    assert silence.is_silent("a", 31, before=False)


def test_a_renewal_is_told_by_the_nodes_own_clock() -> None:
    silence = watching(lease("a", 7))
    assert silence.renewed_at("a") == WALL + 7
    assert silence.renewed_at("b") == 0.0
