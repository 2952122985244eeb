"""Which nodes are silent: their agents renew no Lease, so what they said last is not believed.

Judged by this process's own clock, from when a renewal was seen here, so that nodes' clocks need not agree. Time comes
in as an argument (`now`: seconds of a monotonic clock; `wall`: seconds since the epoch).
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from virtualip_api.names import lease_name
from virtualip_api.status import parse_time

DEFAULT_DURATION = 30.0
"""Seconds, for a Lease that does not say."""
GRACE = 15.0
"""Seconds in which an agent that lives renews its Lease (it does so every 10 s)."""


@dataclass(slots=True)
class _Seen:
    renew_time: str
    deadline: float
    proven: bool
    """A renewal was seen, or was fresh when it was first seen: the node lives, or lived."""


class Silence:
    """What is known of the nodes' Leases; asked and told from several threads."""

    def __init__(self, now: float) -> None:
        self._lock = threading.Lock()
        self._leases: dict[str, _Seen] = {}
        self._no_lease_deadline = now + DEFAULT_DURATION
        self._blind_since: float | None = now

    def renewed_at(self, node: str) -> float:
        """When the node renewed last by its own clock, in seconds since the epoch; 0 where it has no Lease."""
        with self._lock:
            seen = self._leases.get(lease_name(node))
            return parse_time(seen.renew_time) if seen else 0.0

    def is_silent(self, node: str, now: float, before: bool) -> bool:
        """Whether it is silent. `before`: it was so in the status that another operator, or this one, wrote."""
        with self._lock:
            if self._blind_since is not None:
                now = self._blind_since  # nothing was heard of anybody since: no reason to think worse of them
            seen = self._leases.get(lease_name(node))
            if seen is None:
                return before or now > self._no_lease_deadline
            if before and not seen.proven:
                return True
            return now > seen.deadline

    def observe(self, lease: Mapping[str, Any], now: float, wall: float) -> None:
        """A Lease from a watch."""
        with self._lock:
            self._observe(lease, now, wall)

    def _observe(self, lease: Mapping[str, Any], now: float, wall: float) -> None:
        spec = lease.get("spec") or {}
        renew_time = str(spec.get("renewTime") or "")
        duration = float(spec.get("leaseDurationSeconds") or DEFAULT_DURATION)
        name = lease["metadata"]["name"]
        seen = self._leases.get(name)
        if seen is None:
            # Only here do the clocks meet. A skewed one costs a node GRACE, until its next renewal is seen.
            age = wall - parse_time(renew_time)
            fresh = age <= duration
            deadline = now + (duration - max(age, 0.0) if fresh else 0.0)
            self._leases[name] = _Seen(renew_time, max(deadline, now + GRACE), fresh)
        elif renew_time != seen.renew_time:
            self._leases[name] = _Seen(renew_time, now + duration, True)

    def listed(self, leases: list[Mapping[str, Any]], now: float, wall: float) -> None:
        """A complete list, which also ends a time in which nothing could be heard."""
        with self._lock:
            if self._blind_since is not None:
                self._see_again(self._blind_since, now)
            # One that was deleted is no news of the node yet: its agent makes it anew, or its time runs out.
            names = {lease["metadata"]["name"] for lease in leases}
            for name in [name for name, seen in self._leases.items() if name not in names and seen.deadline < now]:
                del self._leases[name]
            for lease in leases:
                self._observe(lease, now, wall)

    def _see_again(self, blind_since: float, now: float) -> None:
        for seen in self._leases.values():
            # Who was not silent then has not had a chance to be heard since.
            if seen.deadline >= blind_since:
                seen.deadline = max(seen.deadline, now + GRACE)
        self._no_lease_deadline = max(self._no_lease_deadline, now + GRACE)
        self._blind_since = None

    def blind(self, now: float) -> None:
        """From now on nothing is heard: the API server does not answer."""
        with self._lock:
            if self._blind_since is None:
                self._blind_since = now
