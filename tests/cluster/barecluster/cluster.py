"""The cluster: what tests, the demo and the command line call."""

import json
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeVar

from barecluster import cgroups, image, network
from barecluster.api import Api
from barecluster.binaries import api_binaries, binaries
from barecluster.certificates import make_certificates, write_kubeconfig
from barecluster.control_plane import ControlPlane, Place, free_ports, loopback_place
from barecluster.errors import ClusterError
from barecluster.layout import CLIENT, CONTROL_PLANE, NODES, VIP, Layout
from barecluster.lock import locked
from barecluster.node import Node, cut_power
from barecluster.packages import ensure_packages, missing_node_packages
from barecluster.processes import Daemons
from barecluster.progress import say
from barecluster.shell import Word, in_namespace, run
from barecluster.waiting import wait_until

Level = Literal["nodes", "api"]
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_NODES_READY_WITHIN = 120.0  # s; 10 are usual


@dataclass(frozen=True, slots=True)
class _Record:
    """What a later process must know of a cluster that is up."""

    level: Level
    binaries: str
    port: int  # of 127.0.0.1, in the kubeconfig
    place: Place


class Cluster:
    """A cluster, found by its prefix: the object may be made anew in any process, all state is on disk.

    Two levels: up() makes three nodes and needs root; up(api_only=True) starts an API server on the loopback
    interface, in three seconds and without root.
    """

    def __init__(self, prefix: str | None = None) -> None:
        self._layout = Layout(prefix or os.environ.get("BARECLUSTER_PREFIX") or "vip")
        self._daemons = Daemons(self._layout.pids, self._layout.logs)

    @property
    def prefix(self) -> str:
        """Part of the name of everything it makes."""
        return self._layout.prefix

    @property
    def kubeconfig(self) -> Path:
        """For use anywhere on this machine, as cluster administrator."""
        return self._layout.kubeconfig

    @property
    def level(self) -> Level | None:
        """What is up: nodes, api, or None."""
        return self._record().level if self._record_path.exists() else None

    @property
    def binaries(self) -> Path:
        """The directory with the kubectl to use."""
        return Path(self._record().binaries)

    @property
    def logs(self) -> Path:
        """The control plane's logs; a node's are below node.root / 'var/log'."""
        return self._layout.logs

    @property
    def nodes(self) -> tuple[Node, ...]:
        """server1, server2, server3; whether their power is on or off."""
        record = self._record()
        if record.level != "nodes":
            raise ClusterError(f"cluster {self.prefix} has no nodes: it was brought up with api_only")
        return tuple(Node(host, self._layout, self._daemons, Path(record.binaries), record.place.url) for host in NODES)

    def node(self, name: str) -> Node:
        """One of them."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise ClusterError(f"no node {name!r}; there are {', '.join(host.name for host in NODES)}")

    @property
    def client_namespace(self) -> str:
        """The network namespace of a machine that is no node: probes of a VIP run there."""
        return self._layout.namespace(CLIENT.name)

    def client_command(self, *words: Word) -> list[str]:
        """The words of a command that runs these in the client's network namespace, for a Popen of one's own."""
        return in_namespace(self.client_namespace, words)

    def run_in_client(self, *words: Word, timeout: float = 60.0) -> str:
        """Runs a command in the client's network namespace and returns its output; raises ClusterError."""
        return run(*self.client_command(*words), timeout=timeout)

    def up(self, *, api_only: bool = False, controllers: bool = False) -> None:
        """Brings it up, and returns when it can be used; what is up already stays as it is.

        api_only: etcd and the API server alone, and with controllers the controller manager too (garbage collection,
        ServiceAccounts). A cluster with nodes also serves who asks for the API only. Raises ClusterError.
        """
        with locked(self._layout.lock, f"cluster {self.prefix}"):
            if not self._serves(api_only, controllers):
                self._down()  # a lesser one, or what an interrupted one left
                self._prepare(api_only, controllers)
            if self.level == "nodes":
                self._start_nodes_level()
            else:
                self._start_api_level(controllers)

    def down(self) -> None:
        """Removes all that up() made, also half-way; nothing happens when there is nothing."""
        with locked(self._layout.lock, f"cluster {self.prefix}"):
            self._down()

    def kubectl(self, *words: Word, stdin: str | None = None, timeout: float = 60.0) -> str:
        """Runs kubectl as cluster administrator and returns its output; raises ClusterError with what it said."""
        return run(self.binaries / "kubectl", f"--kubeconfig={self.kubeconfig}", *words, stdin=stdin, timeout=timeout)

    def load_image(self, tag: str, archive: Path) -> None:
        """Imports a docker-archive, which holds that tag, into every node that is on and does not have it."""
        image_id = image.image_id(archive, tag)
        powered = [node for node in self.nodes if node.pid is not None]
        loaded = _parallel(lambda node: node.load_image(tag, image_id, archive), powered)
        if any(loaded):
            say(f"{tag} loaded into {', '.join(node.name for node, new in zip(powered, loaded, strict=True) if new)}")

    def stop_api_servers(self) -> None:
        """Kills the API server (there is one). etcd, the controllers and the nodes stay."""
        self._daemons.stop("kube-apiserver")

    def start_api_servers(self) -> None:
        """Starts it again and waits until it serves."""
        control_plane = self._control_plane()
        control_plane.start_etcd()
        control_plane.start_api_server()
        control_plane.wait_until_ready(self._api())

    def restart_controllers(self) -> None:
        """The controller manager and the scheduler forget what they know; returns when pods can be created."""
        for name in ("kube-controller-manager", "kube-scheduler"):
            self._daemons.stop(name)
        control_plane = self._control_plane()
        control_plane.start_controllers()
        control_plane.start_scheduler()
        self._wait_for_default_account()

    def save_store(self, to: Path) -> None:
        """Copies etcd's data to a directory that is not there yet; the API server is away meanwhile."""
        with self._store_at_rest() as store:
            shutil.copytree(store, to)

    def restore_store(self, saved: Path | None) -> None:
        """Goes back to a copy, or with None to an empty store, as after a disaster; the API server is away meanwhile.

        Whoever watches goes on with what it knew, and never sees what has a lower resourceVersion than that; and
        kubelets register only when they start. So after None restart_controllers(), and each node's kubelet.
        """
        with self._store_at_rest() as store:
            shutil.rmtree(store)
            if saved is not None:
                shutil.copytree(saved, store)

    def wait_for_nodes(self, *names: str, timeout: float = _NODES_READY_WITHIN) -> None:
        """Waits (seconds) until these nodes, or all, are Ready since they were last booted; raises ClusterError."""
        nodes = [self.node(name) for name in names] or self.nodes
        wanted = {node.name: node.boot_id for node in nodes}
        api = self._api()
        wait_until(lambda: wanted.items() <= api.ready_nodes().items(), timeout, f"{', '.join(wanted)} to be Ready")

    def running(self) -> dict[str, bool]:
        """Every daemon that was started, and whether it still runs."""
        return {name: self._daemons.pid(name) is not None for name in self._daemons.names()}

    def _serves(self, api_only: bool, controllers: bool) -> bool:
        """Whether what was prepared, if anything, is enough for this."""
        if self.level == "api":
            return api_only and (not controllers or (self.binaries / "kube-controller-manager").exists())
        return self.level == "nodes"

    def _prepare(self, api_only: bool, controllers: bool) -> None:
        """Everything that is made once: programs, certificates, the record, the kubeconfig."""
        if not api_only and os.geteuid() != 0:
            raise ClusterError("nodes are made of namespaces: this needs root (api_only does not)")
        place = (
            loopback_place() if api_only else Place(self._layout.namespace(CONTROL_PLANE.name), CONTROL_PLANE.address)
        )
        programs = api_binaries() if api_only and not controllers else binaries()
        if not api_only:
            ensure_packages(missing_node_packages())
        make_certificates(self._layout.pki, sorted({"127.0.0.1", place.address, VIP}))
        port = place.api_port if api_only else free_ports(1)[0]
        record = _Record("api" if api_only else "nodes", str(programs), port, place)
        write_kubeconfig(self.kubeconfig, self._layout.pki, "admin", f"https://127.0.0.1:{port}", self.prefix)
        for component in ("kube-controller-manager", "kube-scheduler"):
            path = self._layout.pki / f"{component}.conf"
            write_kubeconfig(path, self._layout.pki, component, place.url, self.prefix)
        scratch = self._record_path.with_suffix(".new")
        scratch.write_text(json.dumps(asdict(record)))
        scratch.rename(self._record_path)  # last of all, and whole: from here on up() goes on instead of starting anew

    def _start_api_level(self, controllers: bool) -> None:
        control_plane = self._control_plane()
        control_plane.start_etcd()
        control_plane.start_api_server()
        control_plane.wait_until_ready(self._api())
        if controllers:
            control_plane.start_controllers()
            self._wait_for_default_account()
        say(f"the API server of cluster {self.prefix} is up")

    def _start_nodes_level(self) -> None:
        """Each step does only what is missing, so that a second up() heals what a test left broken."""
        network.make_switch(self._layout)
        network.plug(self._layout, CONTROL_PLANE)
        control_plane = self._control_plane()
        control_plane.start_etcd()
        control_plane.start_api_server()
        self._start_forwarder()
        network.plug(self._layout, CLIENT)
        image.write_pause(self.binaries / "pause", self._layout.pause)
        _parallel(_restore, self.nodes)
        control_plane.wait_until_ready(self._api())
        say("the API server is ready")
        # Not before: three kubelets and the API server keep two cores busy enough, and these would only retry.
        control_plane.start_controllers()
        control_plane.start_scheduler()
        self.wait_for_nodes()
        self._wait_for_default_account()
        say(f"cluster {self.prefix} is up: {', '.join(host.name for host in NODES)} are Ready")

    def _start_forwarder(self) -> None:
        """The port of 127.0.0.1 that the kubeconfig names; see forwarder.py for how it reaches into the namespace."""
        if self._daemons.pid("forwarder") is not None:
            return
        record = self._record()
        with socket.create_server(("127.0.0.1", record.port), backlog=128) as listener:
            self._daemons.start(
                "forwarder",
                [
                    *(sys.executable, "-m", "barecluster.forwarder"),
                    *(listener.fileno(), record.place.address, record.place.api_port),
                ],
                namespace=record.place.namespace,
                environment={"PYTHONPATH": str(Path(__file__).parents[1])},
                pass_fds=[listener.fileno()],
            )

    def _wait_for_default_account(self) -> None:
        # Pods cannot be created in a namespace before the controller manager has made its ServiceAccount.
        api = self._api()
        path = "/api/v1/namespaces/default/serviceaccounts/default"
        wait_until(lambda: api.get(path) is not None, 30.0, "the default ServiceAccount")

    def _down(self) -> None:
        if self._daemons.names():
            say(f"taking cluster {self.prefix} down")
        _parallel(lambda host: cut_power(self._daemons, host.name), NODES)
        for name in self._daemons.names():
            self._daemons.stop(name)
        # By name, and with all processes inside: also what an interrupted up() did not live to record.
        for namespace in self._layout.namespaces:
            network.remove(namespace)
        cgroups.remove(self._layout.cgroup)
        if self._layout.state.exists():
            _parallel(_delete, [self._layout.node(host.name) for host in NODES])
            _delete(self._layout.state)

    @contextmanager
    def _store_at_rest(self) -> Iterator[Path]:
        """The directory of etcd's data, while neither etcd nor the API server run."""
        for name in ("kube-apiserver", "etcd"):
            self._daemons.stop(name)
        yield self._layout.etcd
        self.start_api_servers()

    def _control_plane(self) -> ControlPlane:
        record = self._record()
        return ControlPlane(record.place, Path(record.binaries), self._layout.pki, self._layout.etcd, self._daemons)

    def _api(self) -> Api:
        return Api(self._record().port, self._layout.pki)

    @property
    def _record_path(self) -> Path:
        return self._layout.state / "cluster.json"

    def _record(self) -> _Record:
        try:
            content = json.loads(self._record_path.read_text())
        except FileNotFoundError as error:
            raise ClusterError(f"cluster {self.prefix} is not up") from error
        return _Record(content["level"], content["binaries"], content["port"], Place(**content["place"]))


def _restore(node: Node) -> None:
    """Power on, cables in."""
    node.power_on()
    for interface in node.interfaces:
        node.link_up(interface)


def _delete(directory: Path) -> None:
    # rm is several times faster than shutil, and a node's disk holds some 30,000 files.
    run("rm", "-rf", "--one-file-system", directory)


def _parallel(do: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
    """Does it for all of them at the same time; the results in order, or the first error once all have ended."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(do, items))
