"""A new member speaks only after the others know it."""

from typing import Any

import pytest

from virtualip_api.status import NodeEntry, State
from virtualip_api.virtual_ip import parse_spec
from virtualip_operator.introduction import departing, introduce
from virtualip_operator.members import diff
from virtualip_operator.planning import Node, Plan, make_plan, node_from_json


class Cluster:
    """Members as they are stored, and what the agents say they run."""

    def __init__(self, **spec: Any) -> None:
        self.json = {"addresses": ["192.0.2.10/32"], "vrid": 51, "transport": "Unicast"} | spec
        self.addresses: dict[str, str] = {}
        self.members: dict[str, Any] = {}
        self.entries: dict[str, NodeEntry] = {}
        self.clock = 1.0

    def has(self, **addresses: str) -> None:
        self.addresses = addresses

    def nodes(self) -> list[Node]:
        return [
            node_from_json(
                {"metadata": {"name": name}, "status": {"addresses": [{"type": "InternalIP", "address": address}]}}
            )
            for name, address in self.addresses.items()
        ]

    def turn(self) -> dict[str, tuple[str, ...]]:
        """One turn of the operator; for each node whom it waits for."""
        spec = parse_spec(self.json)
        plan = make_plan("web", spec, self.nodes())
        assert isinstance(plan, Plan)
        plan = introduce("web", spec, plan, self.members, self.entries)
        virtual_ip: dict[str, Any] = {"metadata": {"name": "web", "uid": "1"}, "spec": self.json}
        self.clock += 1
        changes = diff(virtual_ip, plan, self.members, self.clock)
        for body in (*changes.create, *changes.replace):
            self.members[body["metadata"]["name"]] = body
        for gone in changes.delete:
            del self.members[gone["metadata"]["name"]]
        return {member.node: member.unknown_to for member in plan.members}

    def take(self, *names: str, source: str = "") -> None:
        """These agents run the newest plan (and advertise from an address)."""
        for name in names:
            revision = self.members[f"web.{name}"]["spec"]["revision"]
            sources = (source,) if source else ()
            self.entries[name] = NodeEntry(name, State.BACKUP, 100, observed_revision=revision, sources=sources)

    def knows(self, member: str, node: str) -> list[str]:
        """By which addresses the plan of a member names a node."""
        peers = self.members[f"web.{member}"]["spec"]["members"]
        return next(list(peer["addresses"]) for peer in peers if peer["node"] == node)


@pytest.fixture
def cluster() -> Cluster:
    """Two members that know each other."""
    cluster = Cluster()
    cluster.has(a="192.0.2.1", b="192.0.2.2")
    cluster.turn()
    cluster.take("a", "b")
    return cluster


def test_those_who_are_planned_together_know_each_other_from_the_start() -> None:
    cluster = Cluster()
    cluster.has(a="192.0.2.1", b="192.0.2.2")
    assert cluster.turn() == {"a": (), "b": ()}
    assert cluster.turn() == {"a": (), "b": ()}


def test_a_new_one_waits_for_each_of_the_others_to_take_the_plan_that_names_it(cluster: Cluster) -> None:
    cluster.has(a="192.0.2.1", b="192.0.2.2", c="192.0.2.3")
    assert cluster.turn() == {"a": (), "b": (), "c": ("a", "b")}
    assert cluster.members["web.c"]["spec"]["unknownTo"] == ["a", "b"]
    assert cluster.turn()["c"] == ("a", "b")
    cluster.take("a")
    assert cluster.turn()["c"] == ("b",)
    cluster.take("b")
    assert cluster.turn()["c"] == ()
    assert "unknownTo" not in cluster.members["web.c"]["spec"]


