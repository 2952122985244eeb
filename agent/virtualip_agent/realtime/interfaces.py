"""What is known of the node's interfaces and addresses, and which interface and source a virtual router uses."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from virtualip_agent.rtnetlink import TAG, Address, Link

Key = tuple[int, bytes, int]
"""Interface index, packed address, prefix length: the kernel has the same IP twice where the prefixes differ."""


def key_of(address: Address) -> Key:
    """Where the address stands in the tables."""
    return address.index, address.ip, address.prefix_length


@dataclass(slots=True)
class Interfaces:
    """The kernel's tables as last heard. Pure: whoever reads netlink keeps it true."""

    links: dict[int, Link] = field(default_factory=dict)
    addresses: dict[Key, Address] = field(default_factory=dict)
    """The order is the kernel's, so an interface's first is its primary."""
    ours: set[Key] = field(default_factory=set)
    """Those we added, for kernels that keep no tag."""
    _by_ip: dict[bytes, dict[Key, Address]] = field(default_factory=dict)

    def put(self, address: Address) -> bool:
        """An address is there; whether that is news."""
        key = key_of(address)
        known = self.addresses.get(key)
        self.addresses[key] = address
        self._by_ip.setdefault(address.ip, {})[key] = address
        return known != address

    def drop(self, address: Address) -> bool:
        """It is there no more; whether that is news."""
        key = key_of(address)
        self.ours.discard(key)
        if self.addresses.pop(key, None) is None:
            return False
        same = self._by_ip[address.ip]
        del same[key]
        if not same:
            del self._by_ip[address.ip]
        return True

    def is_ours(self, address: Address) -> bool:
        """Whether this agent, or one before it, put the address there."""
        return address.tag == TAG or key_of(address) in self.ours

    def ours_on(self, index: int, ip: bytes) -> Address | None:
        """Our own address with this IP on an interface, whatever its prefix; somebody else's may be beside it."""
        return next((found for found in self.holders(ip) if found.index == index and self.is_ours(found)), None)

    def on_interface(self, index: int) -> list[Address]:
        """The addresses of one interface, primary first."""
        return [address for address in self.addresses.values() if address.index == index]

    def holders(self, ip: bytes) -> list[Address]:
        """Wherever the IP is on this node, whatever its prefix."""
        return list(self._by_ip.get(ip, {}).values())

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
