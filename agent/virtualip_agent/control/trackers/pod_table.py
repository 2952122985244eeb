"""What is known of this node's pods, for all podReady trackers together: the reporter's file, read when it changes."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from virtualip_agent import pods_file
from virtualip_agent.control.inotify import Happened, Inotify
from virtualip_agent.control.small_file import NotReadable, read_small_file
from virtualip_agent.run_directory import pods_path

if TYPE_CHECKING:
    from virtualip_agent.control.inotify import Watch

log = logging.getLogger(__name__)

LOOK_EVERY: Final = 2.0
"""Seconds between looks at the clock: what is known grows old though nothing happens. And at the file, where inotify
cannot see it."""
_LARGEST: Final = 8 << 20


class PodTable:
    """Calls its listeners after each change and every `LOOK_EVERY`. Without listeners nothing is read."""

    def __init__(self, run: Path, inotify: Inotify) -> None:
        self.namespaces: dict[str, pods_file.PodsOfNamespace] = {}
        self._path = pods_path(run)
        self._inotify = inotify
        self._boot = pods_file.boot_id()
        self._listeners: list[Callable[[], None]] = []
        self._watch: Watch | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._said = ""

    def subscribe(self, listener: Callable[[], None]) -> None:
        """`listener` is called when what is known may have changed, or has grown older."""
        if not self._listeners:
            self._renew_watch()
            self._read()
            self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY, self._tick)
        self._listeners.append(listener)

    def unsubscribe(self, listener: Callable[[], None]) -> None:
        """It is called no more."""
        self._listeners.remove(listener)
        if not self._listeners:
            self.close()

    def close(self) -> None:
        """Stops reading."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _renew_watch(self) -> None:
        with contextlib.suppress(OSError):  # no watches left: looking does it
            self._watch = self._inotify.watch(str(self._path.parent), self._happened)

    def _happened(self, happened: Happened) -> None:
        if happened.unknown or self._path.name in happened.names:
            self._look()

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY, self._tick)
        if self._watch is None:
            self._renew_watch()
        self._look()

    def _look(self) -> None:
        self._read()
        for listener in tuple(self._listeners):
            listener()

    def _read(self) -> None:
        problem = ""
        try:
            self.namespaces = pods_file.decode(read_small_file(self._path, _LARGEST, follow_symlinks=False), self._boot)
        except FileNotFoundError:
            self.namespaces = {}
        except (NotReadable, ValueError) as error:
            problem = str(error)  # what was known stays, and grows old
        if problem != self._said:
            self._said = problem
            if problem:
                log.warning("%s: %s", self._path, problem)
