"""The sockets that are open: a receiver for each interface and family, a sender for each source address."""

from collections.abc import Callable

from virtualip_agent.realtime.vrrp_sockets import Receiver, Sender, family_of
from virtualip_agent.rtnetlink import Link


class Ports:
    """Opens sockets as routers need them, and keeps the receivers' filters at the VRIDs in use."""

    def __init__(self, register: Callable[[Receiver], None], unregister: Callable[[Receiver], None]) -> None:
        self._register = register
        self._unregister = unregister
        self._receivers: dict[tuple[int, int], tuple[Receiver, set[int]]] = {}
        self._senders: dict[tuple[int, int, str, bytes], Sender] = {}

    def open(self, link: Link, source: bytes, vrid: int) -> Sender:
        """Listens to the VRID on this interface, and gives the sender for the source address. OSError as it comes."""
        family = family_of(source)
        known = self._receivers.get((link.index, family))
        if known is not None and known[0].incarnation != link.incarnation:
            # the kernel forgot its group and its binding with the interface that was
            self._unregister(known[0])
            known[0].close()
            known = None
        if known is None:
            receiver = Receiver(link.name, link.index, family, {vrid}, link.incarnation)
            self._receivers[link.index, family] = (receiver, {vrid})
            self._register(receiver)
        elif vrid not in known[1]:
            known[1].add(vrid)
            known[0].listen_to(known[1])
        key = (link.index, link.incarnation, link.name, source)
        if key not in self._senders:
            self._senders[key] = Sender(link.name, link.index, source)
        return self._senders[key]

    def close_unused(self, listening: set[tuple[int, int, int]], senders: set[Sender]) -> None:
        """Closes what no router needs: `listening` has interface index, family and VRID of those that are left."""
        for place, (receiver, vrids) in list(self._receivers.items()):
            needed = {vrid for index, family, vrid in listening if (index, family) == place}
            if not needed:
                self._unregister(receiver)
                receiver.close()
                del self._receivers[place]
            elif needed != vrids:
                receiver.listen_to(needed)
                self._receivers[place] = (receiver, needed)
        for key, sender in list(self._senders.items()):
            if sender not in senders:
                sender.close()
                del self._senders[key]

    def forget_advertisements(self) -> None:
        """Other routers listen from now on: what was understood for those before is understood anew."""
        for receiver, _ in self._receivers.values():
            receiver.cache.clear()

    @property
    def dropped(self) -> int:
        """Packets lost before they could be read, on the sockets that are open."""
        return sum(receiver.dropped for receiver, _ in self._receivers.values())

    def close(self) -> None:
        """Closes everything."""
        self.close_unused(set(), set())
