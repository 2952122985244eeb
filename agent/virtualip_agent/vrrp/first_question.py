"""Before the first take-over of a router that has heard no MASTER: does somebody answer for its addresses?

A plan that is kept over a power cut may be of yesterday: its VirtualIP deleted, the address given to another machine,
which speaks no VRRP. Whoever answers for the address now is left alone, also a member whose advertisements do not
arrive here. Once a MASTER was heard, or nobody has answered, this is over: no fail-over ever waits for it.

And it is over after a minute: by then a reporter that reaches the API has withdrawn the plan of yesterday, and what
still answers may be a router that does so for every address (proxy ARP within the subnet), which must not keep a VIP
away for ever. The witness goes on telling of it.
"""

from typing import Final

from virtualip_agent.vrrp.settings import Settings
from virtualip_agent.vrrp.timing import SECOND

RESPECT: Final = 60 * SECOND
"""For how long after the first question somebody else's answer keeps us away."""


class FirstQuestion:
    """Asked when a take-over is due; that waits for the answer, but no longer than `settings.ask_patience`."""

    def __init__(self) -> None:
        self._asked_at: int | None = None
        self._first_asked_at: int | None = None
        self._settled = False

    def pending(self, settings: Settings) -> bool:
        """Whether the answer matters."""
        return settings.ask_patience > 0 and not self._settled

    def due(self, settings: Settings) -> bool:
        """Whether it has still to be asked before a take-over."""
        return self.pending(settings) and self._asked_at is None

    @property
    def open(self) -> bool:
        """Asked, and neither settled nor overtaken by a MASTER that was heard."""
        return self._asked_at is not None and not self._settled

    def ask(self, now: int) -> None:
        """It is asked now."""
        self._asked_at = now
        if self._first_asked_at is None:
            self._first_asked_at = now

    def respects(self, now: int) -> bool:
        """Whether somebody who answers keeps us away (still)."""
        return self._first_asked_at is not None and now < self._first_asked_at + RESPECT

    def begin(self) -> None:
        """BACKUP is entered: what is not settled is asked anew before the next take-over."""
        self._asked_at = None

    def settle(self) -> None:
        """A MASTER was heard, or nobody answered."""
        self._settled = True

    def take_over_at(self, silent_at: int, settings: Settings, *, owner: bool) -> int:
        """When a BACKUP takes over that would at `silent_at`; the address owner waits for nothing but the answer."""
        if not self.pending(settings) or self._asked_at is None:
            return silent_at
        answered_by = self._asked_at + settings.ask_patience
        return answered_by if owner else max(silent_at, answered_by)
