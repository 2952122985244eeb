"""Which virtual router hears what arrives on which interface, and what is dropped before one does."""

from virtualip_agent.realtime.advertisement_cache import Known
from virtualip_agent.realtime.ports import Audience, Ports
from virtualip_agent.realtime.process_statistics import ProcessStatistics
from virtualip_agent.realtime.router import RunningRouter
from virtualip_agent.realtime.vrrp_sockets import Packet, Receiver
from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.packet import TTL, Drop, parse


def _audience(routers: list[RunningRouter]) -> Audience:
    masters = {router.core.master: None for router in routers if router.core.master}
    everybody = {source: None for router in routers for source in router.acquaintances}
    return Audience({router.config.vrid for router in routers}, masters | everybody)


class Listeners:
    """By interface, family and VRID."""

    def __init__(self, ports: Ports, process: ProcessStatistics) -> None:
        self._ports = ports
        self._process = process
        self._at: dict[tuple[int, int, int], RunningRouter] = {}
        self._settled = True

    def unsettle(self) -> None:
        """Whom they must hear has changed."""
        self._settled = False

    def settle(self) -> None:
        """Has the kernel pass what those who listen must hear, and queue apart what known senders say to them. Once a
        wake-up: for each router of many on an interface it would take too long."""
        if self._settled:
            return
        self._settled = True
        there: dict[tuple[int, int], list[RunningRouter]] = {}
        for (index, family, _), router in self._at.items():
            there.setdefault((index, family), []).append(router)
            router.acquainted = router.core.master
        audiences = {place: _audience(routers) for place, routers in there.items()}
        self._ports.settle(audiences, {router.sender for router in self._at.values()})

    def holder(self, index: int, family: int, vrid: int) -> RunningRouter | None:
        """Who listens there."""
        return self._at.get((index, family, vrid))

    def add(self, index: int, router: RunningRouter) -> None:
        """Listens from now on."""
        self._at[index, router.family, router.config.vrid] = router
        self.unsettle()
        self._ports.forget_advertisements()

    def remove(self, router: RunningRouter) -> None:
        """Listens no more, wherever it did."""
        for place in [place for place, other in self._at.items() if other is router]:
            del self._at[place]
        self.unsettle()
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
