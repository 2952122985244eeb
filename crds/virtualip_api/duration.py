"""Durations as users write them (`1s`, `100ms`, `1m30s`) and as the code has them: integer nanoseconds."""

import re

MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND

_UNITS = {"us": MICROSECOND, "ms": MILLISECOND, "s": SECOND, "m": MINUTE, "h": 60 * MINUTE}
_PART = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h)", re.ASCII)
_WHOLE = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)


def parse_duration(text: str) -> int:
    """Nanoseconds of a duration such as `100ms`; ValueError where it is none."""
    if not _WHOLE.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration such as 1s or 100ms")
    total = 0
    for number, unit in _PART.findall(text):
        whole, _, fraction = number.partition(".")
        total += int(whole) * _UNITS[unit]
        if fraction:
            total += int(fraction) * _UNITS[unit] // 10 ** len(fraction)
    return total


def format_duration(nanoseconds: int) -> str:
    """The shortest exact form down to a millisecond: `1s`, `100ms`, `1m30s`, `3.062s`; rounded to a millisecond."""
    milliseconds = (nanoseconds + MILLISECOND // 2) // MILLISECOND
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, milliseconds = divmod(milliseconds, 60_000)
    seconds = f"{milliseconds / 1000:.3f}".rstrip("0").rstrip(".") + "s" if milliseconds else ""
    return (f"{minutes}m" if minutes else "") + seconds
