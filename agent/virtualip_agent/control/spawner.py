"""The script spawner: a small process of one thread that starts scripts when control asks, so that control itself needs
neither to fork nor to be able to become somebody else.

    python -m virtualip_agent.control.spawner FD DIRECTORIES ROOT ROOT_DIRECTORY

With another ROOT_DIRECTORY than / it makes that its own root before anything else, and gives up the capability for it.

FD is a SEQPACKET socket to control, a JSON object a packet:

    -> {"run": 7, "command": [...], "user": "nobody", "capabilities": ["NET_RAW"], "env": {...}, "timeout": 5.0}
    -> {"stop": 7}
    <- {"id": 7, "passed": false, "reason": "exit code 1", "detail": "last line of output"}
    <- {"id": 7, "ended": true}           nothing of the run is left

When control hangs up, every run is ended and so is the spawner.
"""

import json
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import Any, Final

from virtualip_agent.control import spawner_kernel as kernel
from virtualip_agent.control.spawner_minder import Run, become, end_all, kill, mind
from virtualip_agent.control.spawner_policy import Account, Policy, Refused, account, executable, policy_of

LARGEST_PACKET: Final = 1 << 19
_CAPABILITIES: Final = {
    "NET_RAW": kernel.CAP_NET_RAW,
    "NET_ADMIN": kernel.CAP_NET_ADMIN,
    "NET_BIND_SERVICE": kernel.CAP_NET_BIND_SERVICE,
    "DAC_READ_SEARCH": kernel.CAP_DAC_READ_SEARCH,
}
_NEEDED: Final = 1 << kernel.CAP_SETUID | 1 << kernel.CAP_SETGID
_FAREWELL: Final = 3.0
_SWEEP_AGAIN: Final = 0.1
"""Seconds until the next try, where no process could be had or one of them has not ended yet."""


