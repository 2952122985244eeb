"""Several take over at once, and the kernel takes its time with the addresses: who was faster is heard before anything
is said (the engine whose kernel is a table)."""

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

import msgspec
import pytest

from fuzz.bench_engine import GROUPS, INDEX, MEMBERS, VIPS, BenchEngine, _config
from fuzz.packets import Drawn
from virtual_lan import advertisement_template
from virtualip_agent import ipc
from virtualip_agent.realtime import vrrp_sockets
from virtualip_agent.realtime.router import RunningRouter
from virtualip_agent.vrrp.packet import stamp
from virtualip_agent.vrrp.settings import Settings
from virtualip_agent.vrrp.timing import MILLISECOND, SECOND

LOWER, HIGHER = bytes([192, 168, 122, 99]), bytes([192, 168, 122, 103])
"""Two more, beside our own address."""
HIGHER_V6 = ip_address("fe80::1:3").packed
NAMES = {51: "web", 52: "other"}


def config(family: int, vrid: int = 51, **changes: Any) -> ipc.RouterConfig:
    as_it_is = msgspec.structs.replace(_config(family, vrid), name=NAMES[vrid], announcements=(bytes(42),))
    return msgspec.structs.replace(as_it_is, **changes)


class Runner(BenchEngine):
    """Routers of priority 100, BACKUP to a MASTER that has just said priority 0."""

    def __init__(self, *configs: ipc.RouterConfig) -> None:
        super().__init__()
        for router in list(self.engine._routers):
            self.engine.command(ipc.RemoveRouter(router), self.now)
        for one in configs:
            self.engine.command(ipc.SetRouter(one), self.now)
        self.engine.flush(self.now)
        families = {len(router.packed[0]) for router in self.engine._routers.values()}
        the_old_master = [MEMBERS[4 if size == 4 else 6] for size in families]
        for priority in (200, 0):
            self.run(100 * MILLISECOND)
            for source in the_old_master:
                self.hear(source, priority)
        self.frames.sent = 0
        self.published.clear()

    def says(self, source: bytes, priority: int) -> None:
        """It is in the queue of our socket."""
        family = 4 if len(source) == 4 else 6
        template = advertisement_template(Settings(51, 3, frozenset({VIPS[family, 51]}), 100))
        payload = stamp(template, priority, source, GROUPS[family])
        self.queues[family].packets.append(Drawn(source, GROUPS[family], 255, payload))

    def hear(self, source: bytes, priority: int) -> None:
        self.says(source, priority)
        self.receive([])
        self.engine.flush(self.now)

    def while_the_kernel_adds(self, happens: Callable[[], object]) -> None:
        """The next time that it does."""

        def once() -> None:
            self.kernel.meanwhile = lambda: None
            happens()

        self.kernel.meanwhile = once

    def take_over(self, nanoseconds: int = 9 * SECOND // 10) -> None:
        """skew_time (RFC 9568, section 6.1) is 609 ms; somebody who is heard in that moment is silent afterwards."""
        before = self.kernel.meanwhile
        self.run(nanoseconds)
        assert self.kernel.meanwhile is not before, "nobody took over"

    def take_off(self) -> None:
        """Somebody takes the address off the interface."""
        interfaces = self.kernel.interfaces
        for found in [held for held in interfaces.on_interface(INDEX) if held.ip == VIPS[4, 51]]:
            interfaces.drop(found)
        self.engine.links_changed(self.now, {INDEX})
        self.engine.flush(self.now)

    @property
    def sent(self) -> int:
        return sum(sender.sent for sender in self.engine._ports.senders.values())  # type: ignore[attr-defined]

    def told(self, name: str = "web") -> list[tuple[str, str]]:
        states = [said for said in self.published if isinstance(said, ipc.RouterState) and said.name == name]
        return [(said.state, said.reason) for said in states]

    def router(self, name: str = "web") -> RunningRouter:
        return self.engine._routers[name]

    @property
    def holds(self) -> bool:
        return any(address.ip in VIPS.values() for address in self.kernel.interfaces.on_interface(INDEX))


@pytest.fixture
def clocked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Runner]:
    """A runner whose sockets know its time."""

    def made(*configs: ipc.RouterConfig) -> Runner:
        runner = Runner(*configs)
        monkeypatch.setattr(vrrp_sockets, "monotonic_ns", lambda: runner.now)
        return runner

    return made


@pytest.fixture
def runner(clocked: Callable[..., Runner]) -> Runner:
    return clocked(config(4))


