"""The condition TrackersHealthy: a failed tracker that moves nothing is redundancy lost all the same. Pure."""

from collections.abc import Collection, Iterator, Mapping

from virtualip_api.status import NodeEntry
from virtualip_operator.conditions import Condition

_MOST_SHOWN = 8


def trackers_healthy(entries: Collection[NodeEntry], declared: Mapping[str, bool]) -> Condition:
    """From the entries that are believed. `declared`: trackers by name, and whether `reverse` is set."""
    failed = [text for entry in entries for text in _failed(entry, declared)]
    if failed:
        more = [f"{len(failed) - _MOST_SHOWN} more"] if len(failed) > _MOST_SHOWN else []
        return Condition("TrackersHealthy", "False", "TrackersFailed", "; ".join(failed[:_MOST_SHOWN] + more))
    if any(entry.trackers for entry in entries):
        return Condition("TrackersHealthy", "True", "AllHealthy", "no tracker has failed on a node that reports")
    if declared:
        return Condition("TrackersHealthy", "Unknown", "NoResults", "no node has told its trackers' results")
    return Condition("TrackersHealthy", "True", "NoTrackers", "there are no trackers")


def _failed(entry: NodeEntry, declared: Mapping[str, bool]) -> Iterator[str]:
    for tracker in entry.trackers:
        reverse = declared.get(tracker.name, False)
        if tracker.healthy == reverse:
            what = "is healthy, and reverse is set" if reverse else "failed"
            yield f"{entry.node}: {tracker.name} {what}" + (f" ({tracker.message})" if tracker.message else "")
