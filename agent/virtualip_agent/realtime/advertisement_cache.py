"""What was understood of the advertisements heard lately: a MASTER says the same bytes for hours."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from virtualip_agent.vrrp import events as ev

if TYPE_CHECKING:
    from virtualip_agent.realtime.router import Peer, RunningRouter

MOST_ENTRIES: Final = 1024
"""Room for 255 virtual routers and their peers' changes; a flood of ever new bytes costs a parse each, as it would."""


@dataclass(slots=True)
class Known:
    """A well-formed advertisement, for whom it is, and who said it."""

    router: "RunningRouter"
    peer: "Peer"
    event: ev.Heard


@dataclass(slots=True)
class AdvertisementCache:
    """By source, destination and payload as they came. Only what was parsed without fault is in it."""

    entries: dict[bytes, Known] = field(default_factory=dict)

    def put(self, said: bytes, known: Known) -> None:
        """Remembers one."""
        if len(self.entries) >= MOST_ENTRIES:
            self.entries.clear()
        self.entries[said] = known

    def clear(self) -> None:
        """Other routers run, or elsewhere."""
        self.entries.clear()
