"""The table of `make bench`, and whether each line holds."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Samples = Mapping[str, Sequence[float]]
"""By contestant."""


@dataclass(frozen=True, slots=True)
class Line:
    """One row."""

    what: str
    unit: str
    samples: Samples
    goal: str
    """For a reader."""
    holds: bool
    worst: str = "max"
    """What stands beside the median: `max`, or `sum` for what is counted."""


def summary(values: Sequence[float], unit: str, worst: str) -> str:
    """`p50 / max unit`."""
    if not values:
        return "-"
    if worst == "sum":
        return f"{sum(values):g}"
    if len(values) == 1:
        return f"{_number(values[0])} {unit}"
    return f"{_number(statistics.median(values))} / {_number(max(values))} {unit}"


def table(lines: Sequence[Line], contestants: Sequence[str]) -> str:
    """As Markdown, padded so that a terminal can show it too."""
    rows = [["p50 / max", *contestants, "goal", "holds"]]
    rows += [
        [
            line.what,
            *(summary(line.samples.get(contestant, ()), line.unit, line.worst) for contestant in contestants),
            line.goal,
            "yes" if line.holds else "NO",
        ]
        for line in lines
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    )


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"
