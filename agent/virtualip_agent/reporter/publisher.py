"""State out: carries the outbox to the API by server-side apply, and looks now and then whether it is still there."""

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

from virtualip_agent.reporter.api import Api, ApiError
from virtualip_agent.reporter.entry import (
    VIRTUAL_IPS_PATH,
    Remark,
    apply_body,
    compose,
    own_entry,
    shows,
    status_path,
)
from virtualip_agent.reporter.looks import Looks
from virtualip_agent.reporter.outbox import Job, Outbox
from virtualip_api.names import field_manager

log = logging.getLogger(__name__)


class Publisher:
    """The entries of this node. Safe to share between threads; `work` runs in one or more of its own."""

    def __init__(self, api: Api, node: str, published: Iterable[str] = ()) -> None:
        self._api = api
        self._node = node
        self._manager = field_manager(node)
        self._changed = threading.Condition()
        self._outbox = Outbox()
        self._told: dict[str, Mapping[str, Any]] = {}
        self._remarks: dict[str, Remark] = {}
        self._left_over = set(published)
        """Entries that an earlier process of ours wrote, of VIPs that control has not spoken of yet."""
        self._refusals: dict[str, str] = {}
        self._looks = Looks()

    def state(self, name: str, entry: Mapping[str, Any]) -> None:
        """Control says what a VIP is now."""
        with self._changed:
            self._left_over.discard(name)
            self._told[name] = entry
            self._compose(name)

    def gone(self, name: str) -> None:
        """Control has withdrawn the VIP, or never had it."""
        with self._changed:
            self._told.pop(name, None)
            if name in self._left_over:
                self._left_over.discard(name)
                self._outbox.retell([name])
            self._compose(name)

    def snapshot(self, names: set[str], desired: set[str]) -> None:
        """Control has named all its VIPs. What it does not name is gone, unless its file lies there yet to be read."""
        with self._changed:
            unnamed = (set(self._told) | self._left_over) - names - desired
        for name in unnamed:
            self.gone(name)

    def remark(self, name: str, remark: Remark | None) -> None:
        """What the reporter itself has to say of a VIP; None: nothing any more."""
        with self._changed:
            if remark is None:
                self._remarks.pop(name, None)
            else:
                self._remarks[name] = remark
            self._compose(name)

    def retell(self, names: Iterable[str] | None = None) -> None:
        """The API may have lost these entries (None: all)."""
        with self._changed:
            self._outbox.retell(self._outbox.entries() if names is None else set(names) & set(self._outbox.entries()))
            self._changed.notify_all()

    def published(self) -> set[str]:
        """Names that may have an entry of ours in the API."""
        with self._changed:
            return set(self._outbox.entries()) | self._left_over

    def idle(self) -> bool:
        """Whether the API has everything."""
        with self._changed:
            return self._outbox.idle()

    def work(self) -> None:
        """Sends what is due, for ever. The body of a worker thread."""
        while True:
            with self._changed:
                job = self._outbox.take(time.monotonic_ns())
                if job is None:
                    wake = self._outbox.next_at()
                    self._changed.wait(None if wake is None else max(0.0, (wake - time.monotonic_ns()) / 1e9))
                    continue
            self._send(job)

    def check(self) -> None:
        """Re-reads a few VirtualIPs, in turn, and writes this node's entry again where it is missing or is not ours.

        ApiError where the API cannot be asked."""
        for name in self._next_to_check():
            with self._changed:
                wanted = self._outbox.told_of(name, time.monotonic_ns())
            if wanted is None:
                continue
            try:
                found = own_entry(self._api.get(f"{VIRTUAL_IPS_PATH}/{name}", {"resourceVersion": "0"}), self._node)
            except ApiError as error:
                if error.status != 404:
                    raise
                continue
            if shows(found, wanted):
                self._looks.was_there(name, time.monotonic_ns())
            else:
                log.info("%s: the status lacks this node's entry: written again", name)
                self._looks.was_lost(name, time.monotonic_ns())
                self.retell([name])

    def _next_to_check(self) -> list[str]:
        with self._changed:
            names = [name for name, entry in self._outbox.entries().items() if entry is not None]
        return self._looks.take(names, time.monotonic_ns())

    def _compose(self, name: str) -> None:
        entry = compose(self._node, self._told.get(name), self._remarks.get(name))
        self._outbox.want(name, entry, time.monotonic_ns())
        self._changed.notify_all()

    def _send(self, job: Job) -> None:
        refusal = ""
        try:
            self._api.apply(status_path(job.name), apply_body(job.name, job.entry), self._manager)
        except ApiError as error:
            if error.outage:
                with self._changed:
                    self._outbox.failed(job, time.monotonic_ns())
                    self._changed.notify_all()
                return
            # 404: a VIP from a manifest needs no VirtualIP, and a deleted one needs no status; `check` sees it appear.
            refusal = "" if error.status == 404 else str(error)
        with self._changed:
            if refusal:
                self._outbox.refused(job, time.monotonic_ns())
            else:
                self._outbox.done(job)
            known = self._refusals.get(job.name, "")
            if refusal:
                self._refusals[job.name] = refusal
            else:
                self._refusals.pop(job.name, None)
            self._changed.notify_all()
        if refusal and refusal != known:
            log.warning("%s: the API refuses this node's entry: %s", job.name, refusal)
        elif known and not refusal:
            log.info("%s: the API takes this node's entry again", job.name)
