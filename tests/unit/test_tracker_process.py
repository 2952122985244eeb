"""Whether processes run. Real processes: forks that name themselves, and executables under other names."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from processes import Processes, Tracked
from virtualip_agent.control.trackers import process_table
from virtualip_agent.control.trackers.base import Check
from virtualip_agent.control.trackers.proc import Proc
from virtualip_agent.control.trackers.process import result_of
from virtualip_agent.control.trackers.process_table import Pattern, ProcessTable
from virtualip_api.trackers import ProcessTracker


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    one = Processes(tmp_path)
    yield one
    one.end()


class Scans:
    """How often /proc was looked through."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = asyncio.Event()

    def one_more(self) -> None:
        self.count += 1
        self._changed.set()

    async def more(self, count: int) -> None:
        """Waits for so many, the last of them carried out."""
        wanted = self.count + count
        async with asyncio.timeout(10):
            while self.count < wanted:
                self._changed.clear()
                await self._changed.wait()


class CountedProc(Proc):
    """The real /proc."""

    scans: Scans

    def pids(self) -> list[int]:
        self.scans.one_more()
        return super().pids()


@pytest.fixture
def scans() -> Scans:
    return Scans()


@pytest.fixture
async def table(scans: Scans, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ProcessTable]:
    monkeypatch.setattr(CountedProc, "scans", scans, raising=False)
    one = ProcessTable(CountedProc(), events=False)
    yield one
    one.close()


async def test_s1_httpd_starts_dies_and_starts_again(table: ProcessTable, processes: Processes) -> None:
    tracked = Tracked(table, "vip-httpd")
    assert tracked.results == [Check(False, "0 processes, 1 wanted")]
    httpd = processes.binary("vip-httpd")
    await tracked.becomes(True)
    assert tracked.results[-1] == Check(True, "running")
    processes.kill(httpd)
    await tracked.becomes(False, within=0.2)  # by pidfd: a scan may be 0.25 s away
    processes.binary("vip-httpd")
    await tracked.becomes(True)


async def test_what_runs_already_is_known_at_once(table: ProcessTable, processes: Processes) -> None:
    processes.fork("vip-a")
    assert Tracked(table, "vip-a").passed


async def test_a_name_is_compared_over_the_15_characters_that_the_kernel_keeps(
    table: ProcessTable, processes: Processes
) -> None:
    processes.binary("vip-controller-manager")
    tracked = Tracked(table, "vip-controller-manager")
    await tracked.becomes(True)
    assert Tracked(table, "vip-controller-x").passed  # the same 15 characters
    assert not Tracked(table, "vip-controlle").passed


@pytest.mark.parametrize("name", ["vip (a) b", "vip) Z (x", "vip\tx", "vip é"])
async def test_names_with_spaces_and_parentheses(table: ProcessTable, processes: Processes, name: str) -> None:
    processes.fork(name)
    assert Tracked(table, name).passed


async def test_a_zombie_does_not_run(table: ProcessTable, processes: Processes, scans: Scans) -> None:
    pid = processes.fork("vip-zombie")
    before = Tracked(table, "vip-zombie")
    assert before.results == [Check(True, "running")]
    processes.kill(pid, reap=False)
    await before.becomes(False, within=0.2)
    after = Tracked(table, "vip-zombie")
    assert not after.passed
    await scans.more(2)
    assert not before.passed
    assert not after.passed


@pytest.fixture
def served_by_a_thread() -> Iterator[int]:
    """A process whose first thread has ended (pthread_exit), while another goes on."""
    code = (
        "import ctypes, threading, time\n"
        "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
        "ctypes.CDLL(None).prctl(15, b'vip-threads')\n"
        "ctypes.CDLL(None).pthread_exit(None)\n"
    )
    with subprocess.Popen(["/opt/vip/threads", "-S", "-c", code], executable=sys.executable) as process:
        try:
            for _ in range(5000):
                if b") Z" in Path(f"/proc/{process.pid}/stat").read_bytes():
                    break
                time.sleep(0.001)
            assert process.poll() is None
            yield process.pid
        finally:
            process.kill()


@pytest.mark.parametrize("pattern", [{"name": "vip-threads"}, {"name": "/opt/vip/threads", "full_command": True}])
async def test_a_process_runs_while_any_of_its_threads_does(
    table: ProcessTable, scans: Scans, served_by_a_thread: int, pattern: dict[str, Any]
) -> None:
    tracked = Tracked(table, **pattern)
    assert tracked.passed
    await scans.more(2)
    assert tracked.results == [Check(True, "running")]
    os.kill(served_by_a_thread, signal.SIGKILL)
    await tracked.becomes(False, within=0.2)
    await scans.more(2)
    assert not tracked.passed


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """One called vip-daemon that forks and ends when it is sent a line; the child has its name and stays."""
    fifo, shell = tmp_path / "fifo", tmp_path / "vip-daemon"
    os.mkfifo(fifo)
    shell.symlink_to("/bin/sh")
    code = f"read line; (read line < {fifo}) &"
    with subprocess.Popen([str(shell), "-c", code], stdin=subprocess.PIPE, process_group=0) as process:
        yield process
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


