"""Advertisements that the kernel does not take (a packet filter, no route, no buffer): told when that begins, changes
and ends, and not each time.

A MASTER remains MASTER for all that and says it in its message. It is not FAULT, as whether it could speak again it
would only learn by speaking: it would come back by trial, each time with its addresses and a gratuitous ARP. And what
forbids VRRP on one node (a firewall that is rolled out) mostly does so on all: in FAULT together they would leave the
addresses to nobody, which is worse than the second MASTER that there is where only one is dumb.
"""

import logging
from dataclasses import dataclass
from typing import Final

from virtualip_agent.vrrp.timing import SECOND

log = logging.getLogger(__name__)

QUIET: Final = 10 * SECOND
"""After so long without a failure it is over: what fails now and then is one trouble, and not many."""


@dataclass(slots=True)
class _Trouble:
    reason: str
    last_at: int


class Unsent:
    """By router and destination; '' is the group. Times are those of the timers, nanoseconds."""

    def __init__(self) -> None:
        self.troubles: dict[str, dict[str, _Trouble]] = {}
        """By router and destination. While there are none, who sends need not say each success."""
        self._changed: set[str] = set()

    def failed(self, name: str, to: str, reason: str, now: int) -> None:
        """One could not be sent."""
        troubles = self.troubles.setdefault(name, {})
        known = troubles.get(to)
        if known is None or known.reason != reason:
            log.warning("%s: advertisements%s cannot be sent: %s", name, _to(to), reason)
            self._changed.add(name)
        troubles[to] = _Trouble(reason, now)

    def sent(self, name: str, to: str, now: int) -> None:
        """One was sent."""
        troubles = self.troubles.get(name, {})
        if to not in troubles or now - troubles[to].last_at < QUIET:
            return
        log.info("%s: advertisements%s are sent again", name, _to(to))
        del troubles[to]
        if not troubles:
            del self.troubles[name]
        self._changed.add(name)

    def forget(self, name: str) -> None:
        """The router is another now: what is known of it says nothing."""
        self.troubles.pop(name, None)

    def take_changed(self) -> set[str]:
        """The routers of which something else is to be told than before."""
        changed, self._changed = self._changed, set()
        return changed

    def message(self, name: str) -> str:
        """For people; '' where all is well."""
        peers: dict[str, list[str]] = {}
        for to, trouble in self.troubles.get(name, {}).items():
            peers.setdefault(trouble.reason, []).append(to)
        return "; ".join(f"advertisements{_to(', '.join(to))} cannot be sent: {reason}" for reason, to in peers.items())


def _to(peers: str) -> str:
    return f" to {peers}" if peers else ""
