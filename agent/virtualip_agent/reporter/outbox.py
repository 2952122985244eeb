"""What is still to be told to the API, and when: a change of state at once, the last one always, no more than needed.

Pure: the clock is the caller's (monotonic nanoseconds), sending is the caller's. Of each VirtualIP at most one write is
under way, so an older state never overtakes a newer one; while it is, only the newest state waits.
"""

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

SPACING = 200_000_000
"""Nanoseconds between two writes of one VirtualIP in the long run: five a second at most."""
BURST = 3
"""Writes that need not wait for each other after a quiet time: a move is told in two or three (priority, state), and
the one that says MASTER must not wait for the one before it."""
GATHERING = 50_000_000
"""Nanoseconds for which anything but a change of state waits for more: an edit is heard of as a generation, a priority
and a state within some 20 ms, and a state that waits for the writes of the other two is told twice as late."""
FIRST_PAUSE = 250_000_000
LONGEST_PAUSE = 5_000_000_000

Entry = Mapping[str, Any]


@dataclass(slots=True)
class _Slot:
    wanted: Entry | None = None
    told: bool = False
    """The API has `wanted` (or has no such VirtualIP to tell)."""
    sending: bool = False
    not_before: int = 0
    gathers_until: int = 0
    paid_until: int = 0
    """When the writes so far are paid for, at one for each SPACING (a leaky bucket)."""
    settled_at: int = 0
    pause: int = 0

    @property
    def due(self) -> int:
        """When it may be written, if it is to be."""
        return max(self.not_before, self.gathers_until)


@dataclass(frozen=True, slots=True)
class Job:
    """One write: the entry, or None to take it away."""

    name: str
    entry: Entry | None


@dataclass(slots=True)
class Outbox:
    """Wanted entries by VirtualIP, and what of them the API has."""

    jitter: Callable[[], float] = field(default=random.random)
    """0..1; spreads the nodes' retries."""
    _slots: dict[str, _Slot] = field(default_factory=dict)
    _blocked_until: int = 0
    _pause: int = 0

    def want(self, name: str, entry: Entry | None, now: int) -> None:
        """The entry of `name` is to be this, or with None is to go."""
        slot = self._slots.setdefault(name, _Slot(told=entry is None))
        if slot.wanted == entry:
            return
        if _state(slot.wanted) != _state(entry):
            slot.gathers_until = now
        elif slot.told:
            slot.gathers_until = now + GATHERING
        slot.wanted = entry
        slot.told = False

    def retell(self, names: Iterable[str] | None = None) -> None:
        """The API may have lost the entries of `names` (None: of all)."""
        for name in list(self._slots) if names is None else names:
            self._slots.setdefault(name, _Slot()).told = False

    def take(self, now: int) -> Job | None:
        """The next write that may start, MASTERs first, those that failed last; it must be answered with one of the
        three below."""
        if now < self._blocked_until:
            return None
        due = [
            (slot.pause > 0, _state(slot.wanted) != "MASTER", slot.due, name)
            for name, slot in self._slots.items()
            if not slot.told and not slot.sending and slot.due <= now
        ]
        if not due:
            return None
        name = min(due)[-1]
        slot = self._slots[name]
        slot.sending = slot.told = True  # a change from now on sets told back
        slot.paid_until = max(slot.paid_until, now) + SPACING
        slot.not_before = slot.paid_until - (BURST - 1) * SPACING
        slot.settled_at = now + SPACING
        return Job(name, slot.wanted)

    def done(self, job: Job) -> None:
        """The API has it, or has no such VirtualIP."""
        self._blocked_until = self._pause = 0
        slot = self._slots[job.name]
        slot.sending = False
        slot.pause = 0
        if slot.told and slot.wanted is None:
            del self._slots[job.name]

    def refused(self, job: Job, now: int) -> None:
        """The API answered and does not want this one: later again, this one only."""
        self._blocked_until = self._pause = 0
        slot = self._slots[job.name]
        slot.sending = slot.told = False
        slot.pause = _longer(slot.pause, 6 * LONGEST_PAUSE)
        slot.not_before = now + self._spread(slot.pause)

    def failed(self, job: Job, now: int) -> None:
        """Nobody answered: everything waits. This one comes last then: it may be the one that is never answered (a
        field that the CRD of an older version does not know is such an error)."""
        slot = self._slots[job.name]
        slot.sending = slot.told = False
        slot.pause = _longer(slot.pause, LONGEST_PAUSE)
        slot.not_before = now + self._spread(slot.pause)
        self._pause = _longer(self._pause, LONGEST_PAUSE)
        self._blocked_until = now + self._spread(self._pause)

    def next_at(self) -> int | None:
        """When `take` may have something; None: not before `want` or `retell`."""
        waiting = [slot.due for slot in self._slots.values() if not slot.told and not slot.sending]
        return max(min(waiting), self._blocked_until) if waiting else None

    def idle(self) -> bool:
        """Whether the API has everything."""
        return all(slot.told and not slot.sending for slot in self._slots.values())

    def entries(self) -> dict[str, Entry | None]:
        """What is wanted."""
        return {name: slot.wanted for name, slot in self._slots.items()}

    def told_of(self, name: str, now: int) -> Entry | None:
        """The entry that the API has had for a while; None where there is none or it is just being written."""
        slot = self._slots.get(name)
        settled = slot is not None and slot.told and not slot.sending and now >= slot.settled_at
        return slot.wanted if settled and slot is not None else None

    def _spread(self, pause: int) -> int:
        return int(pause * (0.5 + self.jitter()))


def _longer(pause: int, longest: int) -> int:
    return min(max(2 * pause, FIRST_PAUSE), longest)


def _state(entry: Entry | None) -> object:
    return entry and entry.get("state")
