"""Rounds of gratuitous ARP but the first: a few frames at a time, and none for who is MASTER no more."""

import functools
import operator
from types import SimpleNamespace
from typing import Any

from virtualip_agent.realtime.garp_pacer import BUDGET, PAUSE, GarpPacer


def router(name: str, frames: int = 1) -> Any:
    """As much of a RunningRouter as the pacer looks at."""
    told = tuple(f"{name} {number}".encode() for number in range(frames))
    return SimpleNamespace(name=name, core=SimpleNamespace(is_master=True), link="eth0", announcements=lambda: told)


def everything(pacer: GarpPacer) -> list[list[bytes]]:
    """Turn by turn until nothing is left."""
    turns: list[list[bytes]] = []
    now = 0
    while True:
        turn = [frame for _, frames in pacer.due(now) for frame in frames]
        if pacer.next_at is None:
            return turns
        turns += [turn]
        now = pacer.next_at


def test_a_round_of_250_vips_is_sent_in_turns_with_pauses_and_each_once() -> None:
    pacer = GarpPacer()
    routers = [router(f"vip{number}") for number in range(250)]
    for one in routers * 2:  # a second round while the first waits is the same round
        pacer.want(one)
    turns = [turn for turn in everything(pacer) if turn]
    assert max(len(turn) for turn in turns) == BUDGET
    assert functools.reduce(operator.iadd, turns, []) == [f"vip{number} 0".encode() for number in range(250)]
    assert len(turns) * PAUSE < 20_000_000


def test_the_addresses_of_one_vip_may_take_several_turns() -> None:
    pacer = GarpPacer()
    pacer.want(router("web", 100))
    pacer.want(router("dns", 2))
    turns = everything(pacer)
    assert [frame for turn in turns for frame in turn] == [
        *(f"web {number}".encode() for number in range(100)),
        b"dns 0",
        b"dns 1",
    ]


def test_between_turns_nothing_is_sent_whoever_wakes_the_loop() -> None:
    pacer = GarpPacer()
    pacer.want(router("web"))
    assert pacer.due(0)
    pacer.want(router("dns"))
    assert pacer.due(PAUSE - 1) == []
    assert pacer.due(PAUSE)


def test_who_is_master_no_more_when_its_turn_comes_is_left_out() -> None:
    pacer = GarpPacer()
    gone, stays = router("gone", 50), router("stays")
    pacer.want(gone)
    pacer.want(stays)
    assert [frame for _, frames in pacer.due(0) for frame in frames] == list(gone.announcements()[:BUDGET])
    gone.core.is_master = False
    assert pacer.due(PAUSE) == [(stays, (b"stays 0",))]
