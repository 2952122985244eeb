"""Which members drain: those on nodes that are emptied, and for the time of a planned move all but its target. Pure.

Draining is effective priority 1: where all drain, or the target of a move dies, somebody holds the addresses all the
same. A move ends when this is computed after its end: while no operator runs nothing moves, also not back.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from virtualip_api.errors import InvalidResource
from virtualip_api.move import read_move
from virtualip_api.names import MOVE_TO_ANNOTATION
from virtualip_api.virtual_ip import Drain, VirtualIPSpec, base_priority
from virtualip_operator.planning import Node, Plan, takes_part

EXCLUDE_LABEL = "node.kubernetes.io/exclude-from-external-load-balancers"
"""Kubernetes looks at its presence only, whatever its value."""


def emptied(nodes: Iterable[Node], drain: Drain) -> frozenset[str]:
    """The nodes that are to give this VirtualIP away."""
    return frozenset(
        node.name
        for node in nodes
        if (drain.on_cordon and node.cordoned) or (drain.on_exclude_label and EXCLUDE_LABEL in node.labels)
    )


def part_of(spec: VirtualIPSpec, node: Node | None) -> tuple[int, Node, bool] | None:
    """All that a plan takes from a Node: while this stays the same, nothing that changed there is news for it."""
    if node is None or not takes_part(spec, node):
        return None
    base = base_priority(spec, node.name, node.labels)
    return base, replace(node, labels={}, cordoned=False), bool(emptied((node,), spec.drain))


@dataclass(frozen=True, slots=True)
class Diversion:
    """A plan with the move that was asked for."""

    plan: Plan
    remark: str = ""
    """What a user is told of a move that is on."""
    warning: str = ""
    """Why a move that was asked for is not made."""
    ends_in: float | None = None
    """Seconds after which it is to be planned anew."""

    @property
    def drained(self) -> dict[str, str]:
        """Who drains, and why, as the cause of a move is told."""
        reason = "planned move" if self.remark else "{} is draining"
        return {member.node: reason.format(member.node) for member in self.plan.members if member.draining}

    @property
    def said(self) -> str:
        """What the condition says of it; '' where nobody drains."""
        return self.remark or (f"draining: {', '.join(sorted(self.drained))}" if self.drained else "")


def divert(plan: Plan, annotations: Mapping[str, str], now: float) -> Diversion:
    """A VirtualIP's plan by its annotations. `now`: seconds since the epoch."""
    try:
        move = read_move(annotations)
    except InvalidResource as error:
        return Diversion(plan, warning=str(error))
    if move is None or move.until <= now:
        return Diversion(plan)
    target = next((member for member in plan.members if member.node == move.to), None)
    if target is None:
        return Diversion(plan, warning=f"metadata.annotations[{MOVE_TO_ANNOTATION}]: {move.to} takes no part")
    ends_in = move.until - now
    if target.draining:
        warning = f"metadata.annotations[{MOVE_TO_ANNOTATION}]: {move.to} drains itself, so that the move waits"
        return Diversion(plan, warning=warning, ends_in=ends_in)
    members = tuple(replace(member, draining=member is not target) for member in plan.members)
    return Diversion(replace(plan, members=members), remark=move.text, ends_in=ends_in)
