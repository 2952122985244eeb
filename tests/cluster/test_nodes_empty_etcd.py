"""etcd was restored from nothing: not only the VirtualIP is gone, but the nodes and the agents' pods too."""

from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from client import Prober
from disaster import apply_everything, lose_everything, restart_kubelet, runs, until
from house import NAMESPACE, ClusterClient, House

if TYPE_CHECKING:
    from barecluster.node import Node

pytestmark = [pytest.mark.nodes, pytest.mark.power, pytest.mark.long, pytest.mark.timeout(900)]

LETS_GO = 3 + 1.5
"""Seconds after which the kernel has taken a VIP with 100 ms advertisements off a node whose agent was killed."""


def agent_is_ready(house: House, node: str) -> bool:
    """Whether a pod that the API knows of is the agent of this node, and ready."""
    with suppress(StopIteration):
        pod = house.get("-n", NAMESPACE, "pod", house.agent(node))
        return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", []))
    return False


def replace_agent(house: House, node: "Node") -> dict[str, list[str]]:
    """Restarts a kubelet and waits until the node's new agent is ready; what became of the VIP meanwhile."""
    with house.address_changes() as told:
        restart_kubelet(node)
        until(lambda: agent_is_ready(house, node.name), f"no new agent on {node.name}", 240)
        until(lambda: len(house.holders()) == 1, f"{house.holders()} have it")
    return told


def doubled(told: dict[str, list[str]], old: str) -> float:
    """For how many seconds the address was still on the node of the old MASTER when another had taken it."""
    came = min(when(lines[0]) for node, lines in told.items() if node != old and lines)
    return next(when(line) for line in told[old] if "Deleted" in line) - came


def when(line: str) -> float:
    return datetime.fromisoformat(line[1 : line.index("]")]).timestamp()


def test_an_empty_etcd_moves_nothing_and_kubelets_restarted_when_all_is_applied_again_leave_no_gap(
    own_house_only: House, cluster_client: ClusterClient
) -> None:
    """One kubelet after the other: each ends the agent that the API does not know, as `kill -9` would, and starts the
    one that it knows."""
    house, (first, second, _) = own_house_only, own_house_only.cluster.nodes
    with house.applied("web"):
        with Prober(cluster_client, house.vip) as prober:
            began = prober.wait_for_answer()
            with house.nobody_moves():
                lose_everything(house)
            first.link_down()
            until(lambda: house.holders() == [second.name], "failovers go on")
            first.link_up()
            until(lambda: house.holders() == [first.name], "and back")
            with house.nobody_moves():
                apply_everything(house)
                house.apply("web")
            told = [replace_agent(house, node) for node in house.cluster.nodes]
            house.wait_rolled_out()
            house.wait_master("web", first.name, timeout=60)
            house.kubectl("wait", "--for=condition=Ready", "vip/web", "--timeout=30s")
        gap = prober.result.longest_gap(since=began)
        both = doubled(told[0], first.name)
        print(
            f"etcd empty, all applied again: longest gap {gap.ms:.1f} ms (noise {prober.result.noise_ms:.1f} ms), "
            f"the address on two nodes for {both:.1f} s"
        )
        assert both < LETS_GO
        assert gap.ms < max(600, prober.result.noise_ms * 1.5)
        assert house.holders() == [first.name]
        assert len(house.wait_told("web")["nodes"]) == 3


def test_kubelets_restarted_with_an_empty_etcd_end_the_agents_and_the_vip_is_back_with_them(
    own_house_only: House,
) -> None:
    """The addresses do not stay behind. What runs on a node is kept there: the VIP needs agents only."""
    house = own_house_only
    nodes = house.cluster.nodes
    with house.applied("web") as master:
        lose_everything(house)
        assert house.holders() == [master]
        for node in nodes:
            restart_kubelet(node)
        until(lambda: not any(runs(node, "vrrp") for node in nodes), "the agents run on")
        until(lambda: house.holders() == [], f"{house.holders()} after the last agent", LETS_GO)

        apply_everything(house)
        house.wait_rolled_out()
        assert house.kubectl("get", "vip") == ""
        until(lambda: house.holders() == [master], f"{house.holders()} instead of {master}")
        with house.nobody_moves():
            house.apply("web")
            house.wait_master("web", master, timeout=60)
            house.kubectl("wait", "--for=condition=Ready", "vip/web", "--timeout=30s")
            assert len(house.wait_told("web")["nodes"]) == 3
