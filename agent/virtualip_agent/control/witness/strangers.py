"""What the survey has overheard, for as long as it goes on: who uses our VRIDs, and which others there are. Pure.

Seconds of any monotonic clock. Everything is bounded: made-up senders are told of the first and forgotten.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from virtualip_agent.control.witness.listen import Overheard
from virtualip_agent.control.witness.post import IPAddress, Post
from virtualip_agent.vrrp.packet import TTL
from virtualip_api.status import Observation, ObservationKind

TOLD_AFTER: Final = 3.0
"""Seconds for which it must have been heard: a member of a plan that has not reached us yet is none of this."""
OVER_AFTER: Final = 130.0
"""Seconds of silence: three of the longest interval of VRRPv3."""
CHANGES_AFTER: Final = 30.0
"""Seconds: who says now this, now that, must not make us write each time."""
MOST: Final = 64
_SHOWN: Final = 3


@dataclass(frozen=True, slots=True, order=True)
class ForeignRouter:
    """A VRID that is not ours, and who uses it."""

    interface: str
    vrid: int
    address: str
    addresses: str
    """What it advertises, as text."""


@dataclass(slots=True)
class _Heard:
    first: float
    last: float
    changed: float
    ttl: int
    addresses: frozenset[IPAddress]


class Strangers:
    """By interface, VRID and sender."""

    def __init__(self) -> None:
        self._heard: dict[tuple[str, int, IPAddress], _Heard] = {}

    def __len__(self) -> int:
        return len(self._heard)

    def heard(self, interface: str, message: Overheard, now: float) -> None:
        """One more message."""
        key = (interface, message.vrid, message.source)
        known = self._heard.get(key)
        if known is None:
            if len(self._heard) >= MOST and not self._make_room(now):
                return
            known = self._heard[key] = _Heard(now, now, now, message.ttl, message.addresses)
        known.last = now
        if (known.ttl, known.addresses) != (message.ttl, message.addresses) and now - known.changed >= CHANGES_AFTER:
            known.ttl, known.addresses, known.changed = message.ttl, message.addresses, now

    def forget(self, now: float) -> None:
        """Who has been silent for long is gone."""
        self._heard = {key: heard for key, heard in self._heard.items() if now - heard.last <= OVER_AFTER}

    def _make_room(self, now: float) -> bool:
        """A flood must not take all of it: who spoke once and not again gives way."""
        for key, heard in self._heard.items():
            if heard.last - heard.first < TOLD_AFTER < now - heard.last:
                del self._heard[key]
                return True
        return False

    def at(self, post: Post) -> frozenset[Observation]:
        """Who else uses a virtual router's VRID, or is not heard because of its TTL."""
        found = set()
        for (interface, vrid, source), heard in self._steady():
            if (interface, vrid, source.version) != (post.interface, post.vrid, post.version) or source == post.source:
                continue
            ttl = f" with TTL {heard.ttl} instead of {TTL}" if heard.ttl != TTL else ""
            if source in post.senders:
                if ttl:
                    text = f"its advertisements arrive{ttl} and are not heard"
                    found.add(Observation(ObservationKind.WRONG_TTL, str(source), text))
                continue
            same = heard.addresses == post.addresses
            if same and not ttl and not post.senders:
                continue  # nobody knows from where the members advertise: this may be one
            what = "the same addresses" if same else _text(heard.addresses)
            text = f"advertises VRID {vrid}{ttl} for {what} and is no member"
            found.add(Observation(ObservationKind.FOREIGN_ROUTER, str(source), text))
        return frozenset(found)

    def others(self, ours: Iterable[Post]) -> tuple[ForeignRouter, ...]:
        """The VRIDs on the segment that are nobody's here."""
        used = {(post.interface, post.vrid, post.version) for post in ours}
        return tuple(
            sorted(
                ForeignRouter(interface, vrid, str(source), _text(heard.addresses))
                for (interface, vrid, source), heard in self._steady()
                if (interface, vrid, source.version) not in used
            )
        )

    def _steady(self) -> Iterable[tuple[tuple[str, int, IPAddress], _Heard]]:
        return [(key, heard) for key, heard in self._heard.items() if heard.last - heard.first >= TOLD_AFTER]


def _text(addresses: frozenset[IPAddress]) -> str:
    shown = sorted(map(str, addresses))
    return ", ".join(shown[:_SHOWN]) + (f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else "")
