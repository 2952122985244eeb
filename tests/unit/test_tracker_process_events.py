"""Starts by the kernel's process events: at once where it gives them, and by the scan where it does not.

The names are of no other file: whoever runs beside it is on the same machine.
"""

import asyncio
import contextlib
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from processes import Processes, Tracked
from segment import Namespace
from segment import unavailable as no_namespaces
from virtualip_agent.control.trackers import process_events, process_table
from virtualip_agent.control.trackers.base import Check
from virtualip_agent.control.trackers.proc import Proc
from virtualip_agent.control.trackers.process_events import ProcessEvents, Started, Unavailable
from virtualip_agent.control.trackers.process_table import ProcessTable

LONG = 3600.0


def refusal() -> str:
    """Why the kernel does not tell us; '' where it does."""

    async def ask() -> str:
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        try:
            events = ProcessEvents(lambda _: None if answer.done() else answer.set_result(""), answer.set_result)
        except Unavailable as error:
            return str(error)
        said = await answer
        if not said:
            events.close()
        return said

    return asyncio.run(ask())


REFUSAL = refusal()
needs_events = pytest.mark.skipif(bool(REFUSAL), reason=f"process events: {REFUSAL}")


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    one = Processes(tmp_path)
    yield one
    one.end()


@pytest.fixture
async def table(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ProcessTable]:
    """No scan but the first and the one with which events begin."""
    monkeypatch.setattr(process_table, "SCAN_EVERY", LONG)
    monkeypatch.setattr(process_table, "SCAN_WITH_EVENTS_EVERY", LONG)
    one = ProcessTable()
    yield one
    one.close()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@needs_events
async def test_s1_a_start_is_seen_within_milliseconds(table: ProcessTable, processes: Processes) -> None:
    tracked = Tracked(table, "vip-apache")
    await until(lambda: table.starts_by == "process events")
    starts, ends = [], []
    for _ in range(20):
        began = time.monotonic()
        pid = processes.binary("vip-apache")
        await tracked.becomes(True)
        starts.append(time.monotonic() - began)
        processes.kill(pid)  # which waits for the kernel to end it, for long on a busy machine
        began = time.monotonic()
        await tracked.becomes(False)
        ends.append(time.monotonic() - began)
    print(f"start seen after p50 {statistics.median(starts) * 1000:.1f} ms, max {max(starts) * 1000:.1f} ms; "
          f"end p50 {statistics.median(ends) * 1000:.2f} ms, max {max(ends) * 1000:.1f} ms")  # fmt: skip
    assert statistics.median(starts) < 0.02


@needs_events
async def test_what_began_before_the_kernel_agreed_is_found(table: ProcessTable, processes: Processes) -> None:
    tracked = Tracked(table, "vip-apache")
    processes.binary("vip-apache")  # while nothing is read: the loop has not run yet
    await tracked.becomes(True)


@needs_events
async def test_a_process_that_renames_itself_is_seen_and_a_thread_is_none(
    table: ProcessTable, processes: Processes
) -> None:
    named, threaded = Tracked(table, "vip-then"), Tracked(table, "vip-thread")
    await until(lambda: table.starts_by == "process events")
    pid = processes.fork("vip-first", "vip-then")
    code = "import ctypes, threading, time; threading.Thread(target=lambda: " \
           "(ctypes.CDLL(None).prctl(15, b'vip-thread'), time.sleep(60))).start()"  # fmt: skip
    with subprocess.Popen([sys.executable, "-S", "-c", code]) as other:  # noqa: ASYNC220
        os.kill(pid, 10)
        await named.becomes(True)
        await asyncio.sleep(0.2)
        assert not threaded.passed
        other.kill()


