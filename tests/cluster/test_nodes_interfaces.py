"""The segment's interface is not called the same on every node."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from disaster import until
from house import House

if TYPE_CHECKING:
    from barecluster.node import Node

pytestmark = [pytest.mark.nodes, pytest.mark.power, pytest.mark.timeout(300)]


@contextmanager
def renamed(node: "Node", name: str) -> Iterator[None]:
    """Its eth0 is called otherwise meanwhile; the cable stays in."""
    node.run("ip", "link", "set", "dev", "eth0", "name", name)
    try:
        yield
    finally:
        node.run("ip", "link", "set", "dev", name, "name", "eth0")


def interfaces_with(node: "Node", address: str) -> list[str]:
    """The interfaces of a node that have an address, by name."""
    lines = node.run("ip", "-o", "-4", "addr", "show", "to", f"{address}/32").splitlines()
    return [line.split()[1] for line in lines]


def entry(status: dict[str, Any], node: "Node") -> dict[str, Any]:
    return next((found for found in status.get("nodes", []) if found["node"] == node.name), {})


def test_without_a_name_each_node_finds_the_interface_whose_subnet_holds_the_address(own_house_only: House) -> None:
    house = own_house_only
    first, second, third = house.cluster.nodes
    with renamed(second, "lan0"), renamed(third, "enp3s0"), house.applied("web") as master:
        assert (master, interfaces_with(first, house.vip)) == (first.name, ["eth0"])
        for gone, successor, name in ((first, second, "lan0"), (second, third, "enp3s0")):
            gone.link_down()
            until(lambda node=successor.name: house.holders() == [node], f"{successor.name} has not taken it")  # type: ignore[misc]
            assert interfaces_with(successor, house.vip) == [name]
        for node in (first, second):
            node.link_up()
        house.wait_master("web", first.name, timeout=60)


def test_an_interface_that_is_renamed_under_the_master_moves_nothing(own_house_only: House) -> None:
    house = own_house_only
    first = house.cluster.nodes[0]
    with house.applied("web"):
        before = house.transitions("web")
        with house.nobody_moves():
            with renamed(first, "lan0"):
                # an edit, so that everything is looked at again
                house.apply("web", garp={"refresh": "60s"})
                house.wait("web", lambda status: entry(status, first).get("observedGeneration") == 2)
            house.apply("web")
            house.wait("web", lambda status: entry(status, first).get("observedGeneration") == 3)
        assert house.transitions("web") == before


def test_a_name_that_one_node_does_not_have_is_a_fault_there_and_says_what_it_has(own_house_only: House) -> None:
    house = own_house_only
    first, second, _ = house.cluster.nodes
    with house.applied("web", interface="eth0"), renamed(first, "lan0"):
        status = house.wait("web", lambda status: status.get("master") == second.name)
        status = house.wait("web", lambda status: entry(status, first)["state"] == "FAULT")
        assert house.holders() == [second.name]  # also not left on lan0
        said = entry(status, first)
        assert said["reason"] == "NoInterface"
        assert said["message"].startswith(f"there is no interface eth0; there are lan0 {first.address}/24, ")
        assert "ens9" in said["message"]
        # those that have it are not disturbed
        house.kubectl("wait", "--for=condition=Ready", "vip/web", "--timeout=10s")
        house.apply("web")
        house.wait_master("web", first.name)
        assert interfaces_with(first, house.vip) == ["lan0"]


def test_a_name_that_no_node_has_is_told_with_what_each_of_them_has(own_house_only: House) -> None:
    house = own_house_only
    first, second, third = house.cluster.nodes
    with renamed(second, "lan0"):
        house.apply("web", interface="nic7")
        try:
            house.kubectl("wait", "--for=condition=Ready=false", "vip/web", "--timeout=30s")
            status = house.wait("web", lambda status: ready(status).count("NoInterface") == 3)
            for node, name in ((first, "eth0"), (second, "lan0"), (third, "eth0")):
                there = f"there is no interface nic7; there are {name} {node.address}/24"
                assert f"{node.name} FAULT NoInterface, {there}" in ready(status)
            house.apply("web")
            house.wait_master("web", first.name)
        finally:
            house.kubectl("delete", "virtualip", "web")
            house.wait_gone("web")


def ready(status: dict[str, Any]) -> str:
    """The message of the condition Ready."""
    return next((str(one["message"]) for one in status.get("conditions", []) if one["type"] == "Ready"), "")
