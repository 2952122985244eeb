"""What the demo prints."""

import sys
import time

_START = time.monotonic()


def heading(text: str) -> None:
    """A step of the demo."""
    print(f"\n== {text}", flush=True)


def note(text: str) -> None:
    """What is being done, with the seconds since the start."""
    print(f"[{time.monotonic() - _START:6.1f}s] {text}", flush=True)


def output(command: str, text: str) -> None:
    """A command as a user would type it, and what it printed."""
    print(f"$ {command}")
    print(text.rstrip(), flush=True)


def fail(text: str) -> None:
    """Why the demo ended."""
    print(f"demo: {text}", file=sys.stderr, flush=True)
