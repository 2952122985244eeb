"""Runs the notify commands of each VirtualIP: one after the other, in the order of what happened, the newest last.

What was told is remembered in the run directory, so a control that is restarted tells nothing twice, and tells what
happened while it was away. A command that fails or hangs is reported and never delays anything but the next one of its
own VirtualIP.
"""

import asyncio
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from virtualip_agent.control.small_file import NotReadable, read_small_file
from virtualip_agent.control.trackers.rise_fall import Outcome
from virtualip_agent.desired_file import write_atomically
from virtualip_agent.ipc import RouterState
from virtualip_agent.run_directory import notified_path
from virtualip_api.notify import Notify, Occasion

log = logging.getLogger(__name__)

MOST_WAITING: Final = 8
"""Of one VirtualIP; when its commands are slower than its moves the oldest go untold, never the newest."""
_STOPPED: Final = "Stopped"
"""vrrp's reason when it has let a router go."""
_LARGEST_MEMORY: Final = 1 << 20

Run = Callable[[Notify, tuple[str, ...], str], Awaitable[Outcome]]
"""The notify, its whole command line, and the VirtualIP's name."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a VirtualIP's commands were told last, or are to be told."""

    occasion: str
    since: float
    """Seconds since the epoch; with the occasion it tells one event from another."""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Audience:
    """Who is to be told of one VirtualIP."""

    notify: tuple[Notify, ...] = ()
    group: str = ""
    """Its sync group; empty: none."""


@dataclass(slots=True)
class _Line:
    """What one VirtualIP's commands have still to be told."""

    audience: Audience
    waiting: deque[Told] = field(default_factory=deque)
    task: "asyncio.Task[None] | None" = None
    ends: bool = False
    """It is withdrawn: after DELETED nothing is remembered."""


class Notifier:
    """`on_failure` is told the name of a VirtualIP whose `failure` is another one."""

    def __init__(self, run_directory: Path, run: Run, on_failure: Callable[[str], None]) -> None:
        self._path = notified_path(run_directory)
        self._run = run
        self._on_failure = on_failure
        self._lines: dict[str, _Line] = {}
        self._failures: dict[str, dict[tuple[str, ...], str]] = {}
        """Of each VirtualIP: command -> what went wrong with its last run."""
        self._told = _remembered(self._path)

    def failure(self, name: str) -> str:
        """What went wrong with a VirtualIP's commands when they ran last."""
        return "; ".join(self._failures.get(name, {}).values())

    def declare(self, audiences: Mapping[str, Audience]) -> None:
        """Who is to be told from now on. A VirtualIP that is not there any more is told of by `gone`."""
        for name, audience in audiences.items():
            line = self._lines.setdefault(name, _Line(audience))
            line.audience, line.ends = audience, False
            self._keep_failures(name, {notify.command for notify in audience.notify})
        for name in self._lines.keys() - audiences.keys():
            self._lines[name].ends = True

    def state(self, state: RouterState) -> None:
        """vrrp said it; also what is told already."""
        line = self._lines.get(state.name)
        if line is None or (line.ends and state.reason == _STOPPED):
            return
        occasion = Occasion.STOP if state.reason == _STOPPED else Occasion(state.state)
        self._tell(state.name, line, Told(occasion, state.since, state.priority))

    def gone(self, name: str) -> None:
        """vrrp has withdrawn it."""
        line = self._lines.get(name)
        if line is None or not line.ends:
            return
        last = self._last(name, line)
        if last is not None:
            self._tell(name, line, Told(Occasion.DELETED, last.since, last.priority))
        else:
            self._forget(name)

    @property
    def waits_for_stop(self) -> bool:
        """Whether somebody is to be told STOP who was not yet."""
        return any(
            any(Occasion.STOP in notify.when for notify in line.audience.notify)
            and (last := self._last(name, line)) is not None
            and last.occasion != Occasion.STOP
            for name, line in self._lines.items()
        )

    async def finish(self, seconds: float) -> None:
        """Waits for what is still to be told, no longer than that."""
        tasks = [line.task for line in self._lines.values() if line.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)

    def close(self) -> None:
        """Tells nothing any more."""
        for line in self._lines.values():
            if line.task is not None:
                line.task.cancel()

    def _last(self, name: str, line: _Line) -> Told | None:
        return line.waiting[-1] if line.waiting else self._told.get(name)

    def _tell(self, name: str, line: _Line, event: Told) -> None:
        last = self._last(name, line)
        if last is not None and (last.occasion, last.since) == (event.occasion, event.since):
            return
        if not line.audience.notify:
            # nobody to tell: it counts as told, so that a notify that is added later is not told of the past
            self._remember(name, event)
            return
        line.waiting.append(event)
        while len(line.waiting) > MOST_WAITING:
            log.warning("%s: notify is behind: %s goes untold", name, line.waiting.popleft().occasion)
        if line.task is None:
            line.task = asyncio.get_running_loop().create_task(self._work(name, line))

    async def _work(self, name: str, line: _Line) -> None:
        try:
            while line.waiting:
                event = line.waiting[0]
                for notify in line.audience.notify:
                    if event.occasion in notify.when:
                        await self._command(name, line.audience, notify, event)
                # told is what was carried out: who is killed in the middle tells it again
                self._remember(name, event)
                if line.waiting and line.waiting[0] is event:
                    line.waiting.popleft()
                if event.occasion == Occasion.DELETED and line.ends and not line.waiting:
                    self._forget(name)
        finally:
            line.task = None

    async def _command(self, name: str, audience: Audience, notify: Notify, event: Told) -> None:
        by_group = audience.group and not notify.instance
        kind, called = ("GROUP", audience.group) if by_group else ("INSTANCE", notify.instance or name)
        command = (*notify.command, kind, called, str(event.occasion), str(event.priority))
        try:
            outcome = await self._run(notify, command, name)
        except Exception as error:
            log.exception("a notify failed in a way nobody thought of")
            outcome = Outcome(False, f"internal error, {type(error).__name__}")
        before = self.failure(name)
        failures = self._failures.setdefault(name, {})
        failures.pop(notify.command, None)
        if not outcome.passed:
            detail = f": {outcome.detail}" if outcome.detail else ""
            failures[notify.command] = f"{notify.command[0]} ({event.occasion}): {outcome.reason}{detail}"
            log.warning("%s: notify %s", name, failures[notify.command])
        if self.failure(name) != before:
            self._on_failure(name)

    def _keep_failures(self, name: str, commands: Collection[tuple[str, ...]]) -> None:
        failures = self._failures.get(name, {})
        for command in failures.keys() - commands:
            del failures[command]

    def _remember(self, name: str, event: Told) -> None:
        self._told[name] = event
        self._save()

    def _forget(self, name: str) -> None:
        self._lines.pop(name, None)
        self._failures.pop(name, None)
        if self._told.pop(name, None) is not None:
            self._save()

    def _save(self) -> None:
        content = {name: [told.occasion, told.since, told.priority] for name, told in self._told.items()}
        try:
            write_atomically(self._path, json.dumps(content).encode(), mode=0o600)
        except OSError as error:
            log.warning("what notify has told cannot be remembered: %s", error)


def _remembered(path: Path) -> dict[str, Told]:
    try:
        content = json.loads(read_small_file(path, _LARGEST_MEMORY, follow_symlinks=False))
        return {
            str(name): Told(str(occasion), float(since), int(priority))
            for name, (occasion, since, priority) in content.items()
        }
    except FileNotFoundError:
        return {}
    except (NotReadable, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        log.warning("what notify has told is not readable: %s", error)
        return {}
