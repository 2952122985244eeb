"""The cluster's state is wrong, old or gone, on real nodes: who holds the addresses goes on, then all is right."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from barecluster.shell import in_namespace
from house import NAMESPACE, REPOSITORY, House

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
    """When each node last changed its state."""
    return {entry["node"]: entry["lastTransitionTime"] for entry in house.wait_told("web")["nodes"]}


def bases(house: House, *priorities: int) -> dict[str, Any]:
    """Other base priorities, the first node's first."""
    return {
        "nodePriorities": [
            {"nodeName": node, "priority": priority} for node, priority in zip(house.nodes, priorities, strict=False)
        ]
    }


def test_an_etcd_from_before_the_virtual_ip_moves_nothing_and_it_can_be_applied_again(
    own_house_only: House, tmp_path: Path
) -> None:
    house = own_house_only
    assert house.own is not None
    house.own.save_store(tmp_path / "before")
    with house.applied("web") as master:
        before = transitions(house)
        with nobody_moves(house):
            house.own.restore_store(tmp_path / "before")
            assert house.kubectl("get", "vip") == ""  # nothing of it is left in the API
            house.apply("web")
            house.wait_master("web", master, timeout=90)
            house.kubectl("wait", "--for=condition=Ready", "vip/web", "--timeout=30s")
        assert transitions(house) == before


def test_an_etcd_from_before_an_edit_moves_nothing_and_the_edit_can_be_made_again(
    own_house_only: House, tmp_path: Path
) -> None:
    house = own_house_only
    assert house.own is not None
    with house.applied("web"):
        house.own.save_store(tmp_path / "before")
        house.apply("web", **bases(house, 236, 244))
        master = house.wait_master("web", house.nodes[1])
        with nobody_moves(house):
            house.own.restore_store(tmp_path / "before")
            house.wait("web", lambda status: status.get("master") == master, timeout=90)
            house.apply("web", **bases(house, 236, 244))
            house.wait_master("web", master, timeout=60)
        house.apply("web")  # and what is asked for from now on is followed
        house.wait_master("web", house.nodes[0], timeout=60)


def test_crds_that_are_deleted_and_applied_again_move_nothing(own_house_only: House) -> None:
    house = own_house_only
    with house.applied("web") as master:
        before = transitions(house)
        with nobody_moves(house):
            house.kubectl("delete", "-k", str(REPOSITORY / "crds"))
            house.kubectl("apply", "--server-side", "-k", str(REPOSITORY / "crds"))
            house.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=20s")
            house.apply("web")
            house.wait_master("web", master, timeout=90)
        assert transitions(house) == before
        house.kubectl("delete", "virtualip", "web")
        # the garbage collector looks every 30 s which kinds there are
        house.wait_gone("web", timeout=90)


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
                status = house.wait("web", lambda status: len(status["silentNodes"]) == 3)  # one after the other
                conditions = {condition["type"]: condition for condition in status["conditions"]}
                assert (conditions["Ready"]["status"], conditions["Ready"]["reason"]) == ("Unknown", "NodesSilent")
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
