"""Listens for VRRP that vrrp itself does not get to see; looks once a second, at no more than a bounded number."""

import logging
import socket
from collections.abc import Mapping
from contextlib import suppress

from virtualip_agent.control.witness.listen import Heed, Listener
from virtualip_agent.control.witness.post import IPAddress, Post
from virtualip_agent.control.witness.strangers import Strangers
from virtualip_agent.vrrp.packet import TTL

log = logging.getLogger(__name__)

_Place = tuple[str, int]
"""Interface and IP version."""


class Survey:
    """A listener for each interface and family that a virtual router of ours is on."""

    def __init__(self) -> None:
        self.strangers = Strangers()
        self._posts: Mapping[str, Post] = {}
        self._places: dict[_Place, Heed] = {}
        self._fine: dict[_Place, dict[int, frozenset[IPAddress]]] = {}
        """By VRID what anybody may advertise, where it is not known from where the members do."""
        self._listeners: dict[_Place, Listener] = {}
        self._refused = False

    def look(self, posts: Mapping[str, Post], now: float) -> None:
        """Takes in what was overheard. `now`: seconds of a monotonic clock."""
        if posts != self._posts:
            self._posts, self._places, self._fine = posts, _places(posts), _fine(posts)
        self._open()
        for place, listener in self._listeners.items():
            listener.heed(self._places[place])
            fine = self._fine[place]
            for message in listener.overheard():
                if message.ttl != TTL or fine.get(message.vrid) != message.addresses:
                    self.strangers.heard(listener.interface, message, now)
        self.strangers.forget(now)

    def _open(self) -> None:
        for place, listener in list(self._listeners.items()):
            if place not in self._places or _index(listener.interface) != listener.index:
                listener.close()
                del self._listeners[place]
        for place in self._places.keys() - self._listeners.keys():
            try:
                self._listeners[place] = Listener(*place)
            except PermissionError as error:
                if not self._refused:
                    log.warning("the segment cannot be watched: %s (NET_RAW)", error.strerror)
                self._refused = True
            except OSError:
                pass  # the interface is away: the next look tries again

    def close(self) -> None:
        """Listens no more."""
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()


def _places(posts: Mapping[str, Post]) -> dict[_Place, Heed]:
    here: dict[_Place, list[Post]] = {}
    for post in posts.values():
        here.setdefault((post.interface, post.version), []).append(post)
    return {
        place: Heed(
            frozenset(post.vrid for post in there),
            frozenset(address.packed for post in there for address in (*post.senders, post.source)),
        )
        for place, there in here.items()
    }


def _fine(posts: Mapping[str, Post]) -> dict[_Place, dict[int, frozenset[IPAddress]]]:
    fine: dict[_Place, dict[int, frozenset[IPAddress]]] = {}
    for post in posts.values():
        there = fine.setdefault((post.interface, post.version), {})
        if not post.senders:
            there[post.vrid] = post.addresses
    return fine


def _index(interface: str) -> int:
    with suppress(OSError):
        return socket.if_nametoindex(interface)
    return 0
