"""A virtual router of this node as the witness sees it: what is asked for, and who may answer. Pure."""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface
from typing import Final

from virtualip_agent.control.families import virtual_ip_of
from virtualip_agent.ipc import RouterConfig, RouterState
from virtualip_api.duration import SECOND

IPAddress = IPv4Address | IPv6Address

_ASKING: Final = 3


@dataclass(frozen=True, slots=True)
class Post:
    """Where one virtual router stands."""

    name: str
    vrid: int
    interface: str
    addresses: frozenset[IPAddress]
    source: IPAddress
    """Ours, on the interface."""
    members: frozenset[IPAddress]
    """The other members as planned; none where a static manifest knows none."""
    senders: frozenset[IPAddress]
    """Those from which they advertise, as far as that is known: to the group of IPv6 it is the link-local ones
    (RFC 9568, section 5.1.2.1), and the plan has the others."""
    is_master: bool
    master: IPAddress | None
    """Another's, as it is heard; None while nobody is."""
    lifetime: int
    """L, seconds: a kernel without an agent may answer for so long."""
    interval: float = 1.0
    """Seconds between two advertisements."""

    @property
    def virtual_ip(self) -> str:
        """The VirtualIP's name: it may have a router for each family, `NAME/...`."""
        return virtual_ip_of(self.name)

    @property
    def asks(self) -> bool:
        """Whether it is ours to ask: the segment hears every question, and of sixteen members not all need to. The
        MASTER does, as it may be one of two, and those with the lowest addresses."""
        return self.is_master or self.source in sorted({self.source, *self.members})[:_ASKING]

    @property
    def version(self) -> int:
        """4 or 6: the family."""
        return self.source.version


def post_of(config: RouterConfig, state: RouterState) -> Post | None:
    """None while it has no interface or no source address."""
    if not state.interface or not state.source:
        return None
    source = ip_address(state.source)
    members = frozenset(member for member in map(ip_address, config.members) if member.version == source.version)
    members -= {source}
    by_name = source.version == 4 or config.transport == "Unicast"
    return Post(
        name=config.name,
        vrid=config.vrid,
        interface=state.interface,
        addresses=frozenset(ip_interface(address).ip for address in config.addresses),
        source=source,
        members=members,
        senders=members if by_name else frozenset(member for member in members if member.is_link_local),
        is_master=state.state == "MASTER",
        master=ip_address(state.master) if state.master and state.master != state.source else None,
        lifetime=config.lifetime,
        interval=config.advert_interval / SECOND,
    )
