"""Other people's VRRP on a host of a Segment: keepalived and FRR's vrrpd, as Debian has them.

peer = Keepalived(host, tmp_path, Setup(version=3, priority=100)); peer.start(); peer.wait_master()
"""

import json
import os
import re
import shutil
import signal
import tempfile
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from segment import Host, Process, kill_group

VIP = "192.168.122.200"
VRID = 51
_FRR = "/usr/lib/frr"

COMPLAINTS = re.compile(
    r"invalid|bogus|mismatch|incorrect|unexpected|unknown|wrong|bad |checksum|discard|ignor|drop", re.I
)
"""What a peer says of an advertisement that it does not like."""


@dataclass(frozen=True, slots=True)
class Setup:
    """A virtual router as the peer is to run it: VRID 51, and the article's address unless another is given."""

    version: int
    priority: int
    interval: int = 1000
    """Milliseconds; version 2: whole seconds."""
    preempt: bool = True
    password: str = ""
    """Version 2 PASS; empty: none."""
    others: tuple[str, ...] = ()
    """Unicast to these; empty: multicast."""
    source: str = ""
    """Unicast from this address."""
    address: str = VIP
    """What it is to hold."""

    @property
    def family(self) -> int:
        """4 or 6."""
        return ip_address(self.address).version

    @property
    def vip(self) -> str:
        """With its prefix."""
        return f"{self.address}/{24 if self.family == 4 else 64}"


class Peer(ABC):
    """What tests ask of either."""

    def __init__(self, host: Host, directory: Path, setup: Setup) -> None:
        self.host = host
        self.setup = setup
        self._directory = directory / f"{type(self).__name__.lower()}-{host.name}"
        self._directory.mkdir()
        self._processes: list[Process] = []

    def close(self) -> None:
        """Ends it, and removes what it left in the file system."""
        self.kill()

    @abstractmethod
    def start(self) -> None:
        """Starts it."""

    @abstractmethod
    def is_master(self) -> bool:
        """By its own word or its interface."""

    @abstractmethod
    def log(self) -> str:
        """Everything it has said."""

    def stop(self) -> None:
        """As its administrator would: SIGTERM."""
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=10)
        self._processes.clear()

    def kill(self) -> None:
        """kill -9 of all of it."""
        for process in self._processes:
            kill_group(process)
        self._processes.clear()

    def wait(self, *, master: bool, timeout: float = 15.0) -> None:
        """Waits until it is MASTER, or is not."""
        deadline = time.monotonic() + timeout
        while self.is_master() is not master:
            assert time.monotonic() < deadline, f"{'not' if master else 'still'} MASTER after {timeout} s\n{self.log()}"
            time.sleep(0.02)

    def complaints(self) -> list[str]:
        """Lines of its log that find fault with somebody's advertisement."""
        # keepalived tells of each advertisement that it is about to preempt
        lines = [line for line in self.log().splitlines() if "received lower priority" not in line]
        return [line for line in lines if COMPLAINTS.search(line)]


class Keepalived(Peer):
    """keepalived's VRRP process."""

    def start(self) -> None:
        setup = self.setup
        lines = [
            f"global_defs {{\n vrrp_version {setup.version}\n}}",
            "vrrp_instance VI_1 {",
            f" interface eth0\n virtual_router_id {VRID}\n priority {setup.priority}",
            f" advert_int {setup.interval / 1000:g}",
            *([] if setup.preempt else [" nopreempt"]),
            *([f" authentication {{\n auth_type PASS\n auth_pass {setup.password}\n }}"] if setup.password else []),
            # without unicast_ttl it sends IPv6 with the system's hop limit, 64, which RFC 9568 has everybody drop
            *([f" unicast_src_ip {setup.source}\n unicast_ttl 255"] if setup.source else []),
            *([f" unicast_peer {{\n {chr(10).join(setup.others)}\n }}"] if setup.others else []),
            f" virtual_ipaddress {{\n {setup.vip}\n }}\n}}\n",
        ]
        configuration = self._directory / "keepalived.conf"
        configuration.write_text("\n".join(lines))
        pids = [f"--pid={self._directory}/pid", f"--vrrp_pid={self._directory}/vrrp-pid"]
        with (self._directory / "log").open("a") as log:
            command = [
                "keepalived",
                "--vrrp",
                "--dont-fork",
                "--log-console",
                "--no-syslog",
                "--log-detail",
                f"-f{configuration}",
                *pids,
            ]
            self._processes.append(self.host.popen(command, stdout=log))

    def is_master(self) -> bool:
        """Its last word."""
        states = re.findall(r"Entering (\w+) STATE|(sent 0 priority|Stopped)", self.log())
        return bool(states) and states[-1][0] == "MASTER"

    def log(self) -> str:
        path = self._directory / "log"
        return path.read_text() if path.exists() else ""


