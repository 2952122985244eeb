"""Conditions of a VirtualIP in Kubernetes' standard shape. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

ACCEPTED_WITH_WARNINGS = "AcceptedWithWarnings"
"""Reason of Accepted: it runs, and is probably not what was meant."""


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
        for condition in before:
            if condition.get("type") == self.type and condition.get("status") == self.status:
                changed = condition.get("lastTransitionTime", changed)
        return {
            "type": self.type,
            "status": self.status,
            "observedGeneration": generation,
            "lastTransitionTime": changed,
            "reason": self.reason,
            "message": self.message,
        }


def status_of(conditions: Iterable[Mapping[str, Any]], condition_type: str) -> str:
    """The status of one of them; '' where it is absent."""
    for condition in conditions:
        if condition.get("type") == condition_type:
            return str(condition.get("status", ""))
    return ""
