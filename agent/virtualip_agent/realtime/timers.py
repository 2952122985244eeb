"""Deadlines of many routers on one timerfd."""

import ctypes
import heapq
import os
from enum import StrEnum, unique
from typing import Final

_CLOCK_MONOTONIC: Final = 1
_TFD_NONBLOCK: Final = os.O_NONBLOCK
_TFD_CLOEXEC: Final = os.O_CLOEXEC
_TFD_TIMER_ABSTIME: Final = 1
_SECOND: Final = 1_000_000_000


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class TimerFd:
    """timerfd_create(2) on CLOCK_MONOTONIC, absolute; Python has it from 3.13 on. epoll's own timeout would do in
    milliseconds what this does in microseconds."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
        if self._descriptor < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        self._value = _Itimerspec()
        self._pointer = ctypes.byref(self._value)

    def fileno(self) -> int:
        """Readable when the time has come."""
        return int(self._descriptor)

    def set(self, at: int | None) -> None:
        """Nanoseconds of time.monotonic_ns(); a time that is past fires at once, None never."""
        seconds, nanoseconds = (0, 0) if at is None else divmod(max(at, 1), _SECOND)
        self._value.value.seconds = seconds
        self._value.value.nanoseconds = nanoseconds
        self._libc.timerfd_settime(self._descriptor, _TFD_TIMER_ABSTIME, self._pointer, None)

    def close(self) -> None:
        """Closes the descriptor."""
        os.close(self._descriptor)


@unique
class Chore(StrEnum):
    """What is due beside the routers' own timers. No router's name begins with a blank."""

    REFRESH = " refresh"
    """Of the addresses' lifetimes; and of the kernel's tables, where it could not be asked."""
    PACED = " paced"
    """Rounds of gratuitous ARP that were put off; `flush` sends them."""
    LOOK_AGAIN = " look again"
    """Another attempt for those that have no socket."""
    READ_AGAIN = " read again"
    """The end of the rest of those that were read for too long."""


class Deadlines:
    """The earliest of many deadlines. A deadline that moved later costs nothing until its old time comes: a BACKUP
    moves its own with every advertisement it hears. Those of one moment are kept together: MASTERs share slots."""

    def __init__(self) -> None:
        self._moments: list[int] = []
        """A heap; each is a key of `_names`."""
        self._names: dict[int, list[str]] = {}
        self._armed: dict[str, int] = {}

    @property
    def first(self) -> int | None:
        """When to look next; something may turn out not to be due then."""
        return self._moments[0] if self._moments else None

    def arm(self, name: str, at: int) -> None:
        """Have `name` looked at no later than `at`."""
        armed = self._armed.get(name)
        if armed is None or at < armed:
            self._armed[name] = at
            names = self._names.get(at)
            if names is None:
                self._names[at] = [name]
                heapq.heappush(self._moments, at)
            else:
                names.append(name)

    def forget(self, name: str) -> None:
        """No longer of interest."""
        self._armed.pop(name, None)

    def due(self, now: int) -> list[str]:
        """The names to look at; each must be armed again if it still has a deadline."""
        due = []
        while self._moments and self._moments[0] <= now:
            at = heapq.heappop(self._moments)
            for name in self._names.pop(at):
                if self._armed.get(name) == at:
                    del self._armed[name]
                    due.append(name)
        return due