@pytest.mark.parametrize(("source", "priority"), [(LOWER, 101), (HIGHER, 100)], ids=["priority", "address"])
def test_who_was_outrun_by_one_that_it_yields_to_has_told_nobody_anything(
    runner: Runner, source: bytes, priority: int
) -> None:
    """RFC 9568, section 6.4.3: the higher priority, or with equal ones the higher address."""
    before = runner.sent
    runner.while_the_kernel_adds(lambda: runner.says(source, priority))
    runner.take_over()
    assert (runner.sent - before, runner.frames.sent) == (0, 0)
    assert not runner.holds
    assert runner.told() == [("BACKUP", "HigherPriorityHeard")]
    runner.run(SECOND)
    assert runner.sent == before, "it waits for that one as for any MASTER"


def test_for_everybody_else_it_has_been_backup_all_the_while(runner: Runner) -> None:
    """Nobody is notified of a state that nobody was told it left."""
    since, transitions = runner.router().since, runner.router().counters["transitions"]
    runner.while_the_kernel_adds(lambda: runner.says(HIGHER, 200))
    runner.take_over()
    assert (runner.router().since, runner.router().counters["transitions"]) == (since, transitions)


@pytest.mark.parametrize(("source", "priority"), [(HIGHER, 99), (LOWER, 100)], ids=["priority", "address"])
def test_who_hears_one_that_will_yield_to_it_speaks_at_once(runner: Runner, source: bytes, priority: int) -> None:
    before = runner.sent
    runner.while_the_kernel_adds(lambda: runner.says(source, priority))
    runner.take_over()
    assert runner.sent > before
    assert runner.frames.sent > 0
    assert runner.holds
    assert runner.told()[0] == ("MASTER", "MasterResigned")


def test_who_was_master_before_its_address_was_put_back_says_its_last_word(runner: Runner) -> None:
    """It makes the winner tell the neighbours again, who believe us after a partition."""
    runner.while_the_kernel_adds(lambda: None)
    runner.take_over()
    runner.run(3 * SECOND)
    before = runner.sent
    runner.while_the_kernel_adds(lambda: runner.says(HIGHER, 200))
    runner.take_off()
    assert runner.sent - before == 1
    assert not runner.holds
    assert runner.told()[-1] == ("BACKUP", "HigherPriorityHeard")


def test_what_another_router_hears_in_that_moment_is_told_of_it_once_and_whole(
    clocked: Callable[..., Runner],
) -> None:
    """Its priority changed in the same wake-up, and it is MASTER no more when that would be told."""
    runner = clocked(config(4, trackers=("check",)))
    weigh = ipc.SetContributions("web", {"check": ipc.Contribution(0)})
    runner.engine.command(weigh, runner.now)
    runner.engine.flush(runner.now)
    runner.run(6 * SECOND)
    assert runner.told()[-1][0] == "MASTER"
    runner.engine.command(ipc.SetRouter(config(4, 52)), runner.now)
    runner.engine.flush(runner.now)
    deadline = runner.router("other").core.deadline
    assert deadline is not None
    runner.run(deadline - runner.now - 1)
    runner.published.clear()
    runner.now = deadline
    runner.while_the_kernel_adds(lambda: runner.says(HIGHER, 200))
    runner.engine.command(ipc.SetContributions("web", {"check": ipc.Contribution(-10)}), runner.now)
    runner.engine.expire(runner.now)
    runner.engine.flush(runner.now)
    assert runner.told("other")[-1][0] == "MASTER"
    assert runner.told() == [("BACKUP", "HigherPriorityHeard")]


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
    runner.while_the_kernel_adds(flood)
    runner.take_over()
    assert 50 < read < 200, "a millisecond's"
    assert runner.sent > before
    assert runner.holds


def both_families() -> tuple[ipc.RouterConfig, ipc.RouterConfig]:
    """They move as one."""
    return config(4, name="web/IPv4", group="web"), config(6, name="web/IPv6", group="web")


def test_of_both_families_neither_has_said_anything(clocked: Callable[..., Runner]) -> None:
    runner = clocked(*both_families())
    before = runner.sent

    def both() -> None:
        for source in (HIGHER, HIGHER_V6):
            runner.says(source, 200)

    runner.while_the_kernel_adds(both)
    runner.take_over()
    assert (runner.sent - before, runner.frames.sent) == (0, 0)
    assert not runner.holds
    for name in ("web/IPv4", "web/IPv6"):
        assert {state for state, _ in runner.told(name)} == {"BACKUP"}


def test_where_it_was_outrun_in_one_family_alone_it_hands_the_other_over(clocked: Callable[..., Runner]) -> None:
    """As any sync group does of which one has yielded."""
    runner = clocked(*both_families())
    runner.while_the_kernel_adds(lambda: runner.says(HIGHER, 200))
    runner.take_over()
    assert {state for state, _ in runner.told("web/IPv4")} == {"BACKUP"}
    for _ in range(30):  # the one that was faster is MASTER of that family
        runner.hear(HIGHER, 200)
        runner.run(100 * MILLISECOND)
    assert runner.told("web/IPv6")[-1][0] == "BACKUP"
    assert not runner.holds