async def test_s1_a_daemon_that_goes_into_the_background_does_not_end_between_two_scans(
    table: ProcessTable, processes: Processes, daemon: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_table, "SCAN_EVERY", 3600)
    other = processes.fork("vip-other")
    while Proc().comm(daemon.pid) != b"vip-daemon":
        time.sleep(0.001)  # noqa: ASYNC251
    tracked, beside = Tracked(table, "vip-daemon"), Tracked(table, "vip-other")
    daemon.communicate(b"\n", timeout=5)
    processes.kill(other)
    await beside.becomes(False)  # it ended later
    assert tracked.results == [Check(True, "running")]
    os.killpg(daemon.pid, signal.SIGKILL)
    await tracked.becomes(False)


async def test_the_end_of_what_has_run_for_long_is_told_before_anything_is_looked_at(
    scans: Scans, table: ProcessTable, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_table, "SCAN_EVERY", 3600)
    monkeypatch.setattr(process_table, "GOES_INTO_BACKGROUND", 0)
    pid = processes.fork("vip-old")
    tracked = Tracked(table, "vip-old")
    looked = scans.count
    processes.kill(pid)
    await tracked.becomes(False)
    assert scans.count == looked


async def test_exec_and_prctl_change_what_a_process_is(table: ProcessTable, processes: Processes) -> None:
    before, after = Tracked(table, "vip-before"), Tracked(table, "vip-after")
    pid = processes.fork("vip-before", then="vip-after")
    await before.becomes(True)
    os.kill(pid, signal.SIGUSR1)
    await after.becomes(True)
    assert not before.passed


async def test_quorum_and_quorum_max(table: ProcessTable, processes: Processes) -> None:
    tracked = Tracked(table, "vip-q", quorum=2, quorum_max=3)
    pids = [processes.fork("vip-q")]
    await tracked.until(lambda: tracked.results[-1] == Check(False, "1 process, 2 wanted"))
    pids.append(processes.fork("vip-q"))
    await tracked.becomes(True)
    pids += [processes.fork("vip-q"), processes.fork("vip-q")]
    await tracked.becomes(False)
    assert tracked.results[-1] == Check(False, "more than 3 processes")
    processes.kill(pids[0])
    await tracked.becomes(True, within=0.2)


async def test_workers_that_come_and_go_within_the_quorum_are_not_reported(
    table: ProcessTable, processes: Processes, scans: Scans
) -> None:
    processes.fork("vip-w")
    tracked = Tracked(table, "vip-w")
    for _ in range(3):
        worker = processes.fork("vip-w")
        await scans.more(1)
        processes.kill(worker)
    assert tracked.results == [Check(True, "running")]


async def test_a_start_counts_when_it_has_lasted_and_so_does_an_end(table: ProcessTable, processes: Processes) -> None:
    tracked = Tracked(table, "vip-d", delay=300_000_000, terminate_delay=500_000_000)
    loop = asyncio.get_running_loop()
    started = loop.time()
    pid = processes.fork("vip-d")
    await tracked.becomes(True)
    assert tracked.times[-1] - started >= 0.3
    ended = loop.time()
    processes.kill(pid)
    await tracked.becomes(False)
    assert 0.5 <= tracked.times[-1] - ended < 1.0


async def test_an_end_that_has_lasted_is_told_with_the_number_that_is_left_by_then(
    table: ProcessTable, processes: Processes
) -> None:
    pids = [processes.fork("vip-l") for _ in range(3)]
    tracked = Tracked(table, "vip-l", quorum=3, terminate_delay=300_000_000)
    each = Tracked(table, "vip-l", quorum=3)
    processes.kill(pids[0])
    await each.until(lambda: each.results[-1] == Check(False, "2 processes, 3 wanted"))
    for pid in pids[1:]:
        processes.kill(pid)
    await tracked.becomes(False)
    assert tracked.results == [Check(True, "at least 3 running"), Check(False, "0 processes, 3 wanted")]


async def test_a_restart_within_the_delay_is_not_noticed(
    table: ProcessTable, processes: Processes, scans: Scans
) -> None:
    pid = processes.fork("vip-r")
    tracked = Tracked(table, "vip-r", terminate_delay=2_000_000_000)
    processes.kill(pid)
    processes.fork("vip-r")
    await scans.more(2)
    assert tracked.results == [Check(True, "running")]


