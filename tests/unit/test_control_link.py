"""The line to vrrp: whatever happens to either end, vrrp runs what is wanted."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from fake_vrrp import FakeVrrp
from virtualip_agent import ipc
from virtualip_agent.control.link import ASK_EVERY, MOST_UNANSWERED, Link


def router(name: str = "web", base: int = 244, trackers: tuple[str, ...] = (), **more: object) -> ipc.RouterConfig:
    return ipc.RouterConfig(
        name=name,
        vrid=51,
        version=2,
        interface="eth0",
        addresses=("192.168.122.200/24",),
        base_priority=base,
        advert_interval=10**9,
        trackers=trackers,
        **more,  # type: ignore[arg-type]
    )


def ten(healthy: bool = True) -> ipc.Contribution:
    return ipc.Contribution(10 if healthy else 0, healthy=healthy)


class Control:
    """Control's end, and what it heard."""

    def __init__(self, path: Path) -> None:
        self.away = 0
        self.away_since = 0.0
        self._changed = asyncio.Event()
        self.link = Link(path, lambda message: self._changed.set(), self._away)

    def _away(self, since: float) -> None:
        self.away += 1
        self.away_since = since
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def want(
        self, *configs: ipc.RouterConfig, keep: frozenset[str] = frozenset(), **parts: dict[str, ipc.Contribution]
    ) -> None:
        wanted = {config.name: config for config in configs}
        self.link.want(wanted, parts, frozenset(wanted) | keep)


@pytest.fixture
async def vrrp(tmp_path: Path) -> AsyncIterator[FakeVrrp]:
    fake = FakeVrrp(tmp_path / "vrrp.sock").start()
    yield fake
    fake.stop()


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[Control]:
    one = Control(tmp_path / "vrrp.sock")
    yield one
    one.link.close()


async def test_vrrp_gets_the_whole_picture_and_knows_when_it_is_whole(vrrp: FakeVrrp, control: Control) -> None:
    control.want(router("web", trackers=("apache",)), router("api"), web={"apache": ten()})
    control.link.start()
    await vrrp.until(lambda: vrrp.complete)
    assert vrrp.routers.keys() == {"web", "api"}
    assert vrrp.priority("web") == 254


async def test_a_control_that_has_read_nothing_yet_withdraws_nothing(vrrp: FakeVrrp, control: Control) -> None:
    vrrp.routers["web"] = router()
    control.link.start()
    await control.until(lambda: control.link.hello is not None)
    assert vrrp.routers.keys() == {"web"}
    assert not vrrp.complete
    control.want()
    await vrrp.until(lambda: vrrp.complete)
    assert not vrrp.routers


async def test_what_a_control_before_us_ran_is_withdrawn_unless_it_is_to_be_kept(
    vrrp: FakeVrrp, control: Control
) -> None:
    vrrp.routers = {"old": router("old"), "bad": router("bad")}
    control.want(router("web"), keep=frozenset({"bad"}))
    control.link.start()
    await vrrp.until(lambda: vrrp.complete)
    assert vrrp.routers.keys() == {"bad", "web"}
    control.want(router("web"))
    await vrrp.until(lambda: vrrp.routers.keys() == {"web"})


async def test_changes_are_sent_as_they_come(vrrp: FakeVrrp, control: Control) -> None:
    control.link.start()
    control.want(router("web", trackers=("apache",)), web={"apache": ten()})
    await vrrp.until(lambda: vrrp.complete)
    control.link.contribute("web", {"apache": ten(False)})
    await vrrp.until(lambda: vrrp.priority("web") == 244)
    control.want(router("web", base=100, trackers=("apache",)), router("api"), web={"apache": ten()})
    await vrrp.until(lambda: vrrp.routers.keys() == {"web", "api"} and vrrp.priority("web") == 110)
    control.want(router("api"))
    await vrrp.until(lambda: vrrp.routers.keys() == {"api"})


async def test_a_tracker_added_or_taken_out_never_shows_a_priority_without_the_others(
    vrrp: FakeVrrp, control: Control
) -> None:
    control.link.start()
    control.want(router(base=200, trackers=("a",)), web={"a": ten()})
    await vrrp.until(lambda: vrrp.complete)
    control.want(router(base=200, trackers=("a", "b")), web={"a": ten(), "b": ten()})
    await vrrp.until(lambda: vrrp.priority("web") == 220)
    control.want(router(base=200, trackers=("b",)), web={"b": ten()})
    await vrrp.until(lambda: vrrp.priority("web") == 210)
    assert vrrp.advertised["web"] == [210, 220, 210]


