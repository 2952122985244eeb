"""What the reporter's tests need: its process with a bound token, a control process that says what a test tells it,
and the API as an administrator sees it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from barecluster import Cluster, ClusterError
from virtualip_agent.run_directory import state_socket_path
from virtualip_agent.state_stream import encode_line
from virtualip_api.member import Peer, member_spec
from virtualip_api.names import (
    API_VERSION,
    MEMBER_KIND,
    NODE_LABEL,
    VIRTUAL_IP_KIND,
    label_value,
    lease_name,
    member_name,
)

NAMESPACE = "virtualip-system"


def eventually(question: Callable[[], Any], seconds: float = 15.0) -> Any:
    """The first true answer; AssertionError with the last one after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < deadline, f"still {answer!r} after {seconds} s"
        time.sleep(0.02)
    return answer


def never(question: Callable[[], object], seconds: float) -> None:
    """AssertionError as soon as the answer is true within `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = question()
        assert not answer, f"{answer!r}"
        time.sleep(0.05)


class Administrator:
    """The API as cluster administrator: resources of this project by short calls."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def apply(self, resource: Mapping[str, Any]) -> None:
        """Server-side, as an administrator would."""
        self.cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(resource))

    def get(self, kind: str, name: str, *words: str) -> dict[str, Any] | None:
        """The object, or None where there is none."""
        try:
            found: dict[str, Any] = json.loads(self.cluster.kubectl("get", kind, name, *words, "-o", "json"))
        except ClusterError as error:
            if "NotFound" in str(error):
                return None
            raise
        return found

    def delete(self, kind: str, name: str, *words: str) -> None:
        """Deletes it and waits until it is gone."""
        self.cluster.kubectl("delete", kind, name, "--ignore-not-found", *words)

    def install(self) -> None:
        """All of deploy/, as it was at first; a CRD that was deleted is waited for."""
        overlay = Path(__file__).parents[2] / "deploy/overlays/local"
        self.cluster.kubectl("apply", "--server-side", "--force-conflicts", "-k", overlay)
        for plural in ("virtualips", "virtualipmembers"):
            self.cluster.kubectl("wait", "--for=condition=Established", f"crd/{plural}.virtualip.dev", "--timeout=20s")

    def secret(self, name: str, **values: str) -> None:
        """A Secret in the agent's namespace."""
        metadata = {"name": name, "namespace": NAMESPACE}
        self.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values})

    def virtual_ip(self, name: str, **spec: object) -> None:
        """A VirtualIP; the address is the same for all, as no wire is near."""
        whole = {"addresses": ["192.0.2.10/32"], "vrid": 51, **spec}
        self.apply(
            {"apiVersion": API_VERSION, "kind": VIRTUAL_IP_KIND, "metadata": {"name": name}, "spec": whole},
        )

    def member(self, name: str, node: str, revision: int = 1, extra: Mapping[str, object] = {}, **spec: object) -> str:
        """What the operator would plan for this node; its uid."""
        owner = self.get("virtualip", name)
        plan = member_spec(
            virtual_ip=name,
            node=node,
            generation=1,
            base_priority=100,
            rank=0,
            draining=False,
            peers=(Peer(node),),
            spec={"addresses": ["192.0.2.10/32"], "vrid": 51, **spec},
        )
        metadata: dict[str, Any] = {"name": member_name(name, node), "labels": {NODE_LABEL: label_value(node)}}
        if owner is not None:
            reference = {"apiVersion": API_VERSION, "kind": VIRTUAL_IP_KIND, "name": name}
            metadata["ownerReferences"] = [{**reference, "uid": owner["metadata"]["uid"]}]
        resource = {"apiVersion": API_VERSION, "kind": MEMBER_KIND, "metadata": metadata}
        self.apply({**resource, "spec": {**plan, "revision": revision, **extra}})
        found = self.get("virtualipmember", member_name(name, node))
        assert found is not None
        uid: str = found["metadata"]["uid"]
        return uid

    def entries(self, name: str) -> dict[str, dict[str, Any]]:
        """status.nodes of a VirtualIP, by node."""
        found = self.get("virtualip", name) or {}
        return {entry["node"]: entry for entry in (found.get("status") or {}).get("nodes", ())}

    @contextlib.contextmanager
    def watching(self, name: str) -> Iterator[Callable[[], list[tuple[float, int]]]]:
        """When (monotonic seconds) which priority of the first entry was seen, by a watch that is open meanwhile."""
        columns = "custom-columns=P:.status.nodes[0].priority"
        kubectl = str(self.cluster.binaries / "kubectl")
        words = [kubectl, f"--kubeconfig={self.cluster.kubeconfig}", "get", "virtualip", name]
        watch = subprocess.Popen(
            [*words, "--watch", "--no-headers", f"--output={columns}"], stdout=subprocess.PIPE, text=True
        )
        seen: list[tuple[float, int]] = []
        assert watch.stdout is not None
        lines = watch.stdout

        def read() -> None:
            seen.extend((time.monotonic(), int(line)) for line in lines)

        reader = threading.Thread(target=read)
        reader.start()
        try:
            eventually(lambda: bool(seen))
            yield lambda: list(seen)
        finally:
            watch.kill()
            reader.join()
            watch.wait()
            lines.close()

    def agent_kubeconfig(self, node: str, path: Path, *, bound: bool = True) -> Path:
        """A kubeconfig with a token as the kubelet of `node` would get it for the agent's pod."""
        words = ["create", "token", "virtualip-agent", f"--namespace={NAMESPACE}"]
        if bound:
            self.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})
            pod = f"agent-{node}"
            self.delete("pod", pod, f"--namespace={NAMESPACE}", "--now", "--wait=false")
            container = {"name": "reporter", "image": "reporter"}
            spec = {"nodeName": node, "serviceAccountName": "virtualip-agent", "containers": [container]}
            metadata = {"name": pod, "namespace": NAMESPACE}
            self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
            words += ["--bound-object-kind=Pod", f"--bound-object-name={pod}"]
        token = self.cluster.kubectl(*words).strip()
        config = yaml.safe_load(self.cluster.kubeconfig.read_text())
        config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
        path.write_text(yaml.safe_dump(config))
        return path