class Frr(Peer):
    """FRR's zebra and vrrpd. The address is on a macvlan with the virtual MAC, made beforehand as its manual says."""

    def __init__(self, host: Host, directory: Path, setup: Setup) -> None:
        super().__init__(host, directory, setup)
        # they insist on being the user frr, for whom pytest's directories are closed
        self._directory = Path(tempfile.mkdtemp(prefix="frr-"))
        shutil.chown(self._directory, "frr", "frr")

    def close(self) -> None:
        super().close()
        shutil.rmtree(self._directory)

    def start(self) -> None:
        self._macvlan()
        setup = self.setup
        (self._directory / "zebra.conf").write_text("")
        (self._directory / "vrrpd.conf").write_text(
            "interface eth0\n"
            f" vrrp {VRID} version {setup.version}\n"
            f" vrrp {VRID} priority {setup.priority}\n"
            f" vrrp {VRID} advertisement-interval {setup.interval}\n"
            + ("" if setup.preempt else f" no vrrp {VRID} preempt\n")
            + f" vrrp {VRID} {'ip' if setup.family == 4 else 'ipv6'} {setup.address}\n"
        )
        for daemon in ("zebra", "vrrpd"):
            self._processes.append(self._daemon(daemon))
            self._wait_for(self._directory / f"{daemon}.vty")

    def _daemon(self, name: str) -> Process:
        directory = self._directory
        command = [
            *(f"{_FRR}/{name}", "-f", f"{directory}/{name}.conf", "-i", f"{directory}/{name}.pid", "-P", "0"),
            *("-z", f"{directory}/zserv.api", "--vty_socket", str(directory)),
            *("--log", "stdout", "--log-level", "debug"),
        ]
        with (directory / "log").open("a") as log:
            return self.host.popen(command, stdout=log)

    def _macvlan(self) -> None:
        family = self.setup.family
        name, mac = f"vrrp{family}", f"00:00:5e:00:{1 if family == 4 else 2:02x}:{VRID:02x}"
        if self.host.run(f"ip link show {name}", check=False):
            return
        self.host.run(f"ip link add {name} link eth0 address {mac} type macvlan mode bridge")
        if family == 6:
            self.host.enable_ipv6(interface=name)
        self.host.run("ip -batch -", stdin=f"addr add {self.setup.vip} dev {name}\nlink set {name} up\n")

    def _wait_for(self, path: Path) -> None:
        deadline = time.monotonic() + 10
        while not path.exists():
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    def is_master(self) -> bool:
        """By `show vrrp`."""
        said = self.host.run(
            ["vtysh", "--vty_socket", str(self._directory), "-c", f"show vrrp {VRID} json"], check=False
        )
        try:
            return bool(json.loads(said)[0][f"v{self.setup.family}"]["status"] == "Master")
        except (ValueError, LookupError):
            return False

    def kill(self) -> None:
        super().kill()
        for name in ("zebra.vty", "vrrpd.vty", "zserv.api"):
            (self._directory / name).unlink(missing_ok=True)

    def log(self) -> str:
        path = self._directory / "log"
        return path.read_text() if path.exists() else ""


def missing() -> str:
    """Which of them is not installed; empty where both are."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    absent = [] if shutil.which("keepalived", path=path) else ["keepalived"]
    if not Path(_FRR, "vrrpd").exists():
        absent.append("frr")
    return " ".join(absent)
