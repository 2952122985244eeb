"""One agent a node: whoever holds this lock may touch the kernel."""

import fcntl
import os
from pathlib import Path


class NodeLock:
    """flock(2) on a file in the run directory: gone with the process that held it, however that ended."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)

    def take(self) -> bool:
        """Whether it is ours now."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Lets it go."""
        os.close(self._descriptor)
