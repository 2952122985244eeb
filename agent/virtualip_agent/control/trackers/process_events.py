"""The kernel's own word on processes that start: the process events of its connector (linux/cn_proc.h).

It gives them in the first network namespace only (elsewhere ECONNREFUSED) and in the first pid namespace only
(elsewhere it is silent, so its acknowledgement is waited for); since Linux 6.6 to everybody, before to who has
NET_ADMIN. A host, and a pod with hostNetwork and hostPID, are in both; a node of kind is in neither.
"""

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from virtualip_agent.bpf import (
    JUMP_EQUAL,
    JUMP_EQUAL_X,
    LOAD_WORD_ABSOLUTE,
    RETURN,
    TO_X,
    WHOLE_PACKET,
    attach,
)

_NETLINK_CONNECTOR: Final = 11
_CN_IDX_PROC: Final = 1
_CN_VAL_PROC: Final = 1
_LISTEN: Final = 1
_NONE: Final = 0x0
"""The acknowledgement."""
_FORK: Final = 0x1
_EXEC: Final = 0x2
_COMM: Final = 0x200

_NLMSG_DONE: Final = 3
_NETLINK: Final = struct.Struct("=IHHII")
_CONNECTOR: Final = struct.Struct("=IIIIHH")
_WHAT: Final = _NETLINK.size + _CONNECTOR.size
_DATA: Final = _WHAT + 16  # behind what, cpu, timestamp
_WORD: Final = struct.Struct("=I")
_PAIR: Final = struct.Struct("=II")  # pid and tgid
_TWO_PAIRS: Final = struct.Struct("=IIII")  # a parent's, its child's

PATIENCE: Final = 0.5
"""Seconds that the acknowledgement is waited for."""
_BUFFER: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Started:
    """A process that is new, or has become another."""

    pid: int
    parent: int = 0
    """Of a fork: it has its parent's name and command line. 0: name and command line may be any."""


class Unavailable(Exception):
    """Why the kernel does not tell."""


class ProcessEvents:
    """Listens. `heard` is called with what has happened since the last time, None where some of that was lost, and
    first with nothing when the kernel has agreed; `refused` is called with the reason where it does not."""

    def __init__(self, heard: Callable[[list[Started] | None], None], refused: Callable[[str], None]) -> None:
        """Unavailable where that is known at once."""
        self._heard = heard
        self._refused = refused
        self._loop = asyncio.get_running_loop()
        self._agreed = False
        try:
            self._socket = _listening()
        except OSError as error:
            raise Unavailable(_why(error.errno)) from None
        self._loop.add_reader(self._socket, self._read)
        self._timer = self._loop.call_later(PATIENCE, self._no_answer)

    def close(self) -> None:
        """Stops listening."""
        self._timer.cancel()
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _no_answer(self) -> None:
        self.close()
        self._refused("no answer: this is not the first pid namespace")

    def _read(self) -> None:
        found = self.pending()
        if self._agreed:
            self._heard(found)

    def pending(self) -> list[Started] | None:
        """What has happened and is not told yet; None where some was lost. It is not told again."""
        found: list[Started] = []
        lost = False
        while True:
            try:
                message = self._socket.recv(512)
            except BlockingIOError:
                break
            except OSError:  # ENOBUFS
                lost = True
                continue
            (what,) = _WORD.unpack_from(message, _WHAT)
            if what == _NONE:
                if not self._answered(_WORD.unpack_from(message, _DATA)[0]):
                    return found
            elif what == _FORK:
                _, parent, _, child = _TWO_PAIRS.unpack_from(message, _DATA)
                found.append(Started(child, parent))
            else:
                found.append(Started(_PAIR.unpack_from(message, _DATA)[1]))
        return None if lost else found

    def _answered(self, error: int) -> bool:
        """Whether the kernel agrees. Somebody else's acknowledgement comes here too; ours is the first."""
        if self._agreed:
            return True
        if error:
            self.close()
            self._refused(_why(error))
            return False
        self._timer.cancel()
        self._agreed = True
        return True


def _listening() -> socket.socket:
    """OSError where the kernel refuses at once."""
    opened = socket.socket(
        socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, _NETLINK_CONNECTOR
    )
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        attach(opened, _program())
        opened.bind((0, _CN_IDX_PROC))
        ask = _CONNECTOR.pack(_CN_IDX_PROC, _CN_VAL_PROC, 0, 0, _WORD.size, 0) + _WORD.pack(_LISTEN)
        opened.send(_NETLINK.pack(_NETLINK.size + len(ask), _NLMSG_DONE, 0, 0, os.getpid()) + ask)
    except BaseException:
        opened.close()
        raise
    return opened


def _why(number: int | None) -> str:
    if number == errno.ECONNREFUSED:
        return "refused: this is not the first network namespace"
    if number in (errno.EPERM, errno.EACCES):
        return "refused: before Linux 6.6 it takes NET_ADMIN"
    return os.strerror(number or 0)


def _program() -> tuple[tuple[int, int, int, int], ...]:
    """Classic BPF: acknowledgements, exec, and fork and comm of processes but not of threads. Ends are pidfd's.

    Loads take a word for big-endian, while the kernel writes its own order.
    """
    return (
        (LOAD_WORD_ABSOLUTE, 0, 0, _WHAT),
        (JUMP_EQUAL, 12, 0, socket.htonl(_NONE)),
        (JUMP_EQUAL, 11, 0, socket.htonl(_EXEC)),
        (JUMP_EQUAL, 2, 0, socket.htonl(_FORK)),
        (JUMP_EQUAL, 5, 0, socket.htonl(_COMM)),
        (RETURN, 0, 0, 0),
        # fork: a process where the child's pid and tgid are one
        (LOAD_WORD_ABSOLUTE, 0, 0, _DATA + 8),
        (TO_X, 0, 0, 0),
        (LOAD_WORD_ABSOLUTE, 0, 0, _DATA + 12),
        (JUMP_EQUAL_X, 4, 5, 0),
        # comm: likewise
        (LOAD_WORD_ABSOLUTE, 0, 0, _DATA),
        (TO_X, 0, 0, 0),
        (LOAD_WORD_ABSOLUTE, 0, 0, _DATA + 4),
        (JUMP_EQUAL_X, 0, 1, 0),
        (RETURN, 0, 0, WHOLE_PACKET),
        (RETURN, 0, 0, 0),
    )
