"""The effective priority, recomputed from the whole map of trackers each time; never adjusted by a difference."""

from collections.abc import Mapping
from typing import Final, NamedTuple

LOWEST: Final = 1
HIGHEST: Final = 254
OWNER: Final = 255
DRAINING: Final = 1


class Contribution(NamedTuple):
    """What one tracker adds; a failed one of weight 0 is `fault`."""

    value: int = 0
    fault: bool = False
    healthy: bool = True


class Effective(NamedTuple):
    """The priority to advertise, why, and the trackers that make it FAULT."""

    priority: int
    message: str
    failed: tuple[str, ...] = ()


def outranks(priority: int, source: bytes, own_priority: int, own_source: bytes) -> bool:
    """RFC 9568, section 6.4.3: whether a sender beats us. The greater address decides, unsigned: as bytes compare."""
    return priority > own_priority or (priority == own_priority and source > own_source)


def effective_priority(base: int, contributions: Mapping[str, Contribution], draining: bool = False) -> Effective:
    """Base and contributions, clamped to 1..254; an owner (255) never changes; a draining node has 1.

    The sum is clamped once, at its end: two trackers that together leave the range and come back count in full.
    """
    failed = tuple(name for name, contribution in contributions.items() if contribution.fault)
    if draining:
        return Effective(DRAINING, "draining", failed)
    if base == OWNER:
        return Effective(OWNER, "255 (address owner)", failed)
    message = [str(base)]
    total = base
    for name, contribution in contributions.items():
        if contribution.value:
            total += contribution.value
            message.append(f"{'+' if contribution.value > 0 else '-'} {name} {abs(contribution.value)}")
    priority = min(max(total, LOWEST), HIGHEST)
    if priority != total:
        message.append(f"= {total}, limited to {priority}")
    return Effective(priority, " ".join(message), failed)
