"""Reading a small regular file that somebody else writes: never blocked by a FIFO, never filled by a huge one."""

import os
import stat
from pathlib import Path

LARGEST = 1 << 20


class NotReadable(Exception):
    """The file is there but is no small regular file that we may read; the message is for the user."""


def read_small_file(path: Path, limit: int = LARGEST, *, follow_symlinks: bool) -> bytes:
    """The whole content. FileNotFoundError where it is not there, NotReadable for anything else that is wrong."""
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | (0 if follow_symlinks else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise NotReadable("is not a regular file")
            content = b""
            while chunk := os.read(descriptor, limit + 1 - len(content)):
                content += chunk
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise NotReadable(f"cannot be read: {error.strerror}") from None
    if len(content) > limit:
        raise NotReadable(f"is larger than {limit} bytes")
    return content
