"""The cluster's state is wrong, old or gone, on real nodes: who holds the addresses goes on, then all is right."""

import itertools
import json
import time
from pathlib import Path
from typing import Any

import pytest

from disaster import until
from house import REPOSITORY, House

pytestmark = [pytest.mark.nodes, pytest.mark.power, pytest.mark.timeout(300)]


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
        before = house.transitions("web")
        with house.nobody_moves():
            house.own.restore_store(tmp_path / "before")
            assert house.kubectl("get", "vip") == ""  # nothing of it is left in the API
            house.apply("web")
            house.wait_master("web", master, timeout=90)
            house.kubectl("wait", "--for=condition=Ready", "vip/web", "--timeout=30s")
        assert house.transitions("web") == before
        all_follow(house, "web")


def test_an_etcd_from_before_an_edit_moves_nothing_and_the_edit_can_be_made_again(
    own_house_only: House, tmp_path: Path
) -> None:
    house = own_house_only
    assert house.own is not None
    with house.applied("web"):
        house.own.save_store(tmp_path / "before")
        house.apply("web", **bases(house, 236, 244))
        master = house.wait_master("web", house.nodes[1])
        with house.nobody_moves():
            house.own.restore_store(tmp_path / "before")
            house.wait("web", lambda status: status.get("master") == master, timeout=90)
            house.apply("web", **bases(house, 236, 244))
            house.wait_master("web", master, timeout=60)
        house.apply("web")  # and what is asked for from now on is followed
        house.wait_master("web", house.nodes[0], timeout=60)
        all_follow(house, "web")


def test_crds_that_are_deleted_and_applied_again_move_nothing(own_house_only: House) -> None:
    house = own_house_only
    with house.applied("web") as master:
        before = house.transitions("web")
        with house.nobody_moves():
            house.kubectl("delete", "-k", str(REPOSITORY / "crds"))
            house.kubectl("apply", "--server-side", "-k", str(REPOSITORY / "crds"))
            house.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=20s")
            house.apply("web")
            house.wait_master("web", master, timeout=90)
        assert house.transitions("web") == before
        all_follow(house, "web")  # one that never saw the new Member would rightly keep what it has
        house.kubectl("delete", "virtualip", "web")
        house.wait_gone("web")


def test_every_lease_stale_moves_nothing_and_ready_is_unknown_meanwhile(own_house_only: House) -> None:
    house = own_house_only
    assert house.own is not None
    with house.applied("web") as master:
        before = house.transitions("web")
        with house.nobody_moves():
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
        assert house.transitions("web") == before


def test_edits_while_the_operator_is_away_are_followed_when_it_is_back(own_house_only: House) -> None:
    house = own_house_only
    with house.applied("web") as master:
        with house.operator_away(), house.nobody_moves():
            house.apply("web", **bases(house, 236, 240, 244))
            house.apply("web", **bases(house, 236, 244, 240))
            assert house.status("web")["master"] == master  # told by nobody, and true
        house.wait_master("web", house.nodes[1], timeout=60)
        status = house.wait("web", lambda status: status.get("observedGeneration") == 3)
        assert status["lastMoves"][0]["to"] == house.nodes[1]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_ten_minutes_without_an_operator_are_ten_minutes_in_which_nodes_fail_over_and_deletions_count(
    own_house_only: House,
) -> None:
    """Whatever is edited meanwhile is followed when it is back, and the last edit alone. The first node may know of it
    some 50 ms before the third does; then the second, the better of the two, has the addresses for that moment. And
    both of them preempt the first, 1.5 ms of skew_time apart: the second may have begun when it hears the third."""
    house = own_house_only
    assert house.own is not None
    first, second = house.own.nodes[:2]
    other = "192.168.122.201"
    with house.applied("web") as master:
        house.apply("second", vrid=52, addresses=[f"{other}/32"])
        house.wait_master("second", master)
        with house.operator_away():
            back = time.monotonic() + 600
            with house.nobody_moves():
                edit_until(house, back - 300)
            assert house.status("web")["master"] == master  # as it was told last, and true
            first.link_down()
            until(lambda: house.holders() == [second.name], "failovers go on")
            first.link_up()
            until(lambda: house.holders() == [first.name], "and back")
            house.kubectl("delete", "virtualip", "second")
            until(lambda: not any(node.run("ip", "addr", "show", "to", other) for node in house.own.nodes), other)  # type: ignore[union-attr]
            with house.nobody_moves():
                edit_until(house, back)
            known = house.moves("web")
        house.wait_master("web", house.nodes[2], timeout=60)
        generation = house.get("virtualip", "web")["metadata"]["generation"]
        house.wait("web", lambda status: status.get("observedGeneration") == generation)
        made = house.moves("web", known)
        two, three = house.nodes[1:3]
        assert [move["to"] for move in reversed(made)] in ([three], [two, three], [three, two, three])
        print(f"{generation - 1} edits without an operator, {len(made)} moves when it is back")
        house.kubectl("wait", "--for=condition=Ready", "vip/web", "--timeout=30s")


def all_follow(house: House, name: str) -> None:
    """Waits until each node's agent has its Member as it is in the API: a reporter that was refused asks again after
    some seconds."""
    assert house.own is not None
    members = house.get("virtualipmembers", "-l", f"virtualip.dev/virtualip={name}")["items"]
    for spec in (member["spec"] for member in members):
        file = house.own.node(spec["node"]).root / f"var/lib/virtualip/desired/{name}.json"
        until(
            lambda file=file, spec=spec: json.loads(file.read_text())["member"]["revision"] == spec["revision"],  # type: ignore[misc]
            f"{spec['node']} follows",
        )


def edit_until(house: House, end: float) -> None:
    """An edit each ten seconds, now this node is to be the best and now that; the last of all are for the third."""
    for first in itertools.count(200):
        house.apply("web", **bases(house, min(first, 240), 236, 220))
        if time.monotonic() > end - 10:
            break
        time.sleep(10)
    house.apply("web", **bases(house, 200, 236, 244))
