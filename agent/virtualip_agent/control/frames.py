"""The bytes that vrrp sends, built by scapy once per change. vrrp stamps what only it knows: priority, checksum, MAC.

scapy (GPL-2.0-only, half a second to import) is imported here and, to read packets out, in capture.py: nowhere else.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

from scapy.layers.inet import IP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.layers.vrrp import VRRP, VRRPv3

from virtualip_agent.control.instance import Instance
from virtualip_api.addresses import Interface, Ip
from virtualip_api.duration import MILLISECOND, SECOND
from virtualip_api.virtual_ip import LONGEST_PASSWORD

MOST_ADVERTISED_OF_IPV6 = 90
"""1,500 bytes without the IPv6 header and the first 8. Where fragments were dropped nobody would hear of a MASTER; that
somebody holds the addresses is what an advertisement says, and the list may but be compared (RFC 9568, section 7.1).
keepalived too leaves out what does not fit."""
_CENTISECOND = 10 * MILLISECOND
_SIMPLE_TEXT_PASSWORD = 1  # RFC 2338, section 5.3.6
_NO_AUTHENTICATION = 0
_NOBODY = "00:00:00:00:00:00"
_BROADCAST = "ff:ff:ff:ff:ff:ff"
_ALL_NODES = "ff02::1"
_ALL_NODES_HARDWARE = "33:33:00:00:00:01"  # RFC 2464, section 7


def advertised(addresses: Sequence[Interface]) -> tuple[Ip, ...]:
    """What an advertisement of addresses of one family names: of IPv6 as many as fit into a packet."""
    # RFC 9568, section 5.2.9: the link-local address, where there is one, is the first (and sorting is stable)
    ordered = sorted((address.ip for address in addresses), key=lambda ip: ip.version == 4 or not ip.is_link_local)
    return tuple(ordered if ordered[0].version == 4 else ordered[:MOST_ADVERTISED_OF_IPV6])


def advertisement_payload(instance: Instance) -> bytes:
    """The VRRP payload (what follows the IP header) with priority and checksum zero."""
    spec = instance.spec
    addresses = [str(ip) for ip in advertised(spec.addresses)]
    if spec.version == 2:
        # The 8 authentication bytes are there whether used or not (RFC 3768, section 5.1).
        password = instance.password.ljust(LONGEST_PASSWORD, b"\0")
        return bytes(
            VRRP(
                version=2,
                type=1,
                vrid=spec.vrid,
                priority=0,
                authtype=_SIMPLE_TEXT_PASSWORD if instance.password else _NO_AUTHENTICATION,
                adv=spec.advert_interval // SECOND,
                chksum=0,
                addrlist=addresses,
                auth1=int.from_bytes(password[:4]),
                auth2=int.from_bytes(password[4:]),
            )
        )
    centiseconds = spec.advert_interval // _CENTISECOND
    if centiseconds >> 12:  # scapy would write it into the reserved bits
        raise ValueError(f"advertInterval: {centiseconds} centiseconds do not fit 12 bits")
    # Under an IP layer, as scapy chooses the form of the address list by it; only the payload is taken.
    network = IP(proto=112) if spec.addresses[0].version == 4 else IPv6(nh=112)
    advertisement = network / VRRPv3(
        version=3, type=1, vrid=spec.vrid, priority=0, res=0, adv=centiseconds, chksum=0, addrlist=addresses
    )
    return bytes(advertisement[VRRPv3])


def announcement(address: IPv4Address | IPv6Address) -> bytes:
    """The frame that tells the neighbours where the address is now."""
    return gratuitous_arp(address) if isinstance(address, IPv4Address) else neighbour_advertisement(address)


def neighbour_advertisement(address: IPv6Address) -> bytes:
    """An unsolicited neighbour advertisement as an Ethernet frame (RFC 4861, section 7.2.6): override, to all nodes.

    Zero, for vrrp to stamp: the Ethernet source (bytes 6..12), the checksum (56..58), the router flag (bit 7 of byte
    58) and the target's hardware address (80..86).
    """
    return bytes(
        Ether(src=_NOBODY, dst=_ALL_NODES_HARDWARE)
        / IPv6(src=str(address), dst=_ALL_NODES, hlim=255)
        / ICMPv6ND_NA(R=0, S=0, O=1, tgt=str(address), cksum=0)
        / ICMPv6NDOptDstLLAddr(lladdr=_NOBODY)
    )


def gratuitous_arp(address: IPv4Address) -> bytes:
    """An ARP announcement as an Ethernet frame (RFC 5227, section 3), in the request form that every stack takes.

    The Ethernet source (bytes 6..12) and the ARP sender (22..28) are zero, for vrrp to stamp.
    """
    return bytes(
        Ether(src=_NOBODY, dst=_BROADCAST)
        / ARP(op="who-has", hwsrc=_NOBODY, psrc=str(address), hwdst=_NOBODY, pdst=str(address))
    )