class SpokenControl:
    """The state socket of a control process whose state is what the test sets."""

    def __init__(self, run: Path) -> None:
        self.states: dict[str, dict[str, Any]] = {}
        self._path = state_socket_path(run)
        self._lock = threading.Lock()
        self._clients: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Starts to listen."""
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self._path))
        listener.listen()
        self._listener = listener
        self._thread = threading.Thread(target=self._accept, args=(listener,))
        self._thread.start()

    def close(self) -> None:
        """Ends as control's process would: all connections are closed."""
        if self._listener is None or self._thread is None:
            return
        self._path.unlink(missing_ok=True)
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        self._listener = None
        with self._lock:
            for client in self._clients:
                client.close()
            self._clients.clear()

    def set(self, name: str, **entry: Any) -> None:
        """A VIP is now this."""
        whole = {"node": "ignored", "observedGeneration": 1, "state": "BACKUP", "priority": 100, **entry}
        with self._lock:
            self.states[name] = whole
            self._tell({"type": "vip", "name": name, "entry": whole, "detail": {}})

    def withdraw(self, name: str) -> None:
        """A VIP is gone."""
        with self._lock:
            self.states.pop(name, None)
            self._tell({"type": "gone", "name": name})

    def _tell(self, message: dict[str, Any]) -> None:
        for client in list(self._clients):
            try:
                client.sendall(encode_line(message))
            except OSError:
                client.close()
                self._clients.remove(client)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with self._lock, contextlib.suppress(OSError):
                self._clients.append(client)
                client.sendall(encode_line({"type": "agent", "agent": {"active": True}}))
                for name, entry in self.states.items():
                    client.sendall(encode_line({"type": "vip", "name": name, "entry": entry, "detail": {}}))
                client.sendall(encode_line({"type": "ready"}))


_RUN = """
import logging, sys
from pathlib import Path
from virtualip_agent.reporter.main import Options, run
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(asctime)s %(levelname)s %(name)s %(message)s")
node, namespace, desired, directory, kubeconfig = sys.argv[1:]
sys.exit(run(Options(node, namespace, Path(desired), Path(directory), Path(kubeconfig))))
"""


class ReporterProcess:
    """The reporter of one node, as a process of its own with an agent's token."""

    def __init__(self, node: str, directory: Path, kubeconfig: Path) -> None:
        self.node = node
        self.desired = directory / "desired"
        self.run = directory / "run"
        self.log = directory / "reporter.log"
        self._kubeconfig = kubeconfig
        self._process: subprocess.Popen[bytes] | None = None
        self.desired.mkdir(exist_ok=True)
        self.run.mkdir(exist_ok=True)

    def start(self) -> None:
        """Starts it."""
        arguments = [self.node, NAMESPACE, str(self.desired), str(self.run), str(self._kubeconfig)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "error", "-c", _RUN, *arguments], stdout=log, stderr=log
            )

    def signal(self, number: signal.Signals) -> None:
        """Sends it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, seconds: float = 10.0) -> int:
        """Its exit code."""
        assert self._process is not None
        return self._process.wait(seconds)

    def stop(self) -> int:
        """Ends it as the kubelet would; its exit code."""
        if self._process is None or self._process.poll() is not None:
            return 0
        self.signal(signal.SIGTERM)
        return self.wait()

    def resident_kilobytes(self) -> int:
        """VmRSS."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])

    def files(self) -> set[str]:
        """The names of the desired files."""
        return {file.name for file in self.desired.glob("*.json") if not file.name.startswith(".")}

    def file(self, name: str) -> dict[str, Any]:
        """A desired file's content."""
        content: dict[str, Any] = json.loads((self.desired / f"{name}.json").read_bytes())
        return content

    def logged(self, text: str) -> bool:
        """Whether the log has it."""
        return text in self.log.read_text()


class Scene(NamedTuple):
    """A node's reporter between the API and control."""

    api: Administrator
    reporter: ReporterProcess
    control: SpokenControl

    def entry(self, name: str = "web") -> dict[str, Any]:
        """What the status says of this node; {} where nothing."""
        return self.api.entries(name).get(self.reporter.node, {})

    def lease(self) -> dict[str, Any] | None:
        """This node's Lease."""
        return self.api.get("lease", lease_name(self.reporter.node), f"--namespace={NAMESPACE}")

    def renewed(self) -> str:
        """The Lease's renewTime."""
        return str(((self.lease() or {}).get("spec") or {}).get("renewTime", ""))


@contextlib.contextmanager
def reporting(administrator: Administrator, node: str, directory: Path) -> Iterator[Scene]:
    """A running reporter of a node, and the control process it listens to."""
    directory.mkdir(exist_ok=True)
    kubeconfig = administrator.agent_kubeconfig(node, directory / "kubeconfig")
    reporter = ReporterProcess(node, directory, kubeconfig)
    control = SpokenControl(reporter.run)
    control.open()
    reporter.start()
    try:
        yield Scene(administrator, reporter, control)
    finally:
        control.close()
        reporter.stop()
        if os.environ.get("SHOW_LOGS"):
            sys.stdout.write(reporter.log.read_text())
