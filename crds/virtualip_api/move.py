"""A planned move: two annotations of a VirtualIP, that a node is to hold it until a moment.

    kubectl annotate vip web virtualip.dev/move-to=server2 virtualip.dev/move-until=2026-11-26T06:00:00Z

Annotations and no field of spec: a move is a deed, not a part of what was declared, and what keeps specs as they are in
a repository leaves it alone. All others drain meanwhile: whatever becomes of the node, somebody holds the addresses.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from virtualip_api.errors import FieldError, InvalidResource
from virtualip_api.names import MOVE_TO_ANNOTATION, MOVE_UNTIL_ANNOTATION


@dataclass(frozen=True, slots=True)
class PlannedMove:
    """Which node, and until when in seconds since the epoch."""

    to: str
    until: float

    @property
    def end(self) -> str:
        """`until`, as annotation and condition have it. ValueError or OverflowError where no calendar has it."""
        return datetime.fromtimestamp(self.until, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    @property
    def text(self) -> str:
        """What the condition Accepted says while it is on."""
        return f"moved to {self.to} until {self.end}"


def read_move(annotations: Mapping[str, str]) -> PlannedMove | None:
    """The move that is asked for, or None. InvalidResource where it is not clear which, or when it ends."""
    to, until = annotations.get(MOVE_TO_ANNOTATION), annotations.get(MOVE_UNTIL_ANNOTATION)
    if to is None and until is None:
        return None
    if not to:
        raise _wrong(MOVE_TO_ANNOTATION, "is missing: the name of a node")
    if not until:
        raise _wrong(MOVE_UNTIL_ANNOTATION, "is missing: a move says when it ends, such as 2026-11-26T06:00:00Z")
    try:
        moment = datetime.fromisoformat(until)
        if moment.tzinfo is None:
            raise ValueError("of which zone?")
        return PlannedMove(to, moment.astimezone(UTC).timestamp())
    except (ValueError, OverflowError):  # the latter within a day of the year 10000, or of the first
        raise _wrong(MOVE_UNTIL_ANNOTATION, f"{until[:40]!r} is not a time such as 2026-11-26T06:00:00Z") from None


def _wrong(annotation: str, problem: str) -> InvalidResource:
    return InvalidResource((FieldError(f"metadata.annotations[{annotation}]", problem),))
