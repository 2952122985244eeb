"""The kernel's filter of the survey: the opposite of vrrp's own. What the members say to one another stays out, so that
a foreign word is not lost among thousands. Pure."""

from collections.abc import Collection
from typing import Final

from virtualip_agent.bpf import (
    JUMP,
    JUMP_EQUAL,
    LOAD_BYTE_ABSOLUTE,
    LOAD_BYTE_INDEXED,
    LOAD_HEADER_LENGTH,
    LOAD_WORD_ABSOLUTE,
    NETWORK_HEADER,
    RETURN,
    WHOLE_PACKET,
    Instruction,
)

MOST_KNOWN: Final = 200
"""Senders: of IPv6 each takes 9 of at most 4096 instructions."""
_TTL: Final = 255
_VRID_AT: Final = 1
_PASS: Final = Instruction(RETURN, k=WHOLE_PACKET)
_DROP: Final = Instruction(RETURN, k=0)
_LAYOUT: Final = {4: (0, 8, 12, 1), 6: (NETWORK_HEADER, 7, 8, 4)}
"""By IP version: where the IP header begins for the filter of a raw socket; in it TTL (hop limit) and source; the
source's words."""


def program(version: int, vrids: Collection[int], known: Collection[bytes]) -> list[Instruction]:
    """Drops what has TTL 255, one of our VRIDs and a known sender (packed); passes everything else."""
    header, ttl, source, words = _LAYOUT[version]
    senders: list[Instruction] = []
    for address in sorted(known)[:MOST_KNOWN]:
        senders += _drop_sender(header + source, address, words)
    senders.append(_PASS)
    ours: list[Instruction] = []
    for number, vrid in enumerate(sorted(vrids)):
        # conditional jumps are 8 bits wide, so each VRID has a long one of its own
        to_senders = 2 * (len(vrids) - number - 1) + 1
        ours += [Instruction(JUMP_EQUAL, 0, 1, vrid), Instruction(JUMP, k=to_senders)]
    vrid_load = (
        [Instruction(LOAD_HEADER_LENGTH), Instruction(LOAD_BYTE_INDEXED, k=_VRID_AT)]
        if version == 4
        else [Instruction(LOAD_BYTE_ABSOLUTE, k=_VRID_AT)]
    )
    return [
        Instruction(LOAD_BYTE_ABSOLUTE, k=header + ttl),
        Instruction(JUMP_EQUAL, 1, 0, _TTL),
        _PASS,
        *vrid_load,
        *ours,
        _PASS,
        *senders,
    ]


def _drop_sender(at: int, address: bytes, words: int) -> list[Instruction]:
    block: list[Instruction] = []
    for word in range(words):
        left = 2 * (words - word - 1) + 1  # what is left of the block after this comparison
        value = int.from_bytes(address[4 * word : 4 * word + 4], "big")
        block += [Instruction(LOAD_WORD_ABSOLUTE, k=at + 4 * word), Instruction(JUMP_EQUAL, 0, left, value)]
    return [*block, _DROP]
