"""Classic BPF for sockets (bpf(4), linux/filter.h): the instructions that are used here, and attaching a program."""

import ctypes
import socket
import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

LOAD_BYTE_ABSOLUTE: Final = 0x30
LOAD_HALF_ABSOLUTE: Final = 0x28
LOAD_WORD_ABSOLUTE: Final = 0x20
LOAD_BYTE_INDEXED: Final = 0x50
LOAD_HEADER_LENGTH: Final = 0xB1
"""X = 4 * (byte & 0xf)."""
JUMP: Final = 0x05
JUMP_EQUAL: Final = 0x15
JUMP_EQUAL_X: Final = 0x1D
"""A with X."""
TO_X: Final = 0x07
"""X = A."""
RETURN: Final = 0x06
WHOLE_PACKET: Final = 0xFFFF
NETWORK_HEADER: Final = 0xFFF00000
"""SKF_NET_OFF: offsets from here count from the IP header, also where the socket sees what follows it."""

_INSTRUCTION: Final = struct.Struct("=HBBI")
_SO_ATTACH_FILTER: Final = 26


class Instruction(NamedTuple):
    """One; `k` is its operand, jumps are relative to the next."""

    code: int
    if_true: int = 0
    if_false: int = 0
    k: int = 0


def drop_unless_equal(value: int) -> list[Instruction]:
    """Passes the packet where A is the value."""
    return [
        Instruction(JUMP_EQUAL, 0, 1, value),
        Instruction(RETURN, k=WHOLE_PACKET),
        Instruction(RETURN, k=0),
    ]


def assemble(instructions: Iterable[tuple[int, int, int, int]]) -> bytes:
    """As the kernel takes it."""
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in instructions)


def attach(receiver: socket.socket, instructions: Iterable[tuple[int, int, int, int]]) -> None:
    """Replaces the socket's filter."""
    code = assemble(instructions)
    buffer = ctypes.create_string_buffer(code)
    header = struct.pack("HL", len(code) // _INSTRUCTION.size, ctypes.addressof(buffer))
    receiver.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, header)
