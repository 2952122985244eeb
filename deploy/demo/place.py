"""Where the demo runs: a cluster of its own on this machine, or the user's."""

import json
import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from barecluster import Cluster, image
from barecluster.packages import ensure_packages
from barecluster.shell import in_namespace, run

HERE = Path(__file__).resolve().parent
NAMESPACE = "virtualip-system"
PORT = 8080


class DemoError(Exception):
    """Something was not as it should be; the text is for the user."""


class Place(ABC):
    """A cluster with our nodes, and a client beside it."""

    image: str

    @abstractmethod
    def up(self) -> None:
        """Makes it ready for `kubectl apply`."""

    @abstractmethod
    def down(self) -> None:
        """Leaves nothing behind that was not there before."""

    @abstractmethod
    def kubectl(self, *words: str, stdin: str | None = None, timeout: float = 60) -> str:
        """What kubectl printed; DemoError with what it complained of."""

    @abstractmethod
    def addresses(self, nodes: list[str]) -> list[tuple[str, str]]:
        """Commands and what they print of the addresses on these nodes."""

    @abstractmethod
    def start_probe(self, address: str) -> None:
        """Starts the client."""

    @abstractmethod
    def probe_lines(self) -> list[dict[str, Any]]:
        """What the client has printed so far."""

    def get(self, *words: str) -> Any:
        """`kubectl get ... -o json`."""
        return json.loads(self.kubectl("get", *words, "-o", "json"))


class OwnCluster(Place):
    """Three real nodes in network namespaces of this machine. Root."""

    image = image.TAG

    def __init__(self) -> None:
        self.cluster = Cluster("demo")
        self._probe: subprocess.Popen[str] | None = None
        self._log = Path()

    def up(self) -> None:
        ensure_packages(["tcpdump"])
        self.cluster.down()  # what an earlier KEEP=1 left
        self.cluster.up()
        built = image.build(self.image)
        self.cluster.load_image(built.tag, built.archive)

    def down(self) -> None:
        self.stop_probe()
        self.cluster.down()

    def stop_probe(self) -> None:
        """Ends the client."""
        if self._probe is not None:
            self._probe.kill()
            self._probe.wait()
            self._probe = None

    def kubectl(self, *words: str, stdin: str | None = None, timeout: float = 60) -> str:
        return self.cluster.kubectl(*words, stdin=stdin, timeout=timeout)

    def addresses(self, nodes: list[str]) -> list[tuple[str, str]]:
        found = []
        for node in self.cluster.nodes:
            if node.name in nodes:
                powered = node.pid is not None
                text = node.run("ip", "-br", "a", "show", "dev", "eth0") if powered else "(no power)"
                found.append((f"{node.name}# ip -br a show dev eth0", text))
        return found

    def start_probe(self, address: str) -> None:
        self._log = self.cluster.logs / "probe.log"
        command = in_namespace(
            self.cluster.client_namespace, [sys.executable, str(HERE / "probe.py"), address, str(PORT)]
        )
        with self._log.open("w") as log:
            self._probe = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, text=True)

    def probe_lines(self) -> list[dict[str, Any]]:
        return _parse(self._log.read_text())

    def advertisement(self, node: str) -> str:
        """One advertisement of this node as tcpdump prints it."""
        words = ["tcpdump", "-lnni", "eth0", "-c", "1", "vrrp"]
        return run(*in_namespace(self.cluster.node(node).netns, words), timeout=15).strip()


class UsersCluster(Place):
    """Whatever the kubeconfig leads to. No root: everything goes through kubectl."""

    def __init__(self, kubeconfig: str, chosen_image: str) -> None:
        self.image = chosen_image
        self._kubeconfig = kubeconfig
        self._installed = False

    def up(self) -> None:
        done = self._run("get", "namespace", NAMESPACE, "--ignore-not-found", "-o", "name")
        self._installed = not done.strip()

    def down(self) -> None:
        self._run("-n", NAMESPACE, "delete", "pod/demo-client", "--ignore-not-found", "--now")
        if self._installed:
            self._run("delete", "virtualips", "--all", "--ignore-not-found", timeout=60)
            self._run("delete", "namespace", NAMESPACE, "--ignore-not-found", timeout=180)
            # the rest of what was applied is cluster-scoped
            self._run("delete", "-k", str(HERE.parent / "overlays/local"), "--ignore-not-found", timeout=180)

    def kubectl(self, *words: str, stdin: str | None = None, timeout: float = 60) -> str:
        return self._run(*words, stdin=stdin, timeout=timeout)

    def _run(self, *words: str, stdin: str | None = None, timeout: float = 60) -> str:
        command = ["kubectl", f"--kubeconfig={self._kubeconfig}", *words]
        try:
            done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DemoError(f"kubectl: {error}") from None
        if done.returncode:
            raise DemoError(f"kubectl {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout

    def addresses(self, nodes: list[str]) -> list[tuple[str, str]]:
        found = []
        for pod in self.get("-n", NAMESPACE, "pods", "-l", "app.kubernetes.io/component=agent")["items"]:
            node, name = pod["spec"]["nodeName"], pod["metadata"]["name"]
            if node in nodes:
                text = self._run("-n", NAMESPACE, "exec", name, "-c", "control", "--", "virtualip-agent", "status")
                found.append((f"kubectl exec {name} -c control -- virtualip-agent status   # {node}", text))
        return found

    def start_probe(self, address: str) -> None:
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "demo-client", "namespace": NAMESPACE},
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    {
                        "name": "client",
                        "image": self.image,
                        "imagePullPolicy": "IfNotPresent",
                        "command": ["python3", "/demo/probe.py", address, str(PORT)],
                        "volumeMounts": [{"name": "demo", "mountPath": "/demo"}],
                    }
                ],
                "volumes": [{"name": "demo", "configMap": {"name": "demo-programs"}}],
            },
        }
        self.kubectl("apply", "-f", "-", stdin=json.dumps(pod))
        self.kubectl("-n", NAMESPACE, "wait", "--for=condition=Ready", "pod/demo-client", "--timeout=60s", timeout=70)

    def probe_lines(self) -> list[dict[str, Any]]:
        return _parse(self._run("-n", NAMESPACE, "logs", "demo-client"))


def _parse(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]
