"""What is told of each VirtualIP: vrrp's state, the trackers' results, where the spec came from. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from virtualip_agent.control.instance import Instance
from virtualip_agent.ipc import RouterState, Statistics
from virtualip_api.duration import format_duration
from virtualip_api.status import (
    FamilyStatus,
    Mismatch,
    NodeEntry,
    Observation,
    State,
    TrackerStatus,
    entry_to_json,
    format_time,
)

LONGEST_MESSAGE = 1024
"""Characters, as the CRD has it."""
MOST_MISMATCHES = 16
LONGEST_DIFFERENCE = 128
"""Characters; both as the CRD has it."""
AFTER_EXPIRY = 1.5
"""Seconds: the kernel may be so late to drop an address whose lifetime has passed."""


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything control knows of one VirtualIP."""

    node: str
    name: str
    instance: Instance | None = None
    """None: declared, but it cannot be run; `problems` says why."""
    router: RouterState | None = None
    """vrrp's last word; None: none yet."""
    families: Sequence[FamilyStatus] = ()
    """The same by family, where there are two."""
    trackers: Sequence[TrackerStatus] = ()
    conflict: str = ""
    problems: Sequence[str] = ()
    advice: Sequence[str] = ()
    """What in the spec is probably not meant."""
    stale: bool = False
    """vrrp is away: `router` is what was true when it went."""
    expired: bool = False
    """It has been away so long that the kernel has dropped the addresses."""
    since: float = 0.0
    """Seconds since the epoch: since when that which is not vrrp's word has been so."""
    notify_failure: str = ""
    """What went wrong with the last notify command."""
    observations: Sequence[Observation] = ()
    """What is seen on the segment that should not be there."""
    disagrees: bool = False
    """Members' advertisements have not agreed with ours for so long that it is no edit under way."""


def node_entry(situation: Situation) -> NodeEntry:
    """The entry of status.nodes."""
    router, instance = situation.router, situation.instance
    generation = instance.generation if instance else 0
    if router is not None and not situation.expired:
        return NodeEntry(
            node=situation.node,
            state=State(router.state),
            priority=router.priority,
            observed_generation=generation,
            # of a vrrp that is away nobody knows what it will hear when it is back
            observed_revision=instance.revision if instance and not situation.stale else 0,
            sources=_sources(router) if instance and instance.revision else (),
            last_transition_time=format_time(router.since),
            reason=router.reason,
            message=_message(router, situation.trackers),
            interface=router.interface,
            takeover=format_duration(router.takeover) if router.takeover >= 0 else "",
            notify_failure=situation.notify_failure[:LONGEST_MESSAGE],
            families=tuple(situation.families),
            trackers=tuple(situation.trackers),
            observations=tuple(situation.observations),
            mismatches=_mismatches(router) if situation.disagrees else (),
        )
    state, reason, message = _without_vrrp(situation)
    return NodeEntry(
        node=situation.node,
        state=state,
        priority=0,
        observed_generation=generation,
        last_transition_time=format_time(situation.since),
        reason=reason,
        message=message,
        notify_failure=situation.notify_failure[:LONGEST_MESSAGE],
        trackers=tuple(situation.trackers),
        observations=tuple(situation.observations),
    )


def _sources(router: RouterState) -> tuple[str, ...]:
    return tuple(router.source.split(", ")) if router.source else ()


def _mismatches(router: RouterState) -> tuple[Mismatch, ...]:
    found = sorted(router.mismatches.items())[:MOST_MISMATCHES]
    return tuple(Mismatch(source, differs[:LONGEST_DIFFERENCE]) for source, differs in found)


def _message(router: RouterState, trackers: Sequence[TrackerStatus]) -> str:
    """vrrp knows the failed trackers' names only; what is wrong with them is known here."""
    if router.reason != "TrackerFailed":
        return router.message
    failed = router.message.split(", ")
    said = [f"{one.name}: {one.message}" for one in trackers if one.name in failed and not one.healthy and one.message]
    return "; ".join(said) or router.message


def _without_vrrp(situation: Situation) -> tuple[State, str, str]:
    if situation.expired:
        return State.FAULT, "VrrpNotRunning", "the vrrp process is gone or hangs; the kernel has dropped the addresses"
    if situation.instance is None:
        return State.FAULT, "Refused", situation.problems[0] if situation.problems else "it cannot be run"
    return State.BACKUP, "WaitingForVrrp", "the vrrp process has not answered yet"


def vip_line(situation: Situation) -> dict[str, Any]:
    """The `vip` message of the state stream."""
    router, instance = situation.router, situation.instance
    detail: dict[str, Any] = {
        "source": str(instance.source) if instance else "",
        "conflict": situation.conflict,
        "problems": list(situation.problems),
        "advice": list(situation.advice),
        "stale": situation.stale,
        "addresses": list(router.addresses) if router and not situation.expired else [],
        "declared": [str(address) for address in instance.spec.addresses] if instance else [],
        "master": router.master if router else "",
        "sourceAddress": router.source if router else "",
        "mismatches": dict(router.mismatches) if router else {},
        "foreign": dict(router.foreign) if router else {},
    }
    return {
        "type": "vip",
        "name": situation.name,
        "entry": entry_to_json(node_entry(situation)),
        "detail": detail,
    }


def gone_line(name: str) -> dict[str, Any]:
    """The `gone` message of the state stream."""
    return {"type": "gone", "name": name}


def agent_line(agent: Mapping[str, Any]) -> dict[str, Any]:
    """The `agent` message of the state stream."""
    return {"type": "agent", "agent": dict(agent)}


def statistics_line(statistics: Statistics | None) -> dict[str, Any]:
    """The `statistics` message of the state stream; empty where vrrp did not answer."""
    known = statistics or Statistics({}, {})
    return {"type": "statistics", "routers": known.routers, "process": known.process, "lateness": known.lateness}
