"""vrrp and control, each with the capabilities that deploy/base gives its container: with all of them the job is done,
without any one of them something is missing, and it is said what. uid 0 with that bounding set, no_new_privs and the
shared group is what a container runtime makes of the manifest."""

from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from article import VIP, fast
from client import Prober
from machine import Machine
from manifests import capabilities
from segment import Host
from tracked import write_ping
from virtualip_agent.run_directory import GROUP_ID

VRRP = capabilities("vrrp")
CONTROL = capabilities("control")
MEMLOCK = 8 * 2**20
"""Bytes: the kernel's own limit for who lacks IPC_LOCK; that of this shell may be higher."""


@pytest.fixture
def server(servers: tuple[Machine, Machine]) -> Machine:
    return servers[0]


def confinement(granted: Collection[str]) -> list[str]:
    """The command that begins a process with these capabilities, as the kernel calls them without CAP_."""
    bounding = ",".join(["-all", *(f"+{capability.lower()}" for capability in granted)])
    return [
        *("prlimit", f"--memlock={MEMLOCK}", "--"),
        *("setpriv", f"--bounding-set={bounding}", "--inh-caps=-all", "--no-new-privs", f"--groups={GROUP_ID}", "--"),
    ]


def without(capability: str, granted: Collection[str]) -> list[str]:
    return [other for other in granted if other != capability]


def start(server: Machine, vrrp: Collection[str], control: Collection[str], scripts: Path | None = None) -> None:
    server.start_vrrp(confinement(vrrp))
    server.start_control(confinement(control), *(("--script-directories", str(scripts)) if scripts else ()))


def pinging(scripts: Path, address: str) -> str:
    """A VirtualIP with a script that needs all that control has: it runs as nobody, who may then open a raw socket."""
    script = {"command": [write_ping(scripts), address], "user": "nobody", "capabilities": ["NET_RAW"]}
    return fast(trackers=[{"name": "ping", "script": {**script, "interval": "200ms", "timeout": "2s"}}])


def test_with_its_row_of_the_table_each_process_does_its_job(server: Machine, client: Host, scripts: Path) -> None:
    server.manifest("web.yaml", pinging(scripts, client.address))
    start(server, VRRP, CONTROL, scripts)
    entry = server.wait_state("web", "MASTER")
    assert entry["trackers"][0]["healthy"] is True
    assert server.host.has(VIP)
    with Prober(client, VIP) as prober:
        prober.wait_for_answer()
    assert "memory locked" in server.log()
    assert "ordinary priority" not in server.log()


def no_address_is_added(server: Machine) -> None:
    entry = server.wait("web", lambda entry: entry["state"] == "FAULT")
    assert "NET_ADMIN" in entry["message"]
    assert not server.host.has(VIP)


def it_ends_at_once(server: Machine) -> None:
    assert server.engines[0].wait(timeout=15) == 1
    assert "raw sockets need the capability NET_RAW" in server.log()


def it_runs_as_late_as_any_process(server: Machine) -> None:
    server.wait_state("web", "MASTER")
    assert "ordinary priority" in server.log()


def its_memory_may_be_swapped_out(server: Machine) -> None:
    server.wait_state("web", "MASTER")
    assert "memory not locked" in server.log()


WITHOUT: dict[str, Callable[[Machine], None]] = {
    "NET_ADMIN": no_address_is_added,
    "NET_RAW": it_ends_at_once,
    "SYS_NICE": it_runs_as_late_as_any_process,
    "IPC_LOCK": its_memory_may_be_swapped_out,
}


@pytest.mark.parametrize("capability", VRRP)
def test_vrrp_misses_each_capability_and_says_so(server: Machine, capability: str) -> None:
    server.manifest("web.yaml", fast())
    start(server, without(capability, VRRP), CONTROL)
    WITHOUT[capability](server)


@pytest.mark.parametrize("capability", CONTROL)
def test_control_misses_each_capability_and_says_so(
    server: Machine, client: Host, scripts: Path, capability: str
) -> None:
    server.manifest("web.yaml", pinging(scripts, client.address))
    start(server, VRRP, without(capability, CONTROL), scripts)
    entry = server.wait_state("web", "FAULT")
    assert capability in entry["trackers"][0]["message"]
