"""Whether a member's advertisements arrive at vrrp, from its counters: asked only where it matters. Pure."""

from collections.abc import Mapping
from typing import Final

from virtualip_agent.control.witness.post import IPAddress, Post

Counters = Mapping[str, Mapping[str, int]]
"""ipc.Statistics.routers."""

_RECEIVED_FROM: Final = "received_from_"


class Hearing:
    """Compares two answers of vrrp."""

    def __init__(self) -> None:
        self._before: Counters | None = None
        self._now: Counters | None = None

    def count(self, counters: Counters | None) -> None:
        """A newer answer; None: there was none."""
        self._before, self._now = self._now, counters

    def forget(self) -> None:
        """Nothing is suspected any more."""
        self._before = self._now = None

    def hears(self, post: Post, member: IPAddress) -> bool | None:
        """Whether more was received from it than before; None where that is not known yet."""
        if self._before is None or self._now is None:
            return None
        before, now = (counters.get(post.name, {}) for counters in (self._before, self._now))
        known = f"{_RECEIVED_FROM}{member}" if member in post.senders or member == post.master else ""
        # where it is not known from where it advertises, whoever is heard may be it
        heard = [known] if known else [counter for counter in now if counter.startswith(_RECEIVED_FROM)]
        return any(now.get(counter, 0) > before.get(counter, 0) for counter in heard)
