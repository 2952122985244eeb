"""What the nodes see on their segments that should not be there, as conditions and Events. Pure.

Who answers for the addresses concerns SingleMaster, who speaks with the VRID concerns VRIDUnique (docs/status.md).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from virtualip_api.status import NodeEntry, Observation, ObservationKind
from virtualip_operator.conditions import Condition

SINGLE_MASTER, VRID_UNIQUE = "SingleMaster", "VRIDUnique"
_REASONS = {
    ObservationKind.TWO_HOLDERS: (SINGLE_MASTER, "SeveralHolders"),
    ObservationKind.STRANGER: (SINGLE_MASTER, "Stranger"),
    ObservationKind.FILTERED: (SINGLE_MASTER, "AdvertisementsFiltered"),
    ObservationKind.FOREIGN_ROUTER: (VRID_UNIQUE, "ForeignRouter"),
    ObservationKind.WRONG_TTL: (SINGLE_MASTER, "WrongTTL"),
}
_MOST_SHOWN = 8
_BETWEEN = "; "


@dataclass(frozen=True, slots=True)
class Sight:
    """One observation, and who makes it."""

    observation: Observation
    nodes: tuple[str, ...]

    @property
    def condition(self) -> str:
        """The type of the condition that it makes False."""
        return _REASONS[self.observation.kind][0]

    @property
    def reason(self) -> str:
        """Of the condition and of the Event."""
        return _REASONS[self.observation.kind][1]

    @property
    def text(self) -> str:
        """A sentence."""
        return f"{self.observation.address} {self.observation.message} (seen by {', '.join(self.nodes)})"


def sights(entries: Iterable[NodeEntry]) -> tuple[Sight, ...]:
    """What is seen by these nodes, each sender of each kind once."""
    found: dict[tuple[ObservationKind, str], Sight] = {}
    for entry in entries:
        for one in entry.observations:
            key = (one.kind, one.address)
            known = found.get(key)
            if known is None:
                found[key] = Sight(one, (entry.node,))
            elif entry.node not in known.nodes:
                found[key] = replace(known, nodes=(*known.nodes, entry.node))
    return tuple(found[key] for key in sorted(found))


def vrid_unique(seen: Iterable[Sight], *, believed: bool) -> Condition:
    """Nobody but the members speaks with the VRID. `believed`: some node can be believed."""
    mine = [sight for sight in seen if sight.condition == VRID_UNIQUE]
    if mine:
        return Condition(VRID_UNIQUE, "False", mine[0].reason, _sentences(mine))
    if not believed:
        return Condition(VRID_UNIQUE, "Unknown", "NodesSilent", "no node tells what it hears")
    return Condition(VRID_UNIQUE, "True", "NoForeignRouter", "nobody but the members is heard with the VRID")


def with_holders(single_master: Condition, seen: Iterable[Sight]) -> Condition:
    """SingleMaster as the members claim it, and beside that as the segment answers."""
    mine = [sight for sight in seen if sight.condition == SINGLE_MASTER]
    if not mine:
        return single_master
    if single_master.status == "False":
        return replace(single_master, message=f"{single_master.message}{_BETWEEN}{_sentences(mine)}")
    return Condition(SINGLE_MASTER, "False", mine[0].reason, _sentences(mine))


def news(seen: Iterable[Sight], before: Iterable[Mapping[str, Any]]) -> tuple[Sight, ...]:
    """What the conditions before did not say yet: each is worth one Event."""
    said = {
        str(condition.get("type")): str(condition.get("message", ""))
        for condition in before
        if condition.get("status") == "False"
    }

    def is_new(sight: Sight) -> bool:
        sentences = said.get(sight.condition, "").split(_BETWEEN)
        return not any(sentence.startswith(f"{sight.observation.address} ") for sentence in sentences)

    return tuple(filter(is_new, seen))


def _sentences(seen: list[Sight]) -> str:
    more = len(seen) - _MOST_SHOWN
    return _BETWEEN.join([*(sight.text for sight in seen[:_MOST_SHOWN]), *([f"and {more} more"] if more > 0 else [])])
