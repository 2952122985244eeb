"""Keeps VirtualIPs out of each other's way: what is known of all of them, as `claims` wants it, and whose turn it is
when one lets go of something."""

import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from virtualip_api.virtual_ip import VirtualIPSpec
from virtualip_operator.claims import Ask, Claim, Claimant, Clash, Contest, alike
from virtualip_operator.members import nodes_of
from virtualip_operator.planning import Plan, make_plan
from virtualip_operator.store import Store

Json = Mapping[str, Any]

_Known = tuple[tuple[Claim, ...], Claim | None]
"""What a VirtualIP has, and what it wants."""
_NOTHING: _Known = ((), None)


class Rivals:
    """Asked from several threads, but never by two about the same VirtualIP at once."""

    def __init__(self, store: Store, enqueue: Callable[[str], None]) -> None:
        self._store = store
        self._enqueue = enqueue
        self._known: dict[str, _Known] = {}
        """What each had and wanted when its last turn ended."""
        self._lock = threading.Lock()
        self._taking: dict[str, Claim] = {}
        """What those take whose Members are being written: it counts as theirs."""
        self._waiting: dict[str, set[str]] = {}
        """By those, who was refused for it."""

    def clash_of(self, name: str) -> Clash | None:
        """Who has, or gets, what this VirtualIP wants; None where it may have it, and takes it until its turn ends."""
        with self._lock:
            claimants = self._claimants()
            if name not in claimants:
                return None
            for other, claim in self._taking.items():
                if other != name and other in claimants:
                    claimants[other].running += (claim,)
            clash = Contest(claimants.values()).clash_of(claimants[name])
            if clash is None and (wanted := claimants[name].wanted):
                self._taking[name] = wanted
            elif clash is not None and clash.rival in self._taking:
                self._waiting.setdefault(clash.rival, set()).add(name)
            return clash

    def turn_ended(self, name: str) -> None:
        """Enqueues those to whom it matters that this one has, or wants, something else than before."""
        with self._lock:
            self._taking.pop(name, None)
            waiting = self._waiting.pop(name, set[str]())
        for refused in waiting:
            self._enqueue(refused)
        body, running = self._store.virtual_ip(name), self._store.claims_of(name)
        now = (running, self._claimant(name, body, running).wanted if body else None)
        before = self._known.pop(name, _NOTHING)
        if now != _NOTHING:
            self._known[name] = now
        if now == before:
            return
        asks = [*_asks(before), *_asks(now)]
        for other in self._claimants().values():
            if other.name != name and alike(asks, other.asks()):
                self._enqueue(other.name)

    def _claimants(self) -> dict[str, Claimant]:
        running = self._store.claims()
        there = self._store.virtual_ips()
        # Of one that is gone nodes go on until its Members are gone too.
        gone = {name: Claimant(name, "", claims) for name, claims in running.items() if name not in there}
        return gone | {name: self._claimant(name, body, running.get(name, ())) for name, body in there.items()}

    def _claimant(self, name: str, body: Json, running: tuple[Claim, ...]) -> Claimant:
        metadata = body["metadata"]
        created = str(metadata.get("creationTimestamp") or "")
        ask = None if metadata.get("deletionTimestamp") else self._store.ask(name)
        return Claimant(name, created, running, ask, partial(self._nodes, name))

    def _nodes(self, name: str) -> frozenset[str]:
        spec = self._store.spec(name)
        if not isinstance(spec, VirtualIPSpec):
            return frozenset()
        taking_part = nodes_of(self._store.members_of(name))
        plan = make_plan(name, spec, self._store.nodes(), taking_part=taking_part)
        return frozenset(member.node for member in plan.members) if isinstance(plan, Plan) else frozenset()


def _asks(known: _Known) -> list[Ask]:
    running, wanted = known
    return [claim.ask for claim in (*running, *((wanted,) if wanted else ()))]
