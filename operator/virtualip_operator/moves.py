"""Why a VirtualIP moved: told from what the old and the new MASTER say of themselves. Pure."""

from dataclasses import dataclass

from virtualip_api.status import NodeEntry, State, TrackerStatus, parse_time

MOST_MOVES = 10
"""In status.lastMoves."""
_SKEW = 1.0
"""Seconds by which the clocks of two nodes may differ."""


@dataclass(frozen=True, slots=True)
class Move:
    """One change of the MASTER."""

    source: str
    """'' where nobody is known to have had it before."""
    target: str
    time: str
    reason: str
    cause: str
    takeover: str
    detail: str = ""
    """What the tracker or the node that caused it said; for the Event alone."""

    def text(self) -> str:
        """For status.lastMove: `server2 -> server1: apache healthy, 12ms`."""
        tail = f", {self.takeover}" if self.takeover else ""
        return f"{self.source or 'nobody'} -> {self.target}: {self.cause}{tail}"

    def to_json(self) -> dict[str, str]:
        """For status.lastMoves."""
        moved = {"from": self.source, "to": self.target, "time": self.time, "reason": self.reason}
        return {key: value for key, value in (moved | {"takeover": self.takeover}).items() if value}


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a node has become MASTER."""

    reason: str
    """The new MASTER's."""
    cause: str
    """In a few words."""
    detail: str = ""
    """What the tracker or node that caused it said."""


def explain(old: NodeEntry | None, new: NodeEntry, old_name: str, window: float, drained: str = "") -> Explanation:
    """Why `new` has become MASTER after `old_name`, whose entry is `old` where it is believed.

    `window`: seconds before the move within which a tracker's change can have caused it.
    `drained`: why the old one was to give it away, '' where it was not."""
    reason = new.reason or "Unknown"
    if old is not None and old.node != new.node:
        if old.state is State.FAULT:
            return Explanation(reason, f"{old.node} {_fault(old)}", old.message)
        if drained and new.reason in _OF_PRIORITIES:
            return Explanation(reason, drained)
        if new.reason in _OF_PRIORITIES or new.reason not in _CAUSES:
            changed = _last_change(old, new, window)
            if changed:
                return Explanation(reason, *changed)
    if new.reason == "HigherPriority" and old is not None and old.node != new.node:
        return Explanation(reason, f"priority {new.priority} is above {old.node}'s {old.priority}")
    if new.reason == "MasterResigned" and old is not None and old.reason == "HandedOver" and old.message:
        return Explanation(reason, f"{old.node} handed over ({old.message})")
    template = _CAUSES.get(new.reason)
    return Explanation(reason, template.format(old=old_name or "the MASTER") if template else new.message or reason)


_OF_PRIORITIES = {"HigherPriority", "MasterResigned"}
_CAUSES = {
    "HigherPriority": "higher priority",
    "MasterDown": "no advertisements from {old}",
    "MasterResigned": "{old} handed over",
    "Owner": "owner of the address",
    "Adopted": "kept its addresses over a restart",
}


def _fault(entry: NodeEntry) -> str:
    failed = [tracker.name for tracker in entry.trackers if not tracker.healthy]
    if entry.reason == "TrackerFailed" and failed:
        return f"{', '.join(failed)} failed"
    return _FAULTS.get(entry.reason) or entry.message or entry.reason or "FAULT"


_FAULTS = {
    "TrackerFailed": "tracker failed",
    "LinkDown": "link down",
    "NoInterface": "has no interface",
    "AddressInUse": "address in use",
    "KernelRefused": "kernel refused the address",
}


def _last_change(old: NodeEntry, new: NodeEntry, window: float) -> tuple[str, str] | None:
    """The tracker that changed last before the move, in words, and its message; None where none did."""
    moved = parse_time(new.last_transition_time)
    changes: list[tuple[float, str, str]] = []
    for entry in (old, new):
        for tracker in entry.trackers:
            age = moved - parse_time(tracker.last_transition_time)
            if tracker.last_transition_time and -_SKEW <= age <= window:
                said = f"{tracker.name}: {tracker.message}" if tracker.message else ""
                changes.append((age, _changed(tracker, entry.node, entry is new), said))
    return min(changes)[1:] if changes else None


def _changed(tracker: TrackerStatus, node: str, is_new: bool) -> str:
    if not tracker.healthy:
        return f"{tracker.name} failed" + ("" if is_new else f" on {node}")
    if is_new:
        return f"{tracker.name} healthy"
    return f"{tracker.name} {tracker.contribution:+} on {node}"
