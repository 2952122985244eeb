"""GARP and unsolicited neighbour advertisements as they go out, read by scapy."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether

from virtualip_agent.control.frames import gratuitous_arp, neighbour_advertisement
from virtualip_agent.realtime.announcements import stamp_announcement

HARDWARE = bytes.fromhex("525400000065")
VIP = IPv6Address("2001:db8::200")


@pytest.mark.parametrize("router", [False, True])
def test_a_neighbour_advertisement_has_our_address_twice_and_says_whether_we_forward(router: bool) -> None:
    """RFC 4861, sections 4.4 and 7.2.6."""
    frame = Ether(stamp_announcement(neighbour_advertisement(VIP), HARDWARE, router=router))
    message = frame[ICMPv6ND_NA]
    assert (frame.src, frame.dst) == ("52:54:00:00:00:65", "33:33:00:00:00:01")
    assert (frame[IPv6].src, frame[IPv6].dst, frame[IPv6].hlim) == (str(VIP), "ff02::1", 255)
    assert (message.R, message.S, message.O, message.tgt) == (int(router), 0, 1, str(VIP))
    assert frame[ICMPv6NDOptDstLLAddr].lladdr == "52:54:00:00:00:65"


@pytest.mark.parametrize("router", [False, True])
def test_its_checksum_is_scapys(router: bool) -> None:
    frame = stamp_announcement(neighbour_advertisement(VIP), HARDWARE, router=router)
    anew = Ether(frame)
    del anew[ICMPv6ND_NA].cksum
    assert bytes(anew) == frame


def test_a_gratuitous_arp_has_our_address_twice() -> None:
    frame = Ether(stamp_announcement(gratuitous_arp(IPv4Address("192.0.2.1")), HARDWARE, router=True))
    assert (frame.src, frame[ARP].hwsrc, frame[ARP].psrc) == ("52:54:00:00:00:65", "52:54:00:00:00:65", "192.0.2.1")
