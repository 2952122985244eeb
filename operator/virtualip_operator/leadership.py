"""Which of the operator's replicas plans and tells: a Lease, so that the status goes on when a node dies with one.

Nobody's address depends on it. The rule is client-go's: a holder that has not renewed for the Lease's duration, as
measured by the watcher's own clock from the last change it saw, may be replaced; and the holder itself stops earlier
than that when it cannot renew.
"""

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from virtualip_operator.api import Api, ApiError

log = logging.getLogger(__name__)

LEASE: Final = "operator-leader"
"""No agent's name: those begin with `virtualip-`."""
DURATION: Final = 8.0
"""Seconds after which a leader that does not renew may be replaced."""
STEP_DOWN: Final = 6.0
"""Seconds without a renewal after which it stops by itself."""
PERIOD: Final = 1.5
"""Seconds between two looks."""
_PATIENCE: Final = 5.0
"""Seconds that an end waits for a look that is under way."""


class Leadership:
    """Looks and renews; `leading` may be asked by any thread. `gained` is called each time it becomes true, `lost` when
    it is not any more."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        identity: str,
        gained: Callable[[], None],
        lost: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._identity = identity
        self._gained = gained
        self._lost = lost
        self._clock = clock
        self._lock = threading.Lock()
        self._resigned = False
        self._renewed_at: float | None = None
        self._seen: tuple[Any, ...] = ()
        self._seen_at = 0.0

    @property
    def leading(self) -> bool:
        """Whether this replica may write."""
        return self._renewed_at is not None and self._clock() - self._renewed_at < STEP_DOWN

    def start(self) -> None:
        """Looks for ever, in a thread of its own."""
        threading.Thread(target=self._look_for_ever, name="leadership", daemon=True).start()

    def _look_for_ever(self) -> None:
        while True:
            try:
                self.look()
            except Exception:
                # without this thread nobody would lead
                log.exception("leadership")
            time.sleep(PERIOD)

    def look(self) -> None:
        """Renews the Lease where it is ours, takes it where it is nobody's; what fails is tried again."""
        with self._lock:
            if not self._resigned:
                self._look()

    def _look(self) -> None:
        before = self._renewed_at
        try:
            held = self._renew_or_take()
        except ApiError as error:
            log.debug("the leader's Lease: %s", error)
            held = False
        # Asked only now: whoever asked `leading` meanwhile, and was told no, has let something lie.
        led = before is not None and self._clock() - before < STEP_DOWN
        if held:
            if not led:
                log.info("leading, as %s", self._identity)
                self._gained()
        elif before is not None and not self.leading:
            log.warning("not leading any more")
            self._renewed_at = None
            self._lost()

    def resign(self) -> None:
        """Lets another take over at once; for a planned end, after which it does not lead again."""
        held = self._lock.acquire(timeout=_PATIENCE)  # a renewal under way would come after it
        try:
            if self.leading:
                self._give_away()
            self._resigned = True
        finally:
            if held:
                self._lock.release()

    def _give_away(self) -> None:
        self._renewed_at = None
        try:
            lease = self._api.get(f"{self._collection}/{LEASE}")
            if lease["spec"].get("holderIdentity") == self._identity:
                lease["spec"]["holderIdentity"] = ""
                self._api.replace(f"{self._collection}/{LEASE}", lease)
        except ApiError as error:
            log.debug("the leader's Lease: %s", error)

    def _renew_or_take(self) -> bool:
        now = self._clock()
        try:
            lease = self._api.get(f"{self._collection}/{LEASE}")
        except ApiError as error:
            if error.status != 404:
                raise
            metadata = {"name": LEASE}
            lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": {}}
            return self._write(lease, now, create=True)
        spec = lease.setdefault("spec", {})
        holder = spec.get("holderIdentity")
        seen = (holder, spec.get("renewTime"))
        if seen != self._seen:
            self._seen, self._seen_at = seen, now
        if holder and holder != self._identity and now - self._seen_at < DURATION:
            self._renewed_at = None
            return False
        return self._write(lease, now, create=False)

    def _write(self, lease: dict[str, Any], now: float, *, create: bool) -> bool:
        spec = lease["spec"]
        if spec.get("holderIdentity") != self._identity:
            spec["leaseTransitions"] = int(spec.get("leaseTransitions") or 0) + 1
            spec["acquireTime"] = _micro_time()
        spec |= {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": int(DURATION),
            "renewTime": _micro_time(),
        }
        try:
            if create:
                self._api.create(self._collection, lease)
            else:
                self._api.replace(f"{self._collection}/{LEASE}", lease)
        except ApiError as error:
            if error.status == 409:  # another replica was faster
                return False
            raise
        self._renewed_at = now
        return True


def _micro_time() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
