"""A web server in pods, and two Services before it: each by a NodePort and at the VIP by externalIPs."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import yaml

from barecluster import image
from house import NAMESPACE, House

LABEL = "virtualip-test/web"
"""Nodes where it is "yes" run a pod."""
SELECTOR = {"app": "web-test"}
_SERVER = """\
import asyncio, os
async def answer(reader, writer):
    try:
        await reader.readuntil(b"\\r\\n\\r\\n")
        words = f"{os.environ['NODE_NAME']} {writer.get_extra_info('peername')[0]}"
        writer.write(f"HTTP/1.0 200 OK\\r\\nConnection: close\\r\\n\\r\\n{words}".encode())
        await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()
async def main():
    await (await asyncio.start_server(answer, "0.0.0.0", 8080, backlog=1024)).serve_forever()
asyncio.run(main())
"""


@dataclass(frozen=True, slots=True)
class Door:
    """A way in at the VIP."""

    kind: str
    policy: str
    """externalTrafficPolicy."""
    port: int


DOORS = (
    Door("NodePort", "Cluster", 30080),
    Door("NodePort", "Local", 30081),
    Door("externalIPs", "Cluster", 80),
    Door("externalIPs", "Local", 81),
)
NODE_PORT, LOCAL_NODE_PORT, EXTERNAL_IP, LOCAL_EXTERNAL_IP = DOORS


def _resources(vip: str) -> Iterator[object]:
    metadata = {"name": "web-test", "namespace": NAMESPACE}
    container = {
        "name": "web",
        "image": image.TAG,
        "command": ["python3", "-c", _SERVER],
        "env": [{"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
        # who asks for nothing waits where an agent starts beside it: 200 to 400 ms were seen
        "resources": {"requests": {"cpu": "200m"}},
    }
    pod = {
        "nodeSelector": {LABEL: "yes"},
        "terminationGracePeriodSeconds": 1,
        # a node without power keeps its pods: they must not be made anew while a test still looks
        "tolerations": [{"operator": "Exists"}],
        "containers": [container],
    }
    template = {"metadata": {"labels": SELECTOR}, "spec": pod}
    spec = {"selector": {"matchLabels": SELECTOR}, "template": template}
    yield {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": spec}
    for node_port, external in ((NODE_PORT, EXTERNAL_IP), (LOCAL_NODE_PORT, LOCAL_EXTERNAL_IP)):
        port = {"port": external.port, "targetPort": 8080, "nodePort": node_port.port}
        service = {
            "type": "NodePort",
            "selector": SELECTOR,
            "externalIPs": [vip],
            "externalTrafficPolicy": external.policy,
            "ports": [port],
        }
        named = {"name": f"web-test-{external.policy.lower()}", "namespace": NAMESPACE}
        yield {"apiVersion": "v1", "kind": "Service", "metadata": named, "spec": service}


@contextmanager
def web_pods(house: House) -> Iterator[None]:
    """The DaemonSet, on no node yet, and the Services."""
    house.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(list(_resources(house.vip))))
    try:
        yield
    finally:
        house.kubectl("label", "nodes", "--all", f"{LABEL}-")
        words = ("daemonset/web-test", "service/web-test-cluster", "service/web-test-local")
        house.kubectl("-n", NAMESPACE, "delete", *words, "--ignore-not-found")


def place(house: House, nodes: Sequence[str], timeout: float = 30.0) -> None:
    """A ready pod on each of these nodes and on no other."""
    for node in house.nodes:
        house.kubectl("label", "node", node, "--overwrite", f"{LABEL}={'yes' if node in nodes else 'no'}")
    deadline = time.monotonic() + timeout
    while (where := _ready_on(house)) != sorted(nodes):
        assert time.monotonic() < deadline, f"pods on {where}, not on {nodes}"
        time.sleep(0.2)


def _ready_on(house: House) -> list[str]:
    labels = ",".join(f"{key}={value}" for key, value in SELECTOR.items())
    pods = house.get("-n", NAMESPACE, "pods", "-l", labels)["items"]
    return sorted(
        pod["spec"]["nodeName"]
        if any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for condition in pod["status"].get("conditions", ())
        )
        else "?"
        for pod in pods
    )