async def test_what_ran_at_the_start_needs_no_delay(table: ProcessTable, processes: Processes) -> None:
    processes.fork("vip-s")
    assert Tracked(table, "vip-s", delay=10**12).passed


async def test_the_full_command_is_compared_as_it_was_run(table: ProcessTable, processes: Processes) -> None:
    processes.execute("/opt/vip/server", "--port", "80")
    assert Tracked(table, "/opt/vip/server", full_command=True).passed
    assert not Tracked(table, "server", full_command=True).passed
    assert not Tracked(table, "/opt/vip/server").passed


async def test_arguments_are_compared_after_the_name(table: ProcessTable, processes: Processes) -> None:
    pid = processes.execute("/opt/vip/worker", "--queue", "mail")
    argv = Proc().command_line(pid)
    assert argv is not None
    whole = tuple(argument.decode() for argument in argv[1:])
    name = "/opt/vip/worker"
    assert Tracked(table, name, full_command=True, arguments=whole).passed
    assert not Tracked(table, name, full_command=True, arguments=whole[:-1]).passed


@pytest.mark.parametrize(("match", "counted"), [
    ("Exact", ["12345 67"]),
    ("Partial", ["12345 67", "12345 67 3"]),
    ("Initial", ["12345 67", "12345 678", "12345 67 3", "12345 678 3"]),
])  # fmt: skip
def test_arguments_match_as_keepalived_2_2_7_counted_the_same_processes(match: str, counted: list[str]) -> None:
    """keepalived.conf(5), vrrp_track_process: `process /bin/sleep 12345 67`, without and with param_match."""
    pattern = Pattern(b"/bin/sleep", full_command=True, arguments=(b"12345", b"67"), arguments_match=match)
    processes = ["12345 67", "12345 678", "12345 67 3", "12345 678 3", "12345", "1234 67"]
    assert [
        line for line in processes if pattern.matches_command_line((b"/bin/sleep", *line.encode().split()))
    ] == counted


async def test_a_command_line_that_comes_later_is_found_and_its_end_too(
    table: ProcessTable, processes: Processes
) -> None:
    tracked = Tracked(table, "/opt/vip/late", full_command=True)
    pid = processes.execute("/opt/vip/late")
    await tracked.becomes(True)
    processes.kill(pid)
    await tracked.becomes(False, within=0.2)


async def test_many_trackers_need_one_scan_and_none_none(
    table: ProcessTable, processes: Processes, scans: Scans
) -> None:
    processes.fork("vip-m")
    trackers = [Tracked(table, "vip-m" if number % 2 else f"vip-m{number}") for number in range(250)]
    assert scans.count < 25  # 1 where nothing else keeps the machine busy
    assert sum(tracked.passed for tracked in trackers) == 125
    for tracked in trackers:
        tracked.tracker.close()
    count = scans.count
    await asyncio.sleep(0.4)  # nothing is to happen: there is nothing to wait for
    assert scans.count == count


async def test_a_closed_tracker_reports_nothing(table: ProcessTable, processes: Processes) -> None:
    closed, other = Tracked(table, "vip-c"), Tracked(table, "vip-c")
    closed.tracker.close()
    processes.fork("vip-c")
    await other.becomes(True)
    assert len(closed.results) == 1


async def test_without_a_descriptor_to_spare_the_scan_sees_the_end(
    table: ProcessTable, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(pid: int, flags: int = 0) -> int:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", none_left)
    pid = processes.fork("vip-n")
    tracked = Tracked(table, "vip-n")
    assert tracked.passed
    processes.kill(pid, reap=False)
    await tracked.becomes(False)


@pytest.mark.parametrize(
    ("count", "passed", "message"),
    [(0, False, "0 processes, 2 wanted"), (1, False, "1 process, 2 wanted"), (2, True, "at least 2 running")],
)
def test_the_message_says_what_is_missing(count: int, passed: bool, message: str) -> None:
    assert result_of(ProcessTracker("httpd", quorum=2), count) == Check(passed, message)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_of_very_many_processes_only_so_many_cost_a_descriptor_and_all_are_counted(
    processes: Processes, scans: Scans
) -> None:
    CountedProc.scans = scans
    before = descriptors()
    table = ProcessTable(CountedProc(), events=False, most_watched=3)
    pids = [processes.fork("vip-many") for _ in range(10)]
    tracked = Tracked(table, "vip-many", quorum=10)
    assert tracked.passed
    assert descriptors() == before + 3
    for wanted, pid in zip(range(9, 1, -1), pids, strict=False):
        processes.kill(pid)
        await tracked.until(lambda: tracked.results[-1] == Check(False, f"{wanted} processes, 10 wanted"))  # noqa: B023
        await scans.more(1)
        assert descriptors() == before + min(3, wanted)
    tracked.tracker.close()
    assert descriptors() == before
