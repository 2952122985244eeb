"""podReady against a real API server: which pods the reporter tells control of, and what it may read."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from reporter_harness import NAMESPACE, Administrator, ReporterProcess, Scene, eventually, never
from virtualip_agent import pods_file
from virtualip_agent.pods_file import PodsOfNamespace
from virtualip_agent.run_directory import pods_path

pytestmark = pytest.mark.apiserver

INGRESS = "ingress"
TRACKER = {"name": "ingress", "podReady": {"namespace": INGRESS, "selector": {"matchLabels": {"app": "nginx"}}}}


@dataclass(frozen=True)
class Pods:
    """A node's reporter, and its pods in one namespace."""

    scene: Scene

    @property
    def api(self) -> Administrator:
        """The API as an administrator sees it."""
        return self.scene.api

    @property
    def reporter(self) -> ReporterProcess:
        """This node's."""
        return self.scene.reporter

    def known(self) -> PodsOfNamespace:
        """What control may read."""
        try:
            content = pods_path(self.reporter.run).read_bytes()
        except FileNotFoundError:
            return PodsOfNamespace()
        return pods_file.decode(content, pods_file.boot_id()).get(INGRESS, PodsOfNamespace())

    def ready(self) -> dict[str, bool]:
        """The pods that are known, and whether each is Ready."""
        return {name: pod.ready for name, pod in (self.known().pods or {}).items()}

    def pod(self, name: str, node: str | None = None) -> None:
        """A pod on this node; a kubelet would run it."""
        spec = {"nodeName": node or self.reporter.node, "containers": [{"name": "nginx", "image": "nginx"}]}
        metadata = {"name": name, "namespace": INGRESS, "labels": {"app": "nginx"}}
        self.api.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})

    def set_ready(self, name: str, ready: bool) -> None:
        """As its kubelet would say."""
        condition = {"type": "Ready", "status": str(ready)}
        self.api.cluster.kubectl(
            "patch", "pod", name, "-n", INGRESS, "--subresource=status", "-p",
            json.dumps({"status": {"conditions": [condition]}}),
        )  # fmt: skip

    def bind(self) -> None:
        """What docs/virtualip.md tells the administrator to do."""
        self.api.cluster.kubectl(
            "create", "rolebinding", "virtualip-agent-pods", "-n", INGRESS, "--clusterrole=virtualip-agent-pods",
            f"--serviceaccount={NAMESPACE}:virtualip-agent",
        )  # fmt: skip

    def track(self, **spec: Any) -> None:
        """A VirtualIP of this node with the tracker."""
        self.api.virtual_ip("web", trackers=[TRACKER])
        self.api.member("web", self.reporter.node, trackers=[TRACKER], **spec)


@pytest.fixture
def pods(scene: Scene) -> Iterator[Pods]:
    scene.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": INGRESS}})
    metadata = {"name": "default", "namespace": INGRESS}
    scene.api.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    yield Pods(scene)
    scene.api.cluster.kubectl("delete", "pod", "--all", "-n", INGRESS, "--force", "--grace-period=0")
    scene.api.cluster.kubectl("delete", "rolebinding", "--all", "-n", INGRESS)


def test_pods_of_this_node_are_told_of_within_300_ms_of_a_change(pods: Pods) -> None:
    pods.bind()
    pods.pod("here")
    pods.api.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "elsewhere"}})
    pods.pod("there", "elsewhere")
    pods.track()
    eventually(lambda: pods.ready() == {"here": False})
    times = []
    for ready in [True, False] * 3:
        pods.set_ready("here", ready)
        began = time.monotonic()  # after kubectl, whose own start takes longer
        eventually(lambda ready=ready: pods.ready() == {"here": ready}, 5)  # type: ignore[misc]
        times.append(time.monotonic() - began)
    print(f"longest {max(times) * 1000:.0f} ms after the API had it")
    assert max(times) < 0.3
    assert pods.reporter.resident_kilobytes() < 56 * 1024


def test_without_the_binding_the_reason_is_told_and_with_it_all_is_well(pods: Pods) -> None:
    pods.pod("here")
    pods.track()
    problem = eventually(lambda: pods.known().problem)
    assert problem.startswith("pods of ingress cannot be watched: 403 pods is forbidden")
    assert pods.known().pods is None
    pods.bind()
    eventually(lambda: pods.ready() == {"here": False})
    assert pods.known().problem == ""


def test_without_such_a_tracker_no_pod_is_looked_at(pods: Pods) -> None:
    pods.bind()
    pods.pod("here")
    pods.api.virtual_ip("web")
    pods.api.member("web", pods.reporter.node)
    never(lambda: pods_path(pods.reporter.run).exists(), 2)
    pods.api.member("web", pods.reporter.node, revision=2, trackers=[TRACKER])
    eventually(lambda: pods.ready() == {"here": False})


def test_while_the_api_is_away_what_is_known_stays_and_is_no_longer_confirmed(pods: Pods) -> None:
    pods.bind()
    pods.pod("here")
    pods.set_ready("here", True)
    pods.track()
    eventually(lambda: pods.ready() == {"here": True})
    first = pods.known().confirmed_at
    confirmed = eventually(lambda: pods.known().confirmed_at > first and pods.known().confirmed_at)
    pods.api.cluster.stop_api_servers()
    try:
        eventually(lambda: pods_file.now() - pods.known().confirmed_at > 7)
        assert pods.ready() == {"here": True}
        assert pods.known().confirmed_at < confirmed + 6
    finally:
        pods.api.cluster.start_api_servers()
    eventually(lambda: pods_file.now() - pods.known().confirmed_at < 5, 30)
    pods.set_ready("here", False)
    eventually(lambda: pods.ready() == {"here": False})
