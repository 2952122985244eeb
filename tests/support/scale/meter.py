"""What it cost: the API server's own counters, and the kernel's of each process."""

import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from scale.api import Api

_TICKS = os.sysconf("SC_CLK_TCK")
_READS = {"GET", "LIST"}
_OURS = {"virtualips", "virtualipmembers", "leases", "events", "nodes", "customresourcedefinitions"}


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters at one moment."""

    at: float
    """time.monotonic()."""
    requests: Counter[tuple[str, str]]
    """(verb, resource with its subresource) -> how many."""
    watch_events: int
    watch_bytes: int
    cpu: dict[str, float]
    """Seconds, by process."""
    memory: dict[str, float]
    """MiB resident, by process."""


class Meter:
    """Reads them."""

    def __init__(self, api: Api, pids: dict[str, int]) -> None:
        self._api = api
        self._pids = pids

    async def read(self) -> Reading:
        """All of them, now."""
        requests: Counter[tuple[str, str]] = Counter()
        events = size = 0
        for family in text_string_to_metric_families(await self._api.text("/metrics")):
            for sample in family.samples:
                labels = sample.labels
                if sample.name == "apiserver_request_total" and labels["resource"] in _OURS:
                    resource = "/".join(filter(None, (labels["resource"], labels.get("subresource"))))
                    requests[labels["verb"], resource] += int(sample.value)
                elif sample.name == "apiserver_watch_events_total":
                    events += int(sample.value)
                elif sample.name == "apiserver_watch_events_sizes_sum":
                    size += int(sample.value)
        return Reading(
            time.monotonic(),
            requests,
            events,
            size,
            {name: _cpu_seconds(pid) for name, pid in self._pids.items()},
            {name: _resident_mib(pid) for name, pid in self._pids.items()},
        )


@dataclass(frozen=True, slots=True)
class Cost:
    """Between two readings, a second."""

    seconds: float
    writes: dict[str, float]
    reads: dict[str, float]
    watch_events: float
    watch_kib: float
    cores: dict[str, float]
    memory: dict[str, float]


def cost(before: Reading, after: Reading) -> Cost:
    """What was spent meanwhile."""
    seconds = after.at - before.at
    writes: Counter[str] = Counter()
    reads: Counter[str] = Counter()
    for (verb, resource), count in (after.requests - before.requests).items():
        if verb == "WATCH":
            continue
        (reads if verb in _READS else writes)[f"{verb} {resource}"] += count
    return Cost(
        seconds,
        {name: count / seconds for name, count in sorted(writes.items())},
        {name: count / seconds for name, count in sorted(reads.items())},
        (after.watch_events - before.watch_events) / seconds,
        (after.watch_bytes - before.watch_bytes) / seconds / 1024,
        {name: (used - before.cpu[name]) / seconds for name, used in after.cpu.items()},
        after.memory,
    )


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0
