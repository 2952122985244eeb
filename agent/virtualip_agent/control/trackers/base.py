"""What every kind of tracker gives: a raw result, which `contribution` weighs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Check:
    """A yes or no: a process runs, a port answers."""

    passed: bool
    message: str = ""


@dataclass(frozen=True, slots=True)
class Number:
    """A value that the weight multiplies: a file's."""

    value: int
    message: str = ""


@dataclass(frozen=True, slots=True)
class Unusable:
    """No result can be had, and the user wants that to be FAULT whatever the weight (`onMissing: Fail`)."""

    message: str


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose a tracker is."""

    virtual_ip: str
    tracker: str
    resumed: bool = False
    """An earlier result counts until this tracker has its own: of the check before an edit, or what vrrp was told by a
    control before this one."""


Result = Check | Number | Unusable
Report = Callable[[Result], None]
"""Called at each new result, in the event loop; the first as early as possible, from within the start where it can."""


class RunningTracker(Protocol):
    """A tracker at work. It reports until it is closed."""

    def close(self) -> None:
        """No report comes any more."""
