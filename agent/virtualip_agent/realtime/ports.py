"""The sockets that are open: two receivers for each interface and family, a sender for each source address.

Of the two receivers one has the packets of known sources (the planned members, and whoever is heard as MASTER), the
other those of everybody else: a neighbour who sends more than can be read fills the queue of the others, and the
MASTER's advertisements go on being heard. Without that, 300,000 packets a second made a BACKUP take over falsely.

A socket that is to hear one VRID more hears all of them until `settle` says which: the link of 250 virtual routers that
is back costs one change of its filters then, and not 250, which took a quarter of a second.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Final, NamedTuple

from virtualip_agent.realtime.packet_filter import Sources
from virtualip_agent.realtime.vrrp_sockets import Receiver, Sender, family_of
from virtualip_agent.rtnetlink import Link

log = logging.getLogger(__name__)

_MOST_KNOWN: Final = 128
"""Source addresses that a filter has; of more (16 members of very many VirtualIPs) the rest are with the others."""


@dataclass(slots=True)
class _Pair:
    known: Receiver
    others: Receiver
    vrids: set[int] | None = None
    """Those that pass; None: all."""
    sources: frozenset[bytes] = field(default_factory=frozenset)
    crowded: bool = False
    """It was said that a filter did not fit."""

    @property
    def both(self) -> tuple[Receiver, Receiver]:
        return self.known, self.others

    def listen(self, vrids: set[int] | None, sources: frozenset[bytes]) -> None:
        """What is new or gone is for a moment in both queues, never in none."""
        if vrids == self.vrids and sources == self.sources:
            return
        before, self.vrids = self.sources, set()  # if only some of it is done, all is done anew the next time
        self.others.listen_to(vrids, Sources(before & sources))
        self.known.listen_to(vrids, Sources(sources, wanted=True))
        self.others.listen_to(vrids, Sources(sources))
        self.vrids, self.sources = vrids, sources


def _sort(pair: _Pair, vrids: set[int], sources: frozenset[bytes]) -> None:
    """Where the kernel has no room for the filters (net.core.optmem_max, 20 KiB before Linux 6.7) they stay as they
    are: those of before miss nobody."""
    try:
        pair.listen(vrids, sources)
    except OSError as error:
        if not pair.crowded:
            log.warning("interface %d: filters stay as they are: %s", pair.known.index, error.strerror)
        pair.crowded = True


def _hear(pair: _Pair, vrid: int) -> None:
    """It must be heard: where there is no room for that beside all the sources, nobody has a queue of its own. OSError
    where that is not enough either."""
    if pair.vrids is None or vrid in pair.vrids:
        return
    try:
        pair.listen(None, pair.sources)
    except OSError as error:
        if pair.sources:
            log.warning("interface %d: known senders share the queue of all: %s", pair.known.index, error.strerror)
        pair.listen(None, frozenset())
        pair.crowded = True


class Audience(NamedTuple):
    """Who listens on an interface, of one family."""

    vrids: set[int]
    acquaintances: Collection[bytes]
    """Packed addresses of those whom they must hear: the first of these have a queue of their own."""


class Ports:
    """Opens sockets as routers need them; `settle` closes them, and sets the filters to the VRIDs in use."""

    def __init__(self, register: Callable[[Receiver], None], unregister: Callable[[Receiver], None]) -> None:
        self._register = register
        self._unregister = unregister
        self._receivers: dict[tuple[int, int], _Pair] = {}
        self._senders: dict[tuple[int, int, str, bytes], Sender] = {}

    def open(self, link: Link, source: bytes, vrid: int) -> Sender:
        """Listens to the VRID on this interface, and gives the sender for the source address. OSError as it comes, and
        then nothing listens that did not before."""
        key = (link.index, link.incarnation, link.name, source)
        if key not in self._senders:
            self._senders[key] = Sender(link.name, link.index, source)
        family = family_of(source)
        known = self._receivers.get((link.index, family))
        if known is not None and known.others.incarnation != link.incarnation:
            # the kernel forgot its group and its binding with the interface that was
            self._close(known)
            del self._receivers[link.index, family]
            known = None
        if known is None:
            self._receivers[link.index, family] = self._receive(link, family)
        else:
            _hear(known, vrid)
        return self._senders[key]

    def _receive(self, link: Link, family: int) -> _Pair:
        nobody = Sources(wanted=True)
        known = Receiver(link.name, link.index, family, None, nobody, link.incarnation)
        try:
            others = Receiver(link.name, link.index, family, None, incarnation=link.incarnation)
        except BaseException:
            known.close()
            raise
        pair = _Pair(known, others)
        for receiver in pair.both:
            self._register(receiver)
        return pair

    def _close(self, pair: _Pair) -> None:
        for receiver in pair.both:
            self._unregister(receiver)
            receiver.close()

    def settle(self, audiences: Mapping[tuple[int, int], Audience], senders: Collection[Sender | None]) -> None:
        """Has the kernel pass what the audience of each interface index and family must hear, and nothing else; closes
        what nobody needs."""
        for place, pair in list(self._receivers.items()):
            if (audience := audiences.get(place)) is not None:
                _sort(pair, audience.vrids, frozenset(islice(audience.acquaintances, _MOST_KNOWN)))
            else:
                self._close(pair)
                del self._receivers[place]
        for key, sender in list(self._senders.items()):
            if sender not in senders:
                sender.close()
                del self._senders[key]

    def receivers(self, indices: Collection[int]) -> Iterator[Receiver]:
        """Those of these interfaces; the ones for known sources first."""
        pairs = [pair for (index, _), pair in self._receivers.items() if index in indices]
        return chain((pair.known for pair in pairs), (pair.others for pair in pairs))

    def forget_advertisements(self) -> None:
        """Other routers listen from now on: what was understood for those before is understood anew."""
        for pair in self._receivers.values():
            for receiver in pair.both:
                receiver.cache.clear()

    @property
    def lost(self) -> dict[str, int]:
        """Packets for which there was no room before they could be read, on the sockets that are open; and of these
        those of known sources."""
        return {
            "lost_in_socket": sum(receiver.dropped for pair in self._receivers.values() for receiver in pair.both),
            "lost_of_known": sum(pair.known.dropped for pair in self._receivers.values()),
        }

    def close(self) -> None:
        """Closes everything."""
        self.settle({}, ())
