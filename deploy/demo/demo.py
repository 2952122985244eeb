"""`make demo`: the article's first scenario, on real nodes, as a user would see it.

Applies the VirtualIP of s1.yaml; stops httpd on the MASTER, starts it again, cuts the power of the MASTER's node; shows
each time who holds the address, and how long a client went without an answer.
"""

import argparse
import ipaddress
import json
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

import console
from barecluster import ClusterError
from place import HERE, NAMESPACE, DemoError, OwnCluster, Place, UsersCluster

_LABEL = "virtualip-demo/httpd"


@dataclass
class Step:
    """One line of the summary."""

    what: str
    by: str
    gap_ms: float


class Demo:
    """The steps, in order."""

    def __init__(self, place: Place, vip: str | None) -> None:
        self._place = place
        self._vip = vip
        self._steps: list[Step] = []
        self._nodes: list[str] = []
        self._touched: list[str] = []

    def run(self) -> None:
        """All of it; DemoError or ClusterError where something was not as it should be."""
        console.heading("A cluster")
        self._place.up()
        self._nodes = [node["metadata"]["name"] for node in self._place.get("nodes")["items"]][:3]
        if len(self._nodes) < 2:
            raise DemoError(f"the cluster has {len(self._nodes)} node; a fail-over needs two")
        console.output("kubectl get nodes -o wide", self._place.kubectl("get", "nodes", "-o", "wide"))
        self._install()
        address = self._apply()
        first = self._master()
        self._show_vip()
        if isinstance(self._place, OwnCluster):
            console.output(f"{first}# tcpdump -nni eth0 vrrp", self._place.advertisement(first))
        self._place.start_probe(address)
        self._wait("the client to get its first answer", lambda: bool(self._place.probe_lines()), 20)

        second = self._move(f"httpd stopped on {first}", lambda: self._label(first, None), first)
        self._move(f"httpd started again on {first}", lambda: self._label(first, "yes"), second, to=first)
        if isinstance(self._place, OwnCluster):
            node = self._place.cluster.node(first)
            self._move(f"power cut of {first}", node.power_off, first, to=second)
        self._summary()

    def clean_up(self) -> None:
        """Takes away what the demo put on a cluster that stays."""
        if isinstance(self._place, UsersCluster):
            for node in self._touched:
                self._place.kubectl("label", "node", node, f"{_LABEL}-")
            self._place.kubectl("delete", "virtualip/web", "--ignore-not-found")
            ours = ("daemonset/demo-httpd", "configmap/demo-programs", "secret/web-vrrp")
            self._place.kubectl("-n", NAMESPACE, "delete", *ours, "--ignore-not-found")

    def _install(self) -> None:
        console.heading("Install")
        overlay = HERE.parent / "overlays/local"
        console.output("kubectl apply -k deploy/overlays/local", self._place.kubectl("apply", "-k", str(overlay)))
        for what in ("deployment/virtualip-operator", "daemonset/virtualip-agent"):
            self._place.kubectl("-n", NAMESPACE, "rollout", "status", what, "--timeout=120s", timeout=130)
        console.output("kubectl -n virtualip-system get pods", self._place.kubectl("-n", NAMESPACE, "get", "pods"))
        programs = {name: (HERE / name).read_text() for name in ("httpd.py", "probe.py")}
        config_map = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "demo-programs", "namespace": NAMESPACE},
            "data": programs,
        }
        self._place.kubectl("apply", "-f", "-", stdin=json.dumps(config_map))
        daemon_set = yaml.safe_load((HERE / "httpd.yaml").read_text())
        container = daemon_set["spec"]["template"]["spec"]["containers"][0]
        container.update(image=self._place.image, imagePullPolicy="IfNotPresent")
        self._place.kubectl("apply", "-f", "-", stdin=json.dumps(daemon_set))
        for node in self._nodes:
            self._label(node, "yes")
        self._place.kubectl("-n", NAMESPACE, "rollout", "status", "daemonset/demo-httpd", "--timeout=60s", timeout=70)

    def _apply(self) -> str:
        console.heading("Apply the VirtualIP")
        documents = list(yaml.safe_load_all((HERE / "s1.yaml").read_text()))
        if not isinstance(self._place, OwnCluster):
            self._adapt(documents[1]["spec"])
        text = "---\n".join(yaml.safe_dump(document, sort_keys=False) for document in documents)
        console.output("kubectl apply -f -", self._place.kubectl("apply", "-f", "-", stdin=text))
        print(yaml.safe_dump(documents[1], sort_keys=False, default_flow_style=None, width=110))
        applied = time.monotonic()
        # the election itself takes the RFC's 3 intervals
        self._wait("a MASTER", lambda: self._status().get("priority") == 254 and bool(self._status().get("master")), 30)
        console.note(f"MASTER {time.monotonic() - applied:.1f} s after kubectl apply (3 s of it is the election)")
        return str(documents[1]["spec"]["addresses"][0]).partition("/")[0]

    def _adapt(self, spec: dict[str, Any]) -> None:
        """The article's resource for a cluster with other names and another subnet."""
        spec.pop("interface")
        spec["nodePriorities"] = [
            {"nodeName": node, "priority": priority} for node, priority in zip(self._nodes, (244, 240), strict=False)
        ]
        spec["addresses"] = [self._vip or self._guess_vip()]
        # the label stops httpd: it must not choose the members too
        spec["nodeSelector"] = {
            "matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": self._nodes}]
        }

    def _guess_vip(self) -> str:
        node = self._place.get("node", self._nodes[0])
        internal = next(a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP")
        network = ipaddress.ip_network(f"{internal}/24", strict=False)
        vip = f"{network[240]}/32"
        console.note(f"using {vip}, of {self._nodes[0]}'s subnet; make demo KUBECONFIG=... VIP=... chooses another")
        return vip

    def _move(self, what: str, cause: Callable[[], object], before: str, to: str | None = None) -> str:
        console.heading(what)
        started = time.time()
        cause()
        self._wait(
            f"the VIP to go {f'to {to}' if to else f'away from {before}'}",
            lambda: self._status().get("master") not in ("", None, before) if to is None else self._master() == to,
            30,
        )
        after = self._master()
        self._wait(f"{after} to answer the client", lambda: self._answering() == after, 10)
        time.sleep(1)  # whatever is to go wrong after a move goes wrong within that
        self._show_vip()
        gaps = [line["gap_ms"] for line in self._place.probe_lines() if line["at"] >= started]
        step = Step(what, f"{before} -> {after}", max(gaps, default=0.0))
        self._steps.append(step)
        console.note(f"{step.by}: the client went {step.gap_ms:.0f} ms without an answer")
        return after

    def _show_vip(self) -> None:
        console.output("kubectl get vip -o wide", self._place.kubectl("get", "vip", "-o", "wide"))
        for command, text in self._place.addresses(self._nodes):
            console.output(command, text)

    def _summary(self) -> None:
        console.heading("Summary")
        for step in self._steps:
            print(f"{step.what:<34} {step.by:<22} gap {step.gap_ms:7.0f} ms")
        events = self._place.kubectl(
            "get", "events", "-n", "default", "--field-selector", "involvedObject.kind=VirtualIP", "-o",
            "custom-columns=REASON:.reason,MESSAGE:.message",
        )  # fmt: skip
        console.output("kubectl get events --field-selector involvedObject.kind=VirtualIP", events)

    def _label(self, node: str, value: str | None) -> None:
        if node not in self._touched:
            self._touched.append(node)
        setting = f"{_LABEL}={value}" if value else f"{_LABEL}-"
        self._place.kubectl("label", "node", node, setting, "--overwrite")

    def _status(self) -> dict[str, Any]:
        status: dict[str, Any] = self._place.get("vip", "web").get("status", {})
        return status

    def _master(self) -> str:
        return str(self._status().get("master", ""))

    def _answering(self) -> str:
        lines = self._place.probe_lines()
        return str(lines[-1]["by"]) if lines else ""

    def _wait(self, what: str, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                status = json.dumps(self._status(), indent=1)
                raise DemoError(f"waited {seconds:.0f} s for {what}; status is\n{status}")
            time.sleep(0.1)


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the cluster up")
    parser.add_argument("--down", action="store_true", help="remove a cluster that was kept")
    parser.add_argument("--kubeconfig", help="use this cluster")
    parser.add_argument("--vip", help="with --kubeconfig: the address to use, e.g. 172.18.0.240/32")
    parser.add_argument("--image", default="localhost/virtualip:dev", help="with --kubeconfig: an image the nodes have")
    options = parser.parse_args()
    if options.keep and options.kubeconfig:
        parser.error("--keep (KEEP=1) is for the demo's own cluster; with --kubeconfig what it made is taken away")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    place: Place = UsersCluster(options.kubeconfig, options.image) if options.kubeconfig else OwnCluster()
    if options.down:
        place.down()
        return 0
    demo = Demo(place, options.vip)
    kept = False
    try:
        demo.run()
        kept = options.keep
    except KeyboardInterrupt:
        console.fail("interrupted; cleaning up")
        return 130
    except (DemoError, ClusterError) as error:
        console.fail(str(error))
        return 1
    finally:
        if isinstance(place, OwnCluster) and kept:
            place.stop_probe()
            console.note("the cluster stays up; `make demo-down` removes it")
            print(f"export KUBECONFIG={place.cluster.kubeconfig} PATH={place.cluster.binaries}:$PATH")
        else:
            console.heading("Cleaning up")
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            demo.clean_up()
            place.down()
    return 0


if __name__ == "__main__":
    sys.exit(main())
