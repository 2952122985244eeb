"""etcd restored from nothing on our own cluster, and what an administrator then does."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from house import NAMESPACE, OVERLAY, House
from node_daemon import NodeDaemon

if TYPE_CHECKING:
    from barecluster.node import Node


def until(condition: Callable[[], bool], what: str, timeout: float = 60.0) -> None:
    """Waits (seconds) until it holds; AssertionError with `what` is the matter."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def lose_everything(house: House) -> None:
    """Takes everything out of the API, and waits until the agents have noticed: their tokens are not known there."""
    assert house.own is not None
    before = {node.name: _refusals(node) for node in house.own.nodes}
    house.own.restore_store(None)
    for node in house.own.nodes:
        name = node.name
        until(lambda node=node: _refusals(node) > before[node.name], f"{name}'s reporter noticed nothing")  # type: ignore[misc]
    assert house.get("nodes")["items"] == house.get("pods", "--all-namespaces")["items"] == []


def apply_everything(house: House) -> None:
    """Starts anew what watches the API, as after any restore, and applies virtualip, without VirtualIPs."""
    assert house.own is not None
    house.own.restart_controllers()
    house.kubectl("apply", "-k", str(OVERLAY))
    house.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=20s")


def restart_kubelet(node: "Node") -> None:
    """Only then it sees what the API holds now: its node is registered, pods that are not there are ended."""
    for program in ("kube-proxy", "kubelet"):
        NodeDaemon(node, program).restart()


def runs(node: "Node", process: str) -> bool:
    """Whether `virtualip-agent PROCESS` runs on a node."""
    return bool(node.run("sh", "-c", f"pgrep -f 'virtualip-agent [{process[0]}]{process[1:]}' || true"))


def _refusals(node: "Node") -> int:
    """How often the reporter of a node was told 401."""
    logs = (node.root / "var/log/pods").glob(f"{NAMESPACE}_virtualip-agent-*/reporter/*.log")
    return sum(log.read_text().count("401 Unauthorized") for log in logs)
