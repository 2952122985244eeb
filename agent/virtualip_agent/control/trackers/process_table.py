"""Who runs on this node, for all process trackers together.

Ends are told by pidfd, at once: an end is what fails over. Starts are told by the kernel's process events where it
gives them (`process_events`), else found by a scan of /proc (130 ms in the middle with four a second). With events the
scan goes on, seldom, for what they may have missed. Without trackers there is neither.

A daemon that goes into the background ends, for its child to go on. So before an end is told, the child is looked for:
`httpd -k start` is one start, not a start, an end and a start.

A pidfd is a descriptor, of which other parts of control need some too: where thousands match, the ends of those over
the limit are found by the scan, which then is not seldom.
"""

import asyncio
import os
import resource
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

from virtualip_agent.control.trackers.proc import COMM_LENGTH, Proc
from virtualip_agent.control.trackers.process_events import ProcessEvents, Started, Unavailable
from virtualip_api.trackers import ProcessTracker

SCAN_EVERY: Final = 0.25
SCAN_WITH_EVENTS_EVERY: Final = 2.0
FORK_SETTLES: Final = 0.02
"""Seconds after which a fork counts: most of them exec at once, and are no second process of their parent's name."""
GOES_INTO_BACKGROUND: Final = 10.0
"""Seconds in which a daemon may do so after it first counted. Without events a child is looked for among all that is
new in /proc (0.2 ms with 150 processes); the end of what has run for longer is told without."""
MOST_EVENTS: Final = 2000
"""A second, 14 us each, 20 us a fork. A node that starts more is scanned instead for `CALM`."""
CALM: Final = 10.0
MOST_WATCHED: Final = 4096
"""Processes whose end is told by a pidfd; no more than half of the descriptors that there are."""
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
        beginning = given[: len(self.arguments)]
        if self.arguments_match == "Partial":
            return beginning == self.arguments
        *before, last = self.arguments
        return len(beginning) == len(self.arguments) and [*beginning[:-1]] == before and beginning[-1].startswith(last)


@dataclass(slots=True)
class _Wanted:
    listeners: list[Callable[[int], None]] = field(default_factory=list)
    pids: dict[int, float] = field(default_factory=dict)
    """Those that count, and since when."""
    told: int = 0


@dataclass(frozen=True, slots=True)
class _Fork:
    parent: int
    timer: asyncio.TimerHandle


