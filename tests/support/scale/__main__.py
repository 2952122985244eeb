"""`make scale`: applies the VirtualIPs, looks at the steady state, lets nodes die and come back."""

import argparse
import asyncio
import contextlib
import json
import os
import random
import ssl
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from barecluster import Cluster
from barecluster.layout import REPOSITORY, Layout, session_prefix
from barecluster.processes import Daemons
from operator_harness import NAMESPACE, OperatorProcess
from scale.agent import Agent, entry_of
from scale.api import Api, Refused, all_of
from scale.meter import Cost, Meter, cost
from scale.shape import Shape
from scale.wire import Wire
from virtualip_agent.reporter.entry import VIRTUAL_IPS_PATH, apply_body, status_path
from virtualip_api.names import field_manager
from virtualip_api.status import State, entry_to_json

MASTER_DOWN = 3.1
"""Seconds: master_down_interval at adverts of 1 s."""
_PATIENCE = 2700.0
"""Seconds for every status to become right: where it takes so long nothing is measured any more."""


class Scale:
    """One run."""

    def __init__(self, admin: Api, agents: Api, shape: Shape, meter: Meter, tokens: Mapping[str, str]) -> None:
        self.api, self._agents_api, self.shape, self.meter = admin, agents, shape, meter
        self._tokens = tokens
        self.wire = Wire()
        self._agents: dict[str, asyncio.Task[None]] = {}
        self._simulated: list[Agent] = []
        self.statuses: dict[str, dict[str, Any]] = {}
        self.result: dict[str, Any] = {}
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """Progress."""
        print(f"[{time.monotonic() - self._began:5.0f}s] {text}", file=sys.stderr, flush=True)

    def note(self, what: str, value: Any) -> None:
        """A figure."""
        self.result[what] = value
        self.say(f"{what}: {json.dumps(value)}")

    async def start(self, names: list[str]) -> None:
        """Nodes boot: not all in the same second."""
        for name in names:
            agent = Agent(self._agents_api, self.wire, name, self._tokens[name])
            self._simulated.append(agent)
            self._agents[name] = asyncio.create_task(agent.run())
            await asyncio.sleep(0.005)

    async def kill(self, names: list[str]) -> None:
        """Power is cut."""
        self.wire.dead = frozenset(names)
        for name in names:
            self._agents[name].cancel()
        for name in names:
            with contextlib.suppress(asyncio.CancelledError):
                await self._agents.pop(name)

    async def follow(self) -> None:
        """What an observer's watch has seen."""
        while True:
            try:
                await self._watched()
            except (Refused, aiohttp.ClientError) as error:  # at first, the storage of the new CRDs is not ready
                self.say(f"the observer's watch begins anew: {error}"[:200])
                await asyncio.sleep(1)

    async def _watched(self) -> None:
        listed = await self.api.get(VIRTUAL_IPS_PATH)
        for item in listed["items"]:
            self.statuses[item["metadata"]["name"]] = item.get("status") or {}
        version = listed["metadata"]["resourceVersion"]
        async for event in self.api.watch(VIRTUAL_IPS_PATH, resourceVersion=version, timeoutSeconds="600"):
            if event["type"] in ("ADDED", "MODIFIED"):
                self.statuses[event["object"]["metadata"]["name"]] = event["object"].get("status") or {}

    async def until(self, what: str, right: Callable[[str, Mapping[str, Any]], bool], seconds: float) -> None:
        """Notes how long it takes until every status is right."""
        began = time.monotonic()
        names = self.shape.virtual_ip_names
        while wrong := [name for name in names if not right(name, self.statuses.get(name, {}))]:
            if time.monotonic() - began > seconds:
                raise SystemExit(f"{what}: still not after {seconds} s: {wrong[:3]}: {self.statuses.get(wrong[0])}")
            await asyncio.sleep(0.1)
        self.note(f"{what}, seconds", round(time.monotonic() - began, 1))

    def is_right(self, name: str, status: Mapping[str, Any]) -> bool:
        """Whether it says who is MASTER and knows of every member."""
        known = {node["node"] for node in status.get("nodes") or ()}
        master = self.wire.masters().get(name, "")
        return master not in self.wire.dead and status.get("master") == master and len(known) == self.shape.members

    async def measured(self, what: str, seconds: float) -> Cost:
        """What a time costs."""
        before = await self.meter.read()
        await asyncio.sleep(seconds)
        found = cost(before, await self.meter.read(), a_second=True)
        self.note(what, asdict(found))
        return found

    async def one_write(self, steady: Cost) -> None:
        """What one write of an entry costs the API server, by writing those of one VirtualIP again and again; what it
        does beside is taken off. The least of ten parts, as the machine may have more to do."""
        name, number = self.shape.virtual_ip_names[-1], self.shape.virtual_ips - 1
        path, nodes = f"{VIRTUAL_IPS_PATH}/{name}", _members(self.shape, number)
        parts: list[tuple[float, float]] = []
        for part in range(10):
            before = await self.meter.read()
            for node in nodes:
                entry = entry_of(node, State.BACKUP, 101 + part)
                body = apply_body(name, entry_to_json(entry))
                await self._agents_api.apply(status_path(name), body, self._tokens[node], field_manager(node))
            found = cost(before, await self.meter.read(), a_second=False)
            beside = found.seconds / len(nodes)
            milliseconds = 1000 * (found.cpu["kube-apiserver"] / len(nodes) - steady.cpu["kube-apiserver"] * beside)
            parts.append((milliseconds, found.allocated_mb / len(nodes) - steady.allocated_mb * beside))
        stored = await self.api.get(path)
        managed = json.dumps(stored["metadata"].pop("managedFields"))
        sizes = {"object": len(json.dumps(stored)), "managedFields": len(managed)}
        least = {"cpu_ms": round(min(parts)[0], 1), "allocated_mb": round(min(mb for _, mb in parts), 1)}
        self.note("one write of an entry", {"entries": len(nodes), **least, "bytes": sizes})

    @property
    def failures(self) -> int:
        """Requests that agents had to make again."""
        return sum(agent.failures for agent in self._simulated)


