"""The kernel's filter (classic BPF) on the receive socket: only our VRIDs wake the process, and of IPv4 TTL 255."""

import socket
from collections.abc import Collection
from typing import Final

from virtualip_agent import bpf

_IP_TTL: Final = 8
_VRRP_VRID: Final = 1

_LOAD_IPV4_VRID: Final = (
    (bpf.LOAD_BYTE_ABSOLUTE, 0, 0, _IP_TTL),
    (bpf.JUMP_EQUAL, 1, 0, 255),
    (bpf.RETURN, 0, 0, 0),
    (bpf.LOAD_HEADER_LENGTH, 0, 0, 0),
    (bpf.LOAD_BYTE_INDEXED, 0, 0, _VRRP_VRID),
)
_LOAD_IPV6_VRID: Final = ((bpf.LOAD_BYTE_ABSOLUTE, 0, 0, _VRRP_VRID),)


def program(vrids: Collection[int], family: int = socket.AF_INET) -> list[tuple[int, int, int, int]]:
    """Passes packets whose VRID is one of these, and of IPv4 whose TTL is 255.

    A raw socket's filter sees an IPv4 packet from its IP header on, an IPv6 one from its VRRP header on: there the
    receiver looks at the hop limit.
    """
    instructions = list(_LOAD_IPV6_VRID if family == socket.AF_INET6 else _LOAD_IPV4_VRID)
    for vrid in sorted(vrids):
        # jumps are 8 bits wide: 255 VRIDs are more than one can span, so each has its own return
        instructions += [(bpf.JUMP_EQUAL, 0, 1, vrid), (bpf.RETURN, 0, 0, bpf.WHOLE_PACKET)]
    instructions.append((bpf.RETURN, 0, 0, 0))
    return instructions


def attach(receiver: socket.socket, vrids: Collection[int]) -> None:
    """Replaces the socket's filter."""
    bpf.attach(receiver, program(vrids, receiver.family))
