"""Every transition, and what was seen on the segment, one JSON object a line, on the node itself: readable when the API
is not. Bounded."""

import contextlib
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from virtualip_agent.control.small_file import NotReadable, read_small_file
from virtualip_agent.ipc import RouterState
from virtualip_api.duration import format_duration
from virtualip_api.status import format_time

log = logging.getLogger(__name__)

LARGEST = 1 << 20
GONE = "STOP"
"""The state entered by being withdrawn, in keepalived's word."""
OTHER_ROUTERS = "-"
"""The name under which VRIDs of others stand: they are no VirtualIP's."""
SEEN = "seen"
OVER = "over"
"""Instead of a state: something on the segment, while it is there and when it is no more."""


class History:
    """Appends what is new. A full or read-only disk costs the history and nothing else."""

    def __init__(self, path: Path, largest: int = LARGEST) -> None:
        self._path = path
        self._largest = largest
        self._last: dict[str, tuple[str, str]] = {}
        self._seen: dict[str, dict[tuple[str, str], str]] = {}
        """Name -> (kind, address) -> message, of what was seen on the segment and is not over."""
        for record in read_history(path):
            with contextlib.suppress(KeyError, TypeError):  # by another version, or by hand
                self._remember(record)

    def _remember(self, record: dict[str, Any]) -> None:
        if "kind" not in record:
            self._last[record["name"]] = (record["to"], record["time"])
        elif record["to"] == SEEN:
            self._seen.setdefault(record["name"], {})[record["kind"], record["address"]] = record["message"]
        else:
            self._seen.get(record["name"], {}).pop((record["kind"], record["address"]), None)

    def transition(self, state: RouterState) -> None:
        """Notes that a router entered a state, unless that is the last thing noted (a restarted control hears it
        again)."""
        self._note(
            state.name,
            state.state,
            format_time(state.since),
            priority=state.priority,
            reason=state.reason,
            message=state.message,
            **({"takeover": format_duration(state.takeover)} if state.takeover >= 0 else {}),
        )

    def gone(self, name: str) -> None:
        """Notes that a router was withdrawn."""
        if name in self._last:
            self._note(name, GONE, format_time(time.time()), reason="Withdrawn")

    def observed(self, name: str, seen: Mapping[tuple[str, str], str]) -> None:
        """Notes what is seen on the segment of a VirtualIP (or of an interface), (kind, address) -> message: what is
        new, and what is over."""
        before = self._seen.get(name, {})
        now = format_time(time.time())
        for (kind, address), message in sorted(before.items()):
            if (kind, address) not in seen:
                self._write(
                    {"time": now, "name": name, "to": OVER, "kind": kind, "address": address, "message": message}
                )
        for (kind, address), message in sorted(seen.items()):
            if (kind, address) not in before:
                self._write(
                    {"time": now, "name": name, "to": SEEN, "kind": kind, "address": address, "message": message}
                )
        self._seen[name] = dict(seen)

    def _note(self, name: str, to: str, at: str, **more: Any) -> None:
        last = self._last.get(name, (GONE, ""))
        if last[0] == to and (last[1] == at or to == GONE):
            return
        self._last[name] = (to, at)
        self._write({"time": at, "name": name, "from": last[0], "to": to, **more})

    def _write(self, record: Mapping[str, Any]) -> None:
        try:
            self._rotate()
            # O_NOFOLLOW: others of the group may write in the directory.
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            with os.fdopen(os.open(self._path, flags, 0o640), "w", encoding="utf-8") as file:
                file.write(_after_a_cut_off_line(file.fileno()) + json.dumps(record) + "\n")
        except OSError as error:
            log.warning("the history cannot be written: %s", error)

    def _rotate(self) -> None:
        try:
            if self._path.stat().st_size < self._largest:
                return
        except FileNotFoundError:
            return
        self._path.replace(previous_path(self._path))


def _after_a_cut_off_line(descriptor: int) -> str:
    """What a record begins with: after a full disk or a kill the last one may have no end, which would cost both."""
    size = os.fstat(descriptor).st_size
    return "\n" if size and os.pread(descriptor, 1, size - 1) != b"\n" else ""


def previous_path(path: Path) -> Path:
    """Where the older half of the history is."""
    return path.with_name(path.name + ".1")


def read_history(path: Path) -> Iterator[dict[str, Any]]:
    """All records, oldest first; a line cut off by a crash is skipped."""
    for part in (previous_path(path), path):
        try:
            content = read_small_file(part, 2 * LARGEST, follow_symlinks=False)
        except (FileNotFoundError, NotReadable):
            continue
        for line in content.decode(errors="replace").splitlines():
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(record, dict) and {"name", "to", "time"} <= record.keys():
                yield record
