"""What the routers of a sync group are to one another."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from virtualip_agent.vrrp.priority import Effective


class Standing(Enum):
    """What a router of a sync group is to the others."""

    WAITING = auto()
    """For its link, or for its trackers."""
    BACKUP = auto()
    MASTER = auto()
    RESIGNING = auto()
    """Handing over, for a reason of its own."""
    FOLLOWING = auto()
    """Handing over because another of the group yielded."""
    FAULT = auto()
    LEAVING = auto()
    """Being stopped."""


FOLLOWERS: Final = frozenset({Standing.BACKUP, Standing.FOLLOWING})
"""Who becomes MASTER with the others."""
UNDECIDED: Final = frozenset({Standing.WAITING, Standing.RESIGNING})
"""Without whom nobody takes over: they would not, now."""


@dataclass(frozen=True, slots=True)
class GroupView:
    """What the others of our sync group are to us."""

    effective: Effective
    """The priority of us all."""
    fault: tuple[str, str] | None
    """Reason and message, where another of us is in FAULT."""
    first: bool
    """Whether our source address decides where priorities are equal."""
    patience: int
    """How long a hand-over may take."""
    draining: bool = False
    """Whether one of us drains, and with it all."""
