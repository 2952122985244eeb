"""One inotify instance for the whole process, in the event loop: the kernel allows a user 128 of them by default.

Root shares those with kubelet, containerd and whatever else runs, so there may be none left. Then nothing can be
watched until there is, and who wanted to watch looks every second or two, as where a file system cannot be watched.
"""

import asyncio
import contextlib
import errno
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from inotify_simple import INotify, flags

log = logging.getLogger(__name__)

CLOSE_WRITE: Final = int(flags.CLOSE_WRITE)
MODIFY: Final = int(flags.MODIFY)
_CREATE: Final = int(flags.CREATE | flags.MOVED_TO | flags.MOVED_FROM | flags.DELETE)
_SELF: Final = int(flags.DELETE_SELF | flags.MOVE_SELF | flags.ATTRIB)
_OVERFLOW: Final = int(flags.Q_OVERFLOW)
_GONE: Final = int(flags.IGNORED | flags.DELETE_SELF | flags.MOVE_SELF | flags.UNMOUNT) | _OVERFLOW
# One mask for everybody, as two watches of one inode are one watch to the kernel.
_MASK: Final = CLOSE_WRITE | MODIFY | _CREATE | _SELF


@dataclass(frozen=True, slots=True)
class Happened:
    """Everything that happened to one watched inode since it was last told."""

    mask: int
    names: frozenset[str] = frozenset()
    """Entries concerned, where the inode is a directory."""

    @property
    def gone(self) -> bool:
        """Whether the watch is, or may soon be, of no use: the inode was deleted, moved or unmounted, or events were
        lost that may have said so."""
        return bool(self.mask & _GONE)

    @property
    def unknown(self) -> bool:
        """Whether events were lost, so that anything may have happened."""
        return bool(self.mask & _OVERFLOW)


Callback = Callable[[Happened], None]


class Watch:
    """A watch that somebody holds; `close` ends it."""

    def __init__(self, inotify: "Inotify", descriptor: int, callback: Callback) -> None:
        self._inotify = inotify
        self.descriptor = descriptor
        self.callback = callback

    def close(self) -> None:
        """No callback comes any more."""
        self._inotify.forget(self)


class Inotify:
    """Watches of inodes; callbacks run in the event loop, once for all events that were there."""

    def __init__(self, on_problem: Callable[[], None] = lambda: None) -> None:
        self.problem = ""
        """Why nothing can be watched, for people. `on_problem` is called when it changes later."""
        self._inotify: INotify | None = None
        self._watches: dict[int, list[Watch]] = {}
        self._loop = asyncio.get_running_loop()
        self._on_problem: Callable[[], None] = lambda: None
        with contextlib.suppress(OSError):  # tried again at each watch
            self._instance()
        self._on_problem = on_problem

    def _instance(self) -> INotify:
        if self._inotify is None:
            try:
                self._inotify = INotify(nonblocking=True)
            except OSError as error:
                self._say(f"files are not watched but looked at every 1 to 2 s: {_why_no_instance(error)}")
                raise
            self._loop.add_reader(self._inotify.fileno(), self._read, self._inotify)
            self._say("")
        return self._inotify

    def _say(self, problem: str) -> None:
        if problem == self.problem:
            return
        self.problem = problem
        if problem:
            log.warning("%s", problem)
        else:
            log.info("files are watched again")
        self._on_problem()

    def watch(self, path: str, callback: Callback) -> Watch:
        """Watches what `path` leads to, symlinks followed. OSError where that is nothing, or cannot be watched."""
        descriptor = int(self._instance().add_watch(path, _MASK))
        watch = Watch(self, descriptor, callback)
        self._watches.setdefault(descriptor, []).append(watch)
        return watch

    def forget(self, watch: Watch) -> None:
        """Ends a watch; the kernel's goes with the last of an inode."""
        others = self._watches.get(watch.descriptor, [])
        if watch not in others:
            return
        others.remove(watch)
        if not others:
            del self._watches[watch.descriptor]
            with contextlib.suppress(OSError):  # the kernel has dropped it already, with the inode
                self._instance().rm_watch(watch.descriptor)

    def _read(self, inotify: INotify) -> None:
        masks: dict[int, int] = {}
        names: dict[int, set[str]] = {}
        for event in inotify.read(timeout=0):
            masks[event.wd] = masks.get(event.wd, 0) | event.mask
            if event.name:
                names.setdefault(event.wd, set()).add(os.fsdecode(event.name))
        if -1 in masks:
            for descriptor in self._watches:
                masks[descriptor] = masks.get(descriptor, 0) | _OVERFLOW
        for descriptor, mask in masks.items():
            happened = Happened(mask, frozenset(names.get(descriptor, ())))
            watches = list(self._watches.get(descriptor, ()))
            if mask & int(flags.IGNORED):
                self._watches.pop(descriptor, None)
            for watch in watches:
                try:
                    watch.callback(happened)
                except Exception:  # a mistake of ours, which is not to cost the others their events
                    log.exception("an event of inotify")

    def close(self) -> None:
        """Ends all watches."""
        if self._inotify is not None:
            self._loop.remove_reader(self._inotify.fileno())
            self._inotify.close()
            self._inotify = None
        self._watches.clear()


def _why_no_instance(error: OSError) -> str:
    if error.errno == errno.EMFILE:  # inotify_init1(2) says the same where the process has too many descriptors
        return (
            "no inotify instance is left (raise the sysctl fs.inotify.max_user_instances, or the limit of open files)"
        )
    return f"no inotify instance: {error.strerror}"
