"""etcd, the API server and the controllers: where they listen, and how they are started and stopped."""

import contextlib
import socket
from dataclasses import dataclass
from pathlib import Path

from barecluster.api import Api
from barecluster.layout import SERVICE_NETWORK
from barecluster.processes import Daemons
from barecluster.shell import Word
from barecluster.waiting import wait_until

_READY_WITHIN = 60.0  # s; 3 are usual


@dataclass(frozen=True, slots=True)
class Place:
    """Where the control plane listens: in a namespace at the usual ports, or on the machine's loopback at free ones."""

    namespace: str | None
    address: str
    api_port: int = 6443
    etcd_port: int = 2379
    etcd_peer_port: int = 2380

    @property
    def url(self) -> str:
        """The API server's, as seen in that namespace."""
        return f"https://{self.address}:{self.api_port}"


def loopback_place() -> Place:
    """Three ports of 127.0.0.1 that are free now."""
    return Place(None, "127.0.0.1", *free_ports(3))


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that are free now."""
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in listeners]


class ControlPlane:
    """The daemons of the control plane; starting one that runs does nothing."""

    def __init__(self, place: Place, binaries: Path, pki: Path, etcd_data: Path, daemons: Daemons) -> None:
        self._place = place
        self._binaries = binaries
        self._pki = pki
        self._etcd_data = etcd_data
        self._daemons = daemons

    def start_etcd(self) -> None:
        """The store. Never synced to disk: a power cut of the whole machine ends the cluster anyway."""
        client = f"http://127.0.0.1:{self._place.etcd_port}"
        peer = f"http://127.0.0.1:{self._place.etcd_peer_port}"
        self._start(
            "etcd",
            "--name=etcd",
            f"--data-dir={self._etcd_data}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=etcd={peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        )

    def start_api_server(self) -> None:
        """The API server, with what a cluster made by kubeadm has: Node and RBAC authorization, privileged pods."""
        pki = self._pki
        self._start(
            "kube-apiserver",
            f"--bind-address={self._place.address}",
            f"--advertise-address={self._place.address}",
            f"--secure-port={self._place.api_port}",
            f"--etcd-servers=http://127.0.0.1:{self._place.etcd_port}",
            f"--client-ca-file={pki}/ca.crt",
            f"--tls-cert-file={pki}/kube-apiserver.crt",
            f"--tls-private-key-file={pki}/kube-apiserver.key",
            f"--kubelet-certificate-authority={pki}/ca.crt",
            f"--kubelet-client-certificate={pki}/kubelet-client.crt",
            f"--kubelet-client-key={pki}/kubelet-client.key",
            "--kubelet-preferred-address-types=InternalIP",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki}/service-accounts.pub",
            f"--service-account-signing-key-file={pki}/service-accounts.key",
            f"--service-cluster-ip-range={SERVICE_NETWORK}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
        )

    def start_controllers(self) -> None:
        """The controller manager. A node that stays silent for 8 s is NotReady, as tests of power cuts want it."""
        pki = self._pki
        self._start(
            "kube-controller-manager",
            f"--kubeconfig={pki}/kube-controller-manager.conf",
            "--bind-address=127.0.0.1",
            f"--service-account-private-key-file={pki}/service-accounts.key",
            f"--root-ca-file={pki}/ca.crt",
            f"--cluster-signing-cert-file={pki}/ca.crt",
            f"--cluster-signing-key-file={pki}/ca.key",
            "--use-service-account-credentials",
            "--leader-elect=false",
            "--allocate-node-cidrs=false",
            "--node-monitor-grace-period=8s",
            "--node-monitor-period=1s",
            # Each of its controllers first asks for a token: 4 s at the 20 requests a second it allows itself.
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        )

    def start_scheduler(self) -> None:
        """The scheduler."""
        self._start(
            "kube-scheduler",
            f"--kubeconfig={self._pki}/kube-scheduler.conf",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
        )

    def wait_until_ready(self, api: Api) -> None:
        """Waits for the API server; raises ClusterError with its last words when it or etcd ended."""

        def ready() -> bool:
            for name in ("etcd", "kube-apiserver"):
                self._daemons.check(name)
            return api.ready()

        wait_until(ready, _READY_WITHIN, "the API server to be ready")

    def _start(self, name: str, *arguments: Word) -> None:
        if self._daemons.pid(name) is None:
            self._daemons.start(name, [self._binaries / name, *arguments], namespace=self._place.namespace)
