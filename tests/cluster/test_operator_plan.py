"""VirtualIPs and Nodes in, Members out, at a real API server and with the operator's own RBAC."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from barecluster import Cluster, ClusterError
from operator_harness import OperatorProcess, World, eventually
from virtualip_api.member import parse_member_spec
from virtualip_api.status import NodeEntry, State

pytestmark = pytest.mark.apiserver
CRD = Path(__file__).parents[2] / "crds/virtualip.yaml"


@pytest.fixture(scope="module")
def operator(own_api_server: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    process = OperatorProcess(own_api_server, tmp_path_factory.mktemp("operator"))
    process.start()
    yield process
    assert process.stop() == 0, process.log.read_text()


@pytest.fixture
def world(operator: OperatorProcess, own_api_server: Cluster) -> World:
    return World(own_api_server)


def prepare(world: World, name: str, count: int = 3, **spec: object) -> dict[str, int]:
    """Nodes and a VirtualIP, planned; the revisions by node."""
    addresses = {f"{name}{number}": f"192.0.2.{100 + number}" for number in range(1, count + 1)}
    world.nodes(addresses, **{"takes-part-in": name})
    world.virtual_ip(name, **spec)
    eventually(lambda: len(world.members(name)) == count)
    return revisions(world, name)


def _takes(world: World, name: str, **spec: object) -> bool:
    """Whether the API server takes this spec as it is: a changed CRD takes a moment to be followed everywhere."""
    with contextlib.suppress(ClusterError):
        world.virtual_ip(name, **spec)
    found = world.get("vip", name)
    return found is not None and spec.items() <= found["spec"].items()


def revisions(world: World, name: str) -> dict[str, int]:
    return {node: spec["revision"] for node, spec in world.members(name).items()}


def test_every_node_gets_its_part(world: World) -> None:
    prepare(world, "part", nodePriorities=[{"nodeName": "part2", "priority": 240}], priority=244)
    members = {node: parse_member_spec(spec) for node, spec in world.members("part").items()}
    assert {node: (member.rank, member.base_priority) for node, member in members.items()} == {
        "part1": (0, 244),
        "part3": (1, 244),
        "part2": (0, 240),
    }
    assert [str(peer.addresses[0]) for peer in members["part1"].peers] == ["192.0.2.101", "192.0.2.102", "192.0.2.103"]
    accepted = eventually(lambda: world.condition("part", "Accepted"))
    assert (accepted["status"], accepted["message"]) == ("True", "3 nodes take part")


def test_a_member_changes_only_where_the_change_touches_it(world: World) -> None:
    heavy = {"nodeSelector": {"matchLabels": {"heavy": "true"}}, "priority": 200}
    before = prepare(world, "touch", nodePriorities=[heavy, {"nodeName": "touch1", "priority": 50}])
    world.cluster.kubectl("label", "node", "touch1", "colour=red")  # of no interest
    world.cluster.kubectl("label", "node", "touch1", "heavy=true")  # its priority alone: nobody is, or was, its equal
    after = eventually(lambda: (new := revisions(world, "touch")) != before and new)
    assert {node for node in after if after[node] != before[node]} == {"touch1"}
    assert after["touch1"] > before["touch1"]


def test_an_edit_reaches_all_with_its_generation(world: World) -> None:
    before = prepare(world, "edit")
    world.virtual_ip("edit", advertInterval="100ms")
    eventually(lambda: {spec["generation"] for spec in world.members("edit").values()} == {2})
    assert all(revision > before[node] for node, revision in revisions(world, "edit").items())
    assert all(spec["spec"]["advertInterval"] == "100ms" for spec in world.members("edit").values())
    eventually(lambda: world.status("edit")["observedGeneration"] == 2)


def test_a_node_that_is_gone_takes_its_entry_and_its_member_along(world: World) -> None:
    prepare(world, "gone")
    world.renews("gone1", "gone2", "gone3")
    for node in ("gone1", "gone2", "gone3"):
        world.says("gone", NodeEntry(node, State.BACKUP, 100))
    eventually(lambda: len(world.status("gone").get("nodes", ())) == 3)
    world.delete("node", "gone2")
    eventually(lambda: world.members("gone").keys() == {"gone1", "gone3"})
    nodes = eventually(lambda: len(found := world.status("gone")["nodes"]) == 2 and found)
    assert {entry["node"] for entry in nodes} == {"gone1", "gone3"}
    assert [member["node"] for member in world.members("gone")["gone1"]["members"]] == ["gone1", "gone3"]
    # What is left still belongs to its own agent, which can change it.
    world.says("gone", NodeEntry("gone1", State.FAULT, 100))
    eventually(lambda: world.status("gone")["summary"] == "gone1=FAULT/100 gone3=BACKUP/100")


def test_a_node_that_is_no_longer_selected_leaves(world: World) -> None:
    prepare(world, "leave")
    world.cluster.kubectl("label", "node", "leave3", "takes-part-in-")
    eventually(lambda: world.members("leave").keys() == {"leave1", "leave2"})


def test_a_member_that_somebody_deleted_or_changed_is_put_right_and_rises(world: World) -> None:
    before = prepare(world, "right", count=2)
    world.delete("virtualipmember", "right.right1")
    after = eventually(lambda: (new := revisions(world, "right")).keys() == before.keys() and new)
    assert after["right1"] > before["right1"]
    patch = '{"spec": {"basePriority": 1, "toy": true}}'
    world.cluster.kubectl("patch", "virtualipmember", "right.right2", "--type=merge", "-p", patch)
    spec = eventually(lambda: "toy" not in (found := world.members("right")["right2"]) and found)
    assert (spec["basePriority"], spec["revision"] > after["right2"]) == (100, True)


def test_a_seventeenth_node_is_told_that_it_takes_no_part_and_the_plan_of_the_others_goes_on(world: World) -> None:
    before = prepare(world, "many", count=2)
    more = {f"many{number}": f"192.0.2.{100 + number}" for number in range(3, 18)}
    world.nodes(more, **{"takes-part-in": "many"})
    accepted = eventually(
        lambda: (found := world.condition("many", "Accepted")).get("reason") == "TooManyMembers" and found
    )
    assert (accepted["status"], accepted["reason"]) == ("True", "TooManyMembers")
    assert "17 nodes" in accepted["message"]
    assert before.keys() <= world.members("many").keys()
    (left_out,) = (before.keys() | more.keys()) - world.members("many").keys()
    assert f"{left_out} take no part" in accepted["message"]
    world.cluster.kubectl("cordon", "many1")
    eventually(lambda: world.members("many")["many1"].get("draining"))
    world.delete("node", "many2")  # its place is free
    eventually(lambda: left_out in world.members("many"))
    eventually(lambda: world.condition("many", "Accepted")["reason"] == "Planned")


def test_a_new_virtual_ip_of_too_many_nodes_is_refused_until_its_selector_chooses(world: World) -> None:
    nodes = {f"crowd{number}": f"192.0.2.{100 + number}" for number in range(1, 18)}
    world.nodes(nodes, **{"takes-part-in": "crowd"})
    world.virtual_ip("crowd")
    accepted = eventually(lambda: (found := world.condition("crowd", "Accepted")).get("status") == "False" and found)
    assert (accepted["reason"], "17 nodes" in accepted["message"]) == ("TooManyMembers", True)
    assert world.members("crowd") == {}
    eventually(lambda: any("NotAccepted: TooManyMembers" in event for event in world.events("crowd")))
    world.delete("node", "crowd17")
    eventually(lambda: len(world.members("crowd")) == 16)


def test_what_is_probably_not_meant_is_followed_with_a_warning_said_once(world: World) -> None:
    httpd = {"name": "httpd", "process": {"name": "httpd"}, "weight": 4}
    priorities = [{"nodeName": "advised1", "priority": 244}, {"nodeName": "advised2", "priority": 240}]
    prepare(world, "advised", count=2, trackers=[httpd], nodePriorities=priorities)
    accepted = eventually(lambda: world.condition("advised", "Accepted"))
    assert (accepted["status"], accepted["reason"]) == ("True", "WeightTooSmall")
    assert (
        "WeightTooSmall: spec.trackers[0].weight and spec.nodePriorities: 4 does not bridge the 4"
        in accepted["message"]
    )
    world.says("advised", NodeEntry("advised1", State.MASTER, 248))
    eventually(lambda: world.status("advised").get("master") == "advised1")
    said = [event for event in world.events("advised") if event.startswith("WeightTooSmall: ")]
    assert len(said) == 1
    world.virtual_ip("advised", trackers=[httpd | {"weight": 10}], nodePriorities=priorities)
    eventually(lambda: world.condition("advised", "Accepted")["reason"] == "Planned")


def test_of_two_that_want_the_same_the_older_goes_on_until_it_lets_go(world: World) -> None:
    before = prepare(world, "first", count=2)
    same_nodes = {"matchLabels": {"takes-part-in": "first"}}
    world.virtual_ip("second", nodeSelector=same_nodes)  # its address and its VRID are the first one's
    refused = eventually(lambda: world.condition("second", "Accepted"))
    assert (refused["status"], refused["reason"]) == ("False", "AddressInUse")
    assert refused["message"] == "spec.addresses: 192.0.2.10 on first1, first2 is VirtualIP first's"
    eventually(lambda: "NotAccepted: AddressInUse: " + refused["message"] in world.events("second"))
    assert world.members("second") == {}

    world.virtual_ip("second", nodeSelector=same_nodes, addresses=["192.0.2.11/32"])
    refused = eventually(lambda: (found := world.condition("second", "Accepted"))["reason"] == "VRIDInUse" and found)
    assert refused["message"].startswith("spec.vrid: 51 on first1, first2 is VirtualIP first's; if they are on ")
    assert "first's" in world.cluster.kubectl("describe", "vip", "second")
    assert world.condition("first", "Accepted")["status"] == "True"
    assert revisions(world, "first") == before

    world.delete("vip", "first")
    eventually(lambda: world.condition("second", "Accepted")["status"] == "True")
    assert world.members("first") == {}  # not before nodes have the first one's Members no more
    assert world.members("second").keys() == {"first1", "first2"}


def test_an_edit_of_a_running_one_that_collides_is_refused_and_both_go_on(world: World) -> None:
    prepare(world, "edited", count=2)
    same_nodes = {"matchLabels": {"takes-part-in": "edited"}}
    world.virtual_ip("beside", nodeSelector=same_nodes, addresses=["192.0.2.11/32"], vrid=52)
    eventually(lambda: len(world.members("beside")) == 2)
    before = world.members("edited"), world.members("beside")
    world.virtual_ip("edited", addresses=["192.0.2.10/32", "192.0.2.11/32"])
    refused = eventually(lambda: (found := world.condition("edited", "Accepted"))["status"] == "False" and found)
    assert refused["message"] == "spec.addresses: 192.0.2.11 on edited1, edited2 is VirtualIP beside's"
    assert world.condition("beside", "Accepted")["status"] == "True"
    assert (world.members("edited"), world.members("beside")) == before
    world.virtual_ip("beside", nodeSelector=same_nodes, addresses=["192.0.2.12/32"], vrid=52)
    eventually(lambda: world.condition("edited", "Accepted")["status"] == "True")
    eventually(lambda: all(len(told["spec"]["addresses"]) == 2 for told in world.members("edited").values()))


def test_a_vip_that_a_kubelet_takes_for_its_nodes_address_is_warned_of(world: World) -> None:
    prepare(world, "kubelet", count=2)
    node = world.get("node", "kubelet1")
    assert node is not None
    addresses = [{"type": "InternalIP", "address": address} for address in ("192.0.2.10", "192.0.2.101")]
    patch = json.dumps({"status": {"addresses": addresses}})
    world.cluster.kubectl("patch", "node", "kubelet1", "--subresource=status", "--type=merge", "-p", patch)
    eventually(lambda: world.condition("kubelet", "Accepted")["reason"] == "NodeAddressTaken")
    said = eventually(lambda: [event for event in world.events("kubelet") if event.startswith("NodeAddressTaken: ")])
    assert ["--node-ip" in event for event in said] == [True]
    peers = {peer["node"]: peer["addresses"] for peer in world.members("kubelet")["kubelet2"]["members"]}
    assert peers["kubelet1"] == ["192.0.2.101"]


def test_what_an_older_crd_let_through_is_refused_and_what_ran_goes_on(world: World) -> None:
    before = prepare(world, "older", count=2)
    crd = yaml.safe_load(CRD.read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    schema["properties"]["priority"]["maximum"] = 999
    world.apply(crd)
    try:
        eventually(lambda: _takes(world, "older", priority=300))
        refused = "spec.priority: 300 is not within 1..254"
        eventually(lambda: world.condition("older", "Accepted")["message"] == refused)
        assert world.condition("older", "Accepted")["reason"] == "InvalidSpec"
        assert revisions(world, "older") == before
        assert world.status("older")["summary"] == "older1=? older2=?"
    finally:
        world.delete("vip", "older")
        world.apply(yaml.safe_load(CRD.read_text()))


def test_nothing_is_written_to_what_users_own(world: World) -> None:
    prepare(world, "mine", count=1)
    eventually(lambda: world.condition("mine", "Accepted"))
    found = world.get("vip", "mine")
    assert found is not None
    assert "annotations" not in found["metadata"]
    assert "finalizers" not in found["metadata"]
    managers = {field["manager"] for field in found["metadata"]["managedFields"]}
    assert managers == {"kubectl", "virtualip-operator"}
