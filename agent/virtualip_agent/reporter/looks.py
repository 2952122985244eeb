"""Which entries to look at in the API next: a new one soon, one that was there each time ever more seldom. Pure.

Nothing but a hand can take an entry away unnoticed (a Member made anew, an outage and an older database are noticed,
and lead to another write), so that this is a second net, and one look of every node at each of its VIPs each 10 s was
most of what a large cluster asked of its API server (docs/scale.md).
"""

from collections.abc import Collection
from dataclasses import dataclass, field

LOOKS_A_ROUND = 5
"""At the most: half a read a second whatever the number of VIPs."""
FIRST_PAUSE = 10_000_000_000
"""Nanoseconds after an entry was found to be there for the first time; doubled each time."""
LONGEST_PAUSE = 300_000_000_000


@dataclass(slots=True)
class Looks:
    """By name, when to look again. Times are monotonic nanoseconds."""

    _due: dict[str, int] = field(default_factory=dict)
    _pauses: dict[str, int] = field(default_factory=dict)

    def take(self, names: Collection[str], now: int) -> list[str]:
        """Those of `names` to look at in this round, the longest due first; what is not among `names` is forgotten."""
        for name in self._due.keys() - set(names):
            del self._due[name]
            self._pauses.pop(name, None)
        due = sorted((self._due.get(name, -1), name) for name in names)
        chosen = [name for at, name in due if at <= now][:LOOKS_A_ROUND]
        for name in chosen:
            self._due[name] = now  # the others first, whatever comes of it
        return chosen

    def was_there(self, name: str, now: int) -> None:
        """The entry is as it should be."""
        pause = self._pauses.get(name, FIRST_PAUSE)
        self._due[name] = now + pause
        self._pauses[name] = min(2 * pause, LONGEST_PAUSE)

    def was_lost(self, name: str, now: int) -> None:
        """It was not, and is written again: look soon whether it stays."""
        self._due[name] = now
        self._pauses.pop(name, None)
