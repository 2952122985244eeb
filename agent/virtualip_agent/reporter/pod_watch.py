"""Pods in: those of this node, in the namespaces that podReady trackers of its own VIPs name, and only while they do.

One watch a namespace; what is known goes to control as a file (`pods_file`). Pods are few on a node, so labels are
compared by control: an edited selector needs nothing from the API.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from virtualip_agent import pods_file
from virtualip_agent.desired_file import write_atomically
from virtualip_agent.pods_file import Pod, PodsOfNamespace
from virtualip_agent.reporter.api import Api, ApiError, WatchEvent
from virtualip_agent.reporter.backoff import BackOff

log = logging.getLogger(__name__)

CONFIRM_EVERY = 5.0
"""Seconds between statements that what is known is still so, while the API is there."""
WATCH_SECONDS = 240


def pod_of(thing: Mapping[str, Any]) -> tuple[str, Pod]:
    """Name and facts of a Pod as the API gave it. One that is being deleted is not ready, as a Service has it."""
    metadata, status = thing.get("metadata") or {}, thing.get("status") or {}
    ready = any(
        condition.get("type") == "Ready" and condition.get("status") == "True"
        for condition in status.get("conditions") or ()
    )
    name, labels = str(metadata.get("name", "")), metadata.get("labels") or {}
    return name, Pod(dict(labels), ready and not metadata.get("deletionTimestamp"))


class NamespaceWatch:
    """The pods of one namespace on this node. `work` is its thread's body; `changed` is called after each change."""

    def __init__(
        self, api: Api, node: str, namespace: str, before: PodsOfNamespace | None, changed: Callable[[], None]
    ) -> None:
        self.namespace = namespace
        self._api = api
        self._query = {"fieldSelector": f"spec.nodeName={node}"}
        self._path = f"/api/v1/namespaces/{namespace}/pods"
        self._changed = changed
        self._lock = threading.Lock()
        self._known = before or PodsOfNamespace()
        self._current = False
        self._resource_version = ""
        self._stopped = threading.Event()

    def stop(self) -> None:
        """It ends with the next event, or when the server ends the watch."""
        self._stopped.set()

    def known(self) -> PodsOfNamespace:
        """What is known, as of now where the watch is open."""
        with self._lock:
            if self._current:
                self._known = PodsOfNamespace(self._known.pods, pods_file.now())
            return self._known

    def work(self) -> None:
        """Lists and watches until stopped."""
        back_off = BackOff()
        while not self._stopped.is_set():
            back_off.begin()
            failed = False
            try:
                # again after each watch: of a restored database one may be open at a version that is yet to come
                self.look()
                self._follow()
            except ApiError as error:
                if error.status != 410:  # else the watch was away too long: list again
                    self._lost(error)
                failed = error.status != 410
            if not self._stopped.is_set():
                time.sleep(back_off.ended(failed=failed))

    def look(self) -> None:
        """Lists them. ApiError."""
        answer = self._api.get(self._path, self._query)
        self._resource_version = str((answer.get("metadata") or {}).get("resourceVersion", ""))
        self._set(dict(map(pod_of, answer.get("items") or ())))

    def _follow(self) -> None:
        query = {**self._query, "resourceVersion": self._resource_version}
        for event in self._api.watch(self._path, query, int(WATCH_SECONDS * (0.8 + 0.4 * random.random()))):
            self.handle(event)
            if self._stopped.is_set():
                return

    def handle(self, event: WatchEvent) -> None:
        """Takes an event."""
        version = (event.object.get("metadata") or {}).get("resourceVersion")
        if version:
            self._resource_version = str(version)
        if event.kind not in ("ADDED", "MODIFIED", "DELETED"):
            return
        name, pod = pod_of(event.object)
        pods = dict(self._known.pods or {})
        if event.kind == "DELETED":
            pods.pop(name, None)
        else:
            pods[name] = pod
        self._set(pods)

    def _set(self, pods: dict[str, Pod]) -> None:
        with self._lock:
            news = not self._current or pods != self._known.pods
            self._current = True
            self._known = PodsOfNamespace(pods, pods_file.now())
        if news:
            self._changed()

    def _lost(self, error: ApiError) -> None:
        problem = "" if error.outage else f"pods of {self.namespace} cannot be watched: {error}"
        with self._lock:
            before = self._known
            confirmed_at = pods_file.now() if self._current else before.confirmed_at
            self._known = PodsOfNamespace(before.pods, confirmed_at, problem or before.problem)
            news = self._current or self._known.problem != before.problem
            self._current = False
        if news:
            if problem:
                log.warning("%s", problem)
            self._changed()


class PodWatch:
    """All of them, and the file. `work` is its thread's body; nothing else writes the file."""

    def __init__(
        self,
        api: Api,
        node: str,
        path: Path,
        wanted: Callable[[], set[str]],
        start_thread: Callable[[str, Callable[[], None]], None],
    ) -> None:
        self._api = api
        self._node = node
        self._path = path
        self._wanted = wanted
        self._start_thread = start_thread
        self._boot = pods_file.boot_id()
        self._watches: dict[str, NamespaceWatch] = {}
        self._wake = threading.Event()
        self._written: bytes | None = None
        self._before = self._read()

    def look(self) -> None:
        """There may be something to do; from any thread."""
        self._wake.set()

    def work(self) -> None:
        """Follows what is wanted and writes what is known, for ever."""
        while True:
            self.round()
            self._wake.wait(CONFIRM_EVERY)
            self._wake.clear()

    def round(self) -> None:
        """Once."""
        wanted = self._wanted()
        for namespace in self._watches.keys() - wanted:
            self._watches.pop(namespace).stop()
        for namespace in wanted - self._watches.keys():
            before = self._before.pop(namespace, None)
            watch = NamespaceWatch(self._api, self._node, namespace, before, self.look)
            self._watches[namespace] = watch
            self._start_thread(f"pods-{namespace}", watch.work)
        known = {namespace: watch.known() for namespace, watch in self._watches.items()}
        if not known and self._written is None and not self._path.exists():
            return
        content = pods_file.encode(known, self._boot)
        if content == self._written:
            return
        try:
            write_atomically(self._path, content)
            self._written = content
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error.strerror)

    def _read(self) -> dict[str, PodsOfNamespace]:
        """What an earlier process of this boot knew: it holds until the API answers."""
        try:
            return pods_file.decode(self._path.read_bytes(), self._boot)
        except (OSError, ValueError):
            return {}
