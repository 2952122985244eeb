"""Metrics for Prometheus."""

import threading
from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from virtualip_operator.aggregation import Aggregate
from virtualip_operator.conditions import status_of

_CONDITIONS: Final = ("Accepted", "Ready", "SingleMaster", "VRIDUnique", "TrackersHealthy")


class Metrics:
    """A registry of the operator's own, without the process's."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._lock = threading.Lock()
        by_vip = ["virtualip"]
        self._master = Gauge(
            "virtualip_master", "1 for the MASTER of a VirtualIP", [*by_vip, "node"], registry=self.registry
        )
        self._condition = Gauge(
            "virtualip_condition",
            "1 where a condition is True, 0 where it is False, -1 where it is Unknown",
            [*by_vip, "type"],
            registry=self.registry,
        )
        self._silent = Gauge("virtualip_silent_nodes", "Members that do not report", by_vip, registry=self.registry)
        self._moves = Counter("virtualip_moves", "Changes of the MASTER seen", by_vip, registry=self.registry)
        self._failures = Counter("virtualip_reconcile_failures", "Turns that failed", registry=self.registry)
        self._depth = Gauge("virtualip_queue_depth", "VirtualIPs waiting for their turn", registry=self.registry)
        self._leads = Gauge(
            "virtualip_leading", "1 where this replica leads; only it tells of VirtualIPs", registry=self.registry
        )
        self._leading: Callable[[], bool] = lambda: True
        self._masters: dict[str, str] = {}

    def watch_leadership(self, leading: Callable[[], bool]) -> None:
        """Whether this replica leads is asked for when it is scraped."""
        self._leading = leading
        self._leads.set_function(lambda: float(leading()))

    def watch_queue(self, depth: Callable[[], float]) -> None:
        """The queue's depth is asked for when it is scraped."""
        self._depth.set_function(depth)

    def failed(self) -> None:
        """A turn failed."""
        self._failures.inc()

    def saw(self, name: str, result: Aggregate) -> None:
        """What a turn found out."""
        with self._lock:
            if self._leading():  # else it has ended meanwhile
                self._saw(name, result)

    def _saw(self, name: str, result: Aggregate) -> None:
        master = result.status.get("master", "")
        before = self._masters.get(name, "")
        if before and before != master:
            self._master.remove(name, before)
        if master:
            self._master.labels(name, master).set(1)
        self._masters[name] = master
        for condition_type in _CONDITIONS:
            value = {"True": 1, "False": 0}.get(status_of(result.status["conditions"], condition_type), -1)
            self._condition.labels(name, condition_type).set(value)
        self._silent.labels(name).set(len(result.status["silentNodes"]))
        self._moves.labels(name).inc(1 if result.move else 0)

    def forget(self, name: str) -> None:
        """The VirtualIP is gone."""
        with self._lock:
            self._forget(name)

    def forget_all(self) -> None:
        """Another replica leads: what this one knew last would stand beside what is true."""
        with self._lock:
            for name in list(self._masters):
                self._forget(name)

    def _forget(self, name: str) -> None:
        for metric in (self._master, self._condition, self._silent, self._moves):
            metric.remove_by_labels({"virtualip": name})
        self._masters.pop(name, None)
