"""Telling the neighbours where an address is now: our part of the frames that control built."""

import struct
from typing import Final

from virtualip_agent.vrrp.packet import checksum

_ETHER_TYPE: Final = slice(12, 14)
_IPV6: Final = b"\x86\xdd"
_ADDRESSES: Final = slice(22, 54)
_ICMP: Final = 54
_ICMPV6: Final = 58
_ROUTER: Final = 0x80


def stamp_announcement(template: bytes, hardware_address: bytes, *, router: bool) -> bytes:
    """A gratuitous ARP (RFC 826) or an unsolicited neighbour advertisement (RFC 4861, section 4.4) from this interface.

    `router` is whether the interface forwards IPv6: a flag that is wrong makes hosts drop their default route (or keep
    a dead one), and RFC 9568, section 6.4.2, has it as it is.
    """
    if template[_ETHER_TYPE] != _IPV6:
        return template[:6] + hardware_address + template[12:22] + hardware_address + template[28:]
    frame = bytearray(template[:6] + hardware_address + template[12:80] + hardware_address + template[86:])
    if router:
        frame[58] |= _ROUTER
    message = bytes(frame[_ICMP:])
    pseudo_header = bytes(frame[_ADDRESSES]) + struct.pack("!II", len(message), _ICMPV6)
    frame[56:58] = checksum(pseudo_header + message).to_bytes(2, "big")
    return bytes(frame)
