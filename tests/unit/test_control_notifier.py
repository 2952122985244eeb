"""Notify commands: what is told, in which order, and what is remembered. (tests/netns/test_notify.py has real ones.)"""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from virtualip_agent.control.notifier import MOST_WAITING, Audience, Notifier
from virtualip_agent.control.trackers.rise_fall import Outcome
from virtualip_agent.ipc import RouterState
from virtualip_agent.run_directory import notified_path
from virtualip_api.notify import Notify, Occasion

ALL = Notify(("/n",))


@dataclass
class Commands:
    """Runs commands by writing down what they are told; `hold` keeps them running."""

    told: list[tuple[str, ...]] = field(default_factory=list)
    outcome: Outcome = field(default_factory=lambda: Outcome(True, "exit code 0"))
    free: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.free.set()

    async def __call__(self, notify: Notify, command: tuple[str, ...], name: str) -> Outcome:
        self.told.append(command)
        await self.free.wait()
        return self.outcome

    @property
    def occasions(self) -> list[str]:
        return [command[-2] for command in self.told]


def state(word: str, since: float, reason: str = "", priority: int = 244, name: str = "web") -> RouterState:
    return RouterState(name, word, priority, reason, "", since)


async def settle(notifier: Notifier) -> None:
    await notifier.finish(5.0)


def nothing(_: str) -> None:
    pass


def notifier(tmp_path: Path, commands: Commands, on_failure: Callable[[str], None] = nothing) -> Notifier:
    made = Notifier(tmp_path, commands, on_failure)
    made.declare({"web": Audience((ALL,))})
    return made


async def test_the_four_arguments_of_the_article_are_appended(tmp_path: Path) -> None:
    commands = Commands()
    one = notifier(tmp_path, commands)
    one.declare({"web": Audience((Notify(("/n", "own"), instance="VI_1"),))})
    one.state(state("MASTER", 1.0))
    await settle(one)
    assert commands.told == [("/n", "own", "INSTANCE", "VI_1", "MASTER", "244")]


async def test_a_member_of_a_sync_group_is_told_as_group(tmp_path: Path) -> None:
    commands = Commands()
    one = notifier(tmp_path, commands)
    one.declare({"web": Audience((ALL, Notify(("/own",), instance="VI_1")), group="edge")})
    one.state(state("FAULT", 1.0))
    await settle(one)
    # a command with an instance's name of its own is an instance's, as keepalived has both
    assert commands.told == [("/n", "GROUP", "edge", "FAULT", "244"), ("/own", "INSTANCE", "VI_1", "FAULT", "244")]


async def test_one_runs_at_a_time_in_the_order_of_what_happened(tmp_path: Path) -> None:
    commands = Commands()
    commands.free.clear()
    one = notifier(tmp_path, commands)
    for number, word in enumerate(("BACKUP", "MASTER", "FAULT")):
        one.state(state(word, number))
    await asyncio.sleep(0)
    assert commands.occasions == ["BACKUP"]
    commands.free.set()
    await settle(one)
    assert commands.occasions == ["BACKUP", "MASTER", "FAULT"]


async def test_behind_a_slow_command_the_oldest_go_untold_and_never_the_newest(tmp_path: Path) -> None:
    commands = Commands()
    commands.free.clear()
    one = notifier(tmp_path, commands)
    one.state(state("BACKUP", 0))
    await asyncio.sleep(0)
    for number in range(1, 50):
        one.state(state("MASTER" if number % 2 else "BACKUP", number, priority=number))
    commands.free.set()
    await settle(one)
    priorities = [int(command[-1]) for command in commands.told[1:]]
    assert priorities == list(range(50 - MOST_WAITING, 50))


async def test_a_changed_priority_or_reason_is_no_event(tmp_path: Path) -> None:
    commands = Commands()
    one = notifier(tmp_path, commands)
    one.state(state("MASTER", 1.0))
    await settle(one)
    one.state(state("MASTER", 1.0, priority=250))
    await settle(one)
    assert commands.occasions == ["MASTER"]