class Spawner:
    """The runs there are: a minder each."""

    def __init__(self, channel: socket.socket, policy: Policy) -> None:
        self._channel = channel
        self._policy = policy
        self._minders: dict[int, tuple[int, int]] = {}
        """id -> (pidfd, the end of a pipe whose closing ends the run)"""
        self._pids: dict[int, int] = {}
        """id -> pid"""
        self._unswept: list[int] = []
        """Runs whose minder was killed, while something may be left of them."""
        self._sweep_at = 0.0
        """When that is looked at next, by time.monotonic(): not at each of the others' messages."""
        useful = _NEEDED | sum(1 << _CAPABILITIES[name] for name in policy.capabilities)
        self._permitted = kernel.permitted() & useful
        # Where the kernel ends all of a container with any of its processes (the kubelet has it so), a script that is
        # the first to go on a node that is short of memory would take control with it, each time.
        self._expendable = not kernel.ended_together(kernel.own_cgroup())
        self._unusable = enter(policy.root_directory)
        """Why no script can run."""
        kernel.set_capabilities(self._permitted)
        # what a minder that was killed leaves behind comes to us
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)

    def serve(self) -> None:
        """Until control hangs up."""
        while True:
            poller = select.poll()
            poller.register(self._channel, select.POLLIN)
            for pidfd, _ in self._minders.values():
                poller.register(pidfd, select.POLLIN)
            ready = {descriptor for descriptor, _ in poller.poll(self._until_the_next_sweep())}
            self._reap(ready)
            self._sweep()
            if self._channel.fileno() in ready:
                packet = self._channel.recv(LARGEST_PACKET)
                if not packet:
                    break
                self._take(json.loads(packet))
        for identifier in list(self._minders):
            with suppress(OSError):  # it was stopped before
                os.close(self._minders[identifier][1])
        deadline = time.monotonic() + _FAREWELL
        for pidfd, _ in self._minders.values():
            select.select([pidfd], [], [], max(0.0, deadline - time.monotonic()))

    def _take(self, message: dict[str, Any]) -> None:
        if "stop" in message:
            minder = self._minders.get(message["stop"])
            if minder is not None:
                with suppress(OSError):
                    os.close(minder[1])
                self._minders[message["stop"]] = (minder[0], -1)
            return
        identifier = message["run"]
        try:
            run = self._checked(message)
        except Refused as refusal:
            self._result(identifier, False, f"refused: {refusal}")
            self._ended(identifier)
            return
        try:
            self._start(identifier, run)
        except OSError as error:
            self._result(identifier, False, f"cannot be started: {error.strerror}")
            self._ended(identifier)

    def _checked(self, message: dict[str, Any]) -> Run:
        if self._unusable:
            raise Refused(self._unusable)
        whom = account(message["user"], self._policy)
        path = executable(message["command"][0], self._policy)
        if self._permitted & _NEEDED != _NEEDED:
            raise Refused("the agent may not run scripts: it lacks the capabilities SETUID and SETGID")
        capabilities = 0
        for name in message["capabilities"]:
            if name not in self._policy.capabilities:
                raise Refused(f"the agent's configuration does not allow scripts the capability {name}")
            bit = 1 << _CAPABILITIES[name]
            if not self._permitted & bit:
                raise Refused(f"the agent itself lacks the capability {name}")
            capabilities |= bit
        return Run(path, message["command"], whom, capabilities, message["env"], message["timeout"], self._expendable)

    def _start(self, identifier: int, run: Run) -> None:
        stopped, stop = os.pipe2(os.O_CLOEXEC)
        try:
            pid = os.fork()
        except OSError:
            os.close(stopped)
            os.close(stop)
            raise
        if pid == 0:
            for pidfd, other in self._minders.values():
                os.close(pidfd)
                with suppress(OSError):
                    os.close(other)
            os.close(stop)
            mind(
                run,
                lambda passed, reason, detail: self._result(identifier, passed, reason, detail),
                lambda: self._ended(identifier),
                stopped,
            )
        os.close(stopped)
        self._minders[identifier] = (os.pidfd_open(pid), stop)
        self._pids[identifier] = pid

    def _reap(self, ready: set[int]) -> None:
        for identifier, (pidfd, stop) in list(self._minders.items()):
            if pidfd not in ready:
                continue
            _, status = os.waitpid(self._pids.pop(identifier), 0)
            del self._minders[identifier]
            os.close(pidfd)
            with suppress(OSError):
                os.close(stop)
            if status:
                self._unswept.append(identifier)

    def _sweep(self) -> None:
        """Ends what killed minders have left behind. Where that cannot be done now (no process is to be had: they may
        have left a fork bomb; one hangs in the kernel and does not end) their runs have not ended yet, and others go on
        meanwhile."""
        if not self._unswept or time.monotonic() < self._sweep_at:
            return
        self._sweep_at = time.monotonic() + _SWEEP_AGAIN
        try:
            if not self._end_orphans():
                return
        except OSError:
            return
        for identifier in self._unswept:
            self._result(identifier, False, "the process that watched it was killed")
            self._ended(identifier)
        self._unswept.clear()

    def _until_the_next_sweep(self) -> float | None:
        """Milliseconds."""
        return max(0.0, self._sweep_at - time.monotonic()) * 1000 if self._unswept else None

    def _end_orphans(self) -> bool:
        """By a process of their user, as we may not kill ourselves; whether none is left. OSError where there is no
        process to be had."""
        orphans = self._orphans()
        for uid in {found for pid in orphans if (found := _uid(pid)) is not None}:
            sweeper = os.fork()
            if sweeper == 0:
                with suppress(BaseException):
                    become(Account(uid, uid), 0)
                    kill(kernel.descendants(orphans))
                os._exit(0)
            os.waitpid(sweeper, 0)
        for pid in orphans:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        return not self._orphans()

    def _orphans(self) -> list[int]:
        minders = set(self._pids.values())
        return [pid for pid in kernel.children(os.getpid()) if pid not in minders]

    def _result(self, identifier: int, passed: bool, reason: str, detail: str = "") -> None:
        self._send({"id": identifier, "passed": passed, "reason": reason, "detail": detail})

    def _ended(self, identifier: int) -> None:
        self._send({"id": identifier, "ended": True})

    def _send(self, message: dict[str, Any]) -> None:
        with suppress(OSError):  # control is gone; that is noticed elsewhere
            self._channel.send(json.dumps(message).encode())


def enter(root_directory: str) -> str:
    """Makes that directory the root of this process for good. Why it could not, else ''."""
    if root_directory == "/":
        return ""
    try:
        os.chroot(root_directory)
        os.chdir("/")
    except PermissionError:
        return f"the agent may not run scripts in {root_directory}: it lacks the capability SYS_CHROOT"
    except OSError as error:
        return f"scripts cannot run in {root_directory}: {error.strerror}"
    # What a script leaves behind is found in /proc, which must therefore be that of our own process namespace.
    with suppress(OSError):
        if os.readlink("/proc/self") == str(os.getpid()):
            return ""
    return f"scripts cannot run in {root_directory}: its /proc does not show the agent's processes (hostPID)"


def _uid(pid: int) -> int | None:
    """Whom a process belongs to, by its credentials (the owner of /proc/PID is root's where it cannot be dumped)."""
    with suppress(OSError), open(f"/proc/{pid}/status") as status:
        for line in status:
            if line.startswith("Uid:"):
                return int(line.split()[1])
    return None


def main(arguments: list[str]) -> None:
    """The process."""
    descriptor, directories, root, root_directory, capabilities = arguments
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # control's end is ours, and it may have something to run until then
    channel = socket.socket(fileno=int(descriptor))
    channel.set_inheritable(False)
    Spawner(channel, policy_of(directories, root == "root", root_directory, capabilities)).serve()
    end_all()


if __name__ == "__main__":
    main(sys.argv[1:])
