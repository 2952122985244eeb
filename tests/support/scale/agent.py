"""One node's reporter as the API server sees it: agent/virtualip_agent/reporter asks the same, as often.

Its Members by label (list, watch, list again when the watch has ended), its Lease each 10 s, looks
at its VirtualIPs, ever more seldom, and its entry when its state changes.
"""

import asyncio
import random
import time
from contextlib import suppress
from typing import Any

import aiohttp

from scale.api import Api, Refused
from scale.shape import TRACKERS
from scale.wire import Wire
from virtualip_agent.reporter.api import METADATA_ONLY
from virtualip_agent.reporter.entry import VIRTUAL_IPS_PATH, apply_body, status_path
from virtualip_agent.reporter.lease import DURATION, RENEWAL
from virtualip_agent.reporter.looks import Looks
from virtualip_agent.reporter.main import UPKEEP
from virtualip_agent.reporter.plan_watch import MEMBERS_PATH, WATCH_SECONDS
from virtualip_api.names import (
    GROUP,
    MEMBER_PLURAL,
    NODE_LABEL,
    VIRTUAL_IP_PLURAL,
    field_manager,
    label_value,
    lease_name,
)
from virtualip_api.status import NodeEntry, State, TrackerStatus, entry_to_json, format_time

_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_LEASES = "/apis/coordination.k8s.io/v1/namespaces/virtualip-system/leases"


class Agent:
    """`run` until it is cancelled, which is how its node dies."""

    def __init__(self, api: Api, wire: Wire, node: str, token: str) -> None:
        self._api, self._wire, self.node, self._token = api, wire, node, token
        self._bases: dict[str, int] = {}
        self._outbox: asyncio.Queue[tuple[str, NodeEntry]] = asyncio.Queue()
        self._lease_version = ""
        self.failures = 0

    async def run(self) -> None:
        """Everything at once."""
        try:
            async with asyncio.TaskGroup() as group:
                for part in (self._plans, self._lease, self._checks, self._publish):
                    group.create_task(self._for_ever(part))
        finally:
            for name in self._bases:
                self._wire.leave(name, self.node)

    async def _for_ever(self, part: Any) -> None:
        while True:
            try:
                await part()
            except (Refused, aiohttp.ClientError, OSError):
                self.failures += 1
                await asyncio.sleep(random.uniform(1, 3))

    async def _plans(self) -> None:
        query = {"labelSelector": f"{NODE_LABEL}={label_value(self.node)}"}
        for plural in (VIRTUAL_IP_PLURAL, MEMBER_PLURAL):
            await self._api.get(f"{_CRDS}/{plural}.{GROUP}", self._token, accept=METADATA_ONLY)
        listed = await self._api.get(MEMBERS_PATH, self._token, **query)
        for member in listed["items"]:
            self._take(member)
        seconds = str(int(WATCH_SECONDS * (0.8 + 0.4 * random.random())))
        version = listed["metadata"]["resourceVersion"]
        async for event in self._api.watch(
            MEMBERS_PATH, self._token, **query, resourceVersion=version, timeoutSeconds=seconds
        ):
            if event["type"] in ("ADDED", "MODIFIED"):
                self._take(event["object"])
            elif event["type"] == "ERROR":
                return

    def _take(self, member: dict[str, Any]) -> None:
        spec = member["spec"]
        name, base = spec["virtualIP"], spec["basePriority"]
        if self._bases.get(name) != base:
            self._bases[name] = base
            self._wire.join(name, self.node, base, self._changed)
            self._changed(name, State.BACKUP)

    def _changed(self, name: str, state: State) -> None:
        self._outbox.put_nowait((name, entry_of(self.node, state, self._bases[name])))

    async def _publish(self) -> None:
        while True:
            name, entry = await self._outbox.get()
            body = apply_body(name, entry_to_json(entry))
            try:
                await self._api.apply(status_path(name), body, self._token, field_manager(self.node))
            except (Refused, aiohttp.ClientError, OSError):
                self._outbox.put_nowait((name, entry))
                raise

    async def _lease(self) -> None:
        await asyncio.sleep(random.uniform(0, RENEWAL))
        while True:
            began = time.monotonic()
            spec = {
                "holderIdentity": self.node,
                "leaseDurationSeconds": DURATION,
                "renewTime": format_time(time.time()),
            }
            path = f"{_LEASES}/{lease_name(self.node)}"
            if self._lease_version:
                metadata = {"resourceVersion": self._lease_version}
                lease = await self._api.merge(path, {"metadata": metadata, "spec": spec}, self._token)
            else:
                try:
                    lease = await self._api.get(path, self._token)
                except Refused:
                    body = {
                        "apiVersion": "coordination.k8s.io/v1",
                        "kind": "Lease",
                        "metadata": {"name": lease_name(self.node)},
                        "spec": spec,
                    }
                    lease = await self._api.create(_LEASES, body, self._token)
            self._lease_version = lease["metadata"]["resourceVersion"]
            await asyncio.sleep(max(0.0, RENEWAL - (time.monotonic() - began)))

    async def _checks(self) -> None:
        looks = Looks()
        await asyncio.sleep(random.uniform(0, UPKEEP))
        while True:
            for name in looks.take(self._bases, time.monotonic_ns()):
                with suppress(Refused):
                    await self._api.get(f"{VIRTUAL_IPS_PATH}/{name}", self._token, resourceVersion="0")
                    looks.was_there(name, time.monotonic_ns())
            await asyncio.sleep(UPKEEP)


def entry_of(node: str, state: State, base: int) -> NodeEntry:
    """What a node with healthy trackers says now."""
    now = format_time(time.time())
    trackers = tuple(TrackerStatus(f"daemon{place}", True, 1, "1 process", now) for place in range(TRACKERS))
    reason = "MasterDown" if state is State.MASTER else "LowerPriority"
    message = f"{base} + " + " + ".join(f"daemon{place} 1" for place in range(TRACKERS))
    return NodeEntry(node, state, base + TRACKERS, 1, now, reason, message, "eth0", trackers=trackers)
