"""Draws packets, and says of each, by the RFCs' words alone, whether it may count."""

import random
import struct
from typing import Final

from fuzz.bench_engine import DESTINATION, MEMBER, PASSWORD, SOURCE

STRANGER: Final = bytes([192, 168, 122, 9])
_VERSIONS: Final = {51: 3, 52: 2}


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


def draw(rng: random.Random) -> bytes:
    """An IPv4 packet as a raw socket gives it: well-formed, mutated in a few places, cut, or noise."""
    kind = rng.random()
    source = rng.choice((MEMBER, MEMBER, STRANGER, SOURCE))
    ttl = 255 if rng.random() < 0.95 else rng.randrange(256)
    options = rng.randrange(11) * 4 if rng.random() < 0.05 else 0
    if kind < 0.05:
        message = rng.randbytes(rng.randrange(120))
    else:
        message = _advertisement(rng)
        if kind < 0.6:
            message = _mutated(rng, message, source)
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45 + options // 4, 0xC0, 20 + options + len(message), 0, 0, ttl, 112, 0, source, DESTINATION
    )
    return head + bytes(options) + message


def _advertisement(rng: random.Random) -> bytes:
    vrid = rng.choice((51, 52))
    address = bytes([192, 168, 122, 149 + vrid])
    priority = rng.choice((0, 1, 99, 100, 101, 254, 255))
    if vrid == 51:
        body = struct.pack("!BBBBHH", 0x31, vrid, priority, 1, 100, 0) + address
    else:
        body = struct.pack("!BBBBBBH", 0x21, vrid, priority, 1, 1, 1, 0) + address + PASSWORD
    return _summed(body)


def _summed(body: bytes, pseudo: bytes = b"") -> bytes:
    body = body[:6] + b"\0\0" + body[8:]
    return body[:6] + internet_checksum(pseudo + body).to_bytes(2, "big") + body[8:]


def _mutated(rng: random.Random, message: bytes, source: bytes) -> bytes:
    body = bytearray(message)
    for _ in range(rng.randint(1, 3)):
        body[rng.choice((0, 0, 1, 2, 3, 4, 5, 6, 7, rng.randrange(len(body))))] = rng.randrange(256)
    if rng.random() < 0.2:
        del body[rng.randrange(len(body)) :]
    elif rng.random() < 0.2:
        body += rng.randbytes(rng.randrange(40))
    if len(body) < 8 or rng.random() < 0.3:
        return bytes(body)
    pseudo = source + DESTINATION + struct.pack("!BBH", 0, 112, len(body)) if rng.random() < 0.4 else b""
    return _summed(bytes(body), pseudo)


def may_count(packet: bytes) -> bool:
    """RFC 9568 and RFC 3768, section 7.1, for the two routers of bench_engine.py; a member's other password, interval
    or address list counts as life (docs: members are known)."""
    source, destination, ttl = packet[12:16], packet[16:20], packet[8]
    message = packet[(packet[0] & 15) * 4 :]
    if ttl != 255 or len(message) < 8 or source == SOURCE:
        return False
    version, kind, vrid, count = message[0] >> 4, message[0] & 15, message[1], message[3]
    if _VERSIONS.get(vrid) != version or kind != 1 or count == 0:
        return False
    length = 8 + 4 * count + (8 if version == 2 else 0)
    if len(message) < length:
        return False
    pseudo = source + destination + struct.pack("!BBH", 0, 112, len(message))
    if internet_checksum(message) and (version == 2 or internet_checksum(pseudo + message)):
        return False
    if version == 3:
        return bool(int.from_bytes(message[4:6]) & 0x0FFF)
    auth, interval = message[4], message[5]
    if auth not in (0, 1) or interval == 0:
        return False
    if source == MEMBER:
        return True
    return auth == 1 and interval == 1 and message[length - 8 : length] == PASSWORD
