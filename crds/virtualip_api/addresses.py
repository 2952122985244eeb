"""The addresses of a VirtualIP, and those from which its nodes advertise."""

import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address, ip_interface

from virtualip_api.fields import Fields

MOST_ADDRESSES = 255
"""Of a family: an advertisement counts them in 8 bits (RFC 3768, section 5.3.5; RFC 9568, section 5.2.5)."""
MOST_NODE_ADDRESSES = 16

Ip = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface

_LIMITED_BROADCAST = IPv4Address("255.255.255.255")
_WITH_PREFIX = re.compile(r"[0-9a-fA-F.:]+/[0-9]{1,3}")
"""ip_interface also takes an address alone and a netmask; the API server's isCIDR does not."""


class Family(StrEnum):
    """Addresses of the two are two virtual routers, also with the same VRID."""

    IPV4 = "IPv4"
    IPV6 = "IPv6"


def family_of(ip: Ip | Interface) -> Family:
    """An address's."""
    return Family.IPV4 if ip.version == 4 else Family.IPV6


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """Where a node advertises from, one address a family: what the others know it by."""

    node_name: str
    addresses: tuple[Ip, ...]


def parse_addresses(fields: Fields) -> tuple[Interface, ...]:
    """`addresses` of a spec."""
    found: dict[Ip, Interface] = {}
    for path, element in fields.items("addresses", 2 * MOST_ADDRESSES, required=True):
        name = path.removeprefix(f"{fields.path}.")
        try:
            well_formed = isinstance(element, str) and _WITH_PREFIX.fullmatch(element)
            address = ip_interface(str(element)) if well_formed else None
        except ValueError:
            address = None
        if address is None:
            fields.error(name, f"{element!r} is not an address with a prefix length, such as 192.0.2.10/32")
        elif not _is_unicast(address.ip):
            fields.error(name, f"{element!r} is not a unicast address")
        elif address.ip in found:
            fields.error(name, f"{address.ip} is there twice")
        elif _is_the_networks(address):
            fields.error(name, f"{element!r} is the network's own or its broadcast address")
        else:
            found[address.ip] = address
    for family in Family:
        count = sum(family_of(address) is family for address in found)
        if count > MOST_ADDRESSES:
            fields.error("addresses", f"has {count} of {family}; {MOST_ADDRESSES} are allowed")
    return tuple(found.values())


def _is_unicast(ip: Ip) -> bool:
    if isinstance(ip, IPv6Address):
        return not (ip.is_multicast or ip.is_loopback or ip.is_unspecified or ip.ipv4_mapped)
    return not (ip.is_multicast or ip.is_loopback or ip.packed[0] == 0 or ip == _LIMITED_BROADCAST)


def _is_the_networks(address: Interface) -> bool:
    """IPv4: its own or its broadcast address; IPv6: the subnet-router anycast address (RFC 4291, section 2.6.1)."""
    network = address.network
    if network.prefixlen > network.max_prefixlen - 2:
        return False
    return address.ip == network.network_address or (address.version == 4 and address.ip == network.broadcast_address)


def parse_node_addresses(spec: Fields) -> tuple[NodeAddress, ...]:
    """`nodeAddresses` of a spec."""
    found: list[NodeAddress] = []
    for fields in spec.children("nodeAddresses", MOST_NODE_ADDRESSES):
        entry = NodeAddress(fields.text("nodeName"), _addresses_of_a_node(fields))
        if any(other.node_name == entry.node_name for other in found):
            fields.error("nodeName", f"{entry.node_name!r} is there twice")
        taken = {address for other in found for address in other.addresses}
        for address in entry.addresses:
            if address in taken:
                fields.error("addresses", f"{address} is another node's too")
        fields.finish()
        found.append(entry)
    return tuple(found)


def _addresses_of_a_node(fields: Fields) -> tuple[Ip, ...]:
    found: list[Ip] = []
    for index, text in enumerate(fields.texts("addresses", 2, required=True)):
        try:
            address = ip_address(text)
        except ValueError:
            fields.error(f"addresses[{index}]", f"{text!r} is not an IP address")
            continue
        if not _is_unicast(address) or "%" in text:
            fields.error(f"addresses[{index}]", f"{text!r} is not a unicast address without a zone")
        elif any(other.version == address.version for other in found):
            fields.error("addresses", f"has two of {family_of(address)}; a node advertises from one")
        else:
            found.append(address)
    return tuple(found)
