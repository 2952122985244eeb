"""Reading /proc: who runs, by name or by command line."""

import os
from dataclasses import dataclass
from pathlib import Path

COMM_LENGTH = 15
"""Characters of a command's name that the kernel keeps (TASK_COMM_LEN - 1)."""

PROC = Path("/proc")
_DEAD = (b"X", b"x")
_ZOMBIE = b"Z"
_STATE, _THREADS = 0, 17
"""Where the two are behind the name: fields 3 and 20 of proc_pid_stat(5)."""


@dataclass(frozen=True, slots=True)
class Proc:
    """One proc file system. Every method answers None (or nothing) for a process that is gone."""

    path: Path = PROC

    def pids(self) -> list[int]:
        """All processes, threads not."""
        return [int(name) for name in os.listdir(self.path) if name.isdigit()]

    def comm(self, pid: int) -> bytes | None:
        """The command's name; exec and prctl change it."""
        comm = self._read(pid, "comm")
        return None if comm is None else comm.removesuffix(b"\n")

    def command_line(self, pid: int) -> tuple[bytes, ...] | None:
        """argv as the process has it now; empty for a zombie and for threads of the kernel."""
        content = self._read(pid, "cmdline")
        if content is None:
            return None
        content = content or self._command_line_by_other_threads(pid)
        return tuple(content.removesuffix(b"\0").split(b"\0")) if content else ()

    def _command_line_by_other_threads(self, pid: int) -> bytes:
        """The first thread may have ended, and its memory with it."""
        try:
            threads = os.listdir(f"{self.path}/{pid}/task")
        except OSError:
            return b""
        return next(filter(None, (self._read(pid, f"task/{one}/cmdline") for one in threads if one != str(pid))), b"")

    def alive(self, pid: int) -> bool:
        """Whether it is there and neither a zombie nor dead. Where its first thread has ended (pthread_exit) it looks
        like a zombie while the others go on. The name before the state may hold spaces and parentheses: the last one
        ends it."""
        status = self._read(pid, "stat")
        if status is None:
            return False
        fields = status.rpartition(b")")[2].split(None, _THREADS + 1)
        if len(fields) <= _THREADS or fields[_STATE] in _DEAD:
            return False
        return fields[_STATE] != _ZOMBIE or int(fields[_THREADS]) > 1

    def _read(self, pid: int, name: str) -> bytes | None:
        try:
            descriptor = os.open(f"{self.path}/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return os.read(descriptor, 1 << 17)
        except OSError:
            return None  # ESRCH: it ended after the open
        finally:
            os.close(descriptor)
