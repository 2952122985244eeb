"""One VirtualIP's turn: plan, write the Members, tell the status. Whatever fails is done again by the queue."""

import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from virtualip_api.advice import Advice
from virtualip_api.names import API_VERSION, VIRTUAL_IP_KIND
from virtualip_api.status import NodeEntry, State, parse_time
from virtualip_api.virtual_ip import Drain, VirtualIPSpec
from virtualip_operator.aggregation import SETTLE, Aggregate, View, aggregate, entries_from_status
from virtualip_operator.api import LASTING, NODES, VIRTUAL_IPS, Api, ApiError
from virtualip_operator.conditions import Condition
from virtualip_operator.draining import Diversion, divert, emptied
from virtualip_operator.haste import PATIENCE, is_urgent
from virtualip_operator.introduction import departing, has_heir, introduce
from virtualip_operator.member_writer import MemberWriter
from virtualip_operator.members import Changes, as_it_stands, diff, nodes_of, orphans, redrained
from virtualip_operator.metrics import Metrics
from virtualip_operator.narrator import Narrator
from virtualip_operator.planning import Rejection, make_plan
from virtualip_operator.pruning import prune_patch
from virtualip_operator.rivals import Rivals
from virtualip_operator.silence import Silence
from virtualip_operator.store import Store

log = logging.getLogger(__name__)

OWNED = (
    *("observedGeneration", "addresses", "master", "priority", "summary", "lastMove", "lastMoves", "silentNodes"),
    "conditions",
)
"""The fields of status that are the operator's."""


@dataclass(frozen=True, slots=True)
class _Standing:
    """Who takes part, whether by this plan or by an older one."""

    refused: Condition | None
    """Why the spec is not followed; None: it is."""
    members: tuple[str, ...]
    """In the order of base priority, then name."""
    interval: float
    """Seconds between advertisements."""
    planned_now: bool
    drained: Mapping[str, str] = field(default_factory=dict)
    """Who is to give the addresses away, and why."""
    ends_in: float | None = None
    """Seconds after which a planned move ends."""
    advice: tuple[Advice, ...] = ()
    remark: str = ""
    """Who drains, and why."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Nodes by the addresses that they advertise from."""


