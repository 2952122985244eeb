"""The condition Accepted where a VirtualIP is followed: how many take part, and what is probably not meant. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any

from virtualip_api.advice import Advice
from virtualip_api.status import NodeEntry
from virtualip_operator.conditions import Condition, find

_LONGEST_MESSAGE = 4096


def accepted(members: int, advised: Iterable[Advice], remark: str) -> Condition:
    """Reason `Planned`, or those of the advice, separated by commas as a condition's reason may have them."""
    message = f"{members} {'node takes' if members == 1 else 'nodes take'} part"
    advised = list(advised)
    reason = ",".join(dict.fromkeys(piece.reason for piece in advised)) or "Planned"
    return Condition(
        "Accepted", "True", reason, "; ".join(filter(None, (message, remark, *map(str, advised))))[:_LONGEST_MESSAGE]
    )


def unwarned(advised: Iterable[Advice], before: Iterable[Mapping[str, Any]], generation: int) -> tuple[Advice, ...]:
    """What the user has not been told of yet: once a generation, as nodes that come and go are no reason to say it
    again."""
    condition = find(before, "Accepted")
    told = condition.get("status") == "True" and condition.get("observedGeneration") == generation
    known = set(str(condition.get("reason", "")).split(",")) if told else set()
    return tuple(piece for piece in advised if piece.reason not in known)


def mismatches(entries: Iterable[NodeEntry], names: Mapping[str, str]) -> list[Advice]:
    """Members that advertise otherwise than others are set: an edit that does not reach them. `names`: the nodes, by
    the addresses that they advertise from."""
    return [
        Advice(
            "ConfigMismatch",
            f"{entry.node} hears {names.get(found.source, found.source)} with other settings than its own: "
            f"{found.differs}",
        )
        for entry in entries
        for found in entry.mismatches
    ]
