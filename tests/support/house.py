"""virtualip as a user installs it, on real nodes: our own cluster, or with KUBECONFIG the user's."""

import ipaddress
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from barecluster import Cluster, image
from barecluster.layout import VIP
from barecluster.shell import in_namespace

REPOSITORY = Path(__file__).parents[2]
NAMESPACE = "virtualip-system"
OVERLAY = REPOSITORY / "deploy/overlays/local"

LAST_LINES = 40
"""Of each container's log, beneath a failed test."""

Status = dict[str, Any]


@dataclass
class House:
    """A cluster with virtualip on it."""

    kubeconfig: Path
    own: Cluster | None
    """Ours, whose power and links may be cut; None with the user's."""
    nodes: list[str] = field(default_factory=list)

    @property
    def cluster(self) -> Cluster:
        """Our own, in tests that do not run on a user's."""
        assert self.own is not None
        return self.own

    def kubectl(self, *words: str, stdin: str | None = None, timeout: float = 60) -> str:
        """What kubectl prints; AssertionError with what it complained of."""
        program = str(self.own.binaries / "kubectl") if self.own else "kubectl"
        done = subprocess.run(
            [program, f"--kubeconfig={self.kubeconfig}", *words],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr.strip()}"
        return done.stdout

    def get(self, *words: str) -> Any:
        """`kubectl get ... -o json`."""
        return json.loads(self.kubectl("get", *words, "-o", "json"))

    @contextmanager
    def watching(self, name: str, *paths: str) -> Iterator[Callable[[], list[str]]]:
        """What these JSONPaths of a VirtualIP were, a line for each change, by a watch that is open meanwhile."""
        program = str(self.own.binaries / "kubectl") if self.own else "kubectl"
        columns = ",".join(f"C{number}:{path}" for number, path in enumerate(paths))
        words = ["get", "virtualip", name, "--watch", "--no-headers", "-o", f"custom-columns={columns}"]
        watch = subprocess.Popen(
            [program, f"--kubeconfig={self.kubeconfig}", *words], stdout=subprocess.PIPE, text=True
        )
        assert watch.stdout is not None
        lines = [watch.stdout.readline().strip()]
        reader = threading.Thread(target=lambda pipe: lines.extend(map(str.strip, pipe)), args=(watch.stdout,))
        reader.start()
        try:
            yield lambda: list(lines)
        finally:
            watch.kill()
            reader.join()
            watch.wait()
            watch.stdout.close()

    def install(self) -> None:
        """As a user does: kubectl apply -k, and waits until it runs."""
        applied = self.kubectl("apply", "-k", str(OVERLAY))
        for what in ("deployment/virtualip-operator", "daemonset/virtualip-agent"):
            if f"{what.replace('/', '.apps/')} unchanged" in applied:
                # on a user's cluster that had it: the tag is the same whatever has been loaded since
                self.kubectl("-n", NAMESPACE, "rollout", "restart", what)
        self.wait_rolled_out()
        self.nodes = [node["metadata"]["name"] for node in self.get("nodes")["items"]][:3]
        assert len(self.nodes) >= 2, "a fail-over needs two nodes"

    def wait_rolled_out(self) -> None:
        """Waits until the operator and an agent on every node are what was applied, and ready."""
        for what in ("deployment/virtualip-operator", "daemonset/virtualip-agent"):
            self.kubectl("-n", NAMESPACE, "rollout", "status", what, "--timeout=180s", timeout=190)

    @property
    def vip(self) -> str:
        """A free address of the nodes' subnet."""
        if self.own:
            return VIP
        if chosen := os.environ.get("VIP"):
            return chosen.partition("/")[0]
        node = self.get("node", self.nodes[0])
        internal = next(a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP")
        return str(ipaddress.ip_network(f"{internal}/24", strict=False)[240])

    def apply(self, name: str, **spec: Any) -> None:
        """A VirtualIP on the first nodes: 100 ms, the first of them first, and the third far behind the second: when
        the first is gone its skew_time (RFC 9568, section 6.1) leaves the second 35 ms, where all share one kernel.
        `spec` overrides and adds."""
        whole = {
            "addresses": [f"{self.vip}/32"],
            "vrid": 51,
            "advertInterval": "100ms",
            "nodePriorities": [
                {"nodeName": node, "priority": priority}
                for node, priority in zip(self.nodes, (244, 240, 150), strict=False)
            ],
            "nodeSelector": {
                "matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": self.nodes}]
            },
        }
        resource = {
            "apiVersion": "virtualip.dev/v1alpha1",
            "kind": "VirtualIP",
            "metadata": {"name": name},
            "spec": whole | spec,
        }
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(resource))

    @contextmanager
    def applied(self, name: str, **spec: Any) -> Iterator[str]:
        """Applies a VirtualIP, waits for its MASTER and until each member has told its state; deletes it at the end."""
        self.apply(name, **spec)
        try:
            self.wait_master(name)
            self.wait_told(name)
            # Where the best node's plan arrives last another one has had it for a moment.
            best = spec.get("preempt", True)
            yield str(
                self.wait(name, lambda status: self._settled(status) and (not best or _is_best(status)))["master"]
            )
        finally:
            self.kubectl("delete", "virtualip", name, "--ignore-not-found")
            self.wait_gone(name)

    def status(self, name: str) -> Status:
        """The VirtualIP's status."""
        status: Status = self.get("virtualip", name).get("status", {})
        return status

    def wait(self, name: str, condition: Callable[[Status], bool], timeout: float = 30.0) -> Status:
        """Waits until the status meets the condition."""
        deadline = time.monotonic() + timeout
        while not condition(status := self.status(name)):
            assert time.monotonic() < deadline, json.dumps(status, indent=1)
            time.sleep(0.1)
        return status

    def wait_master(self, name: str, node: str | None = None, *, timeout: float = 30.0) -> str:
        """Waits until the status says that this node (or any one) is the only MASTER, and all others are BACKUP."""
        return str(self.wait(name, lambda status: self._settled(status, node), timeout)["master"])

    def wait_told(self, name: str, timeout: float = 30.0) -> Status:
        """Waits until each node that the operator planned has an entry in the status."""
        members = self.get("virtualipmembers", "-l", f"virtualip.dev/virtualip={name}")["items"]
        planned = {member["spec"]["node"] for member in members}

        def told(status: Status) -> bool:
            return planned <= {entry["node"] for entry in status.get("nodes", [])}

        return self.wait(name, told, timeout)

    def _settled(self, status: Status, node: str | None = None) -> bool:
        silent = status.get("silentNodes", [])
        entries = [entry for entry in status.get("nodes", []) if entry["node"] not in silent]
        masters = [entry["node"] for entry in entries if entry["state"] == "MASTER"]
        return (
            len(masters) == 1
            and status.get("master") == masters[0]
            and node in (None, masters[0])
            and all(entry["state"] in ("MASTER", "BACKUP") for entry in entries)
        )

    def moves(self, name: str, known: Sequence[dict[str, str]] = ()) -> list[dict[str, str]]:
        """The changes of MASTER that the status tells of, the newest first, without those that are known."""
        return [move for move in self.status(name).get("lastMoves", []) if move not in known]

    def transitions(self, name: str) -> dict[str, str]:
        """By node when it last changed its state, as its entry says."""
        return {entry["node"]: entry["lastTransitionTime"] for entry in self.wait_told(name)["nodes"]}

    @contextmanager
    def operator_away(self) -> Iterator[None]:
        """Meanwhile no operator runs; at the end it is there again."""
        deployment = ("-n", NAMESPACE, "deployment/virtualip-operator")
        self.kubectl("scale", *deployment, "--replicas=0")
        try:
            gone = ("--for=delete", "pod", "-l", "app.kubernetes.io/component=operator", "--timeout=60s")
            self.kubectl("-n", NAMESPACE, "wait", *gone, timeout=70)
            yield
        finally:
            self.kubectl("scale", *deployment, "--replicas=2")
            self.kubectl("rollout", "status", *deployment, "--timeout=60s", timeout=70)

    @contextmanager
    def address_changes(self) -> Iterator[dict[str, list[str]]]:
        """By node of our own cluster what `ip -ts monitor address` says of the VIP meanwhile; filled at the end."""
        assert self.own is not None
        monitors = {
            node.name: subprocess.Popen(
                in_namespace(node.netns, ["ip", "-ts", "-4", "monitor", "address"]), stdout=subprocess.PIPE, text=True
            )
            for node in self.own.nodes
        }
        told: dict[str, list[str]] = {}
        try:
            yield told
        finally:
            for name, monitor in monitors.items():
                monitor.terminate()
                said, _ = monitor.communicate()
                told[name] = [line for line in said.splitlines() if f" {self.vip}/" in line]

    @contextmanager
    def nobody_moves(self) -> Iterator[None]:
        """Meanwhile no node of our own cluster lets go of the VIP, and no other node takes it."""
        before = self.holders()
        with self.address_changes() as told:
            yield
        assert self.holders() == before
        for name, lines in told.items():
            assert not [line for line in lines if "Deleted" in line], f"{name} let go of it"
            assert name in before or not lines, f"{name} took it"

    def agent(self, node: str) -> str:
        """The agent's pod on a node."""
        pods = self.get("-n", NAMESPACE, "pods", "-l", "app.kubernetes.io/component=agent")["items"]
        return next(
            str(pod["metadata"]["name"])
            for pod in pods
            if pod["spec"].get("nodeName") == node and "deletionTimestamp" not in pod["metadata"]
        )

    def last_words(self, since: float) -> list[tuple[str, str]]:
        """Titles and the last lines that each of our containers has logged since then (seconds since the epoch)."""
        words = []
        pods = self.get("-n", NAMESPACE, "pods")["items"]
        for pod in pods:
            for container in pod["spec"]["containers"]:
                place = (pod["metadata"]["name"], "-c", container["name"])
                limits = (f"--since={time.time() - since:.0f}s", f"--tail={LAST_LINES}")
                with suppress(AssertionError):  # it has none, or its node is away
                    words.append((" ".join(place), self.kubectl("-n", NAMESPACE, "logs", *place, *limits)))
        return words

    def local(self, node: str) -> dict[str, Any]:
        """By VIP what the node itself says: `virtualip-agent status -o json` in the agent's pod."""
        words = ("exec", self.agent(node), "-c", "control", "--", "virtualip-agent", "status", "-o", "json")
        answer = json.loads(self.kubectl("-n", NAMESPACE, *words))
        return {vip["name"]: vip for vip in answer["virtualIPs"]}

    def holders(self) -> list[str]:
        """The nodes that have the VIP on an interface."""
        if self.own:
            return [
                node.name
                for node in self.own.nodes
                if node.pid is not None and node.run("ip", "-4", "addr", "show", "to", f"{self.vip}/32")
            ]
        return [node for node in self.nodes if any(vip["detail"].get("addresses") for vip in self.local(node).values())]

    def wait_gone(self, name: str, timeout: float = 20.0) -> None:
        """Waits until neither members nor addresses of a VIP are left."""
        deadline = time.monotonic() + timeout
        while True:
            members = self.kubectl("get", "virtualipmembers", "-l", f"virtualip.dev/virtualip={name}", "-o", "name")
            holders = self.holders()
            if not members and not holders:
                return
            assert time.monotonic() < deadline, f"members: {members!r}, holders: {holders}"
            time.sleep(0.1)


