"""Opening a path of the host's as the host sees it, from a container that has its root directory mounted somewhere.

Symlinks are followed (ConfigMaps are made of them), but as if that directory were `/`: openat2(2), RESOLVE_IN_ROOT.
A link, or `..`, can then not lead out of it into the container's own files.
"""

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_SYS_OPENAT2: Final = 437  # the same number on every architecture
_RESOLVE_NO_MAGICLINKS: Final = 0x02
_RESOLVE_IN_ROOT: Final = 0x10
_ATTEMPTS: Final = 8

_libc = ctypes.CDLL(None, use_errno=True)


class NotUsable(Exception):
    """The path leads to nothing that can be read; the message is for the user."""


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


@dataclass(frozen=True, slots=True)
class Watchable:
    """An inode, and a path that inotify may be given for it."""

    path: str
    inode: tuple[int, int]


def open_in_root(root: Path, path: str) -> int:
    """An O_PATH descriptor of `path` beneath `root`: nothing is opened yet, so a FIFO or a device notices nothing.

    OSError as openat2 gives it; ENOSYS on a kernel before 5.6.
    """
    how = _OpenHow(os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
    directory = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for _ in range(_ATTEMPTS):
            descriptor: int = _libc.syscall(
                ctypes.c_long(_SYS_OPENAT2),
                ctypes.c_int(directory),
                ctypes.c_char_p(os.fsencode(path)),
                ctypes.byref(how),
                ctypes.c_size_t(ctypes.sizeof(how)),
            )
            if descriptor >= 0:
                return descriptor
            number = ctypes.get_errno()
            if number != errno.EAGAIN:  # a rename somewhere in the tree just then (openat2(2))
                break
        raise OSError(number, os.strerror(number), path)
    finally:
        os.close(directory)


def read_start(root: Path, path: str, length: int) -> bytes:
    """The first bytes of a regular file. NotUsable for everything else, without blocking on it."""
    try:
        descriptor = open_in_root(root, path)
    except FileNotFoundError:
        raise NotUsable("missing") from None
    except OSError as error:
        raise NotUsable(f"cannot be opened ({error.strerror})") from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotUsable("not a regular file")
        readable = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            return os.read(readable, length)
        finally:
            os.close(readable)
    except OSError as error:
        raise NotUsable(f"cannot be read ({error.strerror})") from None
    finally:
        os.close(descriptor)


@contextmanager
def watchable(root: Path, path: str) -> Iterator[Watchable | None]:
    """What `path` leads to, for as long as the context lasts; None where that is nothing."""
    try:
        descriptor = open_in_root(root, path)
    except OSError:
        yield None
        return
    try:
        status = os.fstat(descriptor)
        yield Watchable(f"/proc/self/fd/{descriptor}", (status.st_dev, status.st_ino))
    finally:
        os.close(descriptor)
