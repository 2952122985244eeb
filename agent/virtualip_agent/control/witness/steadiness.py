"""What is seen once may be a moment between two states: it is told when it is seen again, and taken back when it has
not been seen for some while. Pure."""

from dataclasses import dataclass, field
from typing import Final

from virtualip_api.status import Observation

_TOLD_AFTER: Final = 2
"""Rounds in a row."""
_OVER_AFTER: Final = 3


@dataclass(slots=True)
class Steadiness:
    """The observations at one post."""

    told: frozenset[Observation] = frozenset()
    rounds: int = 0
    _seen: dict[Observation, int] = field(default_factory=dict)
    _missed: dict[Observation, int] = field(default_factory=dict)

    def round(self, seen: frozenset[Observation]) -> bool:
        """One more round; whether something else is told now, or for the first time: what a process before us told may
        be over."""
        self.rounds += 1
        self._seen = {one: self._seen.get(one, 0) + 1 for one in seen}
        self._missed = {one: self._missed.get(one, 0) + 1 for one in self.told - seen}
        steady = {one for one, times in self._seen.items() if times >= _TOLD_AFTER}
        kept = {one for one in self.told if self._missed.get(one, 0) < _OVER_AFTER}
        before, self.told = self.told, frozenset(steady | kept)
        return self.told != before or self.rounds == _OVER_AFTER
