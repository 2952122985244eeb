"""What the cluster says of nodes is old, or nobody plans, on real nodes: who holds the addresses goes on."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from barecluster.shell import in_namespace
from house import NAMESPACE, House

pytestmark = [pytest.mark.nodes, pytest.mark.power, pytest.mark.timeout(300)]


@contextmanager
def nobody_moves(house: House) -> Iterator[None]:
    """Meanwhile no node lets go of an address, and no other node takes one."""
    assert house.own is not None
    before = house.holders()
    monitors = [
        subprocess.Popen(
            in_namespace(node.netns, ["ip", "-4", "monitor", "address"]), stdout=subprocess.PIPE, text=True
        )
        for node in house.own.nodes
    ]
    try:
        yield
    finally:
        told = []
        for monitor in monitors:
            monitor.terminate()
            told.append(monitor.communicate()[0])
    assert house.holders() == before
    for node, text in zip(house.own.nodes, told, strict=True):
        lost = [line for line in text.splitlines() if line.startswith("Deleted") and house.vip in line]
        assert lost == [], node.name
        assert node.name in before or house.vip not in text, node.name


def transitions(house: House) -> dict[str, str]:
    return {entry["node"]: entry["lastTransitionTime"] for entry in house.status("web")["nodes"]}


def bases(house: House, *priorities: int) -> dict[str, Any]:
    """Other base priorities, the first node's first."""
    return {
        "nodePriorities": [
            {"nodeName": node, "priority": priority} for node, priority in zip(house.nodes, priorities, strict=False)
        ]
    }


def test_every_lease_stale_moves_nothing_and_ready_is_unknown_meanwhile(own_house_only: House) -> None:
    house = own_house_only
    assert house.own is not None
    with house.applied("web") as master:
        before = transitions(house)
        with nobody_moves(house):
            for node in house.own.nodes:
                node.run("pkill", "-STOP", "-f", "virtualip-agent reporter")
            try:
                house.kubectl("wait", "--for=condition=Ready=unknown", "vip/web", "--timeout=60s", timeout=70)
                conditions = {condition["type"]: condition for condition in house.status("web")["conditions"]}
                assert conditions["Ready"]["reason"] == "NodesSilent"
                assert conditions["SingleMaster"]["status"] == "True"
            finally:
                for node in house.own.nodes:
                    node.run("pkill", "-CONT", "-f", "virtualip-agent reporter")
            house.kubectl("wait", "--for=condition=Ready", "vip/web", "--timeout=60s", timeout=70)
        house.wait_master("web", master)
        assert transitions(house) == before


def test_edits_while_the_operator_is_away_are_followed_when_it_is_back(own_house_only: House) -> None:
    """However long it is away: no agent has a clock for it. Here for two edits and the time they take."""
    house = own_house_only
    with house.applied("web") as master:
        house.kubectl("-n", NAMESPACE, "scale", "deployment/virtualip-operator", "--replicas=0")
        try:
            house.kubectl(
                "-n", NAMESPACE, "wait", "--for=delete", "pod", "-l", "app.kubernetes.io/component=operator",
                "--timeout=60s", timeout=70,
            )  # fmt: skip
            with nobody_moves(house):
                house.apply("web", **bases(house, 236, 240, 244))
                house.apply("web", **bases(house, 236, 244, 240))
                assert house.status("web")["master"] == master  # told by nobody, and true
        finally:
            house.kubectl("-n", NAMESPACE, "scale", "deployment/virtualip-operator", "--replicas=2")
            house.kubectl("-n", NAMESPACE, "rollout", "status", "deployment/virtualip-operator", "--timeout=60s")
        house.wait_master("web", house.nodes[1], timeout=60)
        status = house.wait("web", lambda status: status.get("observedGeneration") == 3)
        assert status["lastMoves"][0]["to"] == house.nodes[1]
