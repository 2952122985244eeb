"""Control's end of the script spawner."""

import asyncio
import errno
import itertools
import json
import logging
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from virtualip_agent.control import spawner_kernel as kernel
from virtualip_agent.control.spawner_policy import SEPARATOR, Policy
from virtualip_agent.control.trackers.rise_fall import Outcome

log = logging.getLogger(__name__)

_LARGEST_ANSWER: Final = 1 << 14
_BUFFER: Final = 1 << 18
_SLOW_SPAWNER: Final = 3.0
"""Seconds after a run's time limit. A script that is over it is told of at once."""


@dataclass(slots=True, eq=False)
class Running:
    """A run, as who asked for it sees it."""

    identifier: int
    result: asyncio.Future[Outcome]
    """Never there where the run was stopped or the spawner has ended: that says nothing of what the script looks at."""
    ended: asyncio.Event


async def answered(run: Running, timeout: float) -> Outcome:
    """Its result; a failure where the spawner has none well after the run's own time limit (seconds)."""
    try:
        async with asyncio.timeout(timeout + _SLOW_SPAWNER):
            return await asyncio.shield(run.result)
    except TimeoutError:
        return Outcome(False, "the script spawner does not answer")


class SpawnerProcess:
    """The process, started before control's loop; control itself then gives up what only the spawner needs."""

    def __init__(self, policy: Policy) -> None:
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            self.channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "virtualip_agent.control.spawner", str(theirs.fileno())),
                    *(SEPARATOR.join(policy.directories), "root" if policy.root else "-", policy.root_directory),
                    SEPARATOR.join(policy.capabilities),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.channel.setblocking(False)

    def give_up_privileges(self) -> None:
        """Control cannot become anybody else any more, nor change its root."""
        kept = kernel.permitted() & ~(1 << kernel.CAP_SETUID | 1 << kernel.CAP_SETGID | 1 << kernel.CAP_SYS_CHROOT)
        kernel.set_capabilities(kept)

    def close(self) -> None:
        """Ends every run, and waits a little for it."""
        self.channel.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Spawner:
    """Asks for runs, in the event loop. `on_death` is called when the spawner has ended by itself."""

    def __init__(self, channel: socket.socket, on_death: Callable[[], None] = lambda: None) -> None:
        self._channel = channel
        self._on_death = on_death
        self._numbers = itertools.count()
        self._runs: dict[int, Running] = {}
        self._dead = False
        self._sending = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(channel, self._read)

    async def start(
        self,
        command: tuple[str, ...],
        user: str,
        capabilities: tuple[str, ...],
        environment: Mapping[str, str],
        timeout: float,
    ) -> Running:
        """Asks for a run."""
        run = Running(next(self._numbers), self._loop.create_future(), asyncio.Event())
        if self._dead:
            run.ended.set()
            return run
        self._runs[run.identifier] = run
        try:
            await self._send(
                {
                    "run": run.identifier,
                    "command": command,
                    "user": user,
                    "capabilities": capabilities,
                    "env": dict(environment),
                    "timeout": timeout,
                }
            )
        except OSError as error:  # of which all but this one mean that it has just ended
            self._runs.pop(run.identifier, None)
            if error.errno == errno.EMSGSIZE:
                run.result.set_result(Outcome(False, f"cannot be asked for: {error.strerror}"))
            run.ended.set()
        return run

    def stop(self, run: Running) -> None:
        """Ends a run whose result nobody wants any more."""
        if run.identifier in self._runs and not self._dead:
            with suppress(OSError):  # a full socket: it ends by its time limit
                self._channel.send(json.dumps({"stop": run.identifier}).encode())

    async def _send(self, message: dict[str, Any]) -> None:
        async with self._sending:
            await self._loop.sock_sendall(self._channel, json.dumps(message, ensure_ascii=False).encode())

    def _read(self) -> None:
        try:
            while packet := self._channel.recv(_LARGEST_ANSWER):
                self._take(json.loads(packet))
        except BlockingIOError:
            return
        except OSError as error:
            log.error("script spawner: %s", error)
        self._died()

    def _take(self, message: dict[str, Any]) -> None:
        run = self._runs.get(message["id"])
        if run is None:
            return
        if message.get("ended"):
            del self._runs[run.identifier]
            run.ended.set()
        elif not run.result.done():
            run.result.set_result(Outcome(message["passed"], message["reason"], message["detail"]))

    def _died(self) -> None:
        self._dead = True
        self._loop.remove_reader(self._channel)
        for run in self._runs.values():
            run.ended.set()
        self._runs.clear()
        self._on_death()

    def close(self) -> None:
        """Listens no more."""
        if not self._dead:
            self._dead = True
            self._loop.remove_reader(self._channel)
