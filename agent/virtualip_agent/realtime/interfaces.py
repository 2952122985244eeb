"""What is known of the node's interfaces and addresses, and which interface and source a virtual router uses."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_address, ip_network
from typing import TypeVar

from virtualip_agent.rtnetlink import TAG, Address, Link

Key = tuple[int, bytes, int]
"""Interface index, packed address, prefix length: the kernel has the same IP twice where the prefixes differ."""
_MOST_TOLD = 8
"""Interfaces in a message, which is cut at 256 characters in the resource's status."""
_Where = TypeVar("_Where", bytes, int)
Vip = IPv4Interface | IPv6Interface
"""An address of a virtual router with the prefix that the user wrote."""


def key_of(address: Address) -> Key:
    """Where the address stands in the tables."""
    return address.index, address.ip, address.prefix_length


def is_link_local(ip: bytes) -> bool:
    """Whether it is an IPv6 address of fe80::/10 (RFC 4291, section 2.5.6): a different one on each interface."""
    return len(ip) == 16 and ip[0] == 0xFE and ip[1] & 0xC0 == 0x80


@dataclass(slots=True)
class Interfaces:
    """The kernel's tables as last heard. Pure: whoever reads netlink keeps it true."""

    links: dict[int, Link] = field(default_factory=dict)
    addresses: dict[Key, Address] = field(default_factory=dict)
    """The order is the kernel's, so an interface's first is its primary."""
    ours: set[Key] = field(default_factory=set)
    """Those we added, for kernels that keep no tag."""
    forwarding: set[int] = field(default_factory=set)
    """Indices of those that forward IPv6: `net.ipv6.conf.*.forwarding`."""
    _by_ip: dict[bytes, dict[Key, Address]] = field(default_factory=dict)
    _by_index: dict[int, dict[Key, Address]] = field(default_factory=dict)
    _subnets: dict[Key, Address] = field(default_factory=dict)
    """Those whose prefix holds more than themselves, in the kernel's order: not the Services' on kube-ipvs0."""

    def put(self, address: Address) -> bool:
        """An address is there; whether that is news."""
        key = key_of(address)
        known = self.addresses.get(key)
        self.addresses[key] = address
        self._by_ip.setdefault(address.ip, {})[key] = address
        self._by_index.setdefault(address.index, {})[key] = address
        if address.prefix_length < 8 * len(address.ip):
            self._subnets[key] = address
        return known != address

    def drop(self, address: Address) -> bool:
        """It is there no more; whether that is news."""
        key = key_of(address)
        self.ours.discard(key)
        if self.addresses.pop(key, None) is None:
            return False
        self._subnets.pop(key, None)
        _drop_from(self._by_ip, address.ip, key)
        _drop_from(self._by_index, address.index, key)
        return True

    def is_ours(self, address: Address) -> bool:
        """Whether this agent, or one before it, put the address there."""
        return address.tag == TAG or key_of(address) in self.ours

    def ours_on(self, index: int, ip: bytes) -> Address | None:
        """Our own address with this IP on an interface, whatever its prefix; somebody else's may be beside it."""
        for found in self.holders(ip):
            if found.index == index and self.is_ours(found):
                return found
        return None

    def on_interface(self, index: int) -> list[Address]:
        """The addresses of one interface, primary first."""
        return list(self._by_index.get(index, {}).values())

    def holders(self, ip: bytes) -> list[Address]:
        """Wherever the IP is on this node, whatever its prefix."""
        return list(self._by_ip.get(ip, {}).values())

    def find(self, name: str | None, vips: Collection[Vip]) -> tuple[Link | None, str]:
        """The interface by its name, or one whose subnet holds the first address; and why there is none.

        Of several that with the longest prefix, as the kernel's routes have it; then one that can be used; then the
        first that there was. Never by the order of addresses, which each one that is put on anew changes."""
        if name is not None:
            link = next((link for link in self.links.values() if link.name == name), None)
            if link is not None:
                return link, ""
            there = self._told(len(next(iter(vips)).packed), [link.name for link in self.links.values()])
            return None, f"there is no interface {name}; there are {there}"
        wanted = {address.ip.packed for address in vips}
        # every interface has fe80::/64
        first = next((address.ip for address in vips if not is_link_local(address.ip.packed)), None)
        if first is None:
            return None, f"{next(iter(vips)).ip} is link-local: the interface must be named"
        found = [
            ((address.prefix_length, link.usable, -link.index), link)
            for address in self._subnets.values()
            if (link := self.links.get(address.index)) is not None
            and not self.is_ours(address)
            and address.ip not in wanted
            and first in _network(address.ip, address.prefix_length)
        ]
        if found:
            return max(found, key=lambda one: one[0])[1], ""
        return None, f"no interface has a subnet with {first} in it; there are {self._told(len(first.packed))}"

    def have_subnet(self, indices: Collection[int]) -> bool:
        """Whether one of these interfaces may be that of a router without a name for it: no pod's veth is."""
        return any(
            key_of(address) in self._subnets and not is_link_local(address.ip)
            for index in indices
            for address in self.on_interface(index)
        )

    def source(
        self, index: int, vips: Sequence[Vip], peers: Collection[bytes] = (), among: Collection[bytes] | None = None
    ) -> bytes | None:
        """Our address on the interface to advertise from, never a VIP; where `among` says so, one of these only.

        To peers (unicast): one whose subnet holds one of them. To the group of IPv6: the link-local one (RFC 9568,
        section 5.1.2.1). Else one whose subnet holds the first VIP, or the first there is.
        """
        own = self._own(index, vips, usable=True)
        if among is not None:
            own = [address for address in own if address.ip in among]
        if not peers and vips[0].version == 6:
            # the kernel's order differs from boot to boot
            return min((address.ip for address in own if is_link_local(address.ip)), default=None)
        if peers:
            scope = is_link_local(min(peers))
            own = [address for address in own if is_link_local(address.ip) == scope]
        near = [ip_address(peer) for peer in sorted(peers)] or [vips[0].ip]
        for address in own:
            network = _network(address.ip, address.prefix_length)
            if any(ip in network for ip in near):
                return address.ip
        return own[0].ip if own else None

    def unusable_source(self, index: int, vips: Sequence[Vip]) -> str:
        """Why there is no link-local address to send from yet; empty for IPv4, or where nothing is known."""
        for address in self._own(index, vips, usable=False):
            if is_link_local(address.ip):
                return f"{ip_address(address.ip)} is {address.unusable}"
        return "it has none yet, or IPv6 is disabled on it" if vips[0].version == 6 else ""

    def _own(self, index: int, vips: Sequence[Vip], *, usable: bool) -> list[Address]:
        wanted = {address.ip.packed for address in vips}
        size = len(vips[0].ip.packed)
        return [
            address
            for address in self.on_interface(index)
            if len(address.ip) == size
            and not self.is_ours(address)
            and address.ip not in wanted
            and (not address.unusable) == usable
        ]

    def subnet_has_primary(self, index: int, address: IPv4Interface) -> bool:
        """Whether a node's own address would be the primary of this one's subnet: only then is it safe to add it with
        its prefix, as the expiry of a primary takes its secondaries along (promote_secondaries off)."""
        return any(
            not self.is_ours(other) and _network(other.ip, other.prefix_length) == address.network
            for other in self.on_interface(index)
            if other.ip != address.ip.packed
        )

    def usurpers(self, index: int) -> list[Address]:
        """IPv4 addresses of ours that come before the node's own one of their subnet, as that was taken off and put on
        again (promote_secondaries): one is the primary by now, and the node speaks from it."""
        before: dict[IPv4Network | IPv6Network, list[Address]] = {}
        found: list[Address] = []
        for address in self.on_interface(index):
            if len(address.ip) == 4 and address.prefix_length < 32:
                ours = before.setdefault(_network(address.ip, address.prefix_length), [])
                if self.is_ours(address):
                    ours.append(address)
                else:
                    found += ours
                    ours.clear()
        return found

    def _told(self, size: int, names: Collection[str] = ()) -> str:
        """For a person: interfaces with their subnets of a family, then those of `names` that have none. Not each pod's
        veth, nor each Service's address on kube-ipvs0."""
        subnets = [
            (self.links[address.index].name, f"{ip_address(address.ip)}/{address.prefix_length}")
            for address in self._subnets.values()
            if address.index in self.links
            and len(address.ip) == size
            and not is_link_local(address.ip)
            and not ip_address(address.ip).is_loopback
            and not self.is_ours(address)
        ]
        told = [f"{name} {subnet}" for name, subnet in subnets]
        told += sorted(set(names) - {name for name, _ in subnets})
        more = [f"{len(told) - _MOST_TOLD} more"] if len(told) > _MOST_TOLD else []
        return ", ".join(told[:_MOST_TOLD] + more) or "no subnets of its family"


def _drop_from(table: dict[_Where, dict[Key, Address]], place: _Where, key: Key) -> None:
    there = table[place]
    del there[key]
    if not there:
        del table[place]


@lru_cache(4096)
def _network(ip: bytes, prefix_length: int) -> IPv4Network | IPv6Network:
    return ip_network((ip, prefix_length), strict=False)
