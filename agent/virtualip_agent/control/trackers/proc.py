"""Reading /proc: who runs, by name or by command line."""

import os
from dataclasses import dataclass
from pathlib import Path

COMM_LENGTH = 15
"""Characters of a command's name that the kernel keeps (TASK_COMM_LEN - 1)."""

PROC = Path("/proc")
_DEAD = (b"Z", b"X", b"x")


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
        return tuple(content.removesuffix(b"\0").split(b"\0")) if content else ()

    def alive(self, pid: int) -> bool:
        """Whether it is there and neither a zombie nor dead (proc_pid_stat(5), field 3). The name before the state may
        hold spaces and parentheses: the last one ends it."""
        status = self._read(pid, "stat")
        return status is not None and status.rpartition(b")")[2].split(None, 1)[:1] not in ([state] for state in _DEAD)

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
