"""Conditions of a VirtualIP in Kubernetes' standard shape. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Condition:
    """What holds now; the time of the last change is added by `to_json`."""

    type: str
    status: str
    """True, False or Unknown."""
    reason: str
    message: str

    def to_json(self, before: Iterable[Mapping[str, Any]], generation: int, now: float) -> dict[str, Any]:
        """As it stands in status; lastTransitionTime stays while the status does. `now`: seconds since the epoch."""
        changed = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        found = find(before, self.type)
        if found.get("status") == self.status:
            changed = found.get("lastTransitionTime", changed)
        return {
            "type": self.type,
            "status": self.status,
            "observedGeneration": generation,
            "lastTransitionTime": changed,
            "reason": self.reason,
            "message": self.message,
        }


def find(conditions: Iterable[Mapping[str, Any]], condition_type: str) -> Mapping[str, Any]:
    """One of them; empty where it is absent."""
    return next((found for found in conditions if found.get("type") == condition_type), {})


def status_of(conditions: Iterable[Mapping[str, Any]], condition_type: str) -> str:
    """The status of one of them; '' where it is absent."""
    return str(find(conditions, condition_type).get("status", ""))
