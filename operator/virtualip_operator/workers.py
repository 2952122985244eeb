"""The threads that give VirtualIPs their turns, and the clock that makes time a reason for one."""

import logging
import threading
from collections.abc import Callable, Collection
from typing import Final, Protocol

from virtualip_api.names import MEMBER_PLURAL, VIRTUAL_IP_PLURAL
from virtualip_operator.api import CRDS, MEMBERS, NODES, VIRTUAL_IPS, Api, ApiError
from virtualip_operator.health import Health
from virtualip_operator.metrics import Metrics
from virtualip_operator.reconciler import Reconciler
from virtualip_operator.store import Store
from virtualip_operator.work_queue import WorkQueue

log = logging.getLogger(__name__)

PLURALS: Final = (VIRTUAL_IP_PLURAL, MEMBER_PLURAL, "nodes")
WORKERS = 4
RESYNC = 300.0
"""Seconds between complete lists, which find what watches missed."""
SOON = 15.0
"""Seconds between complete lists at the least."""
_LIST_RETRY = 2.0
"""Seconds."""
_FIRST_LOOK = 3.0
"""Seconds after a complete list until it is looked whether all of it is watched."""
_TURN = 5.0
"""Seconds after which a worker that has nothing to do says that it lives."""


class Watching(Protocol):
    """Whoever watches."""

    def begin_anew(self) -> None:
        """All watches are opened again, after complete lists."""

    def lacks(self, plurals: Collection[str]) -> bool:
        """Whether some of these are not watched, and nothing more is under way."""


class Workers:
    """Nothing is planned before a first complete list of everything has succeeded."""

    def __init__(
        self,
        api: Api,
        store: Store,
        queue: WorkQueue,
        reconciler: Reconciler,
        metrics: Metrics,
        health: Health,
        leading: Callable[[], bool],
        watching: Watching,
    ) -> None:
        self._api = api
        self._store = store
        self._queue = queue
        self._reconciler = reconciler
        self._metrics = metrics
        self._health = health
        self._leading = leading
        self._watching = watching
        self._crds: tuple[str, ...] = ()
        self._stopping = threading.Event()
        self._doubted = threading.Event()
        self._watched_later = True
        """All was listed before all was watched: what was deleted in between is in no event."""

    def start(self) -> None:
        """Starts the threads; they end with the process, or after `stop`."""
        threading.Thread(target=self._resync_for_ever, name="resync", daemon=True).start()

    def stop(self) -> None:
        """Lets them end after their turns."""
        self._stopping.set()
        self._doubted.set()  # the resync waits for it
        self._queue.close()

    def look_anew(self) -> None:
        """The database may be an older one than before: watches that were open wait for what it does not have yet."""
        self._doubted.set()
        self._watching.begin_anew()

    def look_at_everything(self) -> None:
        """For a replica that has just begun to lead: whatever was noticed before was another's to act upon."""
        for name in self._store.names():
            self._queue.add(name)

    def tick(self, now: float) -> None:
        """To be called each second: a Lease that runs out makes no event. `now`: monotonic seconds."""
        for name in self._store.virtual_ips():
            if self._reconciler.is_due(name, now) and not self._queue.fails(name):
                self._queue.add(name)

    def _resync_for_ever(self) -> None:
        started = False
        failures = 0
        while not self._stopping.is_set():
            self._health.beat("resync", within=RESYNC + 120.0)
            try:
                self._list()
            except Exception as error:
                failures += 1
                if failures == 1 or not isinstance(error, ApiError):
                    log.warning("Not everything can be listed, retrying: %s", error)
                self._stopping.wait(_LIST_RETRY)
                continue
            if failures:
                log.info("Everything is listed again")
            failures = 0
            if not self._crds:
                self._watch_crds()
            if not started:
                for number in range(WORKERS):
                    threading.Thread(target=self._work, args=(f"worker-{number}",), daemon=True).start()
                started = True
            self._wait_for_resync()

    def _wait_for_resync(self) -> None:
        """RESYNC, or less where news was older than what is known: all of it is ignored after a database's restore."""
        # kopf was perhaps begun anew with this list, by an API server that had only just started
        if not self._doubted.wait(_FIRST_LOOK) and self._watch_crds():
            self._watched_later = True
            return
        waited = 0.0
        while waited < RESYNC and not self._stopping.is_set():
            self._health.beat("resync", within=RESYNC)
            if doubted := self._doubted.wait(SOON):
                self._doubted.clear()
            waited += SOON
            again, self._watched_later = self._watched_later, doubted or self._watch_crds()
            if again or self._watched_later or self._store.saw_older:
                return

    def _watch_crds(self) -> bool:
        """Whether the CRDs were made anew, or are not watched. kopf looks for them when it starts and when they change,
        which may be a moment before the API server serves them: where it came too early it would never look again."""
        try:
            found = tuple(str(self._api.get(path)["metadata"]["uid"]) for path in CRDS)
        except ApiError:
            return False
        before, self._crds = self._crds, found
        if before not in ((), found):
            log.info("The CRDs were made anew: watching and listing again")
        elif before and self._watching.lacks(PLURALS):
            log.warning("The API server has more than is watched: watching and listing again")
        else:
            return False
        self._watching.begin_anew()
        return True

    def _list(self) -> None:
        newest = self._store.newest()
        self._store.listed(self._api.get(VIRTUAL_IPS), self._api.get(MEMBERS), self._api.get(NODES), newest)
        self.look_at_everything()

    def _work(self, name: str) -> None:
        while not self._stopping.is_set():
            self._health.beat(name, within=120.0)
            virtual_ip = self._queue.take(_TURN)
            if virtual_ip is None:
                continue
            if self._leading():
                self._take_turn(virtual_ip)
            else:
                self._queue.done(virtual_ip)

    def _take_turn(self, virtual_ip: str) -> None:
        try:
            again = self._reconciler.turn(virtual_ip)
        except Exception as error:
            self._metrics.failed()
            delay = self._queue.failed(virtual_ip)
            # What is not the API server's fault is ours, and worth its traceback.
            log.warning(
                "%s: failed, again in %.1f s: %s", virtual_ip, delay, error, exc_info=not isinstance(error, ApiError)
            )
            return
        self._queue.done(virtual_ip)
        if again is not None:
            self._queue.add(virtual_ip, again)