@dataclass(slots=True)
class _Memory:
    """What is remembered of a VirtualIP between its turns."""

    leaderless_since: float | None = None
    contested: bool = False
    silent: frozenset[str] = frozenset()
    members: tuple[str, ...] = ()
    leaving: frozenset[str] = frozenset()
    renewals: tuple[float, ...] = ()
    claims: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Who says that it is MASTER, since when by its own clock, and the number of that claim as they were seen here."""
    untold_since: float | None = None
    """When the summary was first seen to be another than the API has."""


class Reconciler:
    """Turns for any VirtualIP, in any thread, but never two for the same one at once."""

    def __init__(
        self, api: Api, store: Store, silence: Silence, metrics: Metrics, enqueue: Callable[[str], None]
    ) -> None:
        self._api = api
        self._store = store
        self._silence = silence
        self._metrics = metrics
        self._enqueue = enqueue
        self._members = MemberWriter(api, store)
        self._rivals = Rivals(store, enqueue)
        self._narrator = Narrator(api, time.monotonic)
        self._memories: dict[str, _Memory] = {}

    def turn(self, name: str) -> float | None:
        """Does what is to be done now; in how many seconds to look again, or None. ApiError where it failed."""
        try:
            return self._turn(name)
        finally:
            self._rivals.turn_ended(name)

    def _turn(self, name: str) -> float | None:
        virtual_ip = self._store.virtual_ip(name)
        if virtual_ip is None or virtual_ip["metadata"].get("deletionTimestamp"):
            self._memories.pop(name, None)
            self._narrator.forget(name)
            self._metrics.forget(name)
            if virtual_ip is None:
                self._members.remove(orphans(self._store.members_of(name), lambda: self._api.find(VIRTUAL_IPS, name)))
            return None
        refused: list[ApiError] = []
        standing = self._arrange(virtual_ip, refused)
        again = self._tell(virtual_ip, standing, refused)
        if refused:
            raise refused[0]
        return min((moment for moment in (again, standing.ends_in) if moment is not None), default=None)

    def is_due(self, name: str, now: float) -> bool:
        """Whether time alone is a reason for a turn: a Lease ran out or was renewed. `now`: monotonic seconds."""
        memory = self._memories.get(name)
        if memory is None:
            return False
        watched = memory.leaving.union(memory.members)
        silent = frozenset(n for n in watched if self._silence.is_silent(n, now, n in memory.silent))
        return silent != memory.silent or (memory.contested and self._renewals(memory.members) != memory.renewals)

    def _arrange(self, virtual_ip: Mapping[str, Any], refused: list[ApiError]) -> _Standing:
        """Plans and writes Members: who takes part now. What the API server refuses is noted."""
        name = virtual_ip["metadata"]["name"]
        # Also what the API server has let through: its CRD may be older than this operator.
        spec = self._store.spec(name)
        if not isinstance(spec, VirtualIPSpec):
            return self._as_before(virtual_ip, Rejection("InvalidSpec", str(spec)), refused)
        if spec.authentication and spec.authentication.password_file:
            refusal = "spec.authentication.passwordFile: is for static manifests only"
            return self._as_before(virtual_ip, Rejection("InvalidSpec", refusal), refused)
        interval = spec.advert_interval / 1e9
        made, changes = self._plan(virtual_ip, spec)
        if changes.delete:
            # A node leaves never on hearsay: only when a complete list of Nodes, made now, says so too.
            newest = self._store.newest()
            nodes = self._api.get(NODES)
            for other in self._store.listed_nodes(nodes, newest) - {name}:
                self._enqueue(other)  # no event will be news for it
            if not nodes["items"]:
                log.warning("%s: the API server knows no Nodes at all; its Members stay as they are", name)
                return self._as_before(virtual_ip, None, refused)
            made, changes = self._plan(virtual_ip, spec)
        if isinstance(made, Rejection):
            return self._as_before(virtual_ip, made, refused)
        with _noting(refused):  # the status is told all the same
            self._members.write(changes)
        plan = made.plan
        return _Standing(
            refused=_unwritten(refused),
            members=tuple(member.node for member in plan.members),
            interval=interval,
            planned_now=True,
            drained=made.drained,
            ends_in=made.ends_in,
            advice=plan.advice + ((Advice("MoveNotMade", made.warning),) if made.warning else ()),
            remark=made.said,
            names={str(address): peer.node for peer in plan.peers for address in peer.addresses},
        )

    def _plan(self, virtual_ip: Mapping[str, Any], spec: VirtualIPSpec) -> tuple[Diversion | Rejection, Changes]:
        """The plan by what is known now, and what it would change; a rejection changes nothing."""
        name, now = virtual_ip["metadata"]["name"], time.time()
        nodes = self._store.nodes()
        existing = self._store.members_of(name)
        plan = make_plan(name, spec, nodes, emptied(nodes, spec.drain), nodes_of(existing))
        if isinstance(plan, Rejection):
            return plan, Changes()
        if clash := self._rivals.clash_of(name):
            return Rejection(clash.reason, clash.message), Changes()
        entries = entries_from_status(virtual_ip.get("status") or {})
        plan = introduce(name, spec, plan, existing, entries)

        def is_silent(node: str) -> bool:
            return self._silence.is_silent(node, time.monotonic(), False)

        leaving = departing(spec, plan, existing, entries, nodes, is_silent)
        plan = replace(plan, peers=plan.peers + leaving)
        diverted = divert(plan, virtual_ip["metadata"].get("annotations") or {}, now)
        heir = has_heir(diverted.plan, entries, is_silent)
        return diverted, diff(virtual_ip, diverted.plan, existing, now, heir=heir)

    def _as_before(
        self, virtual_ip: Mapping[str, Any], rejection: Rejection | None, refused: list[ApiError]
    ) -> _Standing:
        """What runs goes on, and is drained and moved like any other: who empties a node does not know of the edit."""
        metadata = virtual_ip["metadata"]
        existing, spec = self._store.members_of(metadata["name"]), self._store.spec(metadata["name"])
        nodes = self._store.nodes()
        drain = spec.drain if isinstance(spec, VirtualIPSpec) else Drain()
        plan = as_it_stands(existing.values(), emptied(nodes, drain), {node.name for node in nodes})
        diverted = divert(plan, metadata.get("annotations") or {}, time.time())
        master = (virtual_ip.get("status") or {}).get("master")
        with _noting(refused):
            self._members.write(Changes(replace=redrained(existing, diverted.plan, master, time.time())))
        return _Standing(
            refused=Condition("Accepted", "False", rejection.reason, rejection.message) if rejection else None,
            members=tuple(member.node for member in plan.members),
            interval=spec.advert_interval / 1e9 if isinstance(spec, VirtualIPSpec) else 1.0,
            planned_now=False,
            drained=diverted.drained,
            ends_in=diverted.ends_in,
        )

    def _tell(self, virtual_ip: Mapping[str, Any], standing: _Standing, refused: list[ApiError]) -> float | None:
        """Makes the status anew and writes it where it changed; in how many seconds to look again, or None."""
        name = virtual_ip["metadata"]["name"]
        now, memory = time.monotonic(), self._memories.setdefault(name, _Memory())
        others = self._others(virtual_ip.get("status") or {}, standing.members, now)
        if standing.planned_now:
            with _noting(refused):
                virtual_ip = self._prune(virtual_ip, others.union(standing.members))
        before = virtual_ip.get("status") or {}
        view = self._view(virtual_ip, standing, others, memory, now)
        result = aggregate(view, before, time.time())
        if not result.leaderless:
            memory.leaderless_since = None
        elif memory.leaderless_since is None:
            memory.leaderless_since = now
        patience = self._patience(_owned(before, result), result.status, memory, now)
        if patience == 0.0:
            self._apply(virtual_ip, result)
        memory.contested, memory.members = result.contested, standing.members
        memory.renewals = tuple(view.renewed.values())
        memory.leaving = others
        memory.silent = frozenset(result.status["silentNodes"]).union(
            node for node in memory.leaving if self._silence.is_silent(node, now, False)
        )
        self._metrics.saw(name, result)
        return min(filter(None, (SETTLE if result.settling else None, patience)), default=None)

    def _patience(
        self, before: Mapping[str, Any], status: Mapping[str, Any], memory: _Memory, now: float
    ) -> float | None:
        """In how many seconds the status is to be written (0: now); None: the API has it."""
        if status == before:
            memory.untold_since = None
            return None
        if memory.untold_since is None:
            memory.untold_since = now
        left = 0.0 if is_urgent(before, status) else max(0.0, memory.untold_since + PATIENCE - now)
        if not left:
            memory.untold_since = None
        return left

    def _view(
        self,
        virtual_ip: Mapping[str, Any],
        standing: _Standing,
        others: frozenset[str],
        memory: _Memory,
        now: float,
    ) -> View:
        status = virtual_ip.get("status") or {}
        before = set(status.get("silentNodes") or ())
        since = memory.leaderless_since
        entries = entries_from_status(status)
        return View(
            generation=virtual_ip["metadata"].get("generation", 0),
            addresses=tuple(virtual_ip["spec"].get("addresses") or ()),
            refused=standing.refused,
            members=standing.members,
            holders=tuple(sorted(n for n in others if n in entries and entries[n].state is State.MASTER)),
            left=status.get("master") in others,
            entries=entries,
            claims=_numbered(memory, entries),
            silent=frozenset(n for n in standing.members if self._silence.is_silent(n, now, n in before)),
            renewed=dict(zip(standing.members, self._renewals(standing.members), strict=True)),
            leaderless_for=0.0 if since is None else now - since,
            drained=standing.drained,
            # A silent MASTER is followed after three intervals and a skew time; agents report at their own pace.
            cause_window=4 * standing.interval + 2.0,
            advice=standing.advice,
            remark=standing.remark,
            trackers={str(one.get("name")): bool(one.get("reverse")) for one in _trackers(virtual_ip)},
            names=standing.names,
        )

    def _others(self, status: Mapping[str, Any], members: Collection[str], now: float) -> frozenset[str]:
        """Who takes no part, has an entry (or was told of as the MASTER) and lives: its agent takes its entry away
        itself, when it has let go."""
        told = {entry["node"] for entry in status.get("nodes") or ()} | {status.get("master", "")}
        outside = told.difference(members, ("",))
        there = {node.name for node in self._store.nodes()} if outside else set()
        return frozenset(n for n in outside & there if not self._silence.is_silent(n, now, False))

    def _renewals(self, members: tuple[str, ...]) -> tuple[float, ...]:
        return tuple(self._silence.renewed_at(node) for node in members)

    def _prune(self, virtual_ip: Mapping[str, Any], kept: frozenset[str]) -> Mapping[str, Any]:
        operations = prune_patch(virtual_ip.get("status") or {}, kept)
        if not operations:
            return virtual_ip
        name = virtual_ip["metadata"]["name"]
        pruned = self._api.json_patch(f"{VIRTUAL_IPS}/{name}/status", operations)
        self._store.saw_virtual_ip(pruned)
        self._enqueue(name)  # what came with the answer was not planned for
        return {**pruned, "metadata": virtual_ip["metadata"], "spec": virtual_ip["spec"]}  # as it was planned for

    def _apply(self, virtual_ip: Mapping[str, Any], result: Aggregate) -> None:
        metadata = virtual_ip["metadata"]
        body = {
            "apiVersion": API_VERSION,
            "kind": VIRTUAL_IP_KIND,
            # With the uid, so that a status is never told of another VirtualIP of the same name.
            "metadata": {"name": metadata["name"], "uid": metadata["uid"]},
            "status": result.status,
        }
        answer = self._api.apply(f"{VIRTUAL_IPS}/{metadata['name']}/status", body)
        self._store.saw_virtual_ip(answer)
        # What others wrote meanwhile came with the answer, so no event of it will be news.
        if _asked(answer) != _asked(virtual_ip) or _told(answer) != _told(virtual_ip):
            self._enqueue(metadata["name"])
        self._narrator.tell(virtual_ip, result, time.time())


@contextlib.contextmanager
def _noting(refused: list[ApiError]) -> Iterator[None]:
    """Notes what the API server refuses, so that the rest can be done; nobody answering ends the turn."""
    try:
        yield
    except ApiError as error:
        if error.status == 0:
            raise
        refused.append(error)


def _unwritten(refused: Iterable[ApiError]) -> Condition | None:
    """A plan that the API server does not take is nobody's; what it answers in passing is no reason to say so."""
    lasting = next((error for error in refused if error.status in LASTING), None)
    return Condition("Accepted", "False", "MembersRefused", str(lasting)) if lasting else None


