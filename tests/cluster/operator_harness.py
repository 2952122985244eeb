"""What the operator's tests need: its process with its own ServiceAccount's token, and the API as others see it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import pytest
import yaml

from barecluster import Cluster, ClusterError
from virtualip_api.names import API_VERSION, VIRTUAL_IP_KIND, field_manager, lease_name
from virtualip_api.status import NodeEntry, entry_to_json, format_time

NAMESPACE = "virtualip-system"
T = TypeVar("T")


def eventually(question: Callable[[], T | Literal[False] | None], seconds: float = 20.0) -> T:
    """The first true answer; AssertionError with the last one after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < deadline, f"still {answer!r} after {seconds} s"
        time.sleep(0.05)
    return answer


class OperatorProcess:
    """virtualip-operator as in its pod: its token, its RBAC, nothing else."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        token = cluster.kubectl("create", "token", "virtualip-operator", f"--namespace={NAMESPACE}").strip()
        config = yaml.safe_load(cluster.kubeconfig.read_text())
        config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
        self._kubeconfig = directory / "kubeconfig"
        self._kubeconfig.write_text(yaml.safe_dump(config))
        self.log = directory / "operator.log"
        self.port = _free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it; warnings of Python's are errors."""
        environment = {
            **os.environ,
            "KUBECONFIG": str(self._kubeconfig),
            "VIRTUALIP_NAMESPACE": NAMESPACE,
            "VIRTUALIP_METRICS_ADDRESS": f"127.0.0.1:{self.port}",
        }
        program = "import sys; from virtualip_operator.cli import main; main()"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", "-c", program], env=environment, stdout=log, stderr=log
            )

    def stop(self) -> int:
        """Ends it as the kubelet would; its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15.0)

    def get(self, path: str) -> str:
        """A page of its HTTP server; '' where it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5.0) as answer:
                text: str = answer.read().decode()
                return text
        except OSError:
            return ""


@contextlib.contextmanager
def garbage_collector(cluster: Cluster) -> Iterator[None]:
    """The controller manager with its garbage collector alone; skips where it is not among the binaries."""
    program = cluster.binaries / "kube-controller-manager"
    if not program.exists():
        pytest.skip("no kube-controller-manager beside the API server")
    arguments = ["--controllers=garbage-collector-controller", "--leader-elect=false", "--secure-port=0"]
    process = subprocess.Popen(
        [program, f"--kubeconfig={cluster.kubeconfig}", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class World:
    """The cluster as administrator, kubelets and agents see and change it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def apply(self, resource: Mapping[str, Any]) -> None:
        """As an administrator would."""
        self.cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(resource))

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """The object, or None where there is none."""
        try:
            found: dict[str, Any] = json.loads(
                self.cluster.kubectl("get", kind, name, "-o", "json", "--show-managed-fields")
            )
        except ClusterError as error:
            if "NotFound" in str(error):
                return None
            raise
        return found

    def delete(self, kind: str, name: str) -> None:
        """Deletes it and waits until it is gone."""
        self.cluster.kubectl("delete", kind, name, "--ignore-not-found")

    def nodes(self, addresses: Mapping[str, str], **labels: str) -> None:
        """Nodes as their kubelets would register them: names and InternalIPs."""
        items = [
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": name, "labels": labels},
                "status": {"addresses": [{"type": "InternalIP", "address": address}]},
            }
            for name, address in addresses.items()
        ]
        self.apply({"apiVersion": "v1", "kind": "List", "items": items})

    def virtual_ip(self, name: str, **spec: object) -> None:
        """A VirtualIP for the nodes that are labelled with its name."""
        selector = {"matchLabels": {"takes-part-in": name}}
        whole = {"addresses": ["192.0.2.10/32"], "vrid": 51, "nodeSelector": selector, **spec}
        self.apply({"apiVersion": API_VERSION, "kind": VIRTUAL_IP_KIND, "metadata": {"name": name}, "spec": whole})

    def status(self, name: str) -> dict[str, Any]:
        """The status of a VirtualIP."""
        return (self.get("vip", name) or {}).get("status") or {}

    def condition(self, name: str, condition_type: str) -> dict[str, Any]:
        """A condition of a VirtualIP; {} where it is absent."""
        for condition in self.status(name).get("conditions", ()):
            if condition["type"] == condition_type:
                return dict(condition)
        return {}

    def members(self, name: str) -> dict[str, dict[str, Any]]:
        """The specs of a VirtualIP's Members, by node."""
        selector = f"virtualip.dev/virtualip={name}"
        listed = json.loads(self.cluster.kubectl("get", "virtualipmembers", "-l", selector, "-o", "json"))
        return {member["spec"]["node"]: member["spec"] for member in listed["items"]}

    def says(self, name: str, entry: NodeEntry) -> None:
        """An agent writes its entry."""
        body = {
            "apiVersion": API_VERSION,
            "kind": VIRTUAL_IP_KIND,
            "metadata": {"name": name},
            "status": {"nodes": [entry_to_json(entry)]},
        }
        words = ["--server-side", "--subresource=status", f"--field-manager={field_manager(entry.node)}"]
        self.cluster.kubectl("apply", *words, "-f", "-", stdin=json.dumps(body))

    def renews(self, *nodes: str, duration: int = 3600) -> None:
        """Agents renew their Leases (so long by default that no test has to go on renewing)."""
        for node in nodes:
            spec = {"holderIdentity": node, "leaseDurationSeconds": duration, "renewTime": format_time(time.time())}
            metadata = {"name": lease_name(node), "namespace": NAMESPACE}
            self.apply(
                {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec},
            )

    def events(self, name: str) -> list[str]:
        """Reasons and messages of the Events that `kubectl describe` shows, the oldest first."""
        selector = f"involvedObject.kind={VIRTUAL_IP_KIND},involvedObject.name={name}"
        listed = json.loads(self.cluster.kubectl("get", "events", "-A", f"--field-selector={selector}", "-o", "json"))
        items = sorted(listed["items"], key=lambda event: event.get("eventTime") or "")
        return [f"{event['reason']}: {event['message']}" for event in items]
