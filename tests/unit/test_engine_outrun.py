"""Several take over at once, and the kernel takes its time with the addresses: who was faster is heard before anything
is said (the engine whose kernel is a table)."""

from collections.abc import Callable
from typing import Any, Final

import msgspec
import pytest

from fuzz.bench_engine import GROUPS, MEMBERS, SOURCES, VIPS, BenchEngine, _config
from fuzz.packets import Drawn
from virtual_lan import advertisement_template
from virtualip_agent import ipc
from virtualip_agent.realtime import vrrp_sockets
from virtualip_agent.vrrp.packet import stamp
from virtualip_agent.vrrp.settings import Settings
from virtualip_agent.vrrp.timing import MILLISECOND, SECOND

THE_OLD_MASTER = MEMBERS[4]
LOWER, HIGHER = bytes([192, 168, 122, 99]), bytes([192, 168, 122, 103])
"""Two more, beside our own address."""
WEB: Final[dict[str, Any]] = {"name": "web", "announcements": (bytes(42),)}


class Runner(BenchEngine):
    """One router of priority 100, BACKUP to a MASTER that has just said priority 0."""

    def __init__(self, **config: Any) -> None:
        super().__init__()
        for router in list(self.engine._routers):
            self.engine.command(ipc.RemoveRouter(router), self.now)
        self.engine.flush(self.now)
        self.engine.command(ipc.SetRouter(msgspec.structs.replace(_config(4, 51), **WEB, **config)), self.now)
        self.engine.flush(self.now)
        self.hear(THE_OLD_MASTER, 200)
        self.run(100 * MILLISECOND)
        self.hear(THE_OLD_MASTER, 0)
        self.frames.sent = 0
        self.published.clear()

    def says(self, source: bytes, priority: int) -> None:
        """It is in the queue of our socket."""
        template = advertisement_template(Settings(51, 3, frozenset({VIPS[4, 51]}), 100))
        payload = stamp(template, priority, source, GROUPS[4])
        self.queues[4].packets.append(Drawn(source, GROUPS[4], 255, payload))

    def hear(self, source: bytes, priority: int) -> None:
        self.says(source, priority)
        self.receive([])
        self.engine.flush(self.now)

    def takes_over_while(self, happens: Callable[[], object]) -> None:
        """It does once: what goes on later is not of interest."""

        def once() -> None:
            self.kernel.meanwhile = lambda: None
            happens()

        self.kernel.meanwhile = once
        self.run(SECOND - 100 * MILLISECOND)  # skew_time (RFC 9568, section 6.1) is 609 ms

    @property
    def sent(self) -> int:
        return self.engine._ports.senders[SOURCES[4]].sent  # type: ignore[attr-defined, no-any-return]

    @property
    def told(self) -> list[tuple[str, str]]:
        states = [said for said in self.published if isinstance(said, ipc.RouterState)]
        return [(said.state, said.reason) for said in states]

    @property
    def holds(self) -> bool:
        return any(address.ip == VIPS[4, 51] for address in self.kernel.interfaces.on_interface(2))


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> Runner:
    runner = Runner()
    monkeypatch.setattr(vrrp_sockets, "monotonic_ns", lambda: runner.now)
    return runner


@pytest.mark.parametrize(("source", "priority"), [(LOWER, 101), (HIGHER, 100)], ids=["priority", "address"])
def test_who_was_outrun_by_one_that_it_yields_to_has_told_nobody_anything(
    runner: Runner, source: bytes, priority: int
) -> None:
    """RFC 9568, section 6.4.3: the higher priority, or with equal ones the higher address."""
    before = runner.sent
    runner.takes_over_while(lambda: runner.says(source, priority))
    assert (runner.sent - before, runner.frames.sent) == (0, 0)
    assert not runner.holds
    assert runner.told
    assert {state for state, _ in runner.told} == {"BACKUP"}
    runner.run(SECOND)
    assert runner.sent == before, "it waits for that one as for any MASTER"


@pytest.mark.parametrize(("source", "priority"), [(HIGHER, 99), (LOWER, 100)], ids=["priority", "address"])
def test_who_hears_one_that_will_yield_to_it_speaks_at_once(runner: Runner, source: bytes, priority: int) -> None:
    before = runner.sent
    runner.takes_over_while(lambda: runner.says(source, priority))
    assert runner.sent > before
    assert runner.frames.sent > 0
    assert runner.holds
    assert runner.told[0] == ("MASTER", "MasterResigned")


def test_nobody_who_sends_without_end_keeps_a_take_over_from_being_told(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = 0

    def clock() -> int:
        nonlocal read
        read += 1
        runner.now += MILLISECOND // 100
        return runner.now

    def flood() -> None:
        for _ in range(1000):
            runner.says(HIGHER, 99)
        monkeypatch.setattr(vrrp_sockets, "monotonic_ns", clock)

    before = runner.sent
    runner.takes_over_while(flood)
    assert 50 < read < 200, "a millisecond's"
    assert runner.sent > before
    assert runner.holds


def test_with_its_sync_group_it_lets_go_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = Runner(group="edge")
    monkeypatch.setattr(vrrp_sockets, "monotonic_ns", lambda: runner.now)
    other = msgspec.structs.replace(_config(4, 52), name="other", group="edge")
    runner.engine.command(ipc.SetRouter(other), runner.now)
    runner.engine.flush(runner.now)
    runner.takes_over_while(lambda: runner.says(HIGHER, 200))
    runner.run(200 * MILLISECOND)
    assert runner.told[-1][0] == "BACKUP"
    assert not runner.holds
