"""Names, addresses and paths: what exists where, for a cluster of a given prefix. No I/O beyond the environment."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from barecluster.errors import ClusterError

REPOSITORY = Path(__file__).resolve().parents[3]

NETWORK = "192.168.122"  # the one segment; /24
PREFIX_LENGTH = 24
NETWORK_V6 = "fd00:122:"  # the same hosts again, /64, for IPv6 VIPs
VIP = f"{NETWORK}.200"  # the article's; in the API server's certificate, for tests that put it in front
GATEWAY = f"{NETWORK}.1"  # the switch's own address: answers pings, routes nowhere
SERVICE_NETWORK = "10.96.0.0/16"
SERVICE_ADDRESS = "10.96.0.1"
POD_NETWORK = "10.244.0.0/16"


@dataclass(frozen=True, slots=True)
class Host:
    """A machine on the segment; number is the last byte of its address."""

    name: str
    number: int
    pod_subnet: str | None = None  # nodes only
    interfaces: tuple[str, ...] = ("eth0",)

    @property
    def address(self) -> str:
        """Its IPv4 address on the segment."""
        return f"{NETWORK}.{self.number}"

    @property
    def address_v6(self) -> str:
        """Its IPv6 address on the segment."""
        return f"{NETWORK_V6}:{self.number}"

    def mac(self, interface: str) -> str:
        """The hardware address of one of its interfaces: the same after a reboot, as on a real machine."""
        return f"52:54:00:00:{self.interfaces.index(interface):02x}:{self.number:02x}"


CONTROL_PLANE = Host("cp", 10)
CLIENT = Host("client", 50)
# ens9 is a second link, to a switch of its own without anything else in it: an uplink that tests can cut.
NODES = tuple(
    Host(f"server{i}", 100 + i, pod_subnet=f"10.244.{i}.0/24", interfaces=("eth0", "ens9")) for i in (1, 2, 3)
)
HOSTS = (CONTROL_PLANE, CLIENT, *NODES)
SWITCH = "switch"


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a cluster keeps its things. Two clusters with different prefixes share nothing but the caches."""

    prefix: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,15}", self.prefix):
            raise ClusterError(f"prefix {self.prefix!r}: at most 16 of a-z, 0-9 and -, beginning with a letter")

    def namespace(self, name: str) -> str:
        """The network namespace of a host or of the switch."""
        return f"{self.prefix}-{name}"

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Every network namespace there can be."""
        return tuple(self.namespace(name) for name in (SWITCH, *(host.name for host in HOSTS)))

    @property
    def cgroup(self) -> str:
        """The cgroup of the nodes' pods, below the root of each hierarchy."""
        return f"barecluster-{self.prefix}"

    @property
    def state(self) -> Path:
        """All that up() writes and down() removes."""
        return _home("XDG_STATE_HOME", ".local/state") / "clusters" / self.prefix

    @property
    def lock(self) -> Path:
        """Held while the cluster is brought up or down; not in the state, which goes."""
        return cache() / "locks" / self.prefix

    @property
    def pki(self) -> Path:
        """Keys, certificates and the components' kubeconfigs."""
        return self.state / "pki"

    @property
    def kubeconfig(self) -> Path:
        """For people and tests, in the machine's own network namespace."""
        return self.state / "kubeconfig"

    @property
    def etcd(self) -> Path:
        """The store's data."""
        return self.state / "etcd"

    @property
    def logs(self) -> Path:
        """The control plane's; a node's are in its own /var/log."""
        return self.state / "log"

    @property
    def pids(self) -> Path:
        """A file per daemon: its pid and start time."""
        return self.state / "pids"

    @property
    def pause(self) -> Path:
        """The archive of the pause image, which every node imports when it boots."""
        return self.state / "pause.tar"

    def node(self, name: str) -> Path:
        """A node's disk and configuration."""
        return self.state / "nodes" / name


def session_prefix(name: str) -> str:
    """The prefix of a cluster that the tests of this checkout make: another checkout's session does not meet it."""
    return f"{name}-{hashlib.sha256(str(REPOSITORY).encode()).hexdigest()[:4]}"


def cache() -> Path:
    """What is kept between clusters: binaries, image layers."""
    return _home("XDG_CACHE_HOME", ".cache")


def _home(variable: str, default: str) -> Path:
    value = os.environ.get(variable)
    # The specification asks to ignore a relative path.
    base = Path(value) if value and os.path.isabs(value) else Path.home() / default
    return base / "virtualip"
