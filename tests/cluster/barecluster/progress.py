"""What is being done, for a person who waits: lines on stderr with the seconds since the program started."""

import sys
import time

_START = time.monotonic()


def say(message: str) -> None:
    """Prints one line."""
    print(f"[{time.monotonic() - _START:6.1f} s] {message}", file=sys.stderr, flush=True)