def test_who_has_been_introduced_never_waits_again(cluster: Cluster) -> None:
    """Not for an agent that restarts, nor for one that forgets what it has taken."""
    cluster.has(a="192.0.2.1", b="192.0.2.2", c="192.0.2.3")
    cluster.turn()
    cluster.take("a", "b")
    cluster.turn()
    cluster.entries.clear()
    assert set(cluster.turn().values()) == {()}


def test_one_that_comes_by_another_address_is_new(cluster: Cluster) -> None:
    cluster.has(a="192.0.2.1", b="192.0.2.22")
    assert cluster.turn() == {"a": (), "b": ("a",)}
    assert (cluster.knows("a", "b"), cluster.knows("b", "b")) == (["192.0.2.22"], [])
    cluster.take("a")
    assert cluster.turn()["b"] == ()
    assert cluster.knows("b", "b") == ["192.0.2.22"]


def test_the_address_that_is_advertised_from_stays_whatever_the_node_says(cluster: Cluster) -> None:
    """What stands in the API moves nothing; and the node changes over when it has the new one, known to all."""
    cluster.take("b", source="192.0.2.2")
    cluster.has(a="192.0.2.1", b="192.0.2.22")
    assert cluster.turn() == {"a": (), "b": ()}
    assert (cluster.knows("a", "b"), cluster.knows("b", "b")) == (["192.0.2.22", "192.0.2.2"], ["192.0.2.2"])
    cluster.take("a")
    cluster.turn()
    assert cluster.knows("b", "b") == ["192.0.2.22", "192.0.2.2"]
    cluster.take("b", source="192.0.2.22")
    cluster.turn()
    assert cluster.knows("a", "b") == cluster.knows("b", "b") == ["192.0.2.22"]


def test_two_new_ones_do_not_wait_for_each_other(cluster: Cluster) -> None:
    """Each is in the other's first plan."""
    cluster.has(a="192.0.2.1", b="192.0.2.2", c="192.0.2.3", d="192.0.2.4")
    assert cluster.turn() == {"a": (), "b": (), "c": ("a", "b"), "d": ("a", "b")}
    cluster.take("a", "b")
    assert set(cluster.turn().values()) == {()}


def test_one_that_is_gone_for_good_is_waited_for_until_its_node_is_deleted(cluster: Cluster) -> None:
    cluster.has(a="192.0.2.1", b="192.0.2.2", c="192.0.2.3")
    cluster.turn()
    cluster.take("a")
    assert cluster.turn()["c"] == ("b",)
    cluster.has(a="192.0.2.1", c="192.0.2.3")
    cluster.turn()
    cluster.take("a")
    assert cluster.turn()["c"] == ()


def test_by_multicast_nobody_waits_but_with_strict_peers() -> None:
    for strict, waits in ((False, ()), (True, ("a",))):
        cluster = Cluster(transport="Multicast", strictPeers=strict)
        cluster.has(a="192.0.2.1")
        cluster.turn()
        cluster.has(a="192.0.2.1", b="192.0.2.2")
        assert cluster.turn()["b"] == waits


def test_a_master_that_leaves_is_heard_until_it_has_let_go_and_one_that_never_took_part_is_not(
    cluster: Cluster,
) -> None:
    """Any node's agent may write an entry of its own: who claims the addresses by that alone is no peer."""
    cluster.has(a="192.0.2.1", b="192.0.2.2", c="192.0.2.66")
    cluster.members = {name: member for name, member in cluster.members.items() if name != "web.b"}
    nodes = cluster.nodes()
    plan = make_plan("web", parse_spec(cluster.json), nodes[:1])
    assert isinstance(plan, Plan)
    for node in ("b", "c"):
        cluster.entries[node] = NodeEntry(node, State.MASTER, 255)
    silent: set[str] = set()

    def heard() -> list[str]:
        spec = parse_spec(cluster.json)
        found = departing(spec, plan, cluster.members, cluster.entries, nodes, silent.__contains__)
        return [peer.node for peer in found]

    assert heard() == ["b"]
    silent.add("b")
    assert heard() == []
