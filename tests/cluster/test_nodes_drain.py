"""Maintenance of nodes: cordon, drain, a planned move and a shutdown take the VIP along without a gap a client sees."""

import io
import json
import os
import subprocess
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest

from barecluster import image
from client import asked
from house import NAMESPACE, REPOSITORY, ClusterClient, House
from logind import Logind
from virtualip_api.status import format_time, parse_time

pytestmark = [pytest.mark.nodes, pytest.mark.timeout(300)]

LABEL = "node.kubernetes.io/exclude-from-external-load-balancers"
DEAF_TO_SIGTERM = 3
"""Seconds for which the pod of these tests outlives its eviction."""


@contextmanager
def cordons(house: House) -> Iterator[None]:
    """Whatever is cordoned inside is uncordoned in the end."""
    try:
        yield
    finally:
        house.kubectl("uncordon", *house.nodes)


def ways(moves: list[dict[str, str]]) -> list[tuple[str, str]]:
    """From whom to whom."""
    return [(move.get("from", ""), move["to"]) for move in moves]


def settled(house: House) -> str:
    """The MASTER, when it has been the same for a second: who drains says so before another is told to have it."""
    holder, since = house.wait_master("web"), time.monotonic()
    while time.monotonic() < since + 1:
        if (found := house.wait_master("web")) != holder:
            holder, since = found, time.monotonic()
        time.sleep(0.1)
    return holder


def test_kubectl_drain_moves_the_vip_before_the_pods_are_gone_and_uncordon_brings_it_back(
    own_house_only: House, cluster_client: ClusterClient
) -> None:
    house = own_house_only
    first, second = house.nodes[:2]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "evicted", "namespace": "default"},
        "spec": {
            "nodeName": first,
            "terminationGracePeriodSeconds": DEAF_TO_SIGTERM,
            "containers": [{"name": "deaf", "image": "localhost/virtualip:dev", "command": ["sleep", "infinity"]}],
        },
    }
    with house.applied("web"), cordons(house):
        house.kubectl("apply", "-f", "-", stdin=json.dumps(pod))
        house.kubectl("wait", "--for=condition=Ready", "pod/evicted", "--timeout=60s", timeout=70)
        causes = house.watching("web", ".status.lastMove")
        with asked(cluster_client, house.vip, "kubectl drain and uncordon"), causes as told:
            began = time.time()
            # the operator has an emptyDir; a pod without a controller needs --force
            flags = ("--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=120s")
            house.kubectl("drain", first, *flags, timeout=130)
            gone = time.time()
            house.wait_master("web", second)
            moved = house.transitions("web")[second]
            assert house.holders() == [second]
            house.kubectl("uncordon", first)
            house.wait_master("web", first)
    print(f"kubectl drain -> moved: {(parse_time(moved) - began) * 1000:.0f} ms, pods gone: {gone - began:.1f} s")
    # perhaps by way of the third: their skew_times are 1.5 ms apart
    assert any(f"{first} is draining" in cause for cause in told())
    assert parse_time(moved) < gone - DEAF_TO_SIGTERM / 2


@pytest.mark.parametrize("preempt", [True, False])
def test_every_node_cordoned_somebody_holds_it_and_nothing_goes_round(
    own_house_only: House, cluster_client: ClusterClient, preempt: bool
) -> None:
    house = own_house_only
    with house.applied("web", preempt=preempt) as master, cordons(house):
        with asked(cluster_client, house.vip, f"all cordoned, preempt: {preempt}"):
            for number, node in enumerate([master, *(node for node in house.nodes if node != master)], 1):
                house.kubectl("cordon", node)
                house.wait("web", lambda status, n=number: _draining(status) == n)  # type: ignore[misc]
            holder = settled(house)
            before = house.moves("web")
            time.sleep(5)  # fifty intervals, in which it would go round
            assert (house.holders(), house.moves("web")) == ([holder], before)
            house.kubectl("uncordon", master)
            # By the rules of preemption: where it is allowed the one that does not drain is the better one.
            house.wait("web", lambda status: _draining(status) == len(house.nodes) - 1)
            house.wait_master("web", master if preempt else holder)
        house.kubectl("uncordon", *house.nodes)
        house.wait("web", lambda status: _draining(status) == 0)


def _draining(status: dict[str, object]) -> int:
    nodes = cast("list[dict[str, object]]", status.get("nodes", []))
    return sum(entry.get("message") == "draining" for entry in nodes)


def test_with_preempt_false_a_cordon_moves_it_all_the_same_with_its_sync_group_and_it_stays_there(
    own_house_only: House, cluster_client: ClusterClient
) -> None:
    house = own_house_only
    with house.applied("web", preempt=False, syncGroup="edge") as master, cordons(house):
        house.apply("second", vrid=52, addresses=["192.168.122.201/32"], preempt=False, syncGroup="edge")
        try:
            house.wait_master("second", master)
            with asked(cluster_client, house.vip, "cordon, preempt: false, sync group"):
                house.kubectl("cordon", master)
                house.wait("web", lambda status: status.get("master") not in (master, None))
                now = house.wait_master("web")
                house.wait_master("second", now)
                house.kubectl("uncordon", master)
                house.wait("web", lambda status: _draining(status) == 0)
                assert house.wait_master("web") == now
        finally:
            house.kubectl("delete", "virtualip", "second")


