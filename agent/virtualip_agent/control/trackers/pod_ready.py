"""Whether enough pods on this node are Ready, by what the reporter last heard of them.

The API may be away: the last value then holds for `holdFor`. A VIP must not move because nobody can be asked.
"""

from typing import Final

from virtualip_agent import pods_file
from virtualip_agent.control.trackers.base import Check, Report
from virtualip_agent.control.trackers.pod_table import PodTable
from virtualip_agent.pods_file import PodsOfNamespace
from virtualip_api.duration import SECOND, format_duration
from virtualip_api.trackers import PodReadyTracker

FIRST_ANSWER: Final = 30.0
"""Seconds for which an instance waits for the very first answer. Without an end a VIP in front of the API server
would wait for that API server."""
OLD: Final = 30.0
"""Seconds after which the message says that the value is not of now; the reporter confirms it every few."""


def result_of(check: PodReadyTracker, known: PodsOfNamespace | None, now: float, since: float) -> Check | None:
    """What is known is worth at `now`, for a tracker that began at `since` (seconds since the boot); None: wait.

    Pure. While there are enough the message does not name the number: pods come and go, and each new text would be
    written to the API.
    """
    if known is None or known.pods is None:
        if known is not None and known.problem:
            return Check(False, known.problem)
        return Check(False, "the API has not been asked yet") if now - since >= FIRST_ANSWER else None
    age = now - known.confirmed_at
    if age > check.hold_for / SECOND:
        return Check(
            False, f"not known for {format_duration(check.hold_for)}: {known.problem or 'no answer of the API'}"
        )
    ready = sum(pod.ready and check.selector.matches(pod.labels) for pod in known.pods.values())
    old = f" (last known: {known.problem or 'no answer of the API'})" if age > OLD else ""
    if ready < check.quorum:
        return Check(False, f"{ready} {'pod' if ready == 1 else 'pods'} Ready, {check.quorum} wanted{old}")
    return Check(True, ("Ready" if check.quorum == 1 else f"at least {check.quorum} Ready") + old)


class RunningPodReadyTracker:
    """Reports at each change of what is known, and when it has grown too old."""

    def __init__(self, check: PodReadyTracker, report: Report, table: PodTable) -> None:
        self._check = check
        self._report = report
        self._table = table
        self._since = pods_file.now()
        table.subscribe(self._look)
        self._look()

    def _look(self) -> None:
        known = self._table.namespaces.get(self._check.namespace)
        result = result_of(self._check, known, pods_file.now(), self._since)
        if result is not None:
            self._report(result)

    def close(self) -> None:
        """Stops looking."""
        self._table.unsubscribe(self._look)
