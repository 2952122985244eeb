"""What agents say in, what users read out, at a real API server."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from barecluster import Cluster
from operator_harness import OperatorProcess, World, eventually
from virtualip_api.status import Mismatch, NodeEntry, Observation, ObservationKind, State, TrackerStatus, format_time
from virtualip_operator.narrator import BURST, REFILL

pytestmark = pytest.mark.apiserver
NODES = ("server1", "server2", "server3")


@pytest.fixture(scope="module")
def operator(own_api_server: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    process = OperatorProcess(own_api_server, tmp_path_factory.mktemp("operator"))
    process.start()
    yield process
    assert process.stop() == 0, process.log.read_text()


@pytest.fixture
def world(operator: OperatorProcess, own_api_server: Cluster) -> World:
    return World(own_api_server)


def prepare(world: World, name: str, **spec: object) -> None:
    """A VirtualIP of three nodes, all of whose agents live."""
    addresses = {node: f"192.168.122.{100 + number}" for number, node in enumerate(NODES, 1)}
    world.nodes(addresses, **{"takes-part-in": name})
    world.renews(*NODES)
    world.virtual_ip(name, **spec)
    eventually(lambda: world.members(name).keys() == set(NODES))


def now_entry(node: str, state: str, priority: int, **rest: Any) -> NodeEntry:
    return NodeEntry(node, State(state), priority, 1, format_time(time.time()), **rest)


def elect(world: World, name: str) -> None:
    """server2 becomes MASTER."""
    for node, state in zip(NODES, ("BACKUP", "MASTER", "BACKUP"), strict=True):
        world.says(name, now_entry(node, state, 240, reason="MasterDown" if state == "MASTER" else "Listening"))
    eventually(lambda: world.status(name).get("master") == "server2")


def test_a_take_over_is_told_in_every_place_a_user_looks(world: World, operator: OperatorProcess) -> None:
    prepare(world, "told")
    elect(world, "told")
    apache = TrackerStatus("apache", True, 10, "2 processes", format_time(time.time()))
    claim = {"reason": "HigherPriority", "message": "244 + apache 10", "takeover": "12ms", "trackers": (apache,)}
    world.says("told", now_entry("server1", "MASTER", 254, **claim))
    world.says("told", now_entry("server2", "BACKUP", 240, reason="HigherPriorityHeard"))
    move = "server2 -> server1: apache healthy, 12ms"
    eventually(lambda: world.status("told")["lastMove"] == move)

    status = world.status("told")
    assert (status["master"], status["priority"]) == ("server1", 254)
    assert [(found["from"], found["to"]) for found in status["lastMoves"] if "from" in found] == [
        ("server2", "server1")
    ]
    assert world.condition("told", "Ready")["message"] == "server1 is MASTER"
    assert world.condition("told", "SingleMaster")["status"] == "True"

    header, line = world.cluster.kubectl("get", "vip", "told").splitlines()
    assert header.split() == ["NAME", "ADDRESSES", "VRID", "MASTER", "PRIORITY", "READY", "AGE"]
    assert line.split()[:6] == ["told", "192.0.2.10/32", "51", "server1", "254", "True"]
    wide = world.cluster.kubectl("get", "vip", "told", "-o", "wide")
    assert "SUMMARY" in wide
    assert "LAST-MOVE" in wide
    eventually(lambda: "server1=MASTER/254 server2=BACKUP/240 server3=BACKUP/240" in world.status("told")["summary"])

    eventually(lambda: f"Moved: {move} (HigherPriority; apache: 2 processes)" in world.events("told"))
    assert move in world.cluster.kubectl("describe", "vip", "told")

    metrics = operator.get("/metrics")
    assert 'virtualip_master{node="server1",virtualip="told"} 1.0' in metrics
    assert 'virtualip_master{node="server2",virtualip="told"}' not in metrics
    assert 'virtualip_condition{type="Ready",virtualip="told"} 1.0' in metrics
    assert 'virtualip_moves_total{virtualip="told"} 2.0' in metrics


def test_a_virtual_ip_that_nobody_holds_says_why_for_each_node(world: World) -> None:
    prepare(world, "nobody")
    elect(world, "nobody")
    for node in NODES:
        world.says("nobody", now_entry(node, "FAULT", 0, reason="LinkDown", message="eth0 has no carrier"))
    eventually(lambda: world.condition("nobody", "Ready")["status"] == "False")
    ready = world.condition("nobody", "Ready")
    assert ready["reason"] == "NoMaster"
    assert "server3 FAULT LinkDown, eth0 has no carrier" in ready["message"]
    assert "master" not in world.status("nobody")
    eventually(lambda: any(event.startswith("NotReady: NoMaster") for event in world.events("nobody")))


def test_a_failed_tracker_that_moves_nothing_is_seen_in_a_condition(world: World) -> None:
    prepare(world, "tracked", trackers=[{"name": "httpd", "process": {"name": "httpd"}, "weight": 10}])
    elect(world, "tracked")
    eventually(lambda: world.condition("tracked", "TrackersHealthy")["reason"] == "NoResults")
    for node in NODES:
        healthy = TrackerStatus("httpd", True, 10, "1 process", format_time(time.time()))
        world.says("tracked", now_entry(node, "MASTER" if node == "server2" else "BACKUP", 250, trackers=(healthy,)))
    eventually(lambda: world.condition("tracked", "TrackersHealthy")["status"] == "True")
    failed = TrackerStatus("httpd", False, 0, "0 processes, 1 wanted", format_time(time.time()))
    world.says("tracked", now_entry("server3", "BACKUP", 240, trackers=(failed,)))
    world.cluster.kubectl("wait", "--for=condition=TrackersHealthy=false", "vip/tracked", "--timeout=20s")
    told = world.condition("tracked", "TrackersHealthy")
    assert told["message"] == "server3: httpd failed (0 processes, 1 wanted)"
    world.cluster.kubectl("wait", "--for=condition=Ready", "vip/tracked", "--timeout=20s")


def test_a_member_that_is_set_otherwise_is_warned_of(world: World) -> None:
    prepare(world, "differs")
    elect(world, "differs")
    mismatch = Mismatch("192.168.122.102", "password")
    world.says("differs", now_entry("server1", "BACKUP", 240, mismatches=(mismatch,)))
    eventually(lambda: world.condition("differs", "Accepted")["reason"] == "ConfigMismatch")
    event = "ConfigMismatch: server1 hears server2 with other settings than its own: password"
    eventually(lambda: event in world.events("differs"))
    world.says("differs", now_entry("server1", "BACKUP", 240))
    eventually(lambda: world.condition("differs", "Accepted")["reason"] == "Planned")


def test_a_node_that_flaps_makes_few_events_and_those_left_out_are_counted(world: World) -> None:
    prepare(world, "flaps")
    elect(world, "flaps")
    eventually(lambda: world.events("flaps"))
    began = time.monotonic()
    for number in range(1, 31):
        node, other = (NODES[(number + turn) % 2] for turn in (0, 1))
        world.says("flaps", now_entry(node, "MASTER", 254, reason="HigherPriority"))
        eventually(lambda node=node: world.status("flaps").get("master") == node)  # type: ignore[misc]
        world.says("flaps", now_entry(other, "BACKUP", 240, reason="HigherPriorityHeard"))
    most = BURST + (time.monotonic() - began) / REFILL
    events = world.events("flaps")
    print(f"30 moves in {time.monotonic() - began:.0f} s: {len(events)} events")
    assert BURST <= len(events) <= most + 1
    assert len(world.status("flaps")["lastMoves"]) == 10  # what they do not tell is here


def test_a_node_that_renews_no_lease_is_silent_and_not_believed(world: World) -> None:
    prepare(world, "silent")
    elect(world, "silent")
    world.renews("server2", duration=1)
    status = eventually(lambda: (found := world.status("silent")).get("silentNodes") == ["server2"] and found)
    assert "server2=?" in status["summary"]
    assert world.condition("silent", "Ready")["status"] == "Unknown"
    world.renews("server2")
    eventually(lambda: world.status("silent").get("master") == "server2")


def test_two_nodes_that_both_go_on_claiming_are_alarmed(world: World) -> None:
    prepare(world, "both")
    elect(world, "both")
    world.says("both", now_entry("server1", "MASTER", 254, reason="MasterDown"))
    eventually(lambda: world.status("both")["master"] == "server1")
    assert world.condition("both", "SingleMaster")["status"] == "True"  # server2 may not have heard yet
    world.renews("server1", "server2")
    eventually(lambda: world.condition("both", "SingleMaster")["status"] == "False")
    eventually(lambda: any(event.startswith("SeveralMasters") for event in world.events("both")))
    world.says("both", now_entry("server2", "BACKUP", 240, reason="HigherPriorityHeard"))
    eventually(lambda: world.condition("both", "SingleMaster")["status"] == "True")


def test_what_nodes_see_on_the_segment_is_a_condition_and_one_event_with_its_address(world: World) -> None:
    prepare(world, "watched")
    elect(world, "watched")
    eventually(lambda: world.condition("watched", "VRIDUnique")["status"] == "True")
    router = Observation(ObservationKind.FOREIGN_ROUTER, "192.168.122.9", "advertises VRID 51 for 192.0.2.77")
    rogue = Observation(ObservationKind.STRANGER, "02:00:00:00:00:66", "answers for 192.0.2.10 and is no member")
    for node, state in zip(NODES, ("BACKUP", "MASTER", "BACKUP"), strict=True):
        world.says("watched", now_entry(node, state, 240, observations=(router, rogue)))
    eventually(lambda: "server3" in world.condition("watched", "VRIDUnique")["message"])
    unique = world.condition("watched", "VRIDUnique")
    assert (unique["status"], unique["reason"]) == ("False", "ForeignRouter")
    assert "192.168.122.9 advertises VRID 51" in unique["message"]
    assert world.condition("watched", "SingleMaster")["reason"] == "Stranger"

    def told(reason: str) -> list[str]:
        return [event for event in world.events("watched") if event.startswith(reason)]

    eventually(lambda: told("ForeignRouter: 192.168.122.9") and told("Stranger: 02:00:00:00:00:66"))
    assert len(told("ForeignRouter")) == len(told("Stranger")) == 1
    assert "192.168.122.9" in world.cluster.kubectl("describe", "vip", "watched")
    for node, state in zip(NODES, ("BACKUP", "MASTER", "BACKUP"), strict=True):
        world.says("watched", now_entry(node, state, 240))
    eventually(lambda: world.condition("watched", "VRIDUnique")["status"] == "True")
    eventually(lambda: world.condition("watched", "SingleMaster")["status"] == "True")


def test_in_steady_state_nothing_is_written(world: World) -> None:
    prepare(world, "steady")
    elect(world, "steady")
    eventually(lambda: world.status("steady")["summary"].count("/240") == 3)
    before = world.get("vip", "steady"), world.members("steady")
    for _ in range(3):
        world.renews(*NODES)
        world.cluster.kubectl("annotate", "node", "server1", f"beat={time.time()}", "--overwrite")
    time.sleep(2.0)  # two ticks in which something could be written
    assert (world.get("vip", "steady"), world.members("steady")) == before


def test_a_transition_is_to_be_seen_within_300_milliseconds(world: World) -> None:
    prepare(world, "quick")
    elect(world, "quick")
    samples = []
    for number in range(10):
        node, other = (NODES[(number + turn) % 2] for turn in (0, 1))
        world.says("quick", now_entry(other, "BACKUP", 240))
        world.says("quick", now_entry(node, "MASTER", 254))
        written = time.monotonic()
        eventually(lambda node=node: world.status("quick").get("master") == node, 5.0)  # type: ignore[misc]
        samples.append(time.monotonic() - written)
    # Each look is a kubectl of its own, 0.1 s and more.
    assert sorted(samples)[len(samples) // 2] < 0.6, samples
