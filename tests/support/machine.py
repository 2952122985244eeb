"""A node for tests: a host of a Segment with processes of its own (a pid namespace), and the agent's engine on it.

one = Machine(lan.host("192.168.122.101"), tmp_path)
one.manifest("web.yaml", ...); one.start_engine(); one.wait("web", lambda entry: entry["state"] == "MASTER")
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from segment import Command, Host, Process, kill_group
from virtualip_agent.run_directory import state_socket_path
from virtualip_agent.state_stream import connect, read_messages

Entry = dict[str, Any]


class Machine:
    """Processes here see each other only, as on a node."""

    def __init__(self, host: Host, directory: Path) -> None:
        self.host = host
        self.directory = directory / host.name
        for name in ("manifests", "desired", "run"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        # the engine's children are its own to reap; whatever is orphaned goes with the namespace
        self._unshare = host.popen(
            ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "--", "sh", "-c", "echo ready; exec cat"],
            stdin=subprocess.PIPE,
        )
        assert self._unshare.stdout is not None
        assert self._unshare.stdout.readline() == "ready\n"
        (self.init,) = children(self._unshare.pid)
        self.engines: list[Process] = []

    @property
    def run_directory(self) -> Path:
        """The engine's."""
        return self.directory / "run"

    def popen(self, command: Command, **settings: Any) -> Process:
        """A process of this machine."""
        words = command.split() if isinstance(command, str) else list(command)
        return self.host.popen(["nsenter", f"--target={self.init}", "--pid", "--mount", "--", *words], **settings)

    def manifest(self, name: str, text: str) -> None:
        """Writes a file into the manifests directory, as an editor would: a new one, then renamed."""
        temporary = self.directory / f"{name}.new"
        temporary.write_text(text)
        temporary.rename(self.directory / "manifests" / name)

    def start_engine(self, run_directory: Path | None = None, *options: str) -> Process:
        """`virtualip-agent engine`; its log is in the machine's directory."""
        return self._start("engine", (), ["--run", str(run_directory or self.run_directory), *self._files, *options])

    def start_vrrp(self, confinement: Sequence[str]) -> Process:
        """`virtualip-agent vrrp` alone, begun by a command such as setpriv."""
        return self._start("vrrp", confinement, ["--run", str(self.run_directory)])

    def start_control(self, confinement: Sequence[str], *options: str) -> Process:
        """`virtualip-agent control` alone, begun by a command such as setpriv."""
        return self._start("control", confinement, ["--run", str(self.run_directory), *self._files, *options])

    @property
    def _files(self) -> list[str]:
        manifests, desired = (str(self.directory / name) for name in ("manifests", "desired"))
        return ["--node", self.host.name, "--manifests", manifests, "--desired", desired]

    def _start(self, command: str, before: Sequence[str], options: Sequence[str]) -> Process:
        words = [*before, sys.executable, "-m", "virtualip_agent.cli", command, *options]
        with (self.directory / f"engine{len(self.engines)}.log").open("w") as log:
            engine = self.popen(words, stdout=log)
        self.engines.append(engine)
        return engine

    def log(self) -> str:
        """What every engine here has logged."""
        return "".join(path.read_text() for path in sorted(self.directory.glob("engine*.log")))

    def stop_engine(self, engine: Process | None = None) -> None:
        """SIGTERM, and waits for the end."""
        engine = engine or self.engines[-1]
        # nsenter forks to enter a pid namespace: the engine is its child
        (pid,) = children(engine.pid)
        os.kill(pid, signal.SIGTERM)
        engine.wait(timeout=20)

    def power_off(self) -> None:
        """kill -9 of every process at once; the kernel of the machine lives on, as after a crash of the agent."""
        os.kill(self.init, signal.SIGKILL)
        self._unshare.wait(timeout=10)

    def pid_of(self, word: str) -> int:
        """The process (as numbered outside) whose command line has this argument."""
        found = self.find(word)
        assert len(found) == 1, f"{word}: {found}"
        return found[0]

    def find(self, word: str) -> list[int]:
        """All such processes. What one of them has just forked has its command line, until it is another program."""
        found = []
        roots = [self.init, *(pid for engine in self.engines for pid in children(engine.pid))]
        queue: list[tuple[int, list[str]]] = [(pid, []) for pid in roots]
        while queue:
            pid, parents = queue.pop()
            words = command_line(pid)
            if word in words and words != parents:
                found.append(pid)
            queue += [(child, words) for child in children(pid)]
        return found

    def entry(self, name: str) -> Entry | None:
        """The VIP's entry as the state socket has it now."""
        found: Entry | None = None
        for message in self._messages(5.0):
            if message["type"] == "vip" and message["name"] == name:
                found = message["entry"]
            elif message["type"] == "ready":
                break
        return found

    def detail(self, name: str) -> dict[str, Any]:
        """The VIP's details as the state socket has them now."""
        for message in self._messages(5.0):
            if message["type"] == "vip" and message["name"] == name:
                detail: dict[str, Any] = message["detail"]
                return detail
        raise AssertionError(f"{name} is not there")

    def wait(self, name: str, condition: Callable[[Entry], bool], timeout: float = 15.0) -> Entry:
        """Waits until an entry meets the condition, and returns it."""
        deadline = time.monotonic() + timeout
        last: Entry | None = None
        while (left := deadline - time.monotonic()) > 0:
            try:
                for message in self._messages(left):
                    if message["type"] == "vip" and message["name"] == name:
                        last = message["entry"]
                        if condition(message["entry"]):
                            return message["entry"]  # type: ignore[no-any-return]
            except OSError:
                # no engine there yet, or it is restarting
                time.sleep(min(0.02, max(left, 0)))
        raise AssertionError(f"{self.host.name}: {name} is {last} after {timeout} s\n{self.log()[-4000:]}")

    def wait_state(self, name: str, state: str, timeout: float = 15.0) -> Entry:
        """Waits until the VIP is in a state here."""
        return self.wait(name, lambda entry: entry["state"] == state, timeout)

    def _messages(self, timeout: float) -> Any:
        client = connect(state_socket_path(self.run_directory))
        try:
            client.settimeout(timeout)
            yield from read_messages(client)
        finally:
            client.close()

    def close(self) -> None:
        """Ends everything here."""
        for engine in self.engines:
            with suppress(ProcessLookupError):
                kill_group(engine)
        kill_group(self._unshare)


def children(pid: int) -> list[int]:
    """A process's children."""
    try:
        return [
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except (FileNotFoundError, ProcessLookupError):
        return []


def command_line(pid: int) -> list[str]:
    """A process's arguments; none where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def cpu_seconds(pid: int) -> float:
    """User and system time, by the clock that utime and stime are made from (those count in 10 ms)."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
