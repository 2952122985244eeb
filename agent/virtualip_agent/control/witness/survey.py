"""Listens for VRRP that vrrp itself does not get to see; looks once a second, at no more than a bounded number."""

import logging
import socket
from collections.abc import Iterable
from contextlib import suppress

from virtualip_agent.control.witness.listen import Listener
from virtualip_agent.control.witness.post import Post
from virtualip_agent.control.witness.strangers import Strangers

log = logging.getLogger(__name__)


class Survey:
    """A listener for each interface and family that a virtual router of ours is on."""

    def __init__(self) -> None:
        self.strangers = Strangers()
        self._listeners: dict[tuple[str, int], Listener] = {}

    def look(self, posts: Iterable[Post], now: float) -> None:
        """Takes in what was overheard. `now`: seconds of a monotonic clock."""
        places: dict[tuple[str, int], list[Post]] = {}
        for post in posts:
            places.setdefault((post.interface, post.version), []).append(post)
        self._open(places)
        for place, listener in self._listeners.items():
            here = places[place]
            known = {address for post in here for address in (*post.members, post.source)}
            listener.heed({post.vrid for post in here}, known)
            for message in listener.overheard():
                self.strangers.heard(listener.interface, message, now)
        self.strangers.forget(now)

    def _open(self, places: dict[tuple[str, int], list[Post]]) -> None:
        for place, listener in list(self._listeners.items()):
            if place not in places or _index(listener.interface) != listener.index:
                listener.close()
                del self._listeners[place]
        for place in places.keys() - self._listeners.keys():
            with suppress(OSError):  # the interface is away: the next look tries again
                self._listeners[place] = Listener(*place)

    def close(self) -> None:
        """Listens no more."""
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()


def _index(interface: str) -> int:
    with suppress(OSError):
        return socket.if_nametoindex(interface)
    return 0
