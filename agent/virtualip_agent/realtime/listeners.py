"""Which virtual router hears what arrives on which interface, and what is dropped before one does."""

from collections.abc import Iterable

from virtualip_agent.realtime.advertisement_cache import Known
from virtualip_agent.realtime.ports import Ports
from virtualip_agent.realtime.process_statistics import ProcessStatistics
from virtualip_agent.realtime.router import RunningRouter
from virtualip_agent.realtime.vrrp_sockets import Packet, Receiver
from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.packet import TTL, Drop, parse


class Listeners:
    """By interface, family and VRID."""

    def __init__(self, ports: Ports, process: ProcessStatistics) -> None:
        self._ports = ports
        self._process = process
        self._at: dict[tuple[int, int, int], RunningRouter] = {}

    @property
    def places(self) -> set[tuple[int, int, int]]:
        """Interface index, family and VRID, of each."""
        return set(self._at)

    def acquaint(self, routers: Iterable[RunningRouter]) -> None:
        """Has the kernel queue apart what those say whom these routers, and others in the same places, must hear."""
        for place in {(router.link.index, router.family) for router in routers if router.link is not None}:
            there = [router for (index, family, _), router in self._at.items() if (index, family) == place]
            masters = {router.core.master: None for router in there if router.core.master}
            everybody = {source: None for router in there for source in router.acquaintances}
            self._ports.acquaint(*place, masters | everybody)
            for router in there:
                router.acquainted = router.core.master

    def holder(self, index: int, family: int, vrid: int) -> RunningRouter | None:
        """Who listens there."""
        return self._at.get((index, family, vrid))

    def add(self, index: int, router: RunningRouter) -> None:
        """Listens from now on."""
        self._at[index, router.family, router.config.vrid] = router
        self._ports.forget_advertisements()

    def remove(self, router: RunningRouter) -> None:
        """Listens no more, wherever it did."""
        for place in [place for place, other in self._at.items() if other is router]:
            del self._at[place]
        self._ports.forget_advertisements()

    def understand(self, receiver: Receiver, packet: Packet) -> Known | None:
        """Parses what was not heard before; None where it was dropped and counted."""
        source, destination, payload = packet.dissect(receiver.family)
        if len(payload) < 2 or packet.ttl != TTL:
            self._process.count(Drop.TTL if packet.ttl != TTL else Drop.LENGTH)
            return None
        router = self._at.get((receiver.index, receiver.family, payload[1]))
        if router is None:
            self._process.count(Drop.VRID)
            return None
        if destination != router.listens_at:
            router.count(Drop.DESTINATION)
            return None
        advertisement = parse(payload, source, destination)
        if isinstance(advertisement, Drop):
            router.count(advertisement)
            return None
        peer = router.peer(source, bare_checksum=advertisement.bare_checksum)
        known = Known(router, peer, ev.Heard(advertisement, source))
        receiver.cache.put(packet.said, known)
        return known
