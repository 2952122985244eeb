"""What the kubelet of the MASTER reports as its node's address: its own, or the VIP.

With --node-ip it is that. Without, the kubelet looks its node's name up, and where that finds nothing it takes the
first global address of the interface of the default route, anew with each status that it sends
(k8s.io/apimachinery/pkg/util/net, ResolveBindAddress). The kernel lists IPv4 addresses in the order in which they
came, and IPv6 addresses the newest first.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

import pytest

from barecluster import Node
from house import House
from node_daemon import NodeDaemon

pytestmark = [pytest.mark.nodes, pytest.mark.power, pytest.mark.timeout(300)]

VIP6 = "fd00:122::200"
NAMELESS = "127.0.0.1 localhost\n"


@pytest.fixture
def master(own_house_only: House) -> Iterator[Node]:
    """A node that has a VIP of each family, and a default route of each."""
    house = own_house_only
    assert house.own is not None
    with house.applied("web", addresses=[f"{house.vip}/32", f"{VIP6}/128"]):
        node = house.own.node(house.wait_master("web", house.nodes[0]))
        gateway = ("default", "via", "fd00:122::1", "dev", "eth0")
        node.run("ip", "-6", "route", "add", *gateway)
        try:
            yield node
        finally:
            node.run("ip", "-6", "route", "delete", *gateway)


@contextmanager
def kubelet(node: Node, *node_ip: str, hosts: str | None = None) -> Iterator[None]:
    """It runs with these words for --node-ip, and /etc/hosts says this; then as before."""

    def changed(words: list[str]) -> list[str]:
        return [*(word for word in words if not word.startswith("--node-ip")), *node_ip]

    file = node.root / "etc/hosts"
    before = file.read_text()
    file.write_text(before if hosts is None else hosts)
    try:
        with NodeDaemon(node, "kubelet").restarted(changed):
            yield
    finally:
        file.write_text(before)


def internal_ips(house: House, node: Node, timeout: float = 30.0) -> list[str]:
    """What its kubelet says in a status that it sends from now on."""
    began = time.time()
    deadline = time.monotonic() + timeout
    while True:
        status = house.get("node", node.name)["status"]
        sent = next(
            condition["lastHeartbeatTime"] for condition in status["conditions"] if condition["type"] == "Ready"
        )
        # whole seconds
        if datetime.fromisoformat(sent).timestamp() > began:
            return [str(entry["address"]) for entry in status["addresses"] if entry["type"] == "InternalIP"]
        assert time.monotonic() < deadline, f"{node.name} has sent no status since"
        time.sleep(0.2)


def listed(node: Node, family: str) -> Sequence[str]:
    """Its global addresses in the kernel's order."""
    lines = node.run("ip", family, "-oneline", "address", "show", "dev", "eth0", "scope", "global").splitlines()
    return [line.split()[3].partition("/")[0] for line in lines]


def test_restarted_with_node_ip_it_keeps_the_nodes_own(own_house_only: House, master: Node) -> None:
    own = listed(master, "-6")[1]
    with kubelet(master, f"--node-ip={master.address},{own}", hosts=NAMELESS):
        assert internal_ips(own_house_only, master) == [master.address, own]


def test_without_it_the_nodes_name_in_etc_hosts_decides(own_house_only: House, master: Node) -> None:
    with kubelet(master):
        assert internal_ips(own_house_only, master) == [master.address]


def test_without_both_ipv4_has_the_nodes_own_as_the_older_one(own_house_only: House, master: Node) -> None:
    assert listed(master, "-4") == [master.address, own_house_only.vip]
    with kubelet(master, hosts=NAMELESS):
        assert internal_ips(own_house_only, master) == [master.address]


def test_without_both_an_ipv6_node_reports_the_vip_while_it_has_it(own_house_only: House, master: Node) -> None:
    house = own_house_only
    own = listed(master, "-6")[1]
    assert listed(master, "-6") == [VIP6, own]
    with kubelet(master, "--node-ip=::", hosts=NAMELESS):
        assert internal_ips(house, master) == [VIP6]
        house.kubectl("delete", "virtualip", "web")
        house.wait_gone("web")
        # no restart is needed for that
        assert internal_ips(house, master) == [own]
