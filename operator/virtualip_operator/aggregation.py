"""From what the nodes say to what a user reads: master, summary, moves, conditions. Pure.

The status is made anew each time from everything that is known; only moves and the conditions' times come from the
status before. So a restart of the operator changes nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from virtualip_api.advice import Advice
from virtualip_api.status import NodeEntry, State, entry_from_json, format_time, parse_time
from virtualip_operator.acceptance import accepted, mismatches, unwarned
from virtualip_operator.conditions import Condition, status_of
from virtualip_operator.moves import MOST_MOVES, Move, explain
from virtualip_operator.tracker_health import trackers_healthy
from virtualip_operator.witnessed import Sight, news, sights, vrid_unique, with_holders

SETTLE = 1.0
"""Seconds for which the MASTER before is still named when nobody claims the addresses: the old one's word that it let
go mostly arrives before the new one's claim, and a take-over is no outage."""
_ADDRESSES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class View:
    """What is known of a VirtualIP."""

    generation: int
    addresses: tuple[str, ...]
    refused: Condition | None
    """Why it is not followed; None: it is."""
    members: tuple[str, ...]
    """Nodes in the order of base priority, then name."""
    entries: Mapping[str, NodeEntry]
    silent: frozenset[str]
    renewed: Mapping[str, float]
    """When each node renewed its Lease last, by its own clock, in seconds since the epoch."""
    holders: tuple[str, ...] = ()
    """Nodes that take no part by the plan and say that they are MASTER: who has yet to let go, a static manifest."""
    left: bool = False
    """The MASTER before takes no part by the plan any more, and lives."""
    claims: Mapping[str, int] = field(default_factory=dict)
    """Who claims the addresses, numbered in the order in which the claims were seen: the nodes' clocks may differ."""
    leaderless_for: float = 0.0
    """Seconds since nobody was first seen to claim the addresses."""
    drained: Mapping[str, str] = field(default_factory=dict)
    """Who is to give the addresses away, and why in a user's words."""
    cause_window: float = 10.0
    """Seconds before a move within which its cause is looked for."""
    advice: tuple[Advice, ...] = ()
    """What in the plan is probably not meant."""
    remark: str = ""
    """What else a user is told of the plan."""
    trackers: Mapping[str, bool] = field(default_factory=dict)
    """The declared ones by name, and whether `reverse` is set."""
    names: Mapping[str, str] = field(default_factory=dict)
    """The nodes by the addresses that they advertise from."""

    @property
    def believed(self) -> dict[str, NodeEntry]:
        """The entries of members that are not silent, in the order of `members`, and of the holders."""
        there = (*self.members, *self.holders)
        return {node: self.entries[node] for node in there if node in self.entries and node not in self.silent}

    @property
    def claimants(self) -> list[NodeEntry]:
        """Those who say that they are MASTER, the latest claim first."""
        masters = [entry for entry in self.believed.values() if entry.state is State.MASTER]
        return sorted(masters, key=self._age_of_claim)

    def _age_of_claim(self, entry: NodeEntry) -> tuple[int, float]:
        return -self.claims.get(entry.node, 0), -parse_time(entry.last_transition_time)


@dataclass(frozen=True, slots=True)
class Aggregate:
    """The operator's part of status, and what has just happened."""

    status: dict[str, Any]
    move: Move | None = None
    turned: tuple[tuple[str, Condition], ...] = ()
    """Conditions whose status is another than before, which was that ('' for none)."""
    warned: tuple[Advice, ...] = ()
    """What the user has not been warned of before."""
    sighted: tuple[Sight, ...] = ()
    """What the nodes see on the segment and did not see before."""
    contested: bool = False
    """Several claim the addresses: look again when Leases are renewed."""
    settling: bool = False
    """Nobody claims them, for less than SETTLE: look again."""
    leaderless: bool = False
    """Nobody claims them."""


def entries_from_status(status: Mapping[str, Any]) -> dict[str, NodeEntry]:
    """The entries of status.nodes by node; one that cannot be read (of a newer agent) is left out."""
    entries = {}
    for value in status.get("nodes") or ():
        try:
            entries[value["node"]] = entry_from_json(value)
        except (KeyError, ValueError):
            continue
    return entries


