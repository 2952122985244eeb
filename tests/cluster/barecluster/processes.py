"""Daemons that outlive us, found again by pid and start time.

A daemon writes its own record before it becomes the program, so there is no moment in which it runs and is not
recorded, not even when we are killed in between.
"""

import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from barecluster.errors import ClusterError
from barecluster.shell import Word, in_namespace
from barecluster.waiting import wait_until

# $0 is the record; fields 1 and 22 of stat are the pid and the start time (the name between them is "sh", no spaces).
_RECORD_THEN_EXEC = 'cut -d" " -f1,22 /proc/$$/stat > "$0.new" && mv "$0.new" "$0" && exec "$@"'


class Daemons:
    """The daemons of one cluster; records and logs are one file per daemon."""

    def __init__(self, records: Path, logs: Path) -> None:
        self._records = records
        self._logs = logs

    def start(
        self,
        name: str,
        command: Sequence[Word],
        *,
        namespace: str | None = None,
        environment: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        """Starts a daemon in a session of its own, child of init; what it prints is appended to its log."""
        self._records.mkdir(parents=True, exist_ok=True)
        self._logs.mkdir(parents=True, exist_ok=True)
        record = self._records / name
        record.unlink(missing_ok=True)
        words = in_namespace(namespace, command)
        with self.log(name).open("ab") as log:
            subprocess.run(
                ["setsid", "--fork", "sh", "-c", _RECORD_THEN_EXEC, str(record), *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environment or {})},
                pass_fds=pass_fds,
                check=True,
            )
        wait_until(record.exists, 10.0, f"{name} to start", step=0.002)

    def log(self, name: str) -> Path:
        """Where a daemon's output goes."""
        return self._logs / f"{name}.log"

    def pid(self, name: str) -> int | None:
        """A daemon's pid; None when that very process runs no more."""
        try:
            pid, started = (self._records / name).read_text().split()
        except FileNotFoundError:
            return None
        return int(pid) if start_time(int(pid)) == started else None

    def check(self, name: str) -> None:
        """Raises ClusterError with a daemon's last words when it runs no more."""
        if self.pid(name) is None:
            words = self.log(name).read_text(errors="replace").splitlines()[-10:]
            raise ClusterError("\n".join([f"{name} ended: {self.log(name)}", *words]))

    def names(self) -> list[str]:
        """Every daemon that was started and not stopped, running or not."""
        return sorted(path.name for path in self._records.glob("*") if path.suffix != ".new")

    def stop(self, name: str, signal_number: int = signal.SIGKILL) -> None:
        """Ends a daemon and forgets it; nothing happens when it ended already."""
        pid = self.pid(name)
        if pid is not None:
            end(pid, signal_number)
        (self._records / name).unlink(missing_ok=True)


def start_time(pid: int) -> str | None:
    """When a process started, in clock ticks since boot; None when it is gone or only waits to be reaped."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def children(pid: int) -> list[int]:
    """The direct children of a process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(child) for child in task.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def end(pid: int, signal_number: int = signal.SIGKILL, timeout: float = 10.0) -> None:
    """Signals a process and waits until it is gone; raises ClusterError after timeout (seconds)."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(handle, signal_number)
        # A pidfd is readable once the process ended, whether or not its parent has reaped it.
        if not select.select([handle], [], [], timeout)[0]:
            raise ClusterError(f"process {pid} did not end within {timeout:g} s of signal {signal_number}")
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)
