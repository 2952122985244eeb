"""The control process: waits for its turn, serves, and leaves in order."""

import asyncio
import contextlib
import logging
import resource
import signal
from collections.abc import Callable
from typing import Final

from virtualip_agent import ipc
from virtualip_agent.control.directories import prepare_shared
from virtualip_agent.control.duty import Duty, Options
from virtualip_agent.control.link import Link
from virtualip_agent.control.spawner_client import Spawner, SpawnerProcess
from virtualip_agent.run_directory import vrrp_socket_path

log = logging.getLogger(__name__)

LONGEST_FAREWELL: Final = 5.0
"""Seconds that the state socket outlives a SIGTERM, while vrrp hands over and has its last word."""
_PATIENCE: Final = 1.0
"""Seconds that vrrp's Hello is waited for."""
_DESCRIPTORS: Final = 1 << 16
_VRRP_STOPS_TOO: Final = 1.0
"""Seconds within which a vrrp that was asked to stop with us lets its routers go; another one runs on."""
LONGEST_NOTIFYING: Final = 5.0
"""Seconds that notify commands then have left."""


def run(options: Options) -> int:
    """Runs until SIGTERM or SIGINT; the exit code. OSError where the run directory cannot be used."""
    _raise_descriptor_limit()
    prepare_shared(options.run)
    try:
        prepare_shared(options.desired)
    except OSError as error:
        log.warning("%s cannot be made: %s", options.desired, error.strerror)
    spawner = SpawnerProcess(options.scripts)
    spawner.give_up_privileges()
    try:
        return asyncio.run(_Control(options).run(spawner))
    finally:
        spawner.close()


def _raise_descriptor_limit() -> None:
    """Each tracked process, connection and client takes one; systemd starts a service with 1024. (The soft limit is
    that low for select(2), which nothing here uses.)"""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _Control:
    """On duty, or standing by because another control commands the same vrrp (a static pod beside the DaemonSet)."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._duty: Duty | None = None
        self._wanted = True
        self._failed = False
        self._spawner: Spawner
        self._changed = asyncio.Event()
        self._stop = asyncio.Event()
        self._link = Link(vrrp_socket_path(options.run), self._heard, self._away)

    async def run(self, process: SpawnerProcess) -> int:
        """The exit code."""
        loop = asyncio.get_running_loop()
        self._spawner = Spawner(process.channel, self._spawner_died)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_asked)
        self._link.start()
        # With a vrrp there, its Hello says whether this control is the one to act; a hung one says nothing.
        self._wanted = not self._link.connected
        loop.call_later(_PATIENCE, self._act_unless_told)
        try:
            while not self._stop.is_set():
                await self._follow()
                await self._changed.wait()
                self._changed.clear()
            if self._duty is not None and not self._failed:
                await self._farewell(self._duty)
        finally:
            self._spawner.close()
            self._link.close()
            if self._duty is not None:
                await self._duty.close()
        return 1 if self._failed else 0

    def _spawner_died(self) -> None:
        """It cannot be had again, as its privileges were given up here: whoever started control starts it anew, and
        vrrp goes on meanwhile with what it knows."""
        log.error("the script spawner has ended; ending, to be started again")
        self._failed = True
        self._stop_asked()

    def _stop_asked(self) -> None:
        self._stop.set()
        self._changed.set()

    async def _follow(self) -> None:
        """On duty where that is wanted, and not where not."""
        if self._wanted and self._duty is None:
            duty = Duty(self._options, self._link, self._spawner)
            await duty.start()
            self._duty = duty
        elif self._wanted and self._duty is not None and self._link.hello is not None:
            await self._duty.commanded()
        elif not self._wanted and self._duty is not None:
            log.info("standing by: another agent runs this node's VirtualIPs")
            duty, self._duty = self._duty, None
            await duty.close()

    def _act_unless_told(self) -> None:
        if self._link.hello is None:
            self._wanted = True
            self._changed.set()

    def _heard(self, message: ipc.FromVrrp) -> None:
        if isinstance(message, ipc.Hello):
            self._wanted = message.active
        self._changed.set()
        if self._duty is not None:
            self._duty.heard(message)

    def _away(self, since: float) -> None:
        if self._duty is not None:
            self._duty.vrrp_away(since)
        self._wanted = True
        self._changed.set()

    async def _farewell(self, duty: Duty) -> None:
        """vrrp was asked to stop as we were: it hands over and goes. Who reads our state is told until then."""
        duty.stop_watching()
        await self._wait_while(lambda: duty.holds_something, LONGEST_FAREWELL)
        await self._wait_while(lambda: duty.waits_for_stop, _VRRP_STOPS_TOO)
        await duty.finish_notifying(LONGEST_NOTIFYING)

    async def _wait_while(self, condition: Callable[[], bool], seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while condition():
                    self._changed.clear()
                    await self._changed.wait()
