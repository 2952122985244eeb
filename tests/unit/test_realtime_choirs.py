"""Routers that advertise together do what each would do by itself."""

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.bench_engine import GROUPS, INDEX, MEMBERS, SOURCES, BenchEngine, Sender
from fuzz.packets import Drawn
from virtual_lan import advertisement_template
from virtualip_agent import ipc
from virtualip_agent.realtime.timers import Chore
from virtualip_agent.vrrp.packet import stamp
from virtualip_agent.vrrp.settings import Settings
from virtualip_agent.vrrp.timing import MILLISECOND, SECOND
from virtualip_agent.vrrp.virtual_router import VirtualRouter

MICROSECOND = 1000
INTERVALS = {1: SECOND, 2: SECOND, 3: SECOND, 4: 300 * MILLISECOND, 5: 300 * MILLISECOND}
"""By VRID."""
ONCE = ipc.Garp(repeat=1, delay=0)
OFTEN = ipc.Garp(repeat=1, delay=0, refresh=2_300 * MILLISECOND)


def template(vrid: int, interval: int) -> bytes:
    return advertisement_template(Settings(vrid, 3, frozenset({vip(vrid)}), 100, advert_interval=interval))


def vip(vrid: int) -> bytes:
    return bytes([192, 168, 122, 200 + vrid])


def config(vrid: int, **changes: Any) -> ipc.RouterConfig:
    as_it_is = ipc.RouterConfig(
        name=f"vip{vrid}",
        vrid=vrid,
        version=3,
        interface="eth0",
        addresses=(f"192.168.122.{200 + vrid}/24",),
        base_priority=100,
        advert_interval=INTERVALS[vrid],
        garp=OFTEN if vrid == 3 else ONCE,
        lifetime=3,  # who takes over from a silent one announces itself for as long
        members=("192.168.122.102",),
        announcements=(bytes(42),),
    )
    changed = msgspec.structs.replace(as_it_is, **changes)
    return msgspec.structs.replace(changed, advertisement=template(vrid, changed.advert_interval))


class Recorder(Sender):
    """Notes what is sent and when, and takes nothing of what it refuses."""

    def __init__(self, source: bytes, clock: Callable[[], int]) -> None:
        super().__init__(source)
        self.said: list[tuple[int, int, int]] = []
        self.refused: set[int] = set()
        self._clock = clock

    def send(self, *message: Any) -> None:
        vrid, priority = message[0][1], message[0][2]
        if vrid in self.refused:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        self.said.append((self._clock(), vrid, priority))


class Stage(BenchEngine):
    """Five routers on eth0, MASTERs if nobody else speaks."""

    def __init__(self, *, choirs: bool) -> None:
        super().__init__()
        self.stopped = MICROSECOND  # as always: what is decided is said a little later
        for name in list(self.engine._routers):
            self.engine.command(ipc.RemoveRouter(name), self.now)
        self.engine.flush(self.now)
        senders = self.engine._ports.senders  # type: ignore[attr-defined]
        self.sender = senders[SOURCES[4]] = Recorder(SOURCES[4], lambda: self.now)
        if not choirs:
            self.engine._choirs.join = lambda routers: None  # type: ignore[method-assign]
        for vrid in INTERVALS:
            self.edit(vrid)
            self.run(3 * MILLISECOND)
        self.run(12 * SECOND)

    def edit(self, vrid: int, **changes: Any) -> None:
        self.engine.command(ipc.SetRouter(config(vrid, **changes)), self.now)
        self.engine.flush(self.now)

    def weigh(self, vrid: int, value: int) -> None:
        self.engine.command(ipc.SetContributions(f"vip{vrid}", {"check": ipc.Contribution(value)}), self.now)
        self.engine.flush(self.now)

    def hear(self, vrid: int, priority: int) -> None:
        payload = stamp(template(vrid, INTERVALS[vrid]), priority, MEMBERS[4], GROUPS[4])
        self.receive([Drawn(MEMBERS[4], GROUPS[4], 255, payload)])
        self.engine.flush(self.now)

    def link(self, *, up: bool) -> None:
        links = self.engine._routes.interfaces.links
        links[INDEX] = replace(links[INDEX], running=up)
        self.engine.links_changed(self.now, {INDEX})
        self.engine.flush(self.now)

    def refuse(self, vrid: int) -> None:
        self.sender.refused ^= {vrid}

    def take_off(self, vrid: int) -> None:
        """Somebody takes the address off, and no notification comes: the next refresh sees it."""
        interfaces = self.engine._routes.interfaces
        for found in [held for held in interfaces.on_interface(INDEX) if held.ip == vip(vrid)]:
            interfaces.drop(found)

    def sleep(self, milliseconds: int) -> None:
        """The process does not run."""
        self.now += milliseconds * MILLISECOND
        self.run(0)

    def seen(self) -> tuple[object, object, dict[str, dict[str, int]]]:
        statistics = self.statistics()
        return sorted(self.sender.said), self.snapshot(), statistics.routers

    @property
    def together(self) -> list[set[str]]:
        return [set(choir._voices) for choir in self.engine._choirs._choirs.values()]


def unpaced(stage: Stage) -> tuple[object, ...]:
    """Without gratuitous ARP, whose rounds wait for each other when many come at once."""
    said, routers, statistics = stage.seen()
    for counters in statistics.values():
        counters.pop("garp_sent")
    return said, routers, statistics