@needs_events
async def test_a_fork_counts_when_it_has_not_become_another(table: ProcessTable, processes: Processes) -> None:
    shell = processes._directory / "vip-shell"
    shell.symlink_to("/bin/sh")
    # one process of that name that runs others all the time; then one that forks and stays
    code = "for i in 1 2 3 4 5 6 7 8 9 10; do /bin/true; done; echo; read line; (/bin/sleep 60; :) & wait"
    tracked = Tracked(table, "vip-shell", quorum_max=1)
    await until(lambda: table.starts_by == "process events")
    with subprocess.Popen(  # noqa: ASYNC220
        [str(shell), "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        await asyncio.to_thread(process.stdout.readline)
        await tracked.becomes(True)
        assert [result.passed for result in tracked.results] == [False, True]  # type: ignore[union-attr]
        process.stdin.write(b"\n")
        process.stdin.flush()
        await tracked.until(lambda: tracked.results[-1] == Check(False, "more than 1 processes"))
        os.killpg(process.pid, signal.SIGKILL)


class Daemon:
    """A shell under a name of its own, which goes into the background when it is told to and waits there for its end.
    The shell forks and runs nothing: the child keeps the name."""

    def __init__(self, directory: Path, forks: str) -> None:
        self.comm = "vip-leaves"
        self.fifo = directory / "fifo"
        os.mkfifo(self.fifo)
        shell = directory / self.comm
        shell.symlink_to("/bin/sh")
        code = f"read line; {forks.format(f'read line < {self.fifo}; :')}"
        self.process = subprocess.Popen([str(shell), "-c", code], stdin=subprocess.PIPE, process_group=0)

    def close(self) -> None:
        """Nothing of it is left, however the test went."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        with self.process:
            pass

    def go_into_background(self) -> None:
        """It has when this returns; the event loop has seen nothing of it."""
        with self.process as process:
            assert process.stdin is not None
            process.stdin.write(b"\n")

    def end(self) -> None:
        """The process in the background ends."""
        with self.fifo.open("wb"):  # which waits until that process has opened it
            pass


MakeDaemon = Callable[[Path, str], Daemon]


@pytest.fixture
def daemons() -> Iterator[MakeDaemon]:
    with contextlib.ExitStack() as stack:
        yield lambda directory, forks: stack.enter_context(contextlib.closing(Daemon(directory, forks)))


FORKS = {"one fork": "({}) &", "two forks": "(({}) & :) &"}


@needs_events
@pytest.mark.parametrize("forks", FORKS.values(), ids=FORKS)
async def test_s1_a_daemon_that_goes_into_the_background_starts_once(
    table: ProcessTable, daemons: MakeDaemon, tmp_path: Path, forks: str
) -> None:
    daemon = daemons(tmp_path, forks)
    tracked = Tracked(table, daemon.comm)
    await until(lambda: table.starts_by == "process events")
    await tracked.becomes(True)
    daemon.go_into_background()
    await asyncio.sleep(3 * process_table.FORK_SETTLES)  # nothing is to happen: there is nothing to wait for
    assert tracked.results[-1] == Check(True, "running")
    assert Check(False, "0 processes, 1 wanted") not in tracked.results[1:]
    daemon.end()
    await tracked.becomes(False)


@needs_events
@pytest.mark.parametrize("forks", FORKS.values(), ids=FORKS)
async def test_a_daemon_is_in_the_background_before_it_could_be_looked_at(
    table: ProcessTable, daemons: MakeDaemon, tmp_path: Path, forks: str
) -> None:
    tracked = Tracked(table, "vip-leaves")
    await until(lambda: table.starts_by == "process events")
    daemon = daemons(tmp_path, forks)
    daemon.go_into_background()
    await tracked.becomes(True)
    daemon.end()
    await tracked.becomes(False)


@needs_events
async def test_a_fork_whose_parent_becomes_another_program_takes_its_place(
    table: ProcessTable, daemons: MakeDaemon, tmp_path: Path
) -> None:
    daemon = daemons(tmp_path, "({}) & exec /bin/sleep 60")
    tracked = Tracked(table, daemon.comm)
    await until(lambda: table.starts_by == "process events")
    await tracked.becomes(True)
    assert daemon.process.stdin is not None
    daemon.process.stdin.write(b"\n")
    daemon.process.stdin.close()
    while Proc().comm(daemon.process.pid) != b"sleep":
        time.sleep(0.001)  # noqa: ASYNC251  the event loop is to see all of it at once
    await asyncio.sleep(3 * process_table.FORK_SETTLES)  # nothing is to happen: there is nothing to wait for
    assert [result for result in tracked.results if result == Check(True, "running")] == tracked.results[-1:]
    daemon.end()
    await tracked.becomes(False)


@needs_events
async def test_names_with_spaces_parentheses_and_more_than_15_characters(
    table: ProcessTable, processes: Processes
) -> None:
    names = ("vip a (b) c", ") (vip", "vip-a-name-of-more-than-15")
    tracked = [Tracked(table, name) for name in names]
    await until(lambda: table.starts_by == "process events")
    for name, one in zip(names, tracked, strict=True):
        processes.binary(name)
        await one.becomes(True)


@pytest.mark.parametrize("heard", [None, [Started(1, 2)] * (process_table.MOST_EVENTS + 1)], ids=["lost", "many"])
async def test_when_there_are_too_many_events_the_scan_does_it_and_makes_up_for_what_was_lost(
    table: ProcessTable, processes: Processes, heard: list[Started] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_table, "CALM", 0.05)
    modes: list[str] = []
    table._on_mode = lambda: modes.append(table.starts_by)
    tracked = Tracked(table, "vip-apache")
    table._stop_listening()
    processes.binary("vip-apache")
    table._agreed = True
    table._heard(heard)
    assert table._events is None
    await tracked.becomes(True)
    assert "a scan (too many process events)" in modes
    if not REFUSAL:
        await until(lambda: table.starts_by == "process events")  # they are tried again


@pytest.mark.skipif(bool(no_namespaces()), reason=no_namespaces())
async def test_in_another_network_namespace_it_is_refused_and_the_scan_does_it() -> None:
    namespace = Namespace("node")
    try:
        with namespace.entered():
            table = ProcessTable()
            Tracked(table, "vip-apache")
        assert table.starts_by == "a scan (process events: refused: this is not the first network namespace)"
        table.close()
    finally:
        namespace.close()


async def test_without_an_acknowledgement_it_is_given_up(
    table: ProcessTable, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    near, far = socket.socketpair()
    near.setblocking(False)
    monkeypatch.setattr(process_events, "_listening", lambda: near)
    monkeypatch.setattr(process_events, "PATIENCE", 0.02)
    modes: list[str] = []
    table._on_mode = lambda: modes.append(table.starts_by)
    Tracked(table, "vip-apache")
    await until(lambda: modes)
    assert modes == ["a scan (process events: no answer: this is not the first pid namespace)"]
    far.close()


@pytest.mark.skipif(bool(no_namespaces()), reason=no_namespaces())
def test_in_a_child_pid_namespace_the_kernel_is_silent() -> None:
    code = (
        "import asyncio\nfrom virtualip_agent.control.trackers.process_events import ProcessEvents\n"
        "async def main():\n    said = asyncio.get_running_loop().create_future()\n"
        "    ProcessEvents(lambda _: said.set_result('told'), said.set_result)\n    print(await said)\n"
        "asyncio.run(main())"
    )
    command = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "no answer: this is not the first pid namespace"
