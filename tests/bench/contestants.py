"""keepalived and ours, started and stopped the same way."""

import os
import re
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from machine import Machine, children
from segment import Host, kill_group
from setup import Setup

if TYPE_CHECKING:
    from segment import Process

_PATIENCE = 120.0  # keepalived takes tens of milliseconds for each address on a slow machine


class Running(ABC):
    """A contestant on one node."""

    @abstractmethod
    def wait_until_it_listens(self) -> None:
        """Until its first virtual router takes part. How long it needs to start depends on what runs beside it."""

    @abstractmethod
    def stop(self) -> None:
        """SIGTERM, and waits for the end."""

    @abstractmethod
    def kill(self) -> None:
        """SIGKILL to all of it; its kernel lives on."""

    @property
    @abstractmethod
    def vrrp(self) -> int:
        """The process that speaks VRRP."""

    @property
    @abstractmethod
    def processes(self) -> list[int]:
        """All of it."""

    @abstractmethod
    def track(self, *, healthy: bool) -> None:
        """httpd starts, or ends."""

    @abstractmethod
    def close(self) -> None:
        """Ends what is left, at once."""


Start = Callable[[Host, Setup, Path], Running]


class Keepalived(Running):
    """Debian's package."""

    def __init__(self, host: Host, setup: Setup, directory: Path, *, tuned: bool = False) -> None:
        self._directory = directory / f"keepalived-{host.name}"
        self._directory.mkdir(parents=True, exist_ok=True)
        self._tracked = self._directory / "httpd"
        self._tracked.write_text("10\n")
        configuration = self._directory / "keepalived.conf"
        configuration.write_text(_keepalived_conf(host.name, setup, self._tracked, tuned=tuned))
        files = {name: self._directory / f"{name}.pid" for name in ("pid", "vrrp_pid", "checkers_pid")}
        for file in files.values():
            file.unlink(missing_ok=True)  # of one that was killed: another process may have its number by now
        pids = [f"--{name}={file}" for name, file in files.items()]
        self._log = self._directory / "log"
        with self._log.open("w") as log:
            self._process = host.popen(
                ["keepalived", "-n", "-l", "-G", "-D", "-P", "-f", str(configuration), *pids], stdout=log
            )

    def wait_until_it_listens(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        while "Entering BACKUP STATE" not in self._log.read_text():
            if time.monotonic() > deadline:
                raise AssertionError(f"keepalived does not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=_PATIENCE)

    def kill(self) -> None:
        for pid in self.processes:
            os.kill(pid, signal.SIGKILL)
        self._process.wait(timeout=_PATIENCE)

    @property
    def vrrp(self) -> int:
        (child,) = children(self._process.pid)
        return child

    @property
    def processes(self) -> list[int]:
        return [self._process.pid, *children(self._process.pid)]

    def track(self, *, healthy: bool) -> None:
        self._tracked.write_text("10\n" if healthy else "0\n")

    def close(self) -> None:
        kill_group(self._process)


def tuned_keepalived(host: Host, setup: Setup, directory: Path) -> Keepalived:
    """With real-time priority and locked memory."""
    return Keepalived(host, setup, directory, tuned=True)


def _keepalived_conf(node: str, setup: Setup, tracked: Path, *, tuned: bool) -> str:
    lines = ["global_defs {", "  vrrp_version 3", f"  router_id {node}"]
    # its own default, 10 ms of processor without a sleep, has the kernel kill it on a slow machine (seen)
    lines += ["  vrrp_rt_priority 50", "  vrrp_rlimit_rttime 1000000", "  vrrp_no_swap"] if tuned else []
    lines += ["}"]
    if setup.tracked:
        # process events are refused outside the first network namespace; a tracked file it reads at once (inotify)
        lines += ["track_file httpd {", f"  file {tracked}", "  weight 1", "}"]
    for number, vip in enumerate(setup.vips, 1):
        lines += [
            f"vrrp_instance vip{number} {{",
            "  state BACKUP",
            "  interface eth0",
            f"  virtual_router_id {number}",
            f"  priority {setup.priorities[node]}",
            f"  advert_int {setup.interval:g}",
            *([] if setup.preempt else ["  nopreempt"]),
            *(["  track_file {", "    httpd weight 1", "  }"] if setup.tracked else []),
            "  virtual_ipaddress {",
            f"    {vip}/32",
            "  }",
            "}",
        ]
    return "\n".join(lines) + "\n"


class Ours(Running):
    """`virtualip-agent engine` with static manifests."""

    def __init__(self, host: Host, setup: Setup, directory: Path) -> None:
        self._machine = Machine(host, directory)
        self._machine.manifest("vips.yaml", _manifests(setup))
        self._httpd: Process | None = None
        if setup.tracked:
            self.track(healthy=True)
        self._engine = self._machine.start_engine()

    def wait_until_it_listens(self) -> None:
        self._machine.wait("vip1", lambda entry: entry["state"] in ("BACKUP", "MASTER"), timeout=_PATIENCE)

    def stop(self) -> None:
        self._machine.stop_engine(self._engine)
        self._machine.close()

    def kill(self) -> None:
        self._machine.power_off()
        self._machine.close()

    @property
    def vrrp(self) -> int:
        return self._machine.pid_of("vrrp")

    @property
    def processes(self) -> list[int]:
        return self._machine.find("virtualip_agent.cli")

    def track(self, *, healthy: bool) -> None:
        if healthy:
            link = self._machine.directory / "httpd"
            if not link.is_symlink():
                link.symlink_to("/bin/sleep")
            self._httpd = self._machine.popen([str(link), "100000"])
        elif self._httpd is not None:
            kill_group(self._httpd)

    def close(self) -> None:
        self._machine.close()


def _manifests(setup: Setup) -> str:
    nodes = [{"nodeName": node, "priority": priority} for node, priority in setup.priorities.items()]
    trackers = [{"name": "apache", "process": {"name": "httpd"}, "weight": 10}] if setup.tracked else []
    return yaml.safe_dump_all(
        {
            "apiVersion": "virtualip.dev/v1alpha1",
            "kind": "VirtualIP",
            "metadata": {"name": f"vip{number}"},
            "spec": {
                "addresses": [f"{vip}/32"],
                "vrid": number,
                "interface": "eth0",
                "nodePriorities": nodes,
                "advertInterval": f"{setup.interval_ms}ms",
                "preempt": setup.preempt,
                "preemptDamping": False,  # httpd dies more often here than damping lets through
                **({"trackers": trackers} if trackers else {}),
            },
        }
        for number, vip in enumerate(setup.vips, 1)
    )


CONTESTANTS: dict[str, Start] = {"keepalived": Keepalived, "keepalived tuned": tuned_keepalived, "virtualip": Ours}
OURS = "virtualip"


def wait_for_vips(host: Host, setup: Setup, timeout: float = _PATIENCE) -> None:
    """Until every address is on the node."""
    deadline = time.monotonic() + timeout
    while not set(setup.vips) <= {address.partition("/")[0] for address in host.addresses()}:
        if time.monotonic() > deadline:
            raise AssertionError(f"{host.name}: not every VIP came up within {timeout} s")
        time.sleep(0.1)


def memory_kib(pid: int) -> tuple[int, int]:
    """RSS and PSS."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = {name: int(value) for name, value in re.findall(r"^(Rss|Pss): +(\d+) kB", text, re.M)}
    return found["Rss"], found["Pss"]


def keepalived_version() -> str:
    """As it says."""
    said = subprocess.run(["keepalived", "--version"], capture_output=True, text=True, check=False)
    return (said.stderr or said.stdout).splitlines()[0]


def machine_description() -> str:
    """Processor, cores, kernel, Python: what the figures depend on."""
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    return (
        f"{model.group(1) if model else os.uname().machine}, {os.cpu_count()} cores, Linux {os.uname().release}, "
        f"Python {sys.version.split()[0]}"
    )
