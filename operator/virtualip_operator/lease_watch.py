"""Watches the agents' Leases in the operator's own namespace, and tells `Silence`.

Leases are written all the time, so it is here that a restored database is noticed: its resourceVersions are older than
what was seen. Other watches, opened at a version that it has not reached, would be silent until it has (client-go and
kopf open theirs again where they were). A database that has overtaken what was seen meanwhile looks like any other, so
after every outage all is looked at anew."""

import logging
import threading
import time
from collections.abc import Callable

from virtualip_operator.api import Api, ApiError
from virtualip_operator.silence import Silence

log = logging.getLogger(__name__)

_WATCH = 300
"""Seconds, by which the server ends a watch."""
_QUIET = 12.0
"""Seconds without an event after which the watch is taken for dead: every agent renews each 10 s. It must be noticed
long before a Lease (30 s) runs out, or all nodes would look silent where only the watch is."""
_RETRY = 2.0
"""Seconds."""


class LeaseWatch(threading.Thread):
    """Lists and watches until the process ends; `look_anew` is called when the database may be another than before."""

    def __init__(self, api: Api, namespace: str, silence: Silence, look_anew: Callable[[], None]) -> None:
        super().__init__(name="leases", daemon=True)
        self._api = api
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._silence = silence
        self._look_anew = look_anew
        self._newest = 0
        """resourceVersion."""

    def run(self) -> None:
        """The thread."""
        away = False
        while True:
            try:
                older = self._list()
                if away:
                    log.info("Leases are watched again")
                if away or older:
                    self._look_anew()
                away = False
                self._watch()
            except Exception as error:
                # Whatever it is, without this thread no silence would be noticed any more.
                self._silence.blind(time.monotonic())
                if not away:
                    ours = not isinstance(error, ApiError)
                    log.warning("Leases cannot be watched, nobody becomes silent meanwhile: %s", error, exc_info=ours)
                away = True
                time.sleep(_RETRY)

    def _list(self) -> bool:
        """Whether what it lists is older than what was seen."""
        answer = self._api.get(self._path)
        self._silence.listed(answer["items"], time.monotonic(), time.time())
        version, before = int(answer["metadata"]["resourceVersion"]), self._newest
        self._newest = version
        if version < before:
            log.warning("The API server's data is older than before: was it restored?")
        return version < before

    def _watch(self) -> None:
        for kind, lease in self._api.watch(self._path, str(self._newest), _WATCH, _QUIET):
            self._newest = max(self._newest, int(lease["metadata"]["resourceVersion"]))
            if kind in ("ADDED", "MODIFIED"):
                self._silence.observe(lease, time.monotonic(), time.time())
