"""The kernel's filter (classic BPF) on the receive socket: only our VRIDs wake the process, and of IPv4 TTL 255."""

import ctypes
import socket
import struct
from collections.abc import Collection
from typing import Final

_SO_ATTACH_FILTER: Final = 26
_INSTRUCTION: Final = struct.Struct("=HBBI")
# bpf(4): classes, sizes and modes as linux/filter.h combines them
_LOAD_BYTE_ABSOLUTE: Final = 0x30
_LOAD_BYTE_INDEXED: Final = 0x50
_LOAD_HEADER_LENGTH: Final = 0xB1  # X = 4 * (byte & 0xf)
_JUMP_EQUAL: Final = 0x15
_RETURN: Final = 0x06
_WHOLE_PACKET: Final = 0xFFFF
_IP_TTL: Final = 8
_VRRP_VRID: Final = 1


_LOAD_IPV4_VRID: Final = (
    (_LOAD_BYTE_ABSOLUTE, 0, 0, _IP_TTL),
    (_JUMP_EQUAL, 1, 0, 255),
    (_RETURN, 0, 0, 0),
    (_LOAD_HEADER_LENGTH, 0, 0, 0),
    (_LOAD_BYTE_INDEXED, 0, 0, _VRRP_VRID),
)
_LOAD_IPV6_VRID: Final = ((_LOAD_BYTE_ABSOLUTE, 0, 0, _VRRP_VRID),)


def program(vrids: Collection[int], family: int = socket.AF_INET) -> bytes:
    """Passes packets whose VRID is one of these, and of IPv4 whose TTL is 255.

    A raw socket's filter sees an IPv4 packet from its IP header on, an IPv6 one from its VRRP header on: there the
    receiver looks at the hop limit.
    """
    instructions = list(_LOAD_IPV6_VRID if family == socket.AF_INET6 else _LOAD_IPV4_VRID)
    for vrid in sorted(vrids):
        # jumps are 8 bits wide: 255 VRIDs are more than one can span, so each has its own return
        instructions += [(_JUMP_EQUAL, 0, 1, vrid), (_RETURN, 0, 0, _WHOLE_PACKET)]
    instructions.append((_RETURN, 0, 0, 0))
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in instructions)


def attach(receiver: socket.socket, vrids: Collection[int]) -> None:
    """Replaces the socket's filter."""
    code = program(vrids, receiver.family)
    buffer = ctypes.create_string_buffer(code)
    header = struct.pack("HL", len(code) // _INSTRUCTION.size, ctypes.addressof(buffer))
    receiver.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, header)
