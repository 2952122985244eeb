"""The VIP in front of the API server, by static pods: it is there before the API server is."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from barecluster import image
from barecluster.layout import CONTROL_PLANE
from client import asked
from hands import Hands
from house import NAMESPACE, REPOSITORY, ClusterClient, House
from logind import Logind

if TYPE_CHECKING:
    from barecluster.node import Node

pytestmark = [pytest.mark.nodes, pytest.mark.power, pytest.mark.timeout(400)]

POD = REPOSITORY / "deploy/static-pod/virtualip.yaml"
STATIC_POD = "/etc/kubernetes/manifests/virtualip.yaml"
PORT = 6443
NAME = "kube-api"


def manifest(house: House) -> str:
    """The VirtualIP as a file; on the wire it is the one of House.apply."""
    priorities = zip(house.nodes, (244, 240, 236), strict=False)
    spec = {
        "addresses": [f"{house.vip}/32"],
        "vrid": 51,
        "advertInterval": "100ms",
        "nodePriorities": [{"nodeName": node, "priority": priority} for node, priority in priorities],
    }
    return yaml.safe_dump(
        {"apiVersion": "virtualip.dev/v1alpha1", "kind": "VirtualIP", "metadata": {"name": NAME}, "spec": spec}
    )


def pod_manifest() -> str:
    """The static pod, with this checkout's image."""
    return POD.read_text().replace("ghcr.io/virtualip/virtualip:v0.1.0", image.TAG)


def install(hands: Hands, house: House, node: str) -> None:
    """The two files of docs/static-manifests.md."""
    hands.file(node, STATIC_POD, pod_manifest())
    hands.file(node, "/etc/virtualip/manifests/kube-api.yaml", manifest(house))


def in_front(vip: str) -> str:
    """As on a node of a control plane, whose API server listens on every address: here it is another machine's."""
    to = f"ip daddr {vip} tcp dport {PORT} dnat to {CONTROL_PLANE.address}:{PORT}"
    return f"""
    table ip front {{
        chain from-others {{ type nat hook prerouting priority dstnat; {to}; }}
        chain own {{ type nat hook output priority -100; {to}; }}
        chain back {{ type nat hook postrouting priority srcnat; ip daddr {CONTROL_PLANE.address} masquerade; }}
    }}
    """


def local(node: "Node") -> dict[str, Any]:
    """What the node itself says of the VIP, without the API; {} where nothing (yet)."""
    command = [sys.executable, "-m", "virtualip_agent.cli", "status", "-o", "json"]
    with suppress(subprocess.CalledProcessError):
        answer = subprocess.run(
            [*command, "--run", str(node.root / "run/virtualip")], check=True, capture_output=True, text=True
        )
        return next((vip for vip in json.loads(answer.stdout)["virtualIPs"] if vip["name"] == NAME), {})
    return {}


def wait_source(node: "Node", source: str) -> dict[str, Any]:
    """Waits until the node is MASTER by a manifest or by what is desired; its entry."""
    deadline = time.monotonic() + 30
    while (found := local(node)).get("detail", {}).get("source") != source or found["entry"]["state"] != "MASTER":
        assert time.monotonic() < deadline, found
        time.sleep(0.1)
    entry: dict[str, Any] = found["entry"]
    return entry


def said(house: House, node: str, words: str) -> None:
    """Waits until the DaemonSet's vrrp on a node has said this."""
    deadline = time.monotonic() + 90
    while True:
        with suppress(AssertionError):  # its container is being started
            if words in house.kubectl("-n", NAMESPACE, "logs", house.agent(node), "-c", "vrrp"):
                return
        assert time.monotonic() < deadline, f"{node} has not said: {words}"
        time.sleep(0.5)


def wait_holder(house: House, node: str) -> None:
    """Waits until the address is there and nowhere else."""
    deadline = time.monotonic() + 20
    while (holders := house.holders()) != [node]:
        assert time.monotonic() < deadline, holders
        time.sleep(0.1)