def test_the_label_of_load_balancers_counts_only_where_it_is_asked_for(house: House) -> None:
    with house.applied("web") as master:
        house.kubectl("label", "node", master, f"{LABEL}=")
        try:
            house.apply("web", garp={"refresh": "60s"})
            generation = house.get("virtualip", "web")["metadata"]["generation"]
            house.wait("web", lambda status: status.get("observedGeneration") == generation)
            house.wait_master("web", master)
            house.apply("web", drain={"onExcludeLabel": True})
            house.wait_master("web", house.nodes[1])
        finally:
            house.kubectl("label", "node", master, f"{LABEL}-")
        house.wait_master("web", master)


def test_with_on_cordon_false_a_cordoned_node_keeps_it(house: House) -> None:
    with house.applied("web", drain={"onCordon": False}) as master, cordons(house):
        house.kubectl("cordon", master)
        house.apply("web", drain={"onCordon": False}, garp={"refresh": "60s"})
        generation = house.get("virtualip", "web")["metadata"]["generation"]
        house.wait("web", lambda status: all(entry["observedGeneration"] == generation for entry in status["nodes"]))
        assert house.wait_master("web") == master


def test_a_planned_move_ends_by_itself_and_not_while_the_operator_is_away(
    own_house_only: House, cluster_client: ClusterClient
) -> None:
    house = own_house_only
    first, second, target = house.nodes[:3]
    # The target is the better of the two, so that it is the one also where the first node has its plan a while before.
    bases = [{"nodeName": n, "priority": base} for n, base in ((first, 244), (second, 236), (target, 240))]
    with house.applied("web", nodePriorities=bases), asked(cluster_client, house.vip, "planned move and its end"):
        ends = time.time() + 25
        house.kubectl(
            "annotate", "virtualip", "web",
            f"virtualip.dev/move-to={target}", f"virtualip.dev/move-until={format_time(ends)}",
        )  # fmt: skip
        status = house.wait("web", lambda status: status.get("master") == target)
        house.wait_master("web", target)
        assert ways(house.moves("web"))[0] == (first, target)  # at once, and not by way of the second
        assert f"moved to {target} until" in next(c for c in status["conditions"] if c["type"] == "Accepted")["message"]
        with house.operator_away():
            time.sleep(max(0.0, ends + 3 - time.time()))
            assert house.holders() == [target]
        house.wait_master("web", first, timeout=60)


@pytest.mark.power
def test_a_node_that_is_shut_down_hands_over_and_takes_it_back_when_it_has_booted(
    own_house_only: House, cluster_client: ClusterClient
) -> None:
    """Without graceful node shutdown: every process gets SIGTERM at about the same time, the network goes last."""
    house = own_house_only
    assert house.own is not None
    node = house.own.node(house.nodes[0])
    with house.applied("web"), asked(cluster_client, house.vip, "systemctl reboot"):
        node.shut_down()
        house.wait("web", lambda status: status.get("master") == house.nodes[1])
        node.power_on()
        house.own.wait_for_nodes()
        house.wait_master("web", node.name, timeout=90)


@pytest.mark.power
@pytest.mark.long
def test_a_graceful_node_shutdown_ends_the_agent_with_the_critical_pods_and_it_hands_over(
    own_house_only: House, cluster_client: ClusterClient
) -> None:
    """The kubelet delays the shutdown, ends ordinary pods and then the critical ones, of which the agent is one."""
    house = own_house_only
    assert house.own is not None
    node = house.own.node(house.nodes[0])
    with (
        Logind(node, grace=8, critical=6) as logind,
        house.applied("web"),
        asked(cluster_client, house.vip, "graceful node shutdown"),
    ):
        house.wait_master("web", node.name)
        logind.prepare_for_shutdown()
        assert house.holders() == [house.nodes[1]]
        node.shut_down()
        node.power_on()
        house.own.wait_for_nodes()
        house.wait_master("web", node.name, timeout=90)


def other_image(scratch: Path) -> image.Image:
    """That of the revision in PREVIOUS, as make test-long has it; else another one of this checkout."""
    tag, revision = "localhost/virtualip:other", os.environ.get("PREVIOUS")
    if not revision:
        return image.build(tag, {"version": "other"})
    archive = subprocess.run(["git", "-C", REPOSITORY, "archive", revision], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(scratch, filter="data")
    return image.build(tag, {"version": revision}, scratch)


@pytest.mark.long
@pytest.mark.timeout(560)
def test_an_upgrade_under_load_moves_no_more_than_it_must(
    own_house_only: House, cluster_client: ClusterClient, tmp_path: Path
) -> None:
    """To another image and back to this one, node by node: only the MASTER's own update moves the VIP, away and home.

    With PREVIOUS that is a rollback and then an upgrade, by agents and operators of both that meet."""
    house = own_house_only
    assert house.own is not None
    other = other_image(tmp_path)
    house.own.load_image(other.tag, other.archive)
    with house.applied("web") as master:
        for tag in (other.tag, image.TAG):
            known = house.moves("web")
            with asked(cluster_client, house.vip, f"upgrade to {tag}"):
                house.kubectl("-n", NAMESPACE, "set", "image", "daemonset/virtualip-agent", f"*={tag}")
                house.kubectl("-n", NAMESPACE, "set", "image", "deployment/virtualip-operator", f"*={tag}")
                for what in ("daemonset/virtualip-agent", "deployment/virtualip-operator"):
                    house.kubectl("-n", NAMESPACE, "rollout", "status", what, "--timeout=240s", timeout=250)
                house.wait_master("web", master)
            assert ways(house.moves("web", known)) == [(house.nodes[1], master), (master, house.nodes[1])]
            pods = house.get("-n", NAMESPACE, "pods", "-l", "app.kubernetes.io/component=agent")["items"]
            assert {container["image"] for pod in pods for container in pod["spec"]["containers"]} == {tag}
