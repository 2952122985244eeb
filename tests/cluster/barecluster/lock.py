"""One at a time: a lock file that a killed process cannot leave locked."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from barecluster.progress import say


@contextmanager
def locked(path: Path, waiting_for: str) -> Iterator[None]:
    """Holds path's lock; says what it waits for when somebody else has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process is busy with {waiting_for}: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
