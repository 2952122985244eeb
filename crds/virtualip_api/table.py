"""Tables for people, as agent and `kubectl vip` print them. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any


def columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """A line a row, each column as wide as the widest of its cells."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def history_head(of: str) -> tuple[str, ...]:
    """Over rows of a history; `of` is what their second column has."""
    return ("TIME", of, "FROM", "TO", "PRIORITY", "TAKEOVER", "REASON", "MESSAGE")


def history_row(of: str, record: Mapping[str, Any], nothing: str = "") -> tuple[str, ...]:
    """A transition, or what was seen on the segment; `nothing` stands where no state was left."""
    return (
        record["time"],
        of,
        str(record.get("from", "") or nothing),
        record["to"],
        str(record.get("priority", "-")),
        record.get("takeover", "-"),
        record.get("reason", "") or record.get("kind", "") or "-",
        " ".join(filter(None, (record.get("address", ""), record.get("message", "")))),
    )
