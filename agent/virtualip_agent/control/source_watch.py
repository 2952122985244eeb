"""Keeps a source directory read: at once where inotify tells of a change, and every now and then in any case."""

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from virtualip_agent.control.inotify import CLOSE_WRITE, MODIFY, Happened, Inotify
from virtualip_agent.control.source_directory import SourceDirectory

if TYPE_CHECKING:
    from virtualip_agent.control.inotify import Watch

SLOW_RESCAN: Final = 30.0
"""Seconds: for what inotify does not see (a password file, a symlink's target elsewhere, a network file system)."""
NOT_WATCHED: Final = 1.0
"""Seconds between looks while the directory cannot be watched, as while it does not exist."""
_TIMER_SLACK: Final = 0.01
"""Seconds: timers of the event loop may be early by the clock's resolution."""


class SourceWatch:
    """Calls `on_change` where a look found that something is declared differently."""

    def __init__(self, directory: SourceDirectory, inotify: Inotify, on_change: Callable[[], None]) -> None:
        self._directory = directory
        self._inotify = inotify
        self._on_change = on_change
        self._watch: Watch | None = None
        self._place = (0, 0)
        """Device and inode of what is watched."""
        self._untold = False
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()

    def start(self) -> None:
        """The first look, without telling."""
        self._look()

    def _look(self) -> bool:
        self._watch_it()
        try:
            return self._directory.rescan(self._loop.time())
        finally:
            if self._timer is not None:
                self._timer.cancel()
            if self._directory.waiting:
                after = self._directory.removal_grace + _TIMER_SLACK
            else:
                after = SLOW_RESCAN if self._watch is not None else NOT_WATCHED
            self._timer = self._loop.call_later(after, self._look_and_tell)

    def _watch_it(self) -> None:
        """The directory that is there under the path now."""
        with contextlib.suppress(OSError):  # tried again at the next look, which is soon
            there = os.stat(self._directory.path)
            place = (there.st_dev, there.st_ino)
            if self._watch is not None and place != self._place:
                self._watch.close()
                self._watch = None
            if self._watch is None:
                self._watch = self._inotify.watch(str(self._directory.path), self._happened)
                self._place = place

    def _look_and_tell(self) -> None:
        self._untold = self._look() or self._untold
        if self._untold:
            self._on_change()
            self._untold = False  # where that failed it is told again at the next look

    def _happened(self, happened: Happened) -> None:
        if happened.gone and self._watch is not None:
            self._watch.close()
            self._watch = None
        # A file being written is looked at when its writer has closed it.
        if happened.mask & ~MODIFY or happened.mask & CLOSE_WRITE:
            self._look_and_tell()

    def close(self) -> None:
        """Stops looking."""
        if self._watch is not None:
            self._watch.close()
        if self._timer is not None:
            self._timer.cancel()
