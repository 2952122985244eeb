"""All trackers of the node: which run, what they said last, and what that is worth."""

import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from virtualip_agent.control.trackers.base import Check, Origin, Report, Result, RunningTracker
from virtualip_agent.control.trackers.contribution import contribution
from virtualip_agent.ipc import Contribution
from virtualip_api.status import TrackerStatus, format_time
from virtualip_api.trackers import Tracker, TrackerKind

log = logging.getLogger(__name__)

START_AGAIN: Final = 5.0
"""Seconds after which what could not be started is tried once more: there may have been no descriptor left."""


class Starter(Protocol):
    """Starts the tracker of a kind (see `start.py`)."""

    def __call__(self, check: TrackerKind, report: Report, origin: Origin) -> RunningTracker: ...


@dataclass(slots=True)
class _Entry:
    tracker: Tracker
    running: RunningTracker | None = None
    result: Result | None = None
    healthy: bool | None = None
    since: float = 0.0
    worth: Contribution | None = None
    status: TrackerStatus | None = None
    """Both made when the result comes: they are asked for whenever a neighbour changes."""


def _same(one: Tracker, other: Tracker) -> bool:
    return one.name == other.name and one.check == other.check


def _renamed(tracker: Tracker, old: Mapping[str, _Entry], kept: Collection[str]) -> _Entry | None:
    """What ran under a name that is gone and checks the same: its result holds until the new one has its own."""
    gone = (entry for name, entry in old.items() if name not in kept)
    return next((entry for entry in gone if entry.tracker.check == tracker.check), None)


class TrackerBoard:
    """Runs what is declared. `on_change` is called with the VirtualIP's name when a result of its trackers changed."""

    def __init__(
        self,
        start: Starter,
        on_change: Callable[[str], None],
        later: Callable[[float, Callable[[], None]], object],
        decided: Collection[str] = (),
    ) -> None:
        """`later`: calls something after so many seconds. `decided`: the VirtualIPs whose trackers' contributions vrrp
        knows from a control before this one."""
        self._start = start
        self._later = later
        self._decided = decided
        self._on_change = on_change
        self._starts_again = False
        self._entries: dict[str, dict[str, _Entry]] = {}

    def run(self, declared: Mapping[str, tuple[Tracker, ...]]) -> None:
        """Starts and stops trackers so that these run, by VirtualIP. One whose check is the same goes on, whatever
        its new weight."""
        before, after = self._entries, dict[str, dict[str, _Entry]]()
        for name, trackers in declared.items():
            old = before.get(name, {})
            entries = after[name] = {}
            kept = {tracker.name for tracker in trackers}
            for tracker in trackers:
                entry = old.get(tracker.name) or _renamed(tracker, old, kept)
                if entry is not None and entry.running is not None and _same(entry.tracker, tracker):
                    del old[tracker.name]
                    entry.tracker = tracker
                    self._settle(entry)
                    entries[tracker.name] = entry
                else:
                    entries[tracker.name] = self._begin(name, tracker, entry)
        self._decided, self._entries = (), after
        for entries in before.values():
            for entry in entries.values():
                if entry.running is not None:
                    entry.running.close()

    def _begin(self, name: str, tracker: Tracker, before: _Entry | None) -> _Entry:
        entry = _Entry(tracker)
        if before is not None and type(before.tracker.check) is type(tracker.check):
            # until the edited check has a result the old one's counts: an edit must not take a MASTER's priority away
            entry.result, entry.healthy, entry.since = before.result, before.healthy, before.since
            self._settle(entry)
        self._start_it(name, entry, resumed=entry.result is not None or name in self._decided)
        return entry

    def _start_it(self, name: str, entry: _Entry, *, resumed: bool) -> None:
        tracker = entry.tracker
        try:
            entry.running = self._start(
                tracker.check, lambda result: self._reported(name, entry, result), Origin(name, tracker.name, resumed)
            )
        except Exception as error:
            # a mistake of ours, or nothing left to do it with: it is to cost this one and not whatever else is declared
            failed = Check(False, f"cannot be started: {error}")
            if entry.result != failed:
                log.exception("%s: the tracker %s cannot be started", name, tracker.name)
            self._reported(name, entry, failed)
            if not self._starts_again:
                self._starts_again = True
                self._later(START_AGAIN, self._start_again)

    def _start_again(self) -> None:
        self._starts_again = False
        for name, entries in self._entries.items():
            waiting = [entry for entry in entries.values() if entry.running is None]
            for entry in waiting:
                self._start_it(name, entry, resumed=False)
            if any(entry.running is not None for entry in waiting):
                self._on_change(name)

    def _reported(self, name: str, entry: _Entry, result: Result) -> None:
        if result == entry.result:
            return
        entry.result = result
        self._settle(entry)
        if entry.running is not None:  # else it is just being started, and who starts it asks afterwards
            self._on_change(name)

    def _settle(self, entry: _Entry) -> None:
        if entry.result is None:
            return
        entry.worth = worth = contribution(entry.tracker, entry.result)
        if worth.healthy != entry.healthy:
            entry.healthy, entry.since = worth.healthy, time.time()
        entry.status = TrackerStatus(
            name=entry.tracker.name,
            healthy=worth.healthy,
            contribution=worth.value,
            message=entry.result.message,
            last_transition_time=format_time(entry.since),
        )

    def contributions(self, name: str) -> dict[str, Contribution]:
        """The whole map for vrrp; a tracker without a result is absent."""
        entries = self._entries.get(name, {}).items()
        return {tracker: entry.worth for tracker, entry in entries if entry.worth is not None}

    def statuses(self, name: str) -> tuple[TrackerStatus, ...]:
        """The trackers' last words, in the order of the spec."""
        return tuple(entry.status for entry in self._entries.get(name, {}).values() if entry.status is not None)

    def close(self) -> None:
        """Stops them all; their last words stay."""
        self._starts_again = True  # never
        for entries in self._entries.values():
            for entry in entries.values():
                if entry.running is not None:
                    entry.running.close()
                    entry.running = None
