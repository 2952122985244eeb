"""What is known of the node's interfaces and addresses, and which interface and source a virtual router uses."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from virtualip_agent.rtnetlink import TAG, Address, Link


@dataclass(slots=True)
class Interfaces:
    """The kernel's tables as last heard. Pure: whoever reads netlink keeps it true."""

    links: dict[int, Link] = field(default_factory=dict)
    addresses: dict[tuple[int, bytes], Address] = field(default_factory=dict)
    """By interface index and address; the order is the kernel's, so an interface's first is its primary."""
    ours: set[tuple[int, bytes]] = field(default_factory=set)
    """Those we added, for kernels that keep no tag."""

    def is_ours(self, address: Address) -> bool:
        """Whether this agent, or one before it, put the address there."""
        return address.tag == TAG or (address.index, address.ip) in self.ours

    def on_interface(self, index: int) -> list[Address]:
        """The addresses of one interface, primary first."""
        return [address for (at, _), address in self.addresses.items() if at == index]

    def holders(self, ip: bytes) -> list[Address]:
        """Wherever the IP is on this node, whatever its prefix."""
        return [address for (_, other), address in self.addresses.items() if other == ip]

    def find(self, name: str | None, addresses: Collection[IPv4Interface]) -> tuple[Link | None, str]:
        """The interface by its name, or the one whose subnet holds the first address; and why there is none."""
        if name is not None:
            link = next((link for link in self.links.values() if link.name == name), None)
            return link, "" if link else f"there is no interface {name}; there are {', '.join(self._names())}"
        wanted = {address.ip for address in addresses}
        first = next(iter(addresses)).ip
        for address in self.addresses.values():
            link = self.links.get(address.index)
            if link is None or self.is_ours(address) or IPv4Address(address.ip) in wanted:
                continue
            if address.prefix_length < 32 and first in _network(address):
                return link, ""
        return None, f"no interface has a subnet with {first} in it; there are {', '.join(self._with_addresses())}"

    def source(self, index: int, addresses: Iterable[IPv4Interface]) -> bytes | None:
        """Our address on the interface: one whose subnet holds the first VIP, else the first that is not a VIP."""
        vips = [address.ip for address in addresses]
        own = [
            address
            for address in self.on_interface(index)
            if not self.is_ours(address) and IPv4Address(address.ip) not in vips
        ]
        for address in own:
            if vips[0] in _network(address):
                return address.ip
        return own[0].ip if own else None

    def subnet_has_primary(self, index: int, address: IPv4Interface) -> bool:
        """Whether a node's own address would be the primary of this one's subnet: only then is it safe to add it with
        its prefix, as the expiry of a primary takes its secondaries along (promote_secondaries off)."""
        return any(
            not self.is_ours(other) and _network(other) == address.network
            for other in self.on_interface(index)
            if IPv4Address(other.ip) != address.ip
        )

    def _names(self) -> list[str]:
        return sorted(link.name for link in self.links.values())

    def _with_addresses(self) -> list[str]:
        return [
            f"{link.name} {IPv4Address(address.ip)}/{address.prefix_length}"
            for address in self.addresses.values()
            if (link := self.links.get(address.index)) is not None and not self.is_ours(address)
        ]


def _network(address: Address) -> IPv4Network:
    return IPv4Network((address.ip, address.prefix_length), strict=False)
