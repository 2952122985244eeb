"""Draws packets, and says of each, by the RFCs' words alone, whether it may count."""

import random
import struct
from typing import Final, NamedTuple

from fuzz.bench_engine import GROUPS, MEMBERS, PASSWORD, SOURCES, VIPS

STRANGERS: Final = {4: bytes([192, 168, 122, 9]), 6: bytes([0xFE, 0x80, *bytes(13), 9])}
_VERSIONS: Final = {(4, 51): 3, (4, 52): 2, (6, 51): 3}


class Drawn(NamedTuple):
    """What arrives at the interface."""

    source: bytes
    destination: bytes
    ttl: int
    """IPv6: hop limit."""
    message: bytes
    options: int = 0
    """Bytes after the IPv4 header."""

    @property
    def family(self) -> int:
        """4 or 6."""
        return 4 if len(self.source) == 4 else 6

    @property
    def ipv4(self) -> bytes:
        """As a raw socket gives it."""
        length = 20 + self.options + len(self.message)
        head = struct.pack("!BBHHHBBH", 0x45 + self.options // 4, 0xC0, length, 0, 0, self.ttl, 112, 0)
        return head + self.source + self.destination + bytes(self.options) + self.message

    @property
    def pseudo_header(self) -> bytes:
        """RFC 793, section 3.1; RFC 8200, section 8.1."""
        form = "!BBH" if self.family == 4 else "!xxHxxxB"
        rest = (0, 112, len(self.message)) if self.family == 4 else (len(self.message), 112)
        return self.source + self.destination + struct.pack(form, *rest)


def internet_checksum(data: bytes) -> int:
    """RFC 1071, one 16-bit word after the other."""
    total = 0
    for position in range(0, len(data) - 1, 2):
        total += data[position] << 8 | data[position + 1]
    if len(data) % 2:
        total += data[-1] << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def draw(rng: random.Random) -> Drawn:
    """Well-formed, mutated in a few places, cut, or noise."""
    kind = rng.random()
    family = rng.choice((4, 4, 6))
    source = rng.choice((MEMBERS[family], MEMBERS[family], STRANGERS[family], SOURCES[family]))
    destination = GROUPS[family] if rng.random() < 0.97 else SOURCES[family]
    ttl = 255 if rng.random() < 0.95 else rng.randrange(256)
    options = rng.randrange(11) * 4 if family == 4 and rng.random() < 0.05 else 0
    if kind < 0.05:
        return Drawn(source, destination, ttl, rng.randbytes(rng.randrange(120)), options)
    drawn = _advertisement(rng, Drawn(source, destination, ttl, b"", options))
    return _mutated(rng, drawn) if kind < 0.6 else drawn


def _advertisement(rng: random.Random, to: Drawn) -> Drawn:
    vrid = rng.choice((51, 52)) if to.family == 4 else 51
    version = _VERSIONS[to.family, vrid]
    priority = rng.choice((0, 1, 99, 100, 101, 254, 255))
    if version == 2:
        body = struct.pack("!BBBBBBH", 0x21, vrid, priority, 1, 1, 1, 0) + VIPS[4, vrid] + PASSWORD
    else:
        body = struct.pack("!BBBBHH", 0x31, vrid, priority, 1, 100, 0) + VIPS[to.family, vrid]
    return _summed(to._replace(message=body), pseudo=to.family == 6)


def _summed(drawn: Drawn, *, pseudo: bool = False) -> Drawn:
    body = drawn.message[:6] + b"\0\0" + drawn.message[8:]
    before = drawn._replace(message=body).pseudo_header if pseudo else b""
    return drawn._replace(message=body[:6] + internet_checksum(before + body).to_bytes(2, "big") + body[8:])


def _mutated(rng: random.Random, drawn: Drawn) -> Drawn:
    body = bytearray(drawn.message)
    for _ in range(rng.randint(1, 3)):
        body[rng.choice((0, 0, 1, 2, 3, 4, 5, 6, 7, rng.randrange(len(body))))] = rng.randrange(256)
    if rng.random() < 0.2:
        del body[rng.randrange(len(body)) :]
    elif rng.random() < 0.2:
        body += rng.randbytes(rng.randrange(40))
    mutated = drawn._replace(message=bytes(body))
    if len(body) < 8 or rng.random() < 0.3:
        return mutated
    return _summed(mutated, pseudo=rng.random() < (0.4 if drawn.family == 4 else 0.9))


def may_count(packet: Drawn) -> bool:
    """RFC 9568 and RFC 3768, section 7.1, for the three routers of bench_engine.py; a member's other password, interval
    or address list counts as life (docs: members are known)."""
    message, family = packet.message, packet.family
    if packet.ttl != 255 or len(message) < 8 or packet.source == SOURCES[family]:
        return False
    if packet.destination != GROUPS[family]:
        return False
    version, kind, vrid, count = message[0] >> 4, message[0] & 15, message[1], message[3]
    if _VERSIONS.get((family, vrid)) != version or kind != 1 or count == 0:
        return False
    length = 8 + len(packet.source) * count + (8 if version == 2 else 0)
    if len(message) < length:
        return False
    bare = family == 4 and not internet_checksum(message)
    if not bare and (version == 2 or internet_checksum(packet.pseudo_header + message)):
        return False
    if version == 3:
        return bool(int.from_bytes(message[4:6]) & 0x0FFF)
    auth, interval = message[4], message[5]
    if auth not in (0, 1) or interval == 0:
        return False
    if packet.source == MEMBERS[4]:
        return True
    return auth == 1 and interval == 1 and message[length - 8 : length] == PASSWORD
