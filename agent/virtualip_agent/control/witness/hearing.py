"""Whether a member's advertisements arrive at vrrp, from its counters: asked only where it matters. Pure."""

from collections import deque
from collections.abc import Mapping
from typing import Final

from virtualip_agent.control.witness.post import IPAddress, Post

Counters = Mapping[str, Mapping[str, int]]
"""ipc.Statistics.routers."""

_RECEIVED_FROM: Final = "received_from_"
_INTERVALS: Final = 3
"""Without an advertisement for so long, none arrives."""
_MOST: Final = 32


class Hearing:
    """Compares vrrp's answers with older ones. Seconds of any monotonic clock."""

    def __init__(self) -> None:
        self._answers: deque[tuple[float, Counters]] = deque(maxlen=_MOST)

    def count(self, counters: Counters | None, now: float) -> None:
        """A newer answer; None: there was none."""
        if counters is None:
            self.forget()
        else:
            self._answers.append((now, counters))

    def forget(self) -> None:
        """Nothing is suspected any more."""
        self._answers.clear()

    def hears(self, post: Post, member: IPAddress) -> bool | None:
        """Whether more was received from it than before; None where that is not known yet."""
        answers = [(at, counters[post.name]) for at, counters in self._answers if post.name in counters]
        if len(answers) < 2:
            return None
        newest, now = answers[-1]
        long_ago = [one for one in answers if newest - one[0] >= _INTERVALS * post.interval]
        _, before = long_ago[-1] if long_ago else answers[0]
        known = f"{_RECEIVED_FROM}{member}" if member in post.senders or member == post.master else ""
        # where it is not known from where it advertises, whoever is heard may be it
        heard = [known] if known else [counter for counter in now if counter.startswith(_RECEIVED_FROM)]
        if any(now.get(counter, 0) > before.get(counter, 0) for counter in heard):
            return True
        return False if long_ago else None