class ProcessTable:
    """Counts live processes by pattern, and tells each change."""

    def __init__(
        self,
        proc: Proc | None = None,
        *,
        events: bool = True,
        on_mode: Callable[[], None] = lambda: None,
        most_watched: int = MOST_WATCHED,
    ) -> None:
        self.starts_by = ""
        """How starts are noticed, for people; '' while there are no trackers. `on_mode` is called when it changes."""
        self._proc = proc or Proc()
        self._with_events = events
        self._most_watched = min(most_watched, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        self._on_mode = on_mode
        self._events: ProcessEvents | None = None
        self._agreed = False
        self._heard_in_window = 0
        self._window_until = 0.0
        self._retry: asyncio.TimerHandle | None = None
        self._forked: dict[int, _Fork] = {}
        """Forks that do not count yet."""
        self._ceased: dict[int, float] = {}
        """What counts no more, which is not told yet, and since when it counted."""
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
            self._listen()
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
        self._stop_listening()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self.starts_by = ""
        for pid in tuple(self._pidfds):
            self._close_pidfd(pid)
        self._comms.clear()
        self._ceased.clear()
        self._look_again.clear()
        self._scanned_at = float("-inf")

    def _tick(self) -> None:
        seldom = self._agreed and len(self._pidfds) < self._most_watched
        again = SCAN_WITH_EVENTS_EVERY if seldom else SCAN_EVERY
        self._timer = asyncio.get_running_loop().call_later(again, self._tick)
        self._scan()
        self._tell()

    def _scan_from_now_on(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_later(seconds, self._tick)

    # ---- events

    def _listen(self) -> None:
        self._retry = None
        if not self._with_events:
            self._mode("a scan")
            return
        try:
            self._events = ProcessEvents(self._heard, self._refused)
        except Unavailable as error:
            self._refused(str(error))

    def _refused(self, why: str) -> None:
        self._events = None
        self._mode(f"a scan (process events: {why})")

    def _stop_listening(self) -> None:
        if self._events is not None:
            self._events.close()
            self._events = None
        self._agreed = False
        for fork in self._forked.values():
            fork.timer.cancel()
        self._forked.clear()

    def _heard(self, started: list[Started] | None) -> None:
        if self._agreed:
            self._take(started)
            self._tell()
            return
        self._agreed = True
        self._mode("process events")
        self._scan_from_now_on(0)  # for what began before the kernel agreed

    def _take(self, started: list[Started] | None) -> None:
        if started is None or self._too_many(len(started)):
            self._stop_listening()
            self._mode("a scan (too many process events)")
            self._retry = asyncio.get_running_loop().call_later(CALM, self._listen)
            self._scan_from_now_on(0)
            return
        patterns = tuple(self._wanted)
        for one in started:
            if one.parent:
                self._note_fork(one)
            else:
                self._look_at(one.pid, patterns)

    def _too_many(self, count: int) -> bool:
        now = asyncio.get_running_loop().time()
        if now >= self._window_until:
            self._window_until, self._heard_in_window = now + 1, 0
        self._heard_in_window += count
        return self._heard_in_window > MOST_EVENTS

    def _note_fork(self, fork: Started) -> None:
        """A child has its parent's name: of the others nothing need be known. A parent that is gone already may have
        been any: nobody has seen what it was."""
        parent = fork.parent
        known = parent in self._forked or parent in self._ceased or self._counts(parent)
        if fork.pid not in self._forked and (known or not self._proc.alive(parent)):
            timer = asyncio.get_running_loop().call_later(FORK_SETTLES, self._settled, fork.pid)
            self._forked[fork.pid] = _Fork(parent, timer)

    def _settled(self, pid: int) -> None:
        del self._forked[pid]
        self._look_at(pid, tuple(self._wanted))
        self._tell()

    def _find_heirs(self) -> None:
        """Counts at once what has been forked by what counts no more. The kernel has told of a fork before its parent's
        end, so the event is there to be read."""
        while self._ceased:
            patterns = tuple(self._wanted)
            if self._agreed and self._events is not None:
                self._take(self._events.pending())
            ceased, self._ceased = self._ceased, {}
            if not self._agreed:
                self._find_new(ceased, patterns)
                continue
            for pid, fork in tuple(self._forked.items()):
                if fork.parent not in ceased:
                    continue
                fork.timer.cancel()
                del self._forked[pid]
                self._look_at(pid, patterns)
                if not self._counts(pid):
                    self._ceased[pid] = ceased[fork.parent]  # it may have ended too, for a child of its own

    def _find_new(self, ceased: dict[int, float], patterns: Collection[Pattern]) -> None:
        if max(ceased.values()) + GOES_INTO_BACKGROUND > asyncio.get_running_loop().time():
            for pid in self._proc.pids():
                if pid not in self._comms:
                    self._look_at(pid, patterns)

    def _look_at(self, pid: int, patterns: Collection[Pattern]) -> None:
        comm = self._proc.comm(pid)
        if comm is not None:
            self._comms[pid] = comm
            self._judge(pid, comm, patterns)

    def _mode(self, mode: str) -> None:
        if mode != self.starts_by:
            self.starts_by = mode
            self._on_mode()

    # ---- scan

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
                pids.setdefault(pid, asyncio.get_running_loop().time())
            elif pid in pids:
                self._ceased[pid] = pids.pop(pid)
                self._release_unless_wanted(pid)

    def _watch_end(self, pid: int) -> bool:
        """Whether the process lives, its end then being watched. The pidfd comes first, so that it is this process
        that is found alive and no later one."""
        if pid not in self._pidfds:
            if len(self._pidfds) >= self._most_watched:
                self._look_again.add(pid)  # the scan sees the end
                return self._proc.alive(pid)
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
            if pid in wanted.pids:
                self._ceased[pid] = wanted.pids.pop(pid)

    def _counts(self, pid: int) -> bool:
        return any(pid in wanted.pids for wanted in self._wanted.values())

    def _release_unless_wanted(self, pid: int) -> None:
        if not self._counts(pid):
            self._close_pidfd(pid)

    def _close_pidfd(self, pid: int) -> None:
        descriptor = self._pidfds.pop(pid, None)
        if descriptor is not None:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)

    def _tell(self) -> None:
        self._find_heirs()
        for wanted in tuple(self._wanted.values()):
            if wanted.told != len(wanted.pids):
                wanted.told = len(wanted.pids)
                for listener in tuple(wanted.listeners):
                    listener(wanted.told)
