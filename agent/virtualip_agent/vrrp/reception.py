"""What happens to an advertisement before the state machine sees it: judged, counted, its differences remembered."""

from typing import Final

from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.acceptance import judge
from virtualip_agent.vrrp.packet import Drop
from virtualip_agent.vrrp.settings import Settings

_INTERVALS: Final = 3
_MOST_REMEMBERED: Final = 64
_MOST_FOREIGN: Final = 8
"""A flood of made-up sources is counted, and told of the first."""


class Reception:
    """Counters, and which members do not agree with our settings for as long as they go on saying so."""

    def __init__(self) -> None:
        self.drops: dict[str, int] = {}
        self.mismatches: dict[bytes, str] = {}
        """Member's source address -> what differs, for a person to read. Replaced when it changes, never altered."""
        self.flawless = False
        """Whether the last one that was judged agreed with our settings in everything, and so does every member."""
        self.foreign: dict[bytes, str] = {}
        """Source address that should not say anything here -> why, for as long as it does. Replaced when it changes."""
        self._until: dict[bytes, int] = {}

    def accepts(self, event: ev.Heard, own_source: bytes, settings: Settings, now: int) -> bool:
        """Whether the advertisement counts."""
        self.flawless = False
        if event.source == own_source:
            self._count(Drop.OWN_ADDRESS)
            self._alarm(event, "is our own address", settings, now)
            return False
        drop, mismatch = judge(event.advertisement, event.source, settings)
        if mismatch:
            self._count("mismatch")
        if drop is None and event.source in settings.members:
            self._until[event.source] = now + _INTERVALS * max(event.advertisement.interval, settings.advert_interval)
            if self.mismatches.get(event.source, "") != mismatch:
                others = {source: text for source, text in self.mismatches.items() if source != event.source}
                self.mismatches = others | ({event.source: mismatch} if mismatch else {})
        if drop is not None:
            self._count(drop)
        if drop is Drop.UNKNOWN_SENDER:
            self._alarm(event, f"is no member (priority {event.advertisement.priority})", settings, now)
        self.flawless = drop is None and not mismatch and not self.mismatches and not self.foreign
        return drop is None

    def _alarm(self, event: ev.Heard, what: str, settings: Settings, now: int) -> None:
        if event.source not in self.foreign and len(self.foreign) >= _MOST_FOREIGN:
            return
        self._until[event.source] = now + _INTERVALS * max(event.advertisement.interval, settings.advert_interval)
        if self.foreign.get(event.source) != what:
            self.foreign = self.foreign | {event.source: what}

    def forget(self, settings: Settings, now: int) -> None:
        """A member that is silent has perhaps been put right since; and who is no member is nobody's mismatch."""
        if self.foreign:
            heard = {source: what for source, what in self.foreign.items() if now <= self._until[source]}
            if len(heard) != len(self.foreign):
                self.foreign = heard
        if self.mismatches:
            kept = {
                source: text
                for source, text in self.mismatches.items()
                if source in settings.members and now <= self._until[source]
            }
            if len(kept) != len(self.mismatches):
                self.mismatches = kept
        if len(self._until) > _MOST_REMEMBERED:
            told = self.foreign.keys() | self.mismatches.keys()
            self._until = {source: until for source, until in self._until.items() if source in told}

    def _count(self, name: str) -> None:
        self.drops[name] = self.drops.get(name, 0) + 1
