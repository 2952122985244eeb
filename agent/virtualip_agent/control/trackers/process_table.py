"""Who runs on this node, for all process trackers together.

Starts are found by a scan of /proc (130 ms in the middle with four a second), ends by pidfd, at once: an end is what
fails over. Without trackers there is no scan. Process events of the kernel would tell of starts as well, but they are
refused outside the first network namespace, and so in containers' and kind's.
"""

import asyncio
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

from virtualip_agent.control.trackers.proc import COMM_LENGTH, Proc
from virtualip_api.trackers import ProcessTracker

SCAN_EVERY: Final = 0.25
_FRESH: Final = 0.05
"""Seconds for which a scan is taken for the present: many trackers that start together need one scan."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """Which processes count (keepalived.conf(5), vrrp_track_process: exact, no regular expression)."""

    name: bytes
    full_command: bool = False
    arguments: tuple[bytes, ...] | None = None
    arguments_match: str = "Exact"

    @classmethod
    def of(cls, check: ProcessTracker) -> "Pattern":
        """The pattern of a declaration."""
        name = os.fsencode(check.name)
        return cls(
            name=name if check.full_command else name[:COMM_LENGTH],
            full_command=check.full_command,
            arguments=tuple(map(os.fsencode, check.arguments)) or None,
            arguments_match=check.arguments_match,
        )

    @property
    def reads_command_line(self) -> bool:
        """Whether comm alone does not decide."""
        return self.full_command or self.arguments is not None

    def matches_comm(self, comm: bytes) -> bool:
        """Whether a process of this name may match."""
        return self.full_command or comm == self.name

    def matches_command_line(self, argv: tuple[bytes, ...]) -> bool:
        """Whether the rest matches too."""
        if not argv or (self.full_command and argv[0] != self.name):
            return False
        if self.arguments is None:
            return True
        given = argv[1:]
        if self.arguments_match == "Exact":
            return given == self.arguments
        if self.arguments_match == "Initial":
            return given[: len(self.arguments)] == self.arguments
        return len(given) == len(self.arguments) and all(map(bytes.startswith, given, self.arguments))


@dataclass(slots=True)
class _Wanted:
    listeners: list[Callable[[int], None]] = field(default_factory=list)
    pids: set[int] = field(default_factory=set)
    told: int = 0


class ProcessTable:
    """Counts live processes by pattern, and tells each change."""

    def __init__(self, proc: Proc | None = None) -> None:
        self._proc = proc or Proc()
        self._comms: dict[int, bytes] = {}
        self._wanted: dict[Pattern, _Wanted] = {}
        self._pidfds: dict[int, int] = {}
        self._look_again: set[int] = set()
        """Processes whose end no pidfd tells, and zombies, whose pid may become another's."""
        self._scanned_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None

    def subscribe(self, pattern: Pattern, listener: Callable[[int], None]) -> int:
        """How many match now; `listener` is told when that changes."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._scanned_at > _FRESH:
            self._scan()
        if self._timer is None:
            self._timer = loop.call_later(SCAN_EVERY, self._tick)
        wanted = self._wanted.get(pattern)
        if wanted is None:
            wanted = self._wanted[pattern] = _Wanted()
            for pid, comm in self._comms.items():
                self._judge(pid, comm, (pattern,))
            wanted.told = len(wanted.pids)
        wanted.listeners.append(listener)
        return wanted.told

    def unsubscribe(self, pattern: Pattern, listener: Callable[[int], None]) -> None:
        """The listener is told nothing more; without any the scan stops."""
        wanted = self._wanted[pattern]
        wanted.listeners.remove(listener)
        if wanted.listeners:
            return
        del self._wanted[pattern]
        for pid in wanted.pids:
            self._release_unless_wanted(pid)
        if not self._wanted:
            self.close()

    def close(self) -> None:
        """Stops scanning and forgets."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for pid in tuple(self._pidfds):
            self._close_pidfd(pid)
        self._comms.clear()
        self._look_again.clear()
        self._scanned_at = float("-inf")

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(SCAN_EVERY, self._tick)
        self._scan()
        self._tell()

    def _scan(self) -> None:
        self._scanned_at = asyncio.get_running_loop().time()
        before, self._comms = self._comms, {}
        patterns = tuple(self._wanted)
        by_command_line = any(pattern.reads_command_line for pattern in patterns)
        for pid in self._proc.pids():
            comm = self._proc.comm(pid)
            if comm is None:
                continue
            self._comms[pid] = comm
            if before.pop(pid, None) != comm or by_command_line or pid in self._look_again:
                self._judge(pid, comm, patterns)
        for pid in before:
            self._ended(pid)
            self._look_again.discard(pid)

    def _judge(self, pid: int, comm: bytes, patterns: Collection[Pattern]) -> None:
        """Counts the process where it matches and lives, and no longer where it does not."""
        argv: tuple[bytes, ...] | None = None
        alive: bool | None = None
        for pattern in patterns:
            matches = pattern.matches_comm(comm)
            if matches and pattern.reads_command_line:
                if argv is None:
                    argv = self._proc.command_line(pid) or ()
                matches = pattern.matches_command_line(argv)
            if matches and alive is None:
                alive = self._watch_end(pid)
            pids = self._wanted[pattern].pids
            if matches and alive:
                pids.add(pid)
            elif pid in pids:
                pids.remove(pid)
                self._release_unless_wanted(pid)

    def _watch_end(self, pid: int) -> bool:
        """Whether the process lives, its end then being watched. The pidfd comes first, so that it is this process
        that is found alive and no later one."""
        if pid not in self._pidfds:
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                return False
            except OSError:
                self._look_again.add(pid)  # out of descriptors: the scan sees the end
                return self._proc.alive(pid)
            self._pidfds[pid] = descriptor
            asyncio.get_running_loop().add_reader(descriptor, self._exited, pid)
        if self._proc.alive(pid):
            self._look_again.discard(pid)
            return True
        self._close_pidfd(pid)
        self._look_again.add(pid)
        return False

    def _exited(self, pid: int) -> None:
        self._look_again.add(pid)
        self._ended(pid)
        self._tell()

    def _ended(self, pid: int) -> None:
        self._close_pidfd(pid)
        for wanted in self._wanted.values():
            wanted.pids.discard(pid)

    def _release_unless_wanted(self, pid: int) -> None:
        if not any(pid in wanted.pids for wanted in self._wanted.values()):
            self._close_pidfd(pid)

    def _close_pidfd(self, pid: int) -> None:
        descriptor = self._pidfds.pop(pid, None)
        if descriptor is not None:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)

    def _tell(self) -> None:
        for wanted in tuple(self._wanted.values()):
            if wanted.told != len(wanted.pids):
                wanted.told = len(wanted.pids)
                for listener in tuple(wanted.listeners):
                    listener(wanted.told)
