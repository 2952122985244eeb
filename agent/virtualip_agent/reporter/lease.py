"""This node's Lease: renewed while its agent answers, and the mark by which a restored database is recognised.

Only this process writes it (the admission policy sees to that), so the API must show a renewTime that is not older than
the last one we wrote. An older one, or none, means that the database is not the one we wrote to.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from virtualip_agent.reporter.api import Api, ApiError
from virtualip_agent.reporter.withdrawal import Store
from virtualip_api.names import lease_name
from virtualip_api.status import format_time

log = logging.getLogger(__name__)

DURATION = 30
"""Seconds after which a node that does not renew counts as silent."""
RENEWAL = 10
"""Seconds."""


class Lease:
    """Renewed with the resourceVersion it had, so that a change behind our back is noticed and not overwritten.

    `replaced` is called when the database turns out not to be the one that the Lease was last written to."""

    def __init__(self, api: Api, namespace: str, node: str, written: str, replaced: Callable[[], None]) -> None:
        self._api = api
        self._name = lease_name(node)
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._node = node
        self._replaced = replaced
        self._lock = threading.Lock()
        self._version = ""
        self._written = written

    @property
    def written(self) -> str:
        """renewTime of the last one written; '' before the first."""
        return self._written

    def renew(self) -> None:
        """Creates or renews it; ApiError."""
        with self._lock:
            if not self._version:
                self._read()
            renewed = format_time(time.time())
            spec = {
                "holderIdentity": self._node,
                "leaseDurationSeconds": DURATION,
                "renewTime": renewed,
            }
            try:
                lease = self._write(spec)
            except ApiError as error:
                if error.status not in (404, 409):
                    raise
                self._read()  # changed, deleted or restored meanwhile
                lease = self._write(spec)
            self._version = lease["metadata"]["resourceVersion"]
            self._written = renewed

    def store(self) -> Store:
        """Whether the database still holds the Lease as we wrote it."""
        with self._lock:
            try:
                return Store.SAME if self._read() else Store.CHANGED
            except ApiError:
                return Store.UNKNOWN

    def _write(self, spec: dict[str, Any]) -> dict[str, Any]:
        if not self._version:
            body = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self._name},
                "spec": spec,
            }
            return self._api.create(self._collection, body)
        metadata = {"resourceVersion": self._version}
        return self._api.merge(f"{self._collection}/{self._name}", {"metadata": metadata, "spec": spec})

    def _read(self) -> bool:
        try:
            lease = self._api.get(f"{self._collection}/{self._name}")
        except ApiError as error:
            if error.status != 404:
                raise
            self._version, found = "", ""
        else:
            self._version = lease["metadata"]["resourceVersion"]
            found = str((lease.get("spec") or {}).get("renewTime") or "")
        same = found >= self._written
        if not same:
            log.warning("this node's Lease is older than the one written here: was the database restored?")
            self._written = found
            self._replaced()
        return same
