"""Plans in: this node's VirtualIPMembers, listed and watched; nothing else of the cluster is looked at.

The evidence of absence is gathered here and judged in `withdrawal`.
"""

import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from virtualip_agent.reporter import store, withdrawal
from virtualip_agent.reporter.api import Api, ApiError, WatchEvent
from virtualip_agent.reporter.backoff import BackOff
from virtualip_agent.reporter.desired_directory import DesiredDirectory
from virtualip_agent.reporter.memory import KnownMember, Memory
from virtualip_agent.reporter.plan import Password, SecretKey, read_plan
from virtualip_agent.reporter.withdrawal import Held, Owner, Probe, Store, Verdict
from virtualip_api.names import GROUP, MEMBER_PLURAL, NODE_LABEL, VERSION, WITHDRAWN_ANNOTATION, label_value

log = logging.getLogger(__name__)

MEMBERS_PATH = f"/apis/{GROUP}/{VERSION}/{MEMBER_PLURAL}"

WATCH_SECONDS = 240


class PlanWatch:
    """Keeps the desired directory as the plans are. `work` is its thread's body; nothing else touches the evidence.

    `read_password` is asked for a Secret that is not known yet, `lease_store` whether the database still holds our
    Lease; `checkpoint` is called when what `memory` returns has changed, `made_anew` when a VIP's Member is another one
    than before (so its VirtualIP may be another one too)."""

    def __init__(
        self,
        api: Api,
        node: str,
        desired: DesiredDirectory,
        memory: Memory,
        *,
        read_password: Callable[[SecretKey], Password],
        lease_store: Callable[[], Store],
        checkpoint: Callable[[], None],
        made_anew: Callable[[str], None] = lambda _name: None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._api = api
        self._node = node
        self._desired = desired
        self._read_password = read_password
        self._lease_store = lease_store
        self._checkpoint = checkpoint
        self._made_anew = made_anew
        self._clock = clock
        self._selector = {"labelSelector": f"{NODE_LABEL}={label_value(node)}"}
        self._resource_version = memory.resource_version
        self._store = memory.store
        self._held: dict[str, Held] = {}
        for name in desired.names():
            known = memory.members.get(name)
            self._held[name] = Held(known.uid, known.trusted) if known else Held()
            if known:
                desired.remember(name, known.uid, known.created)
        self._replaced = threading.Event()
        self._called = threading.Event()
        """There is something to list at once, though it was refused a moment ago."""
        self._end_watch: Callable[[], None] = lambda: None
        self._doubted_at = 0
        """Monotonic nanoseconds: since when it is not known which CRDs these are; 0: it is known."""
        self._refusals: dict[str, str] = {}
        self._orphans: frozenset[str] = frozenset()
        self._rivalled_since: dict[tuple[str, str], int] = {}
        """(what the API does not know, what it plans in its place) -> monotonic nanoseconds."""

    def memory(self) -> tuple[str, tuple[str, ...], dict[str, KnownMember]]:
        """What a restart must still know: resourceVersion, store, Members."""
        members = {
            name: KnownMember(held.uid, self._desired.identity(name)[1], held.trusted)
            for name, held in list(self._held.items())
        }
        return self._resource_version, self._store, members

    def replaced(self) -> None:
        """The database is not the one that was seen before; from any thread. Listed anew at once: what is seen from
        now on is of the new one, and a deletion there is meant."""
        self._replaced.set()
        self._called.set()
        # it may just have ended by itself
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            self._end_watch()

    def work(self) -> None:
        """Lists and watches, for ever."""
        back_off = BackOff()
        while True:
            back_off.begin()
            self._called.clear()
            failed = False
            try:
                self.look()
                self._follow()
            except ApiError as error:
                if error.status != 410:  # else the watch was away too long: list again
                    self._refused("plans cannot be read, what runs goes on", error)
                failed = error.status != 410
            self._called.wait(back_off.ended(failed=failed))

    def look(self) -> None:
        """Looks at all of this node's Members, and judges what is missing. ApiError."""
        crds = self._crds()
        # Asked before the list: what is seen there is then of the database in which the Lease is. Asked only when a
        # Member goes, it would tell of a restore minutes ago, and what was made anew since would be distrusted with it.
        if self._lease_store() is Store.CHANGED:
            self._replaced.set()
        answer = self._api.get(MEMBERS_PATH, self._selector)
        if crds != store.GONE:
            self._accepted()
        metadata = answer.get("metadata") or {}
        version = str(metadata.get("resourceVersion", ""))
        older = withdrawal.is_older(version, self._resource_version)
        if older:
            log.warning("the API server's data is older than before (restored?): nothing is withdrawn for it")
        if older or (crds != store.GONE and crds != self._store):
            self._distrust()
        self._take_replaced()
        named = {name for item in answer.get("items") or () if (name := self._seen(item))}
        self._doubted_at = self._clock() if crds == store.GONE else 0
        if crds != store.GONE:
            self._store = crds
            if not older and not metadata.get("continue"):
                now = self._clock()
                for name in self._held.keys() - named:
                    self._held[name] = withdrawal.missing(self._held[name], now)
                self._look_after_orphans(named, now)
        self._resource_version = version
        self._settle()
        self._checkpoint()

    def _look_after_orphans(self, named: set[str], now: int) -> None:
        """What runs here and was never in the database as it is now."""
        for name in self._desired.forgotten(named):
            log.info("%s: withdrawn: it was forgotten by hand on this node", name)
            self._held.pop(name, None)
        orphans = frozenset(name for name, held in self._held.items() if name not in named and not held.trusted)
        for name in sorted(orphans - self._orphans):
            log.warning("%s: kept without a VirtualIP in the API; `virtualip-agent forget %s` here ends it", name, name)
        self._orphans = orphans
        rivals = {(name, other) for name in orphans for other in named if self._desired.clash(name, other)}
        self._rivalled_since = {pair: self._rivalled_since.get(pair, now) for pair in rivals}
        for (name, other), since in sorted(self._rivalled_since.items()):
            long_enough = now - since >= withdrawal.GIVE_WAY
            if name in self._held and long_enough and store.owner(self._api, name) is Owner.GONE:
                log.warning("%s: withdrawn: it is not in the API, which has planned %s in its place", name, other)
                self._desired.remove(name)
                del self._held[name]

    def _crds(self) -> tuple[str, ...]:
        try:
            return store.crds(self._api)
        except ApiError as error:
            if error.outage:
                raise
            self._refused("the CRDs cannot be asked for, nothing is withdrawn meanwhile", error)
            return store.GONE

    def _follow(self) -> None:
        """Watches until it is time to list again: at the latest when the server ends the watch, so that the CRDs too
        are looked at every few minutes."""
        while True:
            query = {**self._selector, "resourceVersion": self._resource_version}
            interrupted = False
            for event in self._api.watch(MEMBERS_PATH, query, self._watch_seconds(), self._opened):
                interrupted = self.handle(event)
                if interrupted:
                    break
            if not interrupted or self._list_is_due():
                return

    def _opened(self, end: Callable[[], None]) -> None:
        self._end_watch = end
        if self._replaced.is_set():
            end()

    def _watch_seconds(self) -> int:
        due = self._next_list_at()
        if due is None:
            return int(WATCH_SECONDS * (0.8 + 0.4 * random.random()))
        return max(1, -(-(due - self._clock()) // 1_000_000_000))

    def _list_is_due(self) -> bool:
        due = self._next_list_at()
        return due is not None and due <= self._clock()

    def _next_list_at(self) -> int | None:
        due = [held.missed_at + withdrawal.GRACE for held in self._held.values() if held.absences]
        if self._doubted_at:
            due.append(self._doubted_at + withdrawal.GRACE)
        return 0 if self._replaced.is_set() else min(due, default=None)

    def handle(self, event: WatchEvent) -> bool:
        """Takes an event; whether the watch must end, as what it was to wait for has changed."""
        version = (event.object.get("metadata") or {}).get("resourceVersion")
        if version:
            self._resource_version = str(version)
        match event.kind:
            case "ADDED" | "MODIFIED":
                self._seen(event.object)
                self._checkpoint()
                if self._doubted_at:
                    self._doubted_at = 1  # CRDs made anew: list now, so that it is known which this Member is of
                    return True
            case "DELETED":
                self._deleted(event.object)
                return True
        return self._replaced.is_set()

    def _seen(self, member: Mapping[str, Any]) -> str:
        """The VIP's name; '' for a Member that is not ours."""
        plan = read_plan(member, self._node)
        if plan is None:
            return ""
        if plan.secret and not self._desired.has_password(plan.secret):
            try:
                self._desired.take_password(plan.secret, self._read_password(plan.secret))
            except ApiError as error:
                self._desired.password_unread(plan.secret, f"cannot be read: {error}")
        self._desired.take(plan)
        known = self._held.get(plan.name)
        if known is not None and known.uid != plan.uid:
            self._made_anew(plan.name)
        self._held[plan.name] = withdrawal.seen(plan.uid)
        return plan.name

    def _deleted(self, member: Mapping[str, Any]) -> None:
        plan = read_plan(member, self._node)
        if plan is None or plan.name not in self._held:
            return
        log.info("%s: its Member was deleted", plan.name)
        meant = WITHDRAWN_ANNOTATION in (member["metadata"].get("annotations") or {})
        self._held[plan.name] = withdrawal.deleted(self._held[plan.name], plan.uid, self._clock(), meant=meant)
        self._settle()
        self._checkpoint()

    def _settle(self) -> None:
        """Asks about what is missing, and acts on the verdicts."""
        asked = [name for name, held in self._held.items() if held.deleted or held.absences > 1]
        if not asked:
            return
        owners = {name: store.owner(self._api, name) for name in asked}
        watched, listed = self._stores()
        self._take_replaced()
        for name in asked:
            held = self._held[name]
            verdict, why = withdrawal.verdict(held, Probe(owners[name], watched if held.deleted else listed))
            match verdict:
                case Verdict.WITHDRAW:
                    log.info("%s: withdrawn: %s", name, why)
                    self._desired.remove(name)
                    del self._held[name]
                case Verdict.KEEP:
                    log.warning("%s: kept though its Member is gone: %s", name, why)
                    self._held[name] = withdrawal.distrust(held)
                    self._doubted_at = self._clock()
                case Verdict.WAIT:
                    if owners[name] is Owner.PRESENT:
                        log.info("%s: waits: %s", name, why)

    def _stores(self) -> tuple[Store, Store]:
        """What the database is for a Member whose deletion was watched, and for one that lists lack."""
        try:
            crds = Store.SAME if store.crds(self._api) == self._store else Store.CHANGED
        except ApiError:
            return Store.UNKNOWN, Store.UNKNOWN
        return crds, self._lease_store() if crds is Store.SAME else crds

    def _take_replaced(self) -> None:
        if self._replaced.is_set():
            self._replaced.clear()
            self._distrust()

    def _distrust(self) -> None:
        for name, held in self._held.items():
            self._held[name] = withdrawal.distrust(held)

    def _refused(self, what: str, error: ApiError) -> None:
        if not error.outage and self._refusals.get(what) != str(error):
            self._refusals[what] = str(error)
            log.warning("%s: %s", what, error)

    def _accepted(self) -> None:
        for what in list(self._refusals):
            del self._refusals[what]
            log.info("no longer so: %s", what)
