"""What a node says of a VirtualIP: one entry of `status.nodes`, written by that node's reporter alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any


class State(StrEnum):
    """The state of a virtual router on a node. (RFC 9568 says Active for MASTER.)"""

    MASTER = "MASTER"
    BACKUP = "BACKUP"
    FAULT = "FAULT"


@dataclass(frozen=True, slots=True)
class TrackerStatus:
    """A tracker's last word."""

    name: str
    healthy: bool
    contribution: int = 0
    message: str = ""
    last_transition_time: str = ""


class ObservationKind(StrEnum):
    """What a node may see on the segment that should not be there."""

    TWO_HOLDERS = "TwoHolders"
    """Another member answers for an address beside the MASTER."""
    STRANGER = "Stranger"
    """Somebody who is no member answers for an address."""
    FILTERED = "AdvertisementsFiltered"
    """A member answers for an address, and its advertisements do not arrive."""
    FOREIGN_ROUTER = "ForeignRouter"
    """Somebody who is no member uses the VRID."""
    WRONG_TTL = "WrongTTL"
    """A member's advertisements arrive with another TTL than 255, and so are not heard."""


KINDS = frozenset(map(str, ObservationKind))
"""A newer agent may know others: they are left out, not its whole entry."""
MOST_OBSERVATIONS = 8


@dataclass(frozen=True, slots=True, order=True)
class Observation:
    """One of these, of one sender."""

    kind: ObservationKind
    address: str
    """Whose: an IP address, or a hardware address where nothing else is known."""
    message: str
    """What follows the address in a sentence."""


@dataclass(frozen=True, slots=True)
class FamilyStatus:
    """One of the two virtual routers of a VirtualIP with addresses of both families."""

    family: str
    state: State
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A member whose advertisements have not agreed with what this node is set to for a while."""

    source: str
    """The address that it advertises from."""
    differs: str
    """What differs, for a person to read."""


@dataclass(frozen=True, slots=True)
class NodeEntry:
    """One entry of status.nodes."""

    node: str
    state: State
    priority: int
    """Effective; what is, or would be, advertised."""
    observed_generation: int = 0
    last_transition_time: str = ""
    """RFC 3339 with microseconds: when `state` was entered."""
    reason: str = ""
    message: str = ""
    interface: str = ""
    takeover: str = ""
    """MASTER only: from the last sign of the MASTER before to answering here, a duration."""
    notify_failure: str = ""
    """What went wrong with the last notify command; empty where it succeeded."""
    families: tuple[FamilyStatus, ...] = ()
    """Each family's own state, where there are two; `state` is theirs together."""
    trackers: tuple[TrackerStatus, ...] = ()
    observed_revision: int = 0
    """Of the plan that this node runs, where members are heard by name alone: whom it knows. Else 0."""
    sources: tuple[str, ...] = ()
    """The addresses that it advertises from, where members are heard by name alone."""
    observations: tuple[Observation, ...] = ()
    """At most MOST_OBSERVATIONS."""
    mismatches: tuple[Mismatch, ...] = ()


def entry_to_json(entry: NodeEntry) -> dict[str, Any]:
    """The entry as it stands in the resource; empty optional fields are left out."""
    optional = {
        "observedRevision": entry.observed_revision,
        "lastTransitionTime": entry.last_transition_time,
        "reason": entry.reason,
        "message": entry.message,
        "interface": entry.interface,
        "takeover": entry.takeover,
        "notifyFailure": entry.notify_failure,
    }
    trackers = [
        {"name": tracker.name, "healthy": tracker.healthy, "contribution": tracker.contribution}
        | ({"message": tracker.message} if tracker.message else {})
        | ({"lastTransitionTime": tracker.last_transition_time} if tracker.last_transition_time else {})
        for tracker in entry.trackers
    ]
    families = [
        {"family": one.family, "state": str(one.state)}
        | ({"reason": one.reason} if one.reason else {})
        | ({"message": one.message} if one.message else {})
        for one in entry.families
    ]
    observations = [
        {"kind": str(one.kind), "address": one.address, "message": one.message} for one in entry.observations
    ]
    mismatches = [{"source": found.source, "differs": found.differs} for found in entry.mismatches]
    return {
        "node": entry.node,
        "observedGeneration": entry.observed_generation,
        "state": str(entry.state),
        "priority": entry.priority,
        **{key: value for key, value in optional.items() if value},
        **({"sources": list(entry.sources)} if entry.sources else {}),
        **({"families": families} if families else {}),
        **({"trackers": trackers} if trackers else {}),
        **({"observations": observations} if observations else {}),
        **({"mismatches": mismatches} if mismatches else {}),
    }


def entry_from_json(value: Mapping[str, Any]) -> NodeEntry:
    """The entry from the resource. The CRD's schema has checked the types; what is absent has its default."""
    return NodeEntry(
        node=value["node"],
        state=State(value["state"]),
        priority=value.get("priority", 0),
        observed_generation=value.get("observedGeneration", 0),
        observed_revision=value.get("observedRevision", 0),
        sources=tuple(value.get("sources", ())),
        last_transition_time=value.get("lastTransitionTime", ""),
        reason=value.get("reason", ""),
        message=value.get("message", ""),
        interface=value.get("interface", ""),
        takeover=value.get("takeover", ""),
        notify_failure=value.get("notifyFailure", ""),
        families=tuple(
            FamilyStatus(one["family"], State(one["state"]), one.get("reason", ""), one.get("message", ""))
            for one in value.get("families", ())
        ),
        trackers=tuple(
            TrackerStatus(
                name=tracker["name"],
                healthy=tracker["healthy"],
                contribution=tracker.get("contribution", 0),
                message=tracker.get("message", ""),
                last_transition_time=tracker.get("lastTransitionTime", ""),
            )
            for tracker in value.get("trackers", ())
        ),
        observations=tuple(
            Observation(ObservationKind(one["kind"]), one["address"], one.get("message", ""))
            for one in value.get("observations", ())
            if one["kind"] in KINDS
        ),
        mismatches=tuple(Mismatch(found["source"], found["differs"]) for found in value.get("mismatches", ())),
    )


@lru_cache(maxsize=1024)  # most are told again and again: since when a state lasts
def format_time(seconds_since_epoch: float) -> str:
    """RFC 3339, UTC, microseconds: `2026-11-22T21:33:05.123456Z`."""
    return datetime.fromtimestamp(seconds_since_epoch, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time; 0 where it is none."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0
