"""A number in a file (keepalived.conf(5), vrrp_track_file): read at once when it changes, whoever writes it and how.

inotify tells of what happens in the file and in its directory; a look now and then finds what it cannot see (a parent
directory replaced, a link in the middle of a chain, a file system without inotify).
"""

import asyncio
import contextlib
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from virtualip_agent.control.inotify import CLOSE_WRITE, Happened, Inotify
from virtualip_agent.control.trackers.base import Number, Report, Result, Unusable
from virtualip_agent.control.trackers.rooted import NotUsable, read_start, watchable
from virtualip_api.trackers import FileTracker

if TYPE_CHECKING:
    from virtualip_agent.control.inotify import Watch

LOOK_EVERY: Final = 5.0
"""Seconds between looks while inotify watches."""
NOT_WATCHED: Final = 1.0
"""The same while it cannot, as while the directory does not exist."""
HALF_WRITTEN: Final = 0.1
"""Seconds that an emptied file keeps its last value while its writer has not closed it: `echo 6 > file` empties it
first, and the priority must not drop for that moment."""
_WATCHED: Final = ("file", "directory")
_LONGEST: Final = 64
_NUMBER: Final = re.compile(rb"\s*([+-]?)(?:0[xX]([0-9a-fA-F]+)|0([0-7]+)|(0|[1-9][0-9]*))")


def parse_number(content: bytes) -> int | None:
    """The number that the content begins with, or None: as strtol(3) reads it with base 0, and so keepalived. What
    follows is not looked at; 0x.. is hexadecimal, 0.. octal."""
    match = _NUMBER.match(content)
    if match is None:
        return None
    sign, hexadecimal, octal, decimal = match.groups()
    value = int(hexadecimal, 16) if hexadecimal else int(octal, 8) if octal else int(decimal)
    return -value if sign == b"-" else value


def result_of(check: FileTracker, content: bytes | None, problem: str) -> Result:
    """What a file is worth: `content` None where it cannot be read, with `problem`. Pure."""
    value = None if content is None else parse_number(content)
    if value is not None:
        return Number(value, f"value {value}")
    if content is not None:
        problem = "empty" if not content.strip() else "not a number"
    return Unusable(problem) if check.on_missing == "Fail" else Number(0, f"{problem}: counts as 0")


def _may_be_link(path: Path) -> bool:
    """Where that cannot be found out (the directory may not be searched), it may."""
    try:
        return stat.S_ISLNK(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False
    except OSError:
        return True


class RunningFileTracker:
    """Reports the file's number. Several may watch the same file."""

    def __init__(self, check: FileTracker, report: Report, inotify: Inotify, root: Path) -> None:
        self._check = check
        self._report = report
        self._inotify = inotify
        self._root = root
        self._watches: dict[str, tuple[tuple[int, int], Watch]] = {}
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._had_content = False
        self._name = Path(check.path).name
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
            content: bytes | None = read_start(self._root, self._check.path, _LONGEST)
            problem = ""
        except NotUsable as error:
            content, problem = None, str(error)
        if content == b"" and self._had_content and not settled:
            return HALF_WRITTEN
        self._had_content = bool(content)
        self._report(result_of(self._check, content, problem))
        return LOOK_EVERY if len(self._watches) == len(_WATCHED) else NOT_WATCHED

    def _renew_watches(self) -> None:
        """Watches the file, and the directory that its name is in, as the inodes they are now. The number of an inode
        that is gone may be another's by now: a watch is dropped when it is told that it has ended."""
        for what, path in zip(_WATCHED, (self._check.path, str(Path(self._check.path).parent)), strict=True):
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
