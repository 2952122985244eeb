"""barecluster: daemons are found again by pid and start time, and are gone when stopped."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from barecluster.processes import Daemons, children, start_time


@pytest.fixture
def daemons(tmp_path: Path) -> Daemons:
    return Daemons(tmp_path / "pids", tmp_path / "log")


def test_a_daemon_is_known_to_another_process_and_gone_after_stop(daemons: Daemons, tmp_path: Path) -> None:
    daemons.start("sleeper", ["sleep", 60])
    pid = daemons.pid("sleeper")
    assert pid is not None
    assert Daemons(tmp_path / "pids", tmp_path / "log").pid("sleeper") == pid
    daemons.stop("sleeper")
    assert daemons.pid("sleeper") is None
    assert daemons.names() == []


def test_what_a_daemon_prints_is_in_its_log(daemons: Daemons) -> None:
    daemons.start("speaker", ["sh", "-c", "echo out; echo err >&2"])
    deadline = time.monotonic() + 5
    while daemons.pid("speaker") is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert daemons.log("speaker").read_text() == "out\nerr\n"
    assert daemons.names() == ["speaker"]


def test_another_process_with_the_recorded_pid_is_not_taken_for_the_daemon(daemons: Daemons, tmp_path: Path) -> None:
    (tmp_path / "pids").mkdir()
    (tmp_path / "pids" / "impostor").write_text(f"{os.getpid()} 1\n")
    assert daemons.pid("impostor") is None
    daemons.stop("impostor")  # and so this does not end the tests


def test_stopping_what_was_never_started_does_nothing(daemons: Daemons) -> None:
    daemons.stop("nobody")


def test_an_inherited_descriptor_reaches_the_daemon(daemons: Daemons) -> None:
    reading, writing = os.pipe()
    daemons.start("writer", [sys.executable, "-c", f"import os; os.write({writing}, b'through')"], pass_fds=[writing])
    os.close(writing)
    with os.fdopen(reading) as pipe:
        assert pipe.read() == "through"


def test_a_process_that_only_waits_to_be_reaped_counts_as_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        deadline = time.monotonic() + 10
        while start_time(process.pid) is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert start_time(process.pid) is None


def test_children_are_listed() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        assert process.pid in children(os.getpid())
        process.kill()