def aggregate(view: View, before: Mapping[str, Any], now: float) -> Aggregate:
    """The status that follows from a view and the status before. `now`: seconds since the epoch."""
    claimants = view.claimants
    settling = not claimants and _was_master(view, before) and view.leaderless_for < SETTLE
    moves = list(before.get("lastMoves") or ())
    move = _move(view, claimants[0], before, moves, now) if claimants else None
    seen = sights(view.believed.values())
    old_conditions = before.get("conditions") or ()
    believed = view.believed.values()
    advised = [] if view.refused else [*view.advice, *mismatches(believed, view.names)]
    conditions = [
        view.refused or accepted(len(view.members), advised, view.remark),
        _ready(view, before, settling),
        with_holders(_single_master(view), seen),
        vrid_unique(seen, believed=bool(believed)),
        trackers_healthy(believed, view.trackers),
    ]

    status: dict[str, Any] = {
        "observedGeneration": view.generation,
        "addresses": _shown(view.addresses),
        "summary": " ".join(_summarised(node, view.believed.get(node)) for node in (*view.members, *view.holders)),
        "silentNodes": sorted(node for node in view.members if node in view.silent),
        "conditions": [condition.to_json(old_conditions, view.generation, now) for condition in conditions],
    }
    if claimants:
        status |= {"master": claimants[0].node, "priority": claimants[0].priority}
    elif settling:
        status |= {key: before[key] for key in ("master", "priority") if key in before}
    if move:
        status |= {"lastMove": move.text(), "lastMoves": [move.to_json(), *moves][:MOST_MOVES]}
    elif moves:
        status |= {"lastMove": before.get("lastMove", ""), "lastMoves": moves}
    return Aggregate(
        status=status,
        move=move,
        turned=_turned(old_conditions, conditions),
        warned=unwarned(advised, old_conditions, view.generation),
        sighted=news(seen, old_conditions),
        contested=len(claimants) > 1,
        settling=settling,
        leaderless=not claimants,
    )


def _turned(before: Iterable[Mapping[str, Any]], now: list[Condition]) -> tuple[tuple[str, Condition], ...]:
    pairs = [(status_of(before, condition.type), condition) for condition in now]
    return tuple((old, condition) for old, condition in pairs if old != condition.status)


def _was_master(view: View, before: Mapping[str, Any]) -> bool:
    return view.left or before.get("master") in view.believed


def _move(
    view: View, master: NodeEntry, before: Mapping[str, Any], moves: list[Mapping[str, Any]], now: float
) -> Move | None:
    if before.get("master") == master.node:
        return None
    source = str(before.get("master") or (moves[0].get("to", "") if moves else ""))
    if source == master.node and moves[0].get("time") == master.last_transition_time:
        return None  # it was silent meanwhile, and says again what it said then
    drained = "" if master.node in view.drained else view.drained.get(source, "")
    why = explain(view.believed.get(source), master, source, view.cause_window, drained)
    at = master.last_transition_time or format_time(now)
    return Move(source, master.node, at, why.reason, why.cause, master.takeover, why.detail)


def _ready(view: View, before: Mapping[str, Any], settling: bool) -> Condition:
    believed, claimants = view.believed, view.claimants
    if claimants:
        outside = ", though it takes no part by the plan" if claimants[0].node in view.holders else ""
        return Condition("Ready", "True", "MasterKnown", f"{claimants[0].node} is MASTER{outside}")
    if settling:
        return Condition("Ready", "True", "MasterKnown", f"{before['master']} was MASTER; a take-over is under way")
    if not view.members and view.refused:
        return Condition("Ready", "False", "NotAccepted", f"nobody runs it: {view.refused.message}")
    if not view.members:
        return Condition("Ready", "False", "NoMembers", "no node takes part: spec.nodeSelector selects none")
    words = "; ".join(_cause(node, view) for node in view.members)
    if not believed:
        return Condition("Ready", "Unknown", "NodesSilent", words)
    if any(entry.state is State.MASTER for node, entry in view.entries.items() if node in view.silent):
        # The others hear somebody, or they would take over: most likely the one that cannot reach the API server.
        return Condition("Ready", "Unknown", "MasterSilent", words)
    return Condition("Ready", "False", "NoMaster", words)


def _cause(node: str, view: View) -> str:
    entry = view.entries.get(node)
    if entry is None:
        return f"{node} has not reported"
    if node in view.silent:
        return f"{node} is silent, was {entry.state}"
    return f"{node} {entry.state} " + ", ".join(filter(None, (entry.reason, entry.message)))


def _single_master(view: View) -> Condition:
    claimants = view.claimants
    if len(claimants) > 1:
        # Each has had the chance to hear of the later claim, and says again that it lives: not merely late.
        last_claim = parse_time(claimants[0].last_transition_time)
        sure = [entry.node for entry in claimants if view.renewed.get(entry.node, 0.0) > last_claim]
        if len(sure) > 1:
            return Condition(
                "SingleMaster", "False", "SeveralMasters", f"{' and '.join(sure)} say that they are MASTER"
            )
    return Condition("SingleMaster", "True", "AtMostOne", "no two nodes claim the addresses")


def _summarised(node: str, entry: NodeEntry | None) -> str:
    return f"{node}={entry.state}/{entry.priority}" if entry else f"{node}=?"


def _shown(addresses: tuple[str, ...]) -> str:
    more = len(addresses) - _ADDRESSES_SHOWN
    return ",".join(addresses[:_ADDRESSES_SHOWN]) + (f",+{more}" if more > 0 else "")