async def play(scale: Scale, dead: int, seconds: float) -> None:
    """The whole story."""
    shape = scale.shape
    await scale.start(shape.node_names)
    follower = asyncio.create_task(scale.follow())
    await asyncio.sleep(15)
    await scale.measured("agents alone, a second", 20)
    scale.say(f"applying {shape.virtual_ips} VirtualIPs")
    before = await scale.meter.read()
    await all_of([scale.api.create(VIRTUAL_IPS_PATH, body) for body in shape.virtual_ip_objects()])
    elections = asyncio.create_task(_elect_for_ever(scale.wire))
    await scale.until("apply: every status right", scale.is_right, _PATIENCE)
    scale.note("apply: in all", asdict(cost(before, await scale.meter.read(), a_second=False)))
    await asyncio.sleep(20)
    steady = await scale.measured("steady state, a second", seconds)

    victims = random.Random(1).sample(shape.node_names, dead)
    led = sum(master in victims for master in scale.wire.masters().values())
    scale.note("VirtualIPs whose MASTER dies", led)
    before = await scale.meter.read()
    await scale.kill(victims)
    await scale.until(f"{dead} nodes die: every master right", scale.is_right, _PATIENCE)
    members = {name: _members(shape, number) for number, name in enumerate(shape.virtual_ip_names)}
    await scale.until(
        f"{dead} nodes die: and every silent node told (Leases run out after 30 s)",
        lambda name, status: set(status.get("silentNodes") or ()) == set(members[name]) & set(victims),
        _PATIENCE,
    )
    scale.note(f"{dead} nodes die: in all", asdict(cost(before, await scale.meter.read(), a_second=False)))
    before = await scale.meter.read()
    scale.wire.dead = frozenset()
    await scale.start(victims)
    await scale.until(
        f"{dead} nodes are back: every status right",
        lambda name, status: scale.is_right(name, status) and not status.get("silentNodes"),
        _PATIENCE,
    )
    scale.note(f"{dead} nodes are back: in all", asdict(cost(before, await scale.meter.read(), a_second=False)))
    scale.note("requests made again", scale.failures)
    elections.cancel()
    await scale.one_write(steady)
    follower.cancel()
    await scale.kill(shape.node_names)