@pytest.fixture
def cold(own_house_only: House) -> Iterator[list["Node"]]:
    """Two nodes with the static pod that have just been switched on and whose kubelets look for the API server behind
    the VIP; there is no API server."""
    house, cluster = own_house_only, own_house_only.own
    assert cluster is not None
    nodes = list(cluster.nodes[:2])
    try:
        with Hands(house) as hands:
            for node in nodes:
                install(hands, house, node.name)
            cluster.stop_api_servers()
            for node in nodes:
                node.power_off()
            for node in nodes:
                node.power_on(f"https://{house.vip}:{PORT}")
                node.run("nft", "-f", "-", stdin=in_front(house.vip))
            yield nodes
    finally:
        cluster.start_api_servers()
        house.kubectl("delete", "virtualip", NAME, "--ignore-not-found")
        for node in nodes:
            node.power_off()
            node.power_on()
        cluster.wait_for_nodes()
        house.kubectl("-n", NAMESPACE, "rollout", "status", "daemonset/virtualip-agent", "--timeout=180s", timeout=190)


def test_from_cold_the_vip_is_up_before_the_api_server_and_is_adopted_and_given_back_without_a_move(
    own_house_only: House, cluster_client: ClusterClient, cold: list["Node"]
) -> None:
    house, cluster, (first, second) = own_house_only, own_house_only.own, cold
    assert cluster is not None
    booted = time.monotonic()
    with asked(cluster_client, house.vip, "adopted, given back, static pod removed", 60):
        took = time.monotonic() - booted
        print(f"cold: the kubelets start -> the VIP answers after {took:.1f} s, without an API server")
        before = wait_source(first, "Manifest")
        wait_holder(house, first.name)

        cluster.start_api_servers()
        ready = ("curl", "--silent", "--insecure", "--max-time", "5", f"https://{house.vip}:{PORT}/readyz")
        assert cluster.run_in_client(*ready) == "ok"
        cluster.wait_for_nodes()  # these two by way of the VIP
        # the DaemonSet's agent beside it
        for node in (first, second):
            said(house, node.name, "another agent runs on this node: standing by")
        with house.nobody_moves():
            house.apply(NAME)
            house.wait_master(NAME, first.name, timeout=90)  # the operator has been without an API server too
            adopted = wait_source(first, "Desired")
            house.kubectl("delete", "virtualip", NAME)
            given_back = wait_source(first, "Manifest")
        assert [entry["lastTransitionTime"] for entry in (adopted, given_back)] == [before["lastTransitionTime"]] * 2

        # the static pod goes: it hands over, and the DaemonSet's agent, which has been waiting for that, has it back
        first.run("rm", "/etc/kubernetes/manifests/virtualip.yaml")
        said(house, first.name, "taking its place")
        wait_source(first, "Manifest")
        wait_holder(house, first.name)


@pytest.mark.long
def test_a_graceful_node_shutdown_takes_the_vip_nowhere_and_back_where_the_static_pod_has_it_beside_the_daemonset(
    own_house_only: House, cluster_client: ClusterClient
) -> None:
    """Both are ended with the critical pods: one that outlived the other would take the address back for a moment."""
    house = own_house_only
    assert house.own is not None
    node = house.own.node(house.nodes[0])
    pod = f"pod/virtualip-{node.name}"
    with Hands(house) as hands, Logind(node, grace=8, critical=6) as logind, house.applied("web") as master:
        assert master == node.name
        hands.file(node.name, STATIC_POD, pod_manifest())
        house.kubectl("-n", "kube-system", "wait", pod, "--for=create", "--timeout=60s", timeout=70)
        house.kubectl("-n", "kube-system", "wait", pod, "--for=condition=Ready", "--timeout=60s", timeout=70)
        house.kubectl("-n", NAMESPACE, "delete", "pod", house.agent(node.name))
        said(house, node.name, "another agent runs on this node: standing by")
        # a pod that is still being started is ended when it has been
        house.kubectl("-n", NAMESPACE, "rollout", "status", "daemonset/virtualip-agent", "--timeout=90s", timeout=100)
        house.wait_master("web", node.name)
        known = house.moves("web")
        with asked(cluster_client, house.vip, "graceful node shutdown, static pod"):
            logind.prepare_for_shutdown()
            wait_holder(house, house.nodes[1])
            house.wait_master("web", house.nodes[1])
        # to the second, or by way of the third, whose skew_time is 1.5 ms longer
        assert node.name not in [move["to"] for move in house.moves("web", known)]
        node.shut_down()
        node.power_on()
        house.own.wait_for_nodes()
