"""Logging: text or JSON lines on stderr, without what a library says again and again."""

import logging
import time
from collections.abc import Callable

import kopf

REPEAT = 30.0
"""Seconds between two messages of a logger of kopf's client; it tells of every attempt of every watch."""
_TALKATIVE = "kopf._cogs.clients"


def configure(log_format: str, level: str) -> None:
    """Sets the root logger up: `text` or `json`, from `debug`, `info`, `warning` or `error` on."""
    kopf.configure(log_format=kopf.LogFormat.JSON if log_format == "json" else kopf.LogFormat.FULL)
    root = logging.getLogger()
    root.setLevel(level.upper())
    if level != "debug":
        # kopf tells of every event that it handled.
        logging.getLogger("kopf").setLevel(logging.WARNING)
        for handler in root.handlers:
            handler.addFilter(Seldom())


class Seldom(logging.Filter):
    """Lets a logger of kopf's client speak once in REPEAT."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._spoke: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it may."""
        if not record.name.startswith(_TALKATIVE):
            return True
        now = self._clock()
        if now - self._spoke.get(record.name, -REPEAT) < REPEAT:
            return False
        self._spoke[record.name] = now
        return True