async def test_after_a_restart_of_control_a_result_counts_at_once_and_of_the_others_what_vrrp_knows(
    vrrp: FakeVrrp, control: Control
) -> None:
    """The slower tracker has no result yet; it may take `fall` of them."""
    config = router(base=200, trackers=("a", "b"))
    vrrp.routers["web"] = config
    vrrp.contributions["web"] = {"a": ten(), "b": ten()}
    control.want(config, web={"a": ten()})
    control.link.start()
    await vrrp.until(lambda: vrrp.complete)
    assert vrrp.priority("web") == 220
    control.link.contribute("web", {"a": ten(False)})
    await vrrp.until(lambda: vrrp.priority("web") == 210)
    control.link.contribute("web", {"a": ten(False), "b": ten(False)})
    await vrrp.until(lambda: vrrp.priority("web") == 200)


async def test_a_vrrp_that_was_restarted_is_told_everything_again(vrrp: FakeVrrp, control: Control) -> None:
    control.link.start()
    control.want(router(trackers=("apache",)), web={"apache": ten()})
    await vrrp.until(lambda: vrrp.complete)
    vrrp.stop()
    await control.until(lambda: control.away == 1)
    assert not control.link.connected
    again = FakeVrrp(vrrp.path).start()
    await again.until(lambda: again.complete)
    assert again.priority("web") == 254
    again.stop()


async def test_control_may_be_there_first(tmp_path: Path, control: Control) -> None:
    control.link.start()
    control.want(router())
    await asyncio.sleep(0)
    late = FakeVrrp(tmp_path / "vrrp.sock").start()
    await late.until(lambda: late.complete)
    assert late.routers.keys() == {"web"}
    late.stop()


async def test_while_another_control_commands_nothing_is_said_and_then_everything(
    tmp_path: Path, control: Control
) -> None:
    vrrp = FakeVrrp(tmp_path / "vrrp.sock", taken=True).start()
    control.link.start()
    control.want(router())
    await control.until(lambda: control.link.hello is not None)
    control.want(router(), router("api"))
    assert not vrrp.routers
    vrrp.give_way()
    await vrrp.until(lambda: vrrp.complete)
    assert vrrp.routers.keys() == {"web", "api"}
    vrrp.stop()


async def test_a_vrrp_that_does_not_read_gets_the_newest_and_no_backlog(vrrp: FakeVrrp, control: Control) -> None:
    control.link.start()
    control.want(router(base=1))
    await vrrp.until(lambda: vrrp.complete)
    vrrp.pause()
    fat = tuple(bytes(4096) for _ in range(8))
    for base in range(2, 200):
        control.want(router(base=base, announcements=fat))
    vrrp.resume()
    await vrrp.until(lambda: vrrp.priority("web") == 199)
    assert len(vrrp.advertised["web"]) < 50


async def test_what_a_newer_vrrp_says_is_passed_over(vrrp: FakeVrrp, control: Control) -> None:
    control.link.start()
    control.want(router())
    await control.until(lambda: "web" in control.link.states)
    for packet in (b"\x81\xa4type\xa5magic", b"not msgpack"):
        vrrp.say_bytes(packet)
    vrrp.set_state("web", "FAULT", "LinkDown")
    await control.until(lambda: control.link.states["web"].state == "FAULT")
    assert control.away == 0


async def test_the_last_word_of_each_router_is_known_also_when_vrrp_is_gone(vrrp: FakeVrrp, control: Control) -> None:
    control.link.start()
    control.want(router("web"), router("api"))
    await control.until(lambda: control.link.states.keys() == {"web", "api"})
    control.want(router("web"))
    await control.until(lambda: control.link.states.keys() == {"web"})
    vrrp.stop()
    await control.until(lambda: control.away == 1)
    assert control.link.states["web"].state == "MASTER"


