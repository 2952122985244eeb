"""The beginnings of files that trackers follow, read at once when they change, whoever writes them and how.

inotify tells of what happens in a file and in its directory; a look now and then finds what it cannot see (a parent
directory replaced, a link in the middle of a chain, a file system without inotify). However many follow a file, it is
looked at once.
"""

import asyncio
import contextlib
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from virtualip_agent.control.inotify import CLOSE_WRITE, Happened, Inotify
from virtualip_agent.control.trackers.rooted import NotUsable, read_start, watchable

if TYPE_CHECKING:
    from virtualip_agent.control.inotify import Watch

log = logging.getLogger(__name__)

LOOK_EVERY: Final = 5.0
"""Seconds between looks while inotify watches."""
NOT_WATCHED: Final = 1.0
"""The same while it cannot, as while the directory does not exist."""
HALF_WRITTEN: Final = 0.1
"""Seconds that an emptied file keeps its last content while its writer has not closed it: `echo 6 > file` empties it
first, and the priority must not drop for that moment."""
_WATCHED: Final = ("file", "directory")
_LONGEST: Final = 64


class Content(NamedTuple):
    """What was found."""

    start: bytes | None
    """The first bytes; None where it cannot be read."""
    problem: str = ""
    """Why not."""


Follower = Callable[[Content], None]


class WatchedFiles:
    """The files that are followed, by path beneath `root`."""

    def __init__(self, inotify: Inotify, root: Path) -> None:
        self._inotify = inotify
        self._root = root
        self._files: dict[str, _WatchedFile] = {}

    def follow(self, path: str, follower: Follower) -> Content:
        """What is there now; the follower is called with each other content from then on."""
        watched = self._files.get(path)
        if watched is None:
            watched = self._files[path] = _WatchedFile(path, self._inotify, self._root)
        watched.followers.append(follower)
        return watched.content

    def leave(self, path: str, follower: Follower) -> None:
        """It is called no more; the file is watched for as long as anybody follows it."""
        watched = self._files[path]
        watched.followers.remove(follower)
        if not watched.followers:
            watched.close()
            del self._files[path]


def _may_be_link(path: Path) -> bool:
    """Where that cannot be found out (the directory may not be searched), it may."""
    try:
        return stat.S_ISLNK(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False
    except OSError:
        return True


class _WatchedFile:
    """One file, from its first follower to the last."""

    def __init__(self, path: str, inotify: Inotify, root: Path) -> None:
        self.followers: list[Follower] = []
        self.content = Content(b"")
        self._path = path
        self._inotify = inotify
        self._root = root
        self._watches: dict[str, tuple[tuple[int, int], Watch]] = {}
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._name = Path(path).name
        self._is_link = False
        self._look(settled=True)

    def _happened(self, happened: Happened) -> None:
        if happened.gone:
            self._drop("file")
        self._look_after(happened)

    def _look_after(self, happened: Happened) -> None:
        self._look(settled=bool(happened.mask & CLOSE_WRITE))

    def _happened_beside(self, happened: Happened) -> None:
        """Something in its directory: what concerns other files only costs a look at their name. A link may lead to any
        of them (a ConfigMap's to `..data`)."""
        if happened.gone:
            self._drop("directory")
        if self._is_link or happened.gone or not happened.names or self._name in happened.names:
            self._look_after(happened)

    def _look(self, settled: bool) -> None:
        if self._timer is not None:
            self._timer.cancel()
        again = NOT_WATCHED
        try:
            again = self._look_now(settled=settled)
        finally:
            self._timer = self._loop.call_later(again, self._look, True)

    def _look_now(self, *, settled: bool) -> float:
        """In how many seconds to look again."""
        self._renew_watches()
        try:
            content = Content(read_start(self._root, self._path, _LONGEST))
        except NotUsable as error:
            content = Content(None, str(error))
        if content.start == b"" and self.content.start and not settled:
            return HALF_WRITTEN
        if content != self.content:
            self.content = content
            for follower in tuple(self.followers):
                try:
                    follower(content)
                except Exception:
                    log.exception("%s: one who follows it failed", self._path)  # and is to cost the others nothing
        return LOOK_EVERY if len(self._watches) == len(_WATCHED) else NOT_WATCHED

    def _renew_watches(self) -> None:
        """Watches the file, and the directory that its name is in, as the inodes they are now. The number of an inode
        that is gone may be another's by now: a watch is dropped when it is told that it has ended."""
        for what, path in zip(_WATCHED, (self._path, str(Path(self._path).parent)), strict=True):
            known = self._watches.get(what)
            with watchable(self._root, path) as found:
                if found is None:
                    self._drop(what)
                elif known is None or known[0] != found.inode:
                    self._drop(what)
                    happened = self._happened_beside if what == "directory" else self._happened
                    with contextlib.suppress(OSError):  # no watches left: looking does it
                        self._watches[what] = (found.inode, self._inotify.watch(found.path, happened))
                if found is not None and what == "directory":
                    self._is_link = _may_be_link(Path(found.path, self._name))

    def _drop(self, what: str) -> None:
        known = self._watches.pop(what, None)
        if known is not None:
            known[1].close()

    def close(self) -> None:
        """Stops looking."""
        for what in tuple(self._watches):
            self._drop(what)
        if self._timer is not None:
            self._timer.cancel()
