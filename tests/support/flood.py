"""A hostile neighbour: VRRP as fast as its interface takes it, until it is stopped.

    with Flood(host, "stranger", family=4) as flood:
        ...
    assert flood.sent > 100_000

The frames are made beforehand, and given to the kernel a thousand at a time (sendmmsg), past the queueing discipline.
This file is also the program that does so, in the neighbour's namespace.
"""

import ctypes
import os
import random
import signal
import socket
import struct
import sys
from typing import TYPE_CHECKING, Final, Self

from virtualip_agent.vrrp.packet import checksum, pseudo_header

if TYPE_CHECKING:
    from segment import Host

KINDS: Final = {
    "junk": "our VRID, and noise after it",
    "losers": "valid advertisements of priority 1, each from another source",
    "resigning": "valid advertisements of priority 0",
    "intervals": "valid advertisements of priority 1, each from another source with another interval and address",
}
_MANY: Final = 4096
_BURST: Final = 1024
_SOL_PACKET, _PACKET_QDISC_BYPASS = 263, 20
_DESTINATION: Final = {4: bytes([224, 0, 0, 18]), 6: socket.inet_pton(socket.AF_INET6, "ff02::12")}
_VIP: Final = {4: bytes([192, 168, 122, 200]), 6: socket.inet_pton(socket.AF_INET6, "2001:db8::200")}
_VRID: Final = 51


class Flood:
    """The process, in a host's namespace."""

    def __init__(self, host: "Host", kind: str, family: int = 4, *, urgent: bool = False) -> None:
        """`urgent`: above those whom it floods, as from a machine of its own, which has a CPU that they cannot take."""
        self.sent = 0
        self._process = host.popen(
            [sys.executable, __file__, kind, str(family), "urgent" if urgent else ""], stderr=None
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "sending\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        out, _err = self._process.communicate(timeout=10)
        self.sent = int(out)


# ---- the process that sends


def frames(kind: str, family: int, rng: random.Random) -> list[bytes]:
    """What it sends, again and again."""
    return [_frame(kind, family, number, rng) for number in range(_MANY)]


def _frame(kind: str, family: int, number: int, rng: random.Random) -> bytes:
    source = _source(family, number)
    centiseconds = 1 + number % 4095 if kind == "intervals" else 10
    vip = _VIP[family]
    if kind == "intervals":
        vip = vip[:-2] + struct.pack("!H", number)
    body = struct.pack("!BBBBHH", 0x31, _VRID, 0 if kind == "resigning" else 1, 1, centiseconds, 0) + vip
    if kind == "junk":
        body = bytes([0x31, _VRID]) + rng.randbytes(rng.randrange(6, 100))
    else:
        total = checksum(pseudo_header(source, _DESTINATION[family], len(body)) + body)
        body = body[:6] + total.to_bytes(2, "big") + body[8:]
    return _ethernet(family) + _ip(family, source, len(body)) + body


def _source(family: int, number: int) -> bytes:
    low = struct.pack("!H", 0x2000 + number)
    return bytes([10, 9]) + low if family == 4 else socket.inet_pton(socket.AF_INET6, "fe80::9:0")[:-2] + low


def _ethernet(family: int) -> bytes:
    group = bytes.fromhex("01005e000012" if family == 4 else "333300000012")
    return group + bytes.fromhex("02000000bad1") + bytes.fromhex("0800" if family == 4 else "86dd")


def _ip(family: int, source: bytes, length: int) -> bytes:
    destination = _DESTINATION[family]
    if family == 6:
        return struct.pack("!IHBB", 6 << 28, length, 112, 255) + source + destination
    head = struct.pack("!BBHHHBBH", 0x45, 0xC0, 20 + length, 0, 0, 255, 112, 0) + source + destination
    return head[:10] + checksum(head).to_bytes(2, "big") + head[12:]


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_char_p), ("length", ctypes.c_size_t))


class _Header(ctypes.Structure):
    """struct msghdr of sendmsg(2)."""

    _fields_ = (
        ("name", ctypes.c_void_p), ("name_length", ctypes.c_uint), ("vectors", ctypes.POINTER(_Vector)),
        ("vector_count", ctypes.c_size_t), ("control", ctypes.c_void_p), ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )  # fmt: skip


class _Message(ctypes.Structure):
    """struct mmsghdr of sendmmsg(2)."""

    _fields_ = (("header", _Header), ("sent", ctypes.c_uint))


def _send(kind: str, family: int) -> int:
    """How many it sent until SIGTERM."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    libc, size = ctypes.CDLL(None), ctypes.sizeof(_Message)
    made = frames(kind, family, random.Random(1))
    vectors = [_Vector(frame, len(frame)) for frame in made]
    messages = (_Message * len(vectors))()
    for message, vector in zip(messages, vectors, strict=True):
        message.header.vectors, message.header.vector_count = ctypes.pointer(vector), 1
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as raw:
        raw.bind(("eth0", 0))
        raw.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
        print("sending", flush=True)
        sent = 0
        while not stopped:
            first = sent % len(messages)
            many = min(_BURST, len(messages) - first)
            sent += max(0, libc.sendmmsg(raw.fileno(), ctypes.byref(messages, first * size), many, 0))
    return sent


if __name__ == "__main__":
    if sys.argv[3]:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(90))
    print(_send(sys.argv[1], int(sys.argv[2])))
