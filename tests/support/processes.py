"""Processes by name, and a process tracker that watches them."""

import asyncio
import ctypes
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from virtualip_agent.control.trackers.base import Check, Result
from virtualip_agent.control.trackers.process import RunningProcessTracker
from virtualip_agent.control.trackers.process_table import ProcessTable
from virtualip_api.trackers import ProcessTracker

PR_SET_NAME = 15
libc = ctypes.CDLL(None)


class Processes:
    """Children of the test, by pid; all are gone at the end."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._pids: set[int] = set()

    def fork(self, comm: str, then: str = "") -> int:
        """A process that calls itself so, and after SIGUSR1 `then`."""
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                libc.prctl(PR_SET_NAME, comm.encode(), 0, 0, 0)
                signal.signal(signal.SIGUSR1, lambda *_: libc.prctl(PR_SET_NAME, then.encode(), 0, 0, 0))
                os.write(write, b".")
                while True:
                    signal.pause()
            finally:
                os._exit(0)
        os.read(read, 1)
        os.close(read)
        os.close(write)
        self._pids.add(pid)
        return pid

    def execute(self, argv0: str, *arguments: str) -> int:
        """A process whose command line is this: python under that name, so that any argument will do."""
        read, write = os.pipe()
        os.set_inheritable(write, True)
        code = "import os, signal, sys; os.write(int(sys.argv[-1]), b'.'); signal.pause()"
        pid = os.posix_spawn(sys.executable, [argv0, "-S", "-c", code, *arguments, str(write)], os.environ)
        os.read(read, 1)
        os.close(read)
        os.close(write)
        self._pids.add(pid)
        return pid

    def binary(self, name: str) -> int:
        """An executable of that name, run as itself."""
        path = self._directory / name
        if not path.exists():
            shutil.copy(os.path.realpath("/bin/sleep"), path)
        pid = os.posix_spawn(path, [str(path), "60"], os.environ)
        self._pids.add(pid)
        return pid

    def kill(self, pid: int, *, reap: bool = True) -> None:
        os.kill(pid, signal.SIGKILL)
        if reap:
            os.waitpid(pid, 0)
            self._pids.discard(pid)
        else:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    def end(self) -> None:
        for pid in tuple(self._pids):
            self.kill(pid)


class Tracked:
    """A tracker and everything it reported."""

    def __init__(self, table: ProcessTable, name: str, **more: Any) -> None:
        self.results: list[Result] = []
        self.times: list[float] = []
        self._changed = asyncio.Event()
        self.tracker = RunningProcessTracker(ProcessTracker(name, **more), self._report, table)

    def _report(self, result: Result) -> None:
        self.results.append(result)
        self.times.append(asyncio.get_running_loop().time())
        self._changed.set()

    @property
    def passed(self) -> bool:
        last = self.results[-1]
        assert isinstance(last, Check)
        return last.passed

    async def becomes(self, passed: bool, within: float = 10.0) -> None:
        await self.until(lambda: self.passed is passed, within)

    async def until(self, condition: Callable[[], bool], within: float = 10.0) -> None:
        async with asyncio.timeout(within):
            while not condition():
                self._changed.clear()
                await self._changed.wait()