def _numbered(memory: _Memory, entries: Mapping[str, NodeEntry]) -> dict[str, int]:
    """Each claim's number; of those that are seen for the first time the nodes' clocks must decide."""
    masters = [entry for entry in entries.values() if entry.state is State.MASTER]
    before, last = memory.claims, max((number for _, number in memory.claims.values()), default=0)
    memory.claims = {}
    for entry in sorted(masters, key=lambda entry: parse_time(entry.last_transition_time)):
        at, number = before.get(entry.node, ("", 0))
        if at != entry.last_transition_time:
            number = last = last + 1
        memory.claims[entry.node] = (entry.last_transition_time, number)
    return {node: number for node, (_, number) in memory.claims.items()}


def _asked(virtual_ip: Mapping[str, Any]) -> tuple[object, ...]:
    """What users ask for."""
    metadata = virtual_ip["metadata"]
    return virtual_ip["spec"], metadata.get("annotations"), metadata.get("deletionTimestamp")


def _told(virtual_ip: Mapping[str, Any]) -> object:
    """What agents tell."""
    return (virtual_ip.get("status") or {}).get("nodes") or []


def _trackers(virtual_ip: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """As they were written, which may be wrong."""
    found = virtual_ip["spec"].get("trackers")
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _owned(status: Mapping[str, Any], result: Aggregate) -> dict[str, Any]:
    """What of a status is the operator's; conditions of other writers are not."""
    owned = {key: status[key] for key in OWNED if key in status}
    ours = {condition["type"] for condition in result.status["conditions"]}
    owned["conditions"] = [found for found in owned.get("conditions") or () if found["type"] in ours]
    return owned
