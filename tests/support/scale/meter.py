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
_READ = (
    *("apiserver_request_total{", "apiserver_watch_events_total{", "apiserver_watch_events_sizes_sum{"),
    "go_memstats_alloc_bytes_total ",
)
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
    allocated: float
    """MB that the API server has asked its runtime for since it began. Other than time, it does not depend on what else
    the machine does."""
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
        allocated = 0.0
        # The whole page takes the parser seconds, in which no agent would do anything.
        lines = [line for line in (await self._api.text("/metrics")).splitlines() if line.startswith(_READ)]
        for family in text_string_to_metric_families("\n".join(lines) + "\n"):
            for sample in family.samples:
                labels = sample.labels
                if sample.name == "apiserver_request_total" and labels["resource"] in _OURS:
                    resource = "/".join(filter(None, (labels["resource"], labels.get("subresource"))))
                    requests[labels["verb"], resource] += int(sample.value)
                elif sample.name == "apiserver_watch_events_total":
                    events += int(sample.value)
                elif sample.name == "apiserver_watch_events_sizes_sum":
                    size += int(sample.value)
                elif sample.name == "go_memstats_alloc_bytes_total":
                    allocated = sample.value / 1e6
        return Reading(
            time.monotonic(),
            requests,
            events,
            size,
            allocated,
            {name: _cpu_seconds(pid) for name, pid in self._pids.items()},
            {name: _resident_mib(pid) for name, pid in self._pids.items()},
        )


@dataclass(frozen=True, slots=True)
class Cost:
    """Between two readings: a second, or in all."""

    seconds: float
    """Between them."""
    writes: dict[str, float]
    reads: dict[str, float]
    watch_events: float
    watch_kib: float
    cpu: dict[str, float]
    """Seconds of a processor, by process."""
    allocated_mb: float
    memory_mib: dict[str, float]
    """Resident at the end."""


def cost(before: Reading, after: Reading, *, a_second: bool) -> Cost:
    """What was spent meanwhile."""
    seconds = after.at - before.at
    share = seconds if a_second else 1.0
    writes: Counter[str] = Counter()
    reads: Counter[str] = Counter()
    for (verb, resource), count in (after.requests - before.requests).items():
        if verb == "WATCH":
            continue
        (reads if verb in _READS else writes)[f"{verb} {resource}"] += count
    return Cost(
        round(seconds, 1),
        {name: round(count / share, 3) for name, count in sorted(writes.items())},
        {name: round(count / share, 3) for name, count in sorted(reads.items())},
        round((after.watch_events - before.watch_events) / share, 1),
        round((after.watch_bytes - before.watch_bytes) / share / 1024, 1),
        {name: round((used - before.cpu[name]) / share, 3) for name, used in after.cpu.items()},
        round((after.allocated - before.allocated) / share, 1),
        {name: round(mib) for name, mib in after.memory.items()},
    )


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0