async def test_what_was_told_is_remembered_over_a_restart(tmp_path: Path) -> None:
    before = Commands()
    one = notifier(tmp_path, before)
    one.state(state("MASTER", 1.25))
    await settle(one)
    after = Commands()
    two = notifier(tmp_path, after)
    two.state(state("MASTER", 1.25))
    await settle(two)
    assert after.told == []
    two.state(state("BACKUP", 2.5))
    await settle(two)
    assert after.occasions == ["BACKUP"]


async def test_who_was_killed_in_the_middle_tells_it_again(tmp_path: Path) -> None:
    commands = Commands()
    commands.free.clear()
    one = notifier(tmp_path, commands)
    one.state(state("MASTER", 1.0))
    await asyncio.sleep(0)
    one.close()
    again = Commands()
    two = notifier(tmp_path, again)
    two.state(state("MASTER", 1.0))
    await settle(two)
    assert again.occasions == ["MASTER"]


async def test_a_memory_of_garbage_is_no_memory(tmp_path: Path) -> None:
    notified_path(tmp_path).write_text(json.dumps({"web": 5}))
    commands = Commands()
    one = notifier(tmp_path, commands)
    one.state(state("MASTER", 1.0))
    await settle(one)
    assert commands.occasions == ["MASTER"]


async def test_stop_is_told_where_it_is_still_declared_and_deleted_where_not(tmp_path: Path) -> None:
    commands = Commands()
    one = notifier(tmp_path, commands)
    one.state(state("MASTER", 1.0))
    await settle(one)
    waited = [one.waits_for_stop]
    one.state(state("BACKUP", 2.0, reason="Stopped"))
    assert [*waited, one.waits_for_stop] == [True, False]
    await settle(one)

    one.state(state("MASTER", 3.0))
    one.declare({})
    one.state(state("BACKUP", 4.0, reason="Stopped"))
    one.gone("web")
    await settle(one)
    assert commands.occasions == ["MASTER", "STOP", "MASTER", "DELETED"]
    assert json.loads(notified_path(tmp_path).read_text()) == {}


async def test_nobody_waits_for_a_stop_that_nobody_is_told_of(tmp_path: Path) -> None:
    one = notifier(tmp_path, Commands())
    one.declare({"web": Audience((Notify(("/n",), when=(Occasion.MASTER,)),))})
    one.state(state("MASTER", 1.0))
    await settle(one)
    assert not one.waits_for_stop


async def test_a_notify_that_is_added_is_not_told_of_the_past(tmp_path: Path) -> None:
    commands = Commands()
    one = notifier(tmp_path, commands)
    one.declare({"web": Audience()})
    one.state(state("MASTER", 1.0))
    one.declare({"web": Audience((ALL,))})
    one.state(state("MASTER", 1.0))
    await settle(one)
    assert commands.told == []


async def test_a_failure_is_reported_until_that_command_succeeds(tmp_path: Path) -> None:
    commands = Commands(outcome=Outcome(False, "exit code 3", "no such host"))
    changed: list[str] = []
    one = notifier(tmp_path, commands, changed.append)
    one.state(state("MASTER", 1.0))
    await settle(one)
    assert one.failure("web") == "/n (MASTER): exit code 3: no such host"
    commands.outcome = Outcome(True, "exit code 0")
    one.state(state("BACKUP", 2.0))
    await settle(one)
    assert one.failure("web") == ""
    assert changed == ["web", "web"]


async def test_a_failure_of_a_command_that_is_edited_away_is_forgotten(tmp_path: Path) -> None:
    commands = Commands(outcome=Outcome(False, "exit code 3"))
    one = notifier(tmp_path, commands)
    one.state(state("MASTER", 1.0))
    await settle(one)
    one.declare({"web": Audience((Notify(("/other",)),))})
    assert one.failure("web") == ""
