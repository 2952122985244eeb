"""The operator away, the API server away, the CRDs away: nobody's plan changes, and everything is caught up with."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from barecluster import Cluster
from operator_harness import OperatorProcess, World, eventually, garbage_collector
from virtualip_api.status import NodeEntry, State, format_time

pytestmark = pytest.mark.apiserver
CRDS = Path(__file__).parents[2] / "crds"


@pytest.fixture
def operator(own_api_server: Cluster, tmp_path: Path) -> Iterator[OperatorProcess]:
    process = OperatorProcess(own_api_server, tmp_path)
    process.start()
    yield process
    if process.process is not None and process.process.poll() is None:
        assert process.stop() == 0, process.log.read_text()


@pytest.fixture
def world(own_api_server: Cluster) -> World:
    return World(own_api_server)


def prepare(world: World, name: str) -> None:
    """A VirtualIP of two nodes that was moved once."""
    nodes = (f"{name}1", f"{name}2")
    world.nodes({node: f"192.0.2.{100 + number}" for number, node in enumerate(nodes, 1)}, **{"takes-part-in": name})
    world.renews(*nodes)
    world.virtual_ip(name)
    eventually(lambda: world.members(name).keys() == set(nodes))
    claims(world, name, nodes[0])
    world.says(name, NodeEntry(nodes[0], State.BACKUP, 100, 1, format_time(time.time())))
    claims(world, name, nodes[1])


def claims(world: World, name: str, node: str) -> None:
    world.says(name, NodeEntry(node, State.MASTER, 100, 1, format_time(time.time()), reason="MasterDown"))
    eventually(lambda: world.status(name).get("master") == node)


def test_a_restart_changes_nothing(world: World, operator: OperatorProcess) -> None:
    prepare(world, "restart")
    eventually(lambda: len(world.status("restart")["lastMoves"]) == 2)
    before = world.get("vip", "restart"), world.members("restart")
    assert operator.stop() == 0
    operator.start()
    eventually(lambda: 'virtualip="restart"' in operator.get("/metrics"))
    assert (world.get("vip", "restart"), world.members("restart")) == before
    claims(world, "restart", "restart1")
    assert len(world.status("restart")["lastMoves"]) == 3


def test_members_of_a_virtual_ip_that_is_deleted_while_no_operator_runs_are_gone(
    world: World, operator: OperatorProcess
) -> None:
    prepare(world, "away")
    assert operator.stop() == 0
    world.delete("vip", "away")
    with garbage_collector(world.cluster):
        eventually(lambda: world.members("away") == {}, 30.0)
    operator.start()
    eventually(lambda: operator.get("/healthz") == "ok\n")
    assert world.members("away") == {}


def test_an_api_server_that_goes_away_is_waited_for(world: World, operator: OperatorProcess) -> None:
    prepare(world, "outage")
    before = world.members("outage")
    world.cluster.stop_api_servers()
    try:
        time.sleep(12.0)  # longer than every time-out of a request, and than kopf's own patience
        assert operator.process is not None
        assert operator.process.poll() is None
        assert operator.get("/healthz") == "ok\n"
    finally:
        world.cluster.start_api_servers()
    assert world.members("outage") == before
    claims(world, "outage", "outage1")
    assert world.status("outage").get("silentNodes") == []
    world.cluster.kubectl("label", "node", "outage2", "takes-part-in-")
    eventually(lambda: world.members("outage").keys() == {"outage1"})


def test_crds_that_are_deleted_and_applied_again_are_served_again(world: World, operator: OperatorProcess) -> None:
    prepare(world, "anew")
    revision = world.members("anew")["anew1"]["revision"]
    world.cluster.kubectl("delete", "-k", CRDS)
    world.cluster.kubectl("apply", "--server-side", "-k", CRDS)
    world.cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=20s")
    world.virtual_ip("anew")
    eventually(lambda: world.members("anew").keys() == {"anew1", "anew2"}, 60.0)
    assert world.members("anew")["anew1"]["revision"] > revision
    claims(world, "anew", "anew2")
    assert operator.process is not None
    assert operator.process.poll() is None
