"""The kernel's filter (classic BPF) on a receive socket: only our VRIDs wake the process, and of IPv4 TTL 255.

And which of two sockets has a packet: that of the known sources, or that of all others.
"""

import socket
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from virtualip_agent import bpf

_IP_SOURCE: Final = 12
_IPV6_SOURCE: Final = bpf.NETWORK_HEADER + 8
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


@dataclass(frozen=True, slots=True)
class Sources:
    """Packed source addresses, and whether theirs are the packets that pass or those that do not."""

    addresses: frozenset[bytes] = frozenset()
    wanted: bool = False


ANYBODY: Final = Sources()


def program(
    vrids: Collection[int] | None, family: int = socket.AF_INET, sources: Sources = ANYBODY
) -> list[tuple[int, int, int, int]]:
    """Passes packets whose VRID is one of these (None: whatever it is), of these sources, and of IPv4 whose TTL is 255.

    A raw socket's filter sees an IPv4 packet from its IP header on, an IPv6 one from its VRRP header on: there the
    receiver looks at the hop limit.
    """
    by_vrid = list(_LOAD_IPV6_VRID if family == socket.AF_INET6 else _LOAD_IPV4_VRID)
    for vrid in sorted(vrids or ()):
        # jumps are 8 bits wide: 255 VRIDs are more than one can span, so each has its own return
        by_vrid += [(bpf.JUMP_EQUAL, 0, 1, vrid), (bpf.RETURN, 0, 0, bpf.WHOLE_PACKET)]
    by_vrid.append((bpf.RETURN, 0, 0, bpf.WHOLE_PACKET if vrids is None else 0))
    return [*_by_source(sources, family), *by_vrid]


def _by_source(sources: Sources, family: int) -> list[tuple[int, int, int, int]]:
    """Ends with the packet dropped, or goes on behind its last instruction."""
    drop = (bpf.RETURN, 0, 0, 0)
    matches = [_is(address, family) for address in sorted(sources.addresses)]
    if not sources.wanted:
        return [instruction for match in matches for instruction in (*match, drop)]
    # each match is followed by a jump over all that is behind it; JUMP, unlike a condition's, is 32 bits wide
    instructions: list[tuple[int, int, int, int]] = [drop]
    for match in reversed(matches):
        instructions[:0] = [*match, (bpf.JUMP, 0, 0, len(instructions))]
    return instructions


def _is(address: bytes, family: int) -> list[tuple[int, int, int, int]]:
    """Goes on behind its last instruction where this is the source, else one further."""
    start = _IPV6_SOURCE if family == socket.AF_INET6 else _IP_SOURCE
    instructions: list[tuple[int, int, int, int]] = []
    for at in range(0, len(address), 4):
        left = 2 * ((len(address) - at) // 4 - 1)  # instructions of the words that follow
        instructions += [
            (bpf.LOAD_WORD_ABSOLUTE, 0, 0, start + at),
            (bpf.JUMP_EQUAL, 0, left + 1, int.from_bytes(address[at : at + 4])),
        ]
    return instructions


def attach(receiver: socket.socket, vrids: Collection[int] | None, sources: Sources = ANYBODY) -> None:
    """Replaces the socket's filter."""
    bpf.attach(receiver, program(vrids, receiver.family, sources))
