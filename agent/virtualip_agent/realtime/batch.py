"""sendmmsg(2): many advertisements with one system call. Python has none for it."""

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from virtualip_agent.realtime.vrrp_sockets import SocketAddress

_SOCKADDR_IN: Final = struct.Struct("=HH4s8x")
_SOCKADDR_IN6: Final = struct.Struct("=HHI16sI")
_libc: Final = ctypes.CDLL(None, use_errno=True)


class _Vector(ctypes.Structure):
    _fields_ = (("base", ctypes.c_char_p), ("length", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """struct msghdr."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("name_length", ctypes.c_uint32),
        ("vectors", ctypes.POINTER(_Vector)),
        ("vectors_length", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Slot(ctypes.Structure):
    """struct mmsghdr: a message, and how many bytes of it were sent."""

    _fields_ = (("message", _Message), ("sent", ctypes.c_uint32))


_SIZE: Final = ctypes.sizeof(_Slot)


class Batch:
    """Messages that are sent again and again, as the kernel reads them."""

    def __init__(self, messages: Sequence[tuple[bytes, "SocketAddress"]]) -> None:
        self.messages = tuple(messages)
        self._slots = (_Slot * len(messages))()  # ctypes keeps what they point to
        for slot, (payload, to) in zip(self._slots, self.messages, strict=True):
            name = _packed(to)
            vectors = ctypes.pointer(_Vector(payload, len(payload)))
            slot.message = _Message(name, len(name), vectors, 1)

    def send(self, descriptor: int) -> list[tuple[int, OSError]]:
        """Sends each; which ones the kernel did not take, and why. One that it does not take keeps none from being
        sent."""
        failed = []
        first, left = 0, len(self._slots)
        while left:
            # it stops before one that fails, and says why when it is the first
            sent = _libc.sendmmsg(descriptor, ctypes.byref(self._slots, first * _SIZE), left, 0)
            if sent <= 0:
                code = ctypes.get_errno()
                if code == errno.EINTR:
                    continue
                failed.append((first, OSError(code, os.strerror(code))))
                sent = 1
            first, left = first + sent, left - sent
        return failed


def _packed(address: "SocketAddress") -> bytes:
    """struct sockaddr_in or sockaddr_in6."""
    host, port = address[0], socket.htons(address[1])
    if len(address) == 2:
        return _SOCKADDR_IN.pack(socket.AF_INET, port, socket.inet_aton(host))
    return _SOCKADDR_IN6.pack(socket.AF_INET6, port, address[2], socket.inet_pton(socket.AF_INET6, host), address[3])