async def test_counters_are_asked_for_and_come_in_parts(control: Control, vrrp: FakeVrrp) -> None:
    assert await control.link.statistics() is None  # not connected yet
    control.link.start()
    control.want(router("a"), router("b"), router("c"))
    await vrrp.until(lambda: vrrp.complete)
    all_three, only_b = await asyncio.gather(control.link.statistics(), control.link.statistics(["b"]))
    assert all_three is not None
    assert only_b is not None
    assert all_three.routers == {name: {"sent": 7} for name in "abc"}
    assert only_b.routers == {"b": {"sent": 7}}
    assert (only_b.process, only_b.lateness) == ({"wake_ups": 1}, {"64": 1})


async def test_a_vrrp_that_does_not_answer_is_not_waited_for_long(control: Control, vrrp: FakeVrrp) -> None:
    control.link.start()
    control.want(router("a"))
    await vrrp.until(lambda: vrrp.complete)
    vrrp.pause()
    assert await control.link.statistics() is None


async def test_a_vrrp_that_hangs_is_away_after_three_seconds_and_back_when_it_answers(
    control: Control, vrrp: FakeVrrp
) -> None:
    loop = asyncio.get_running_loop()
    control.link.start()
    control.want(router("a"))
    await vrrp.until(lambda: vrrp.complete)
    hung = loop.time()
    vrrp.pause()
    await control.until(lambda: control.away == 1)
    assert not control.link.answering
    assert control.link.connected
    assert loop.time() - hung > (MOST_UNANSWERED - 1) * ASK_EVERY
    assert hung - ASK_EVERY <= control.away_since <= loop.time() - (MOST_UNANSWERED - 1) * ASK_EVERY
    fat = tuple(bytes(4096) for _ in range(8))
    for base in range(200, 0, -1):  # more than the socket takes
        control.want(router("a", base=base, announcements=fat))
    await asyncio.sleep(2 * ASK_EVERY)
    assert not control.link.answering
    vrrp.resume()
    await control.until(lambda: control.link.answering)
    await vrrp.until(lambda: vrrp.priority("a") == 1)
    counted = await control.link.statistics()
    assert counted is not None
    assert counted.routers.keys() == {"a"}  # the answer to this question, and not to one before
    assert control.away == 1


async def test_a_control_that_stood_still_itself_does_not_take_vrrp_for_hung(control: Control, vrrp: FakeVrrp) -> None:
    control.link.start()
    control.want(router("a"))
    await vrrp.until(lambda: vrrp.complete)
    vrrp.pause()
    await asyncio.sleep(1.1 * ASK_EVERY)  # it has asked by then
    time.sleep(MOST_UNANSWERED * ASK_EVERY + 0.5)  # noqa: ASYNC251 -- nothing runs here: that is the test
    await asyncio.sleep(0)
    vrrp.resume()
    assert await control.link.statistics() is not None
    assert control.away == 0


async def test_a_vrrp_that_serves_another_control_owes_no_sign_of_life(tmp_path: Path, control: Control) -> None:
    vrrp = FakeVrrp(tmp_path / "vrrp.sock", taken=True).start()
    control.link.start()
    await control.until(lambda: control.link.hello is not None)
    await asyncio.sleep((MOST_UNANSWERED + 2) * ASK_EVERY)
    assert control.link.answering
    assert control.away == 0
    vrrp.stop()


async def test_a_question_while_the_socket_is_full_does_not_cost_what_is_still_to_be_told(
    vrrp: FakeVrrp, control: Control
) -> None:
    control.link.start()
    await control.until(lambda: control.link.hello is not None)
    vrrp.pause()
    fat = tuple(bytes(4096) for _ in range(8))
    control.want(*(router(f"vip{number}", announcements=fat) for number in range(100)))
    assert len(control.link._told_routers) < 100
    vrrp.read_one()
    assert await control.link.statistics() is None  # it would have fitted
    vrrp.resume()
    await vrrp.until(lambda: vrrp.complete)
    assert len(vrrp.routers) == 100


async def test_a_router_that_was_gone_when_it_was_to_be_withdrawn_is_told_to_be_gone(
    vrrp: FakeVrrp, control: Control
) -> None:
    control.link.start()
    control.want(router("web"), router("api"))
    await control.until(lambda: control.link.states.keys() == {"web", "api"})
    vrrp.stop()
    await control.until(lambda: control.away == 1)
    control.want(router("api"))
    vrrp.forget_all()
    vrrp.start()
    await control.until(lambda: control.link.states.keys() == {"api"})