VRIDS = st.sampled_from(tuple(INTERVALS))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("weigh"), VRIDS, st.sampled_from((0, 0, -10, 20))),
        st.tuples(st.just("hear"), VRIDS, st.sampled_from((0, 50, 100, 200))),
        st.tuples(st.just("refuse"), VRIDS),
        st.tuples(st.just("take_off"), VRIDS),
        st.tuples(st.just("sleep"), st.sampled_from((3, 90, 280, 350, 970, 1200, 4500))),
        st.tuples(st.just("run"), st.sampled_from((5, 200, 1000, 3700, 25_000)).map(lambda ms: ms * MILLISECOND)),
        st.tuples(st.just("run"), st.sampled_from((1000, 3700)).map(lambda ms: ms * MILLISECOND)),
    ),
    max_size=25,
)


@settings(max_examples=200, deadline=None)
@given(steps=STEPS)
def test_with_and_without_choirs_the_same_is_sent_at_the_same_time_and_the_same_is_so_afterwards(
    steps: list[tuple[Any, ...]],
) -> None:
    together, alone = Stage(choirs=True), Stage(choirs=False)
    for name, *values in steps:
        for stage in (together, alone):
            getattr(stage, name)(*values)
        assert unpaced(together) == unpaced(alone)


@pytest.mark.parametrize(
    "happens",
    [
        lambda stage: stage.edit(1, base_priority=90),
        lambda stage: stage.edit(1, advert_interval=500 * MILLISECOND),
        lambda stage: stage.edit(1, transport="Unicast"),
        lambda stage: stage.edit(1, group="site"),
        lambda stage: stage.weigh(1, 10),
        lambda stage: (stage.link(up=False), stage.run(2 * SECOND), stage.link(up=True)),
        lambda stage: stage.engine.command(ipc.RemoveRouter("vip1"), stage.now),
        lambda stage: stage.engine.stop(stage.now),
    ],
    ids=["priority", "interval", "unicast", "group", "tracker", "link", "removed", "stop"],
)
def test_whatever_happens_to_one_of_them_happens_as_if_it_were_alone(happens: Callable[[Stage], object]) -> None:
    together, alone = Stage(choirs=True), Stage(choirs=False)
    for stage in (together, alone):
        stage.run(2 * SECOND)
        happens(stage)
        stage.engine.flush(stage.now)
    assert together.seen() == alone.seen()
    for stage in (together, alone):
        stage.run(20 * SECOND)
    assert together.seen() == alone.seen()


@pytest.fixture
def stage() -> Stage:
    """On which nothing is due but advertisements."""
    made = Stage(choirs=True)
    made.edit(3, garp=ONCE)
    made.run(2 * SECOND)
    return made


def test_those_of_one_slot_and_interval_are_together_and_without_what_they_cannot_share(stage: Stage) -> None:
    assert sorted(map(sorted, stage.together)) == [["vip1", "vip2", "vip3"], ["vip4", "vip5"]]
    stage.edit(1, group="site")
    stage.edit(4, transport="Unicast")
    stage.run(3 * SECOND)
    assert sorted(map(sorted, stage.together)) == [["vip2", "vip3"], ["vip5"]]


def test_one_whose_advertisement_is_not_taken_is_alone_until_that_is_over(stage: Stage) -> None:
    stage.refuse(2)
    stage.run(1 * SECOND)
    assert sorted(map(sorted, stage.together)) == [["vip1", "vip3"], ["vip4", "vip5"]]
    failed = stage.statistics().routers["vip2"]["send_failed"]
    stage.run(3 * SECOND)
    assert stage.statistics().routers["vip2"]["send_failed"] == failed + 3
    assert 2 not in {vrid for moment, vrid, _ in stage.sender.said if moment > stage.now - 3 * SECOND}
    stage.refuse(2)
    stage.run(13 * SECOND)
    assert {"vip1", "vip2", "vip3"} in stage.together


def test_one_whose_address_is_put_back_in_the_choirs_turn_says_so_and_advertises_all_the_same(
    stage: Stage,
) -> None:
    armed = stage.engine.deadlines._armed
    stage.run(armed[Chore.REFRESH] - stage.now)
    announced, said = stage.statistics().routers["vip1"]["garp_sent"], len(stage.sender.said)
    stage.take_off(1)
    assert stage.engine._choirs._of["vip1"].moment < armed[Chore.REFRESH]
    stage.sleep((armed[Chore.REFRESH] - stage.now) // MILLISECOND)  # both in one wake-up
    assert sorted(vrid for _, vrid, _ in stage.sender.said[said:] if vrid < 4) == [1, 2, 3]
    assert stage.statistics().routers["vip1"]["garp_sent"] == announced + 1


def test_after_a_stop_that_one_of_them_is_not_to_speak_after_none_does(stage: Stage) -> None:
    stage.edit(1, down_timer_adverts=7)
    stage.run(2 * SECOND)
    said = len(stage.sender.said)
    stage.stopped = 5 * SECOND  # longer than the others are heard for after their last
    stage.run(1 * SECOND)
    assert {"vip1", "vip2", "vip3"} in stage.together
    assert stage.sender.said[said:] == []


def test_no_router_is_asked_while_nothing_happens(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    said = len(stage.sender.said)
    monkeypatch.setattr(VirtualRouter, "interval_over", None)
    monkeypatch.setattr(VirtualRouter, "handle", None)
    stage.run(3 * SECOND)
    assert len(stage.sender.said) == said + 3 * 3 + 2 * 10


def test_who_is_given_a_longer_interval_advertises_once_more_when_the_old_one_is_over() -> None:
    stage = Stage(choirs=True)
    stage.run(100 * MILLISECOND)
    due = max(at for at, vrid, _ in stage.sender.said if vrid == 4) + 300 * MILLISECOND
    stage.sender.said.clear()
    edited = stage.now
    stage.edit(4, advert_interval=SECOND)
    stage.run(3 * SECOND)
    told, again, first, *_ = [at for at, vrid, _ in stage.sender.said if vrid == 4]
    assert (told, again) == (edited, due)
    assert first - due <= SECOND
