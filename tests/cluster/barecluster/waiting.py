"""Waiting for something that another process does."""

import time
from collections.abc import Callable

from barecluster.errors import ClusterError


def wait_until(condition: Callable[[], bool], timeout: float, what: str, step: float = 0.1) -> None:
    """Asks every step until the condition holds; raises ClusterError after timeout (both in seconds)."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(f"waited {timeout:g} s in vain for {what}")
        time.sleep(step)
