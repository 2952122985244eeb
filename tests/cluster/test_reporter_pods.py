"""podReady against a real API server: which pods the reporter tells control of, and what it may read."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from barecluster import Cluster
from reporter_harness import NAMESPACE, Administrator, ReporterProcess, eventually, never, reporting
from virtualip_agent import pods_file
from virtualip_agent.pods_file import PodsOfNamespace
from virtualip_agent.run_directory import pods_path

pytestmark = pytest.mark.apiserver

INGRESS = "ingress"
TRACKER = {"name": "ingress", "podReady": {"namespace": INGRESS, "selector": {"matchLabels": {"app": "nginx"}}}}


class Scene(NamedTuple):
    api: Administrator
    reporter: ReporterProcess

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
def scene(own_api_server: Cluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    administrator = Administrator(own_api_server)
    node = f"node-{abs(hash(request.node.name)) % 10**8}"
    administrator.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": INGRESS}})
    metadata = {"name": "default", "namespace": INGRESS}
    administrator.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    with reporting(administrator, node, tmp_path / "agent") as (reporter, _):
        yield Scene(administrator, reporter)
    own_api_server.kubectl("delete", "pod", "--all", "-n", INGRESS, "--force", "--grace-period=0")
    own_api_server.kubectl("delete", "rolebinding", "--all", "-n", INGRESS)
    for kind in ("virtualipmember", "virtualip"):
        own_api_server.kubectl("delete", kind, "--all")


def test_pods_of_this_node_are_told_of_within_300_ms_of_a_change(scene: Scene) -> None:
    scene.bind()
    scene.pod("here")
    scene.api.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "elsewhere"}})
    scene.pod("there", "elsewhere")
    scene.track()
    eventually(lambda: scene.ready() == {"here": False})
    times = []
    for ready in [True, False] * 3:
        scene.set_ready("here", ready)
        began = time.monotonic()  # after kubectl, whose own start takes longer
        eventually(lambda ready=ready: scene.ready() == {"here": ready}, 5)  # type: ignore[misc]
        times.append(time.monotonic() - began)
    print(f"longest {max(times) * 1000:.0f} ms after the API had it")
    assert max(times) < 0.3
    assert scene.reporter.resident_kilobytes() < 56 * 1024


def test_without_the_binding_the_reason_is_told_and_with_it_all_is_well(scene: Scene) -> None:
    scene.pod("here")
    scene.track()
    problem = eventually(lambda: scene.known().problem)
    assert problem.startswith("pods of ingress cannot be watched: 403 pods is forbidden")
    assert scene.known().pods is None
    scene.bind()
    eventually(lambda: scene.ready() == {"here": False})
    assert scene.known().problem == ""


def test_without_such_a_tracker_no_pod_is_looked_at(scene: Scene) -> None:
    scene.bind()
    scene.pod("here")
    scene.api.virtual_ip("web")
    scene.api.member("web", scene.reporter.node)
    never(lambda: pods_path(scene.reporter.run).exists(), 2)
    scene.api.member("web", scene.reporter.node, revision=2, trackers=[TRACKER])
    eventually(lambda: scene.ready() == {"here": False})


def test_while_the_api_is_away_what_is_known_stays_and_is_no_longer_confirmed(scene: Scene) -> None:
    scene.bind()
    scene.pod("here")
    scene.set_ready("here", True)
    scene.track()
    eventually(lambda: scene.ready() == {"here": True})
    first = scene.known().confirmed_at
    confirmed = eventually(lambda: scene.known().confirmed_at > first and scene.known().confirmed_at)
    scene.api.cluster.stop_api_servers()
    try:
        eventually(lambda: pods_file.now() - scene.known().confirmed_at > 7)
        assert scene.ready() == {"here": True}
        assert scene.known().confirmed_at < confirmed + 6
    finally:
        scene.api.cluster.start_api_servers()
    eventually(lambda: pods_file.now() - scene.known().confirmed_at < 5, 30)
    scene.set_ready("here", False)
    eventually(lambda: scene.ready() == {"here": False})
