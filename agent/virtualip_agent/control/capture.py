"""`virtualip-agent capture`: VRRP on the wire as scapy reads it, beside what this agent would make of it.

What the node sends is seen too. A password is never shown.
"""

import socket
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final, NamedTuple

from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.layers.vrrp import VRRP, VRRPv3

from virtualip_agent.bpf import (
    JUMP_EQUAL,
    LOAD_BYTE_ABSOLUTE,
    LOAD_HALF_ABSOLUTE,
    RETURN,
    WHOLE_PACKET,
    Instruction,
    attach,
)
from virtualip_agent.vrrp.packet import PROTOCOL, TTL, Drop, parse
from virtualip_api.duration import MILLISECOND, SECOND, format_duration

_ETH_P_ALL: Final = 3
_IPV4, _IPV6 = 0x0800, 0x86DD
_AUTHENTICATION: Final = {0: "none", 1: "simple"}
_SNAPSHOT: Final = 2048

FILTER: Final = (
    Instruction(LOAD_HALF_ABSOLUTE, k=12),
    Instruction(JUMP_EQUAL, 0, 2, _IPV4),
    Instruction(LOAD_BYTE_ABSOLUTE, k=14 + 9),
    Instruction(JUMP_EQUAL, 3, 4, PROTOCOL),
    Instruction(JUMP_EQUAL, 0, 3, _IPV6),
    Instruction(LOAD_BYTE_ABSOLUTE, k=14 + 6),
    Instruction(JUMP_EQUAL, 0, 1, PROTOCOL),
    Instruction(RETURN, k=WHOLE_PACKET),
    Instruction(RETURN, k=0),
)
"""Of Ethernet frames those whose IPv4 protocol, or IPv6 next header, is VRRP's."""


class Seen(NamedTuple):
    """One message."""

    vrid: int
    text: str


def frames(interface: str | None) -> Iterator[tuple[str, bytes]]:
    """(interface, Ethernet frame) as they come, of one interface or of all. OSError where it is not there."""
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_PACKET, kind, 0) as opened:
        attach(opened, FILTER)
        opened.bind((interface or "", _ETH_P_ALL))
        while True:
            frame, sender = opened.recvfrom(_SNAPSHOT)
            yield sender[0], frame


def describe(frame: bytes) -> Seen | None:
    """What a frame says; None where scapy finds no VRRP in it (VRRPv2 without its 8 bytes of authentication, say)."""
    packet = Ether(frame)
    network = packet.getlayer(IP) or packet.getlayer(IPv6)
    message = packet.getlayer(VRRPv3) or packet.getlayer(VRRP)
    if network is None or message is None:
        return None
    ttl = network.ttl if isinstance(network, IP) else network.hlim
    if isinstance(message, VRRPv3):
        details = f"intvl {format_duration(message.adv * 10 * MILLISECOND)}"
    else:
        authentication = _AUTHENTICATION.get(message.authtype, str(message.authtype))
        details = f"authtype {authentication} intvl {format_duration(message.adv * SECOND)}"
    priority = "0 (resigns)" if message.priority == 0 else str(message.priority)
    text = (
        f"{network.src} > {network.dst}: VRRPv{message.version} vrid {message.vrid} prio {priority} {details} "
        f"addrs {','.join(map(str, message.addrlist))}"
    )
    problem = _problem(bytes(network.payload), network.src, network.dst, ttl)
    return Seen(message.vrid, f"{text} ({problem})" if problem else text)


def _problem(payload: bytes, source: str, destination: str, ttl: int) -> str:
    """Why our own codec would not hear it."""
    if ttl != TTL:
        return f"dropped: ttl {ttl}"
    found = parse(payload, ip_address(source).packed, ip_address(destination).packed)
    return f"dropped: {found.removeprefix('drop_')}" if isinstance(found, Drop) else ""