async def _elect_for_ever(wire: Wire) -> None:
    while True:
        await asyncio.sleep(MASTER_DOWN)
        wire.elect()


def _members(shape: Shape, number: int) -> list[str]:
    names = shape.node_names
    return [names[member] for member in shape.members_of(number)]


async def prepare(api: Api, shape: Shape) -> dict[str, str]:
    """Makes the Nodes; a token of the agent's account for each, bound to it as a pod's would be."""
    made = await all_of([api.create("/api/v1/nodes", body) for body in shape.node_objects()])
    path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/virtualip-agent/token"

    async def token(node: Mapping[str, Any]) -> tuple[str, str]:
        name = node["metadata"]["name"]
        bound = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": node["metadata"]["uid"]}
        spec = {"audiences": [], "expirationSeconds": 7200, "boundObjectRef": bound}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        answer = await api.create(path, body)
        return name, answer["status"]["token"]

    return dict(await all_of([token(node) for node in made]))


async def run(cluster: Cluster, shape: Shape, options: argparse.Namespace, directory: Path) -> dict[str, Any]:
    """Everything on a cluster that is up."""
    layout = Layout(cluster.prefix)
    server = yaml.safe_load(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    trust = ssl.create_default_context(cafile=str(layout.pki / "ca.crt"))
    admin = ssl.create_default_context(cafile=str(layout.pki / "ca.crt"))
    admin.load_cert_chain(layout.pki / "admin.crt", layout.pki / "admin.key")
    daemons = Daemons(layout.pids, layout.logs)
    operator = OperatorProcess(cluster, directory)
    as_admin, as_agents = Api(server, admin), Api(server, trust)
    try:
        tokens = await prepare(as_admin, shape)
        operator.start()
        assert operator.process is not None
        pids = {name: daemons.pid(name) for name in ("kube-apiserver", "etcd")}
        known = {name: pid for name, pid in pids.items() if pid} | {"operator": operator.process.pid}
        meter = Meter(as_admin, known | {"all agents, simulated": os.getpid()})
        scale = Scale(as_admin, as_agents, shape, meter, tokens)
        await play(scale, options.dead, options.seconds)
        return scale.result
    finally:
        await as_admin.close()
        await as_agents.close()
        if operator.process is not None:
            operator.stop()


def main() -> int:
    """0: every status became right."""
    parser = argparse.ArgumentParser(prog="scale", description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--vips", type=int, default=250)
    parser.add_argument("--members", type=int, default=16)
    parser.add_argument("--dead", type=int, default=50, help="nodes that die at once")
    parser.add_argument("--seconds", type=float, default=60, help="of steady state")
    parser.add_argument("--into", type=Path, default=Path("build/scale"))
    options = parser.parse_args()
    shape = Shape(options.nodes, options.vips, options.members)
    cluster = Cluster(session_prefix("scale"))
    cluster.down()
    cluster.up(api_only=True)
    try:
        cluster.kubectl("apply", "--server-side", "-k", REPOSITORY / "deploy/overlays/local")
        with tempfile.TemporaryDirectory(prefix="virtualip-scale-") as directory:
            try:
                result = asyncio.run(run(cluster, shape, options, Path(directory)))
            finally:
                options.into.mkdir(parents=True, exist_ok=True)
                log = Path(directory) / "operator.log"
                if log.exists():
                    (options.into / "operator.log").write_bytes(log.read_bytes())
        (options.into / "scale.json").write_text(json.dumps({"shape": asdict(shape), **result}, indent=1) + "\n")
    finally:
        cluster.down()
    return 0


if __name__ == "__main__":
    sys.exit(main())
