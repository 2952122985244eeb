"""Both families and unicast on real nodes, by `kubectl apply -f` of deploy/sample."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from article import SAMPLES
from client import Prober
from house import ClusterClient, House

if TYPE_CHECKING:
    from barecluster.node import Node

pytestmark = [pytest.mark.nodes, pytest.mark.timeout(300)]

VIP6 = "fd00:122::200"


@contextmanager
def sample(house: House, name: str) -> Iterator[None]:
    path = str(SAMPLES / f"{name}.yaml")
    house.kubectl("apply", "-f", path)
    try:
        house.wait_master("web", house.nodes[0])
        yield
    finally:
        house.kubectl("delete", "-f", path, "--ignore-not-found")
        house.wait_gone("web")


def where(house: House, address: str) -> list[str]:
    """The nodes that have an address on eth0."""
    return [
        node.name
        for node in house.cluster.nodes
        if f" {address}/" in node.run("ip", "-br", "addr", "show", "dev", "eth0")
    ]


def wait_where(house: House, node: str, *addresses: str) -> None:
    """Waits until all of them are on this node and on no other."""
    deadline = time.monotonic() + 15
    while (found := [where(house, address) for address in addresses]) != [[node]] * len(addresses):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def entry(status: dict[str, Any], node: str) -> dict[str, Any]:
    return next((found for found in status.get("nodes", []) if found["node"] == node), {})


@contextmanager
def cut(node: "Node") -> Iterator[None]:
    node.link_down()
    try:
        yield
    finally:
        node.link_up()


def test_both_families_of_one_virtual_ip_move_as_one(own_house_only: House, cluster_client: ClusterClient) -> None:
    house = own_house_only
    first, second, _ = house.nodes
    node = house.cluster.node(first)
    with sample(house, "dual-stack"):
        said = entry(house.status("web"), first)
        assert [(one["family"], one["state"]) for one in said["families"]] == [("IPv4", "MASTER"), ("IPv6", "MASTER")]
        wait_where(house, first, house.vip, VIP6)
        for address in (house.vip, VIP6):
            with Prober(cluster_client, address) as prober:
                prober.wait_for_answer()
        assert house.kubectl("get", "vip", "web").splitlines()[1].split()[1] == f"{house.vip}/32,{VIP6}/128"

        node.run("sysctl", "-w", "net.ipv6.conf.eth0.disable_ipv6=1")
        try:
            status = house.wait("web", lambda status: status.get("master") == second)
            wait_where(house, second, house.vip, VIP6)
            status = house.wait("web", lambda status: entry(status, first)["state"] == "FAULT")
            assert entry(status, first)["message"].startswith("IPv6: eth0 has no link-local address")
        finally:
            node.run("sysctl", "-w", "net.ipv6.conf.eth0.disable_ipv6=0")
            node.run("ip", "-6", "addr", "replace", f"{node.address_v6}/64", "dev", "eth0", "nodad")
        house.wait_master("web", first)
        wait_where(house, first, house.vip, VIP6)

        with cut(node):
            house.wait("web", lambda status: status.get("master") == second)
            assert where(house, VIP6)[-1:] == where(house, house.vip)[-1:] == [second]
        house.wait_master("web", first, timeout=60)


def test_ipv6_alone(own_house_only: House, cluster_client: ClusterClient) -> None:
    house = own_house_only
    with sample(house, "ipv6"):
        wait_where(house, house.nodes[0], VIP6)
        with Prober(cluster_client, VIP6) as prober:
            prober.wait_for_answer()
        assert "families" not in entry(house.status("web"), house.nodes[0])


def test_unicast_goes_to_each_member_and_fails_over(own_house_only: House) -> None:
    house = own_house_only
    first, second, third = (house.cluster.node(name) for name in house.nodes)
    with sample(house, "unicast"):
        said = subprocess.run(
            second.command("timeout", "10", "tcpdump", "-lnv", "-i", "eth0", "-c", "5", "ip proto 112"),
            capture_output=True, text=True, check=False,
        ).stdout  # fmt: skip
        assert said.count(f"{first.address} > {second.address}: ") == 5
        with cut(first):
            house.wait("web", lambda status: status.get("master") == second.name)
            assert house.holders()[-1] == second.name
        house.wait_master("web", first.name, timeout=60)
        assert third.name not in house.holders()


def test_a_new_unicast_member_speaks_only_after_the_others_know_it_and_is_heard_when_it_leaves(
    own_house_only: House, cluster_client: ClusterClient
) -> None:
    """With the highest priority of all, and one of the others deaf to the API for a while."""
    house = own_house_only
    first, second, third = house.nodes
    deaf = house.cluster.node(first)
    priorities = [{"nodeName": third, "priority": 250}, {"nodeName": first, "priority": 244}]
    for name in (first, second):
        house.kubectl("label", "node", name, "edge=true")
    selector = {"matchLabels": {"edge": "true"}}
    try:
        spec = {"advertInterval": "1s", "nodeSelector": selector, "nodePriorities": priorities}
        with house.applied("web", transport="Unicast", **spec) as master:
            assert master == first
            deaf.run("pkill", "-STOP", "-f", "virtualip-agent reporter")
            try:
                house.kubectl("label", "node", third, "edge=true")
                status = house.wait("web", lambda status: entry(status, third).get("message", "").startswith(first))
                assert entry(status, third)["state"] == "FAULT"
                assert entry(status, third)["reason"] == "NotYetKnown"
                time.sleep(5)  # more than a master_down_interval
                assert house.holders() == [first]
            finally:
                deaf.run("pkill", "-CONT", "-f", "virtualip-agent reporter")
            house.wait_master("web", third)
            wait_where(house, third, house.vip)

            with Prober(cluster_client, house.vip) as prober:
                began = prober.wait_for_answer()
                house.kubectl("label", "node", third, "edge-")
                house.wait_master("web", first)
                wait_where(house, first, house.vip)
            gap = prober.result.longest_gap(since=began).ms
            print(f"a unicast MASTER that takes no part any more, adverts 1 s: gap {gap:.1f} ms")
            assert gap < max(500, 450 + prober.result.noise_ms)  # unheard it would be more than an interval
    finally:
        for name in house.nodes:
            house.kubectl("label", "node", name, "edge-")
