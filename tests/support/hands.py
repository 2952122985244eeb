"""A shell on each node, as root: what an administrator would type there. On our own cluster directly, elsewhere by a
privileged pod a node."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Self

from barecluster import ClusterError
from house import NAMESPACE

if TYPE_CHECKING:
    from types import TracebackType

    from house import House

DIRECTORY = "/tmp/virtualip-test"
_ENTER = "exec $(command -v nsenter || echo busybox nsenter) -t 1 -m -n -u -i -p -- sh -c"


class Hands:
    """What is done is undone at the end: processes, interfaces, files."""

    def __init__(self, house: "House") -> None:
        self._house = house
        self._pods: set[str] = set()
        self._undo: list[tuple[str, str]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: "type[BaseException] | None", error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        for node, script in reversed(self._undo):
            self.run(node, f"{script} || true")
        for pod in self._pods:
            self._house.kubectl("-n", NAMESPACE, "delete", "pod", pod, "--now")

    def run(self, node: str, script: str) -> str:
        """What a script of sh prints there; AssertionError where it fails."""
        own = self._house.own
        if own is None:
            return self._house.kubectl(
                "-n", NAMESPACE, "exec", self._pod(node), "--", "sh", "-c", f"{_ENTER} {shlex.quote(script)}"
            )
        try:
            return own.node(node).run("sh", "-c", script)
        except ClusterError as error:
            raise AssertionError(str(error)) from None

    def process(self, node: str, name: str) -> str:
        """Starts a process of that name; its pid."""
        start = (
            f"mkdir -p {DIRECTORY}; test -e {DIRECTORY}/{name} || cp /bin/sleep {DIRECTORY}/{name}; "
            f"setsid {DIRECTORY}/{name} 1000 > /dev/null 2>&1 < /dev/null & echo $!"
        )
        pid = self.run(node, start).strip()
        self._undo.append((node, f"kill {pid} 2> /dev/null"))
        return pid

    def interface(self, node: str, name: str) -> None:
        """An interface with carrier: the node's own where it has one of that name, else one connected to nothing."""
        far = f"{name}far"
        made = self.run(
            node,
            f"set -e; if ! ip link show {name} > /dev/null 2>&1; then ip link add {name} type veth peer name {far}; "
            f"ip link set {far} up; echo made; fi; ip link set {name} up",
        )
        self._undo.append((node, f"ip link del {name}" if made.strip() == "made" else f"ip link set {name} up"))

    def address(self, node: str, address: str) -> None:
        """An address on lo: something that answers a ping until it is taken away."""
        self.run(node, f"ip addr add {address} dev lo")
        self._undo.append((node, f"ip addr del {address} dev lo 2> /dev/null"))

    def file(self, node: str, path: str, content: str, mode: str = "644") -> None:
        """A file of root's, its directory too."""
        directory = str(Path(path).parent)
        quoted = shlex.quote(content)
        self.run(
            node,
            f"mkdir -p {directory}; printf %s {quoted} > {path}.new; chmod {mode} {path}.new; mv {path}.new {path}",
        )
        self._undo.append((node, f"rm -f {path}"))

    def _pod(self, node: str) -> str:
        pod = f"hands-{node}"
        if pod not in self._pods:
            agents = self._house.get("-n", NAMESPACE, "daemonset", "virtualip-agent")["spec"]["template"]["spec"]
            container = {
                "name": "hands",
                "image": agents["containers"][0]["image"],
                "command": ["sleep", "3600"],
                "securityContext": {"privileged": True, "runAsUser": 0},
            }
            spec = {"nodeName": node, "hostPID": True, "hostNetwork": True, "containers": [container]}
            spec |= {"tolerations": [{"operator": "Exists"}], "terminationGracePeriodSeconds": 1}
            metadata = {"name": pod, "namespace": NAMESPACE}
            resource = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
            self._house.kubectl("apply", "-f", "-", stdin=json.dumps(resource))
            self._house.kubectl("-n", NAMESPACE, "wait", "--for=condition=Ready", f"pod/{pod}", "--timeout=60s")
            self._pods.add(pod)
        return pod