def _is_best(status: Status) -> bool:
    """Whether no node has a higher priority than the MASTER."""
    return bool(status["priority"] >= max(entry["priority"] for entry in status["nodes"]))


class ClusterClient:
    """The machine of our own cluster that is no node, as far as a Prober needs it."""

    def __init__(self, cluster: Cluster) -> None:
        self._namespace = cluster.client_namespace
        self._processes: list[subprocess.Popen[str]] = []

    def popen(self, command: Sequence[str], **settings: Any) -> subprocess.Popen[str]:
        """A process in its network namespace."""
        process = subprocess.Popen(
            in_namespace(self._namespace, command), stdin=subprocess.DEVNULL, text=True, **settings
        )
        self._processes.append(process)
        return process

    def close(self) -> None:
        """Ends what a failed test left."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
                process.wait()


def own_house(prefix: str) -> House:
    """Our own cluster of three nodes with the image of the code as it is."""
    cluster = Cluster(prefix)
    cluster.down()
    try:
        cluster.up()
        built = image.build(image.TAG)
        cluster.load_image(built.tag, built.archive)
    except BaseException:
        cluster.down()
        raise
    return House(cluster.kubeconfig, cluster)


def unavailable() -> str:
    """Why there can be no house here; empty where there can."""
    if os.environ.get("KUBECONFIG"):
        return ""
    return "" if os.geteuid() == 0 else "nodes are made of namespaces: this needs root (or KUBECONFIG=...)"
