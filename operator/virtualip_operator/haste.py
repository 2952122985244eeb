"""What a user is told at once, and what may wait until more of it has come. Pure.

The entries of a new VirtualIP's 16 nodes, or of those that a switch took down, arrive one after another, and each
changes the summary; a write for each of them doubles the API server's work when it has most of it (docs/scale.md).
"""

from collections.abc import Mapping
from typing import Any

PATIENCE = 1.0
"""Seconds for which the summary may lag behind the entries."""


def is_urgent(before: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """Whether more has changed than the summary, and what Ready says of each node in turn."""
    return _told_at_once(before) != _told_at_once(status)


def _told_at_once(status: Mapping[str, Any]) -> dict[str, Any]:
    told = {key: value for key, value in status.items() if key != "summary"}
    told["conditions"] = [
        {**condition, "message": ""} if condition.get("type") == "Ready" else condition
        for condition in status.get("conditions") or ()
    ]
    return told
