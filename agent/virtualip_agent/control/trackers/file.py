"""A number in a file (keepalived.conf(5), vrrp_track_file)."""

import re
from typing import Final

from virtualip_agent.control.trackers.base import Number, Report, Result, Unusable
from virtualip_agent.control.trackers.watched_files import Content, WatchedFiles
from virtualip_api.trackers import FileTracker

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


def result_of(check: FileTracker, content: Content) -> Result:
    """What a file is worth. Pure."""
    start, problem = content
    value = None if start is None else parse_number(start)
    if value is not None:
        return Number(value, f"value {value}")
    if start is not None:
        problem = "empty" if not start.strip() else "not a number"
    return Unusable(problem) if check.on_missing == "Fail" else Number(0, f"{problem}: counts as 0")


class RunningFileTracker:
    """Reports the file's number."""

    def __init__(self, check: FileTracker, report: Report, files: WatchedFiles) -> None:
        self._check = check
        self._report = report
        self._files = files
        self._found(files.follow(check.path, self._found))

    def _found(self, content: Content) -> None:
        self._report(result_of(self._check, content))

    def close(self) -> None:
        """Stops following it."""
        self._files.leave(self._check.path, self._found)
