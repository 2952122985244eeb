"""Kubernetes Events of a VirtualIP, as `kubectl describe vip` shows them. Few, also when it flaps."""

import logging
import os
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from virtualip_api.names import API_VERSION, VIRTUAL_IP_KIND
from virtualip_api.status import format_time
from virtualip_operator.aggregation import Aggregate
from virtualip_operator.api import FIELD_MANAGER, Api, ApiError

log = logging.getLogger(__name__)

# Events of cluster-scoped objects are in this namespace (the API server refuses any other).
EVENTS = "/apis/events.k8s.io/v1/namespaces/default/events"

BURST = 10
"""Events of one VirtualIP that may follow each other at once."""
REFILL = 30.0
"""Seconds for one more."""
_LONGEST_NOTE = 1000
"""Characters; the API server takes 1 KiB."""


@dataclass(frozen=True, slots=True)
class Happening:
    """One Event to be."""

    type: str
    """Normal or Warning."""
    reason: str
    note: str


def happenings(result: Aggregate) -> list[Happening]:
    """What is worth an Event in what has just been found out."""
    found = []
    for before, condition in result.turned:
        match condition.type:
            case "Accepted" if condition.status == "False":
                reason = "NotAccepted"
            case "SingleMaster" if condition.status == "False" and condition.reason == "SeveralMasters":
                reason = "SeveralMasters"
            case "Ready" if before == "True":  # a new one is not ready for a moment, and that is no news
                reason = "NotReady"
            case _:
                continue
        found.append(Happening("Warning", reason, f"{condition.reason}: {condition.message}"))
    found += [Happening("Warning", piece.reason, piece.text) for piece in result.warned]
    found += [Happening("Warning", sight.reason, sight.text) for sight in result.sighted]
    if move := result.move:
        found.append(
            Happening("Normal", "Moved", f"{move.text()} ({'; '.join(filter(None, (move.reason, move.detail)))})")
        )
    return found


class Budget:
    """A token bucket: BURST at once, then one each REFILL seconds. `take` says how many were left out before."""

    def __init__(self, now: float) -> None:
        self._tokens = float(BURST)
        self._at = now
        self._left_out = 0

    def take(self, now: float) -> int | None:
        """The number of those left out since the last one that was let through; None where this one is left out."""
        self._tokens = min(float(BURST), self._tokens + (now - self._at) / REFILL)
        self._at = now
        if self._tokens < 1.0:
            self._left_out += 1
            return None
        self._tokens -= 1.0
        left_out, self._left_out = self._left_out, 0
        return left_out


class Narrator:
    """Writes the Events. One that cannot be written is logged and forgotten: status holds the truth."""

    def __init__(self, api: Api, clock: Callable[[], float]) -> None:
        self._api = api
        self._clock = clock
        self._budgets: dict[str, Budget] = {}

    def tell(self, virtual_ip: Mapping[str, Any], result: Aggregate, now: float) -> None:
        """Writes what has happened. `now`: seconds since the epoch."""
        metadata = virtual_ip["metadata"]
        for happening in happenings(result):
            log.info("%s: %s: %s", metadata["name"], happening.reason, happening.note)
            budget = self._budgets.setdefault(metadata["name"], Budget(self._clock()))
            left_out = budget.take(self._clock())
            if left_out is None:
                continue
            more = f" ({left_out} events before this one are left out)" if left_out else ""
            try:
                self._api.create(EVENTS, event_body(metadata, happening, now, more))
            except ApiError as error:
                log.warning("%s: event %s not written: %s", metadata["name"], happening.reason, error)

    def forget(self, name: str) -> None:
        """The VirtualIP is gone."""
        self._budgets.pop(name, None)


def event_body(metadata: Mapping[str, Any], happening: Happening, now: float, more: str) -> dict[str, Any]:
    """The Event (events.k8s.io/v1) about the VirtualIP of that metadata."""
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{secrets.token_hex(8)}", "namespace": "default"},
        "eventTime": format_time(now),
        "type": happening.type,
        "reason": happening.reason,
        "action": happening.reason,
        "note": happening.note[: _LONGEST_NOTE - len(more)] + more,
        "reportingController": FIELD_MANAGER,
        "reportingInstance": os.uname().nodename,
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": VIRTUAL_IP_KIND,
            "name": metadata["name"],
            "uid": metadata["uid"],
            "resourceVersion": metadata.get("resourceVersion", ""),
        },
    }
