"""The supervisor: children are restarted at once, and leave in order. Real processes that only take notes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from virtualip_agent.engine import BACK_OFF

CHILD = """
import os, signal, sys, time
name, notes, lifetime, farewell = sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4])
def note(what):
    descriptor = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{name} {what} {os.getpid()} {time.monotonic()}\\n".encode())
    os.close(descriptor)
def leave(number, frame):
    note(signal.Signals(number).name)
    time.sleep(farewell)
    note("left")
    os._exit(0)
signal.signal(signal.SIGTERM, leave)
signal.signal(signal.SIGINT, leave)
note("started")
if lifetime:
    time.sleep(lifetime)
    os._exit(3)
while True:
    signal.pause()
"""

ENGINE = """
import logging, sys
from virtualip_agent.engine import run
logging.basicConfig(level="INFO")
child, notes, vrrp, control = sys.argv[1:]
sys.exit(run([child, "vrrp", notes, *vrrp.split()], [child, "control", notes, *control.split()], (sys.executable,)))
"""


class Engine:
    """A supervisor and what its children noted: (name, what, pid, when)."""

    def __init__(self, directory: Path, vrrp: str = "0 0", control: str = "0 0") -> None:
        child, self._notes = directory / "child.py", directory / "notes"
        child.write_text(CHILD)
        self._notes.touch()
        self.process = subprocess.Popen(
            [sys.executable, "-c", ENGINE, str(child), str(self._notes), vrrp, control],
            stderr=subprocess.DEVNULL,
        )

    @property
    def notes(self) -> list[tuple[str, str, int, float]]:
        lines = (line.split() for line in self._notes.read_text().splitlines())
        return [(name, what, int(pid), float(when)) for name, what, pid, when in lines]

    @property
    def said(self) -> list[str]:
        return [f"{name} {what}" for name, what, _, _ in self.notes]

    def started(self, name: str) -> list[tuple[int, float]]:
        return [(pid, when) for who, what, pid, when in self.notes if (who, what) == (name, "started")]

    def until(self, condition: Callable[[], bool], seconds: float = 15) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.said
            time.sleep(0.01)

    def until_both_run(self) -> None:
        self.until(lambda: bool(self.started("vrrp") and self.started("control")))

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for _, _, pid, _ in self.notes:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    try:
        return "child.py" in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False


@pytest.fixture
def engines() -> Iterator[list[Engine]]:
    started: list[Engine] = []
    yield started
    for engine in started:
        engine.end()


def test_a_child_that_dies_is_restarted_at_once_and_the_other_untouched(engines: list[Engine], tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    engines.append(engine)
    engine.until_both_run()
    killed = time.monotonic()
    os.kill(engine.started("vrrp")[0][0], signal.SIGKILL)
    engine.until(lambda: len(engine.started("vrrp")) == 2)
    assert engine.started("vrrp")[1][1] - killed < 0.2 + 1  # an interpreter's start
    assert len(engine.started("control")) == 1


def test_one_that_keeps_dying_is_given_more_and_more_time(engines: list[Engine], tmp_path: Path) -> None:
    engine = Engine(tmp_path, control="0.01 0")
    engines.append(engine)
    engine.until(lambda: len(engine.started("control")) == 4)
    times = [when for _, when in engine.started("control")]
    for before, after, wait in zip(times, times[1:], BACK_OFF, strict=False):
        assert after - before >= wait
    assert len(engine.started("vrrp")) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_vrrp_hands_over_before_control_is_asked_to_go(
    engines: list[Engine], tmp_path: Path, number: signal.Signals
) -> None:
    engine = Engine(tmp_path, vrrp="0 0.5", control="0 0.2")
    engines.append(engine)
    engine.until_both_run()
    engine.process.send_signal(number)
    assert engine.process.wait(10) == 0
    assert engine.said[2:] == ["vrrp SIGTERM", "vrrp left", "control SIGTERM", "control left"]


def test_a_second_signal_ends_everything_at_once(engines: list[Engine], tmp_path: Path) -> None:
    engine = Engine(tmp_path, vrrp="0 60")
    engines.append(engine)
    engine.until_both_run()
    engine.process.send_signal(signal.SIGTERM)
    engine.until(lambda: "vrrp SIGTERM" in engine.said)
    engine.process.send_signal(signal.SIGTERM)
    assert engine.process.wait(10) == 0
    assert not any(alive(pid) for _, _, pid, _ in engine.notes)


def test_a_signal_while_a_child_waits_for_its_restart_ends_the_rest(engines: list[Engine], tmp_path: Path) -> None:
    engine = Engine(tmp_path, vrrp="0.01 0")
    engines.append(engine)
    engine.until(lambda: len(engine.started("vrrp")) == 3)
    engine.process.send_signal(signal.SIGTERM)
    assert engine.process.wait(10) == 0
    assert engine.said[-1] == "control left"


def test_when_the_supervisor_is_killed_its_children_leave_in_order_too(engines: list[Engine], tmp_path: Path) -> None:
    engine = Engine(tmp_path)
    engines.append(engine)
    engine.until_both_run()
    engine.process.kill()
    engine.until(lambda: {"vrrp left", "control left"} <= set(engine.said))
    engine.until(lambda: not any(alive(pid) for _, _, pid, _ in engine.notes))
