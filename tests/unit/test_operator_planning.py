"""Who takes part, and what is written for it."""

from ipaddress import IPv4Address
from typing import Any

import pytest

from virtualip_api.member import parse_member_spec
from virtualip_api.virtual_ip import parse_spec
from virtualip_operator.members import diff
from virtualip_operator.planning import Node, Plan, Rejection, make_plan, node_from_json

SPEC: dict[str, Any] = {"addresses": ["192.0.2.10/32"], "vrid": 51}


def virtual_ip(name: str = "web", generation: int = 1, **spec: object) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": "uid-1", "generation": generation}, "spec": SPEC | spec}


def nodes(*names: str, **labels: str) -> list[Node]:
    return [
        node_from_json(
            {
                "metadata": {"name": name, "labels": labels},
                "status": {"addresses": [{"type": "InternalIP", "address": f"192.0.2.{101 + number}"}]},
            }
        )
        for number, name in enumerate(names)
    ]


def plan_of(given: list[Node], draining: tuple[str, ...] = (), **spec: object) -> Plan:
    plan = make_plan("web", parse_spec(SPEC | spec), given, draining)
    assert isinstance(plan, Plan)
    return plan


def stored(resource: dict[str, Any], plan: Plan, now: float = 1.0) -> dict[str, dict[str, Any]]:
    """The Members as the API server would have them after the first plan."""
    return {body["metadata"]["name"]: body for body in diff(resource, plan, {}, now).create}


def test_without_a_selector_every_node_takes_part() -> None:
    assert [member.node for member in plan_of(nodes("a", "b", "c")).members] == ["a", "b", "c"]


def test_a_selector_chooses_by_the_nodes_labels() -> None:
    given = [*nodes("a", "b", edge="true"), *nodes("c")]
    plan = plan_of(given, nodeSelector={"matchLabels": {"edge": "true"}})
    assert [member.node for member in plan.members] == ["a", "b"]


def test_the_rank_is_by_name_among_those_of_equal_base_priority() -> None:
    plan = plan_of(nodes("c", "b", "a"), nodePriorities=[{"nodeName": "c", "priority": 240}])
    assert [(member.node, member.rank, member.base_priority) for member in plan.members] == [
        ("c", 0, 240),
        ("a", 0, 100),
        ("b", 1, 100),
    ]


def test_peers_are_all_members_with_their_internal_addresses_of_the_families_at_stake() -> None:
    node = node_from_json(
        {
            "metadata": {"name": "a"},
            "status": {
                "addresses": [
                    {"type": "Hostname", "address": "a"},
                    {"type": "ExternalIP", "address": "203.0.113.1"},
                    {"type": "InternalIP", "address": "192.0.2.1"},
                    {"type": "InternalIP", "address": "2001:db8::1"},
                ]
            },
        }
    )
    (peer,) = plan_of([node]).peers
    assert (peer.node, [str(address) for address in peer.addresses]) == ("a", ["192.0.2.1"])
    (peer,) = plan_of([node], addresses=["192.0.2.10/32", "2001:db8::10/64"]).peers
    assert [str(address) for address in peer.addresses] == ["192.0.2.1", "2001:db8::1"]


@pytest.mark.parametrize("field", [{"transport": "Unicast"}, {"strictPeers": True}])
def test_who_would_not_be_heard_for_want_of_an_address_is_told_of(field: dict[str, Any]) -> None:
    both = ["192.0.2.10/32", "2001:db8::10/64"]
    named = [{"nodeName": "a", "addresses": ["fe80::1"]}]
    plan = plan_of(nodes("a", "b"), addresses=both, nodeAddresses=named, **field)
    (said,) = plan.advice
    assert said.reason == "NodeAddressMissing"
    assert said.text.startswith(f"spec.{next(iter(field))} and spec.addresses: no address of IPv6 is known of b, ")
    assert plan_of(nodes("a", "b"), addresses=both).advice == ()


def test_what_nodeaddresses_says_of_a_node_counts_before_what_the_node_says() -> None:
    both = ["192.0.2.10/32", "2001:db8::10/64"]
    named = [{"nodeName": "a", "addresses": ["198.51.100.1"]}, {"nodeName": "b", "addresses": ["fe80::2"]}]
    peers = plan_of(nodes("a", "b", "c"), addresses=both, nodeAddresses=named).peers
    assert {peer.node: [str(address) for address in peer.addresses] for peer in peers} == {
        "a": ["198.51.100.1"],
        "b": ["fe80::2", "192.0.2.102"],
        "c": ["192.0.2.103"],
    }


def test_a_node_that_has_told_nothing_yet_takes_part_without_an_address() -> None:
    (peer,) = plan_of([node_from_json({"metadata": {"name": "a"}})]).peers
    assert peer.addresses == ()


def test_more_than_sixteen_members_are_refused_with_their_number() -> None:
    refusal = make_plan("web", parse_spec(SPEC), nodes(*(f"n{number}" for number in range(17))))
    assert refusal == Rejection(
        "TooManyMembers", "spec.nodeSelector: 17 nodes are selected; at most 16 can share a VirtualIP"
    )


def test_a_cluster_that_grows_beyond_sixteen_leaves_those_who_share_it_their_plan_and_names_who_takes_no_part() -> None:
    given = nodes(*(f"n{number:02}" for number in range(18)))
    taking_part = [f"n{number:02}" for number in range(2, 18)]
    plan = make_plan("web", parse_spec(SPEC), given, ("n02",), taking_part)
    assert isinstance(plan, Plan)
    assert [member.node for member in plan.members] == taking_part
    assert plan.members[0].draining
    (told,) = plan.advice
    assert told.reason == "TooManyMembers"
    assert told.text == (
        "spec.nodeSelector: 18 nodes are selected; at most 16 can share a VirtualIP: n00, n01 take no part"
    )


def test_a_place_that_is_free_among_sixteen_is_given_to_one_who_waits() -> None:
    given = nodes(*(f"n{number:02}" for number in range(18)))
    plan = make_plan("web", parse_spec(SPEC), given, taking_part=[f"n{number:02}" for number in range(3, 18)])
    assert isinstance(plan, Plan)
    assert len(plan.members) == 16
    assert "n00" in {member.node for member in plan.members}


def test_a_name_that_fits_no_member_is_refused() -> None:
    refusal = make_plan("v" * 63, parse_spec(SPEC), nodes("n" * 200))
    assert isinstance(refusal, Rejection)
    assert refusal.reason == "NameTooLong"


def test_draining_is_said_and_excludes_nobody() -> None:
    plan = plan_of(nodes("a", "b"), draining=("a",))
    assert [(member.node, member.draining) for member in plan.members] == [("a", True), ("b", False)]


def test_what_is_written_is_what_agents_read() -> None:
    resource = virtual_ip(priority=244, version=2, nodeSelector={})
    for body in stored(resource, plan_of(nodes("a", "b"), priority=244)).values():
        member = parse_member_spec(body["spec"])
        assert (member.virtual_ip, member.base_priority, member.spec.version) == ("web", 244, 2)
        assert [peer.node for peer in member.peers] == ["a", "b"]
        assert body["metadata"]["name"] == f"web.{member.node}"


def test_members_are_owned_so_that_the_garbage_collector_removes_them() -> None:
    (body,) = stored(virtual_ip(), plan_of(nodes("a"))).values()
    (owner,) = body["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("VirtualIP", "web", "uid-1")
    assert owner["blockOwnerDeletion"] is False


def test_nothing_is_written_where_nothing_changed() -> None:
    resource, plan = virtual_ip(), plan_of(nodes("a", "b"))
    existing = stored(resource, plan)
    changes = diff(resource, plan, existing, 2.0)
    assert (changes.create, changes.replace, changes.delete) == ((), (), ())


def test_one_nodes_priority_is_news_for_that_node_alone() -> None:
    resource = virtual_ip()
    lower = plan_of(nodes("a", "b", "c"), nodePriorities=[{"nodeName": "a", "priority": 50}])
    existing = stored(resource, lower)
    higher = plan_of(nodes("a", "b", "c"), nodePriorities=[{"nodeName": "a", "priority": 150}])
    (replaced,) = diff(resource, higher, existing, 2.0).replace
    assert (replaced["metadata"]["name"], replaced["spec"]["basePriority"]) == ("web.a", 150)


def test_a_new_generation_is_news_for_all_as_their_agents_report_it() -> None:
    plan = plan_of(nodes("a", "b"))
    existing = stored(virtual_ip(), plan)
    replaced = diff(virtual_ip(generation=2), plan, existing, 2.0).replace
    assert [body["spec"]["generation"] for body in replaced] == [2, 2]


@pytest.mark.parametrize(("clock", "revision"), [(2.0, 2000), (0.5, 1001)])
def test_a_revision_rises_also_where_the_clock_went_back(clock: float, revision: int) -> None:
    existing = stored(virtual_ip(), plan_of(nodes("a")), now=1.0)
    (replaced,) = diff(virtual_ip(generation=2), plan_of(nodes("a")), existing, clock).replace
    assert replaced["spec"]["revision"] == revision


def test_a_replacement_keeps_the_version_it_was_made_from() -> None:
    existing = stored(virtual_ip(), plan_of(nodes("a")))
    existing["web.a"]["metadata"] |= {"resourceVersion": "7", "labels": {"theirs": "kept"}}
    (replaced,) = diff(virtual_ip(), plan_of(nodes("a")), existing, 2.0).replace
    assert replaced["metadata"]["resourceVersion"] == "7"
    assert replaced["metadata"]["labels"].keys() == {"theirs", "virtualip.dev/node", "virtualip.dev/virtualip"}


def test_members_of_an_earlier_virtual_ip_of_that_name_are_taken_over() -> None:
    existing = stored(virtual_ip(), plan_of(nodes("a")))
    again = virtual_ip()
    again["metadata"]["uid"] = "uid-2"
    (replaced,) = diff(again, plan_of(nodes("a")), existing, 2.0).replace
    assert replaced["metadata"]["ownerReferences"][0]["uid"] == "uid-2"


def test_a_node_that_takes_no_part_any_more_leaves() -> None:
    existing = stored(virtual_ip(), plan_of(nodes("a", "b")))
    changes = diff(virtual_ip(), plan_of(nodes("a")), existing, 2.0)
    assert [body["metadata"]["name"] for body in changes.delete] == ["web.b"]
    assert [body["metadata"]["name"] for body in changes.replace] == ["web.a"]  # its peers are others now


# A kubelet without --node-ip


def test_a_vip_that_a_kubelet_takes_for_its_nodes_address_is_no_peer_and_warned_of() -> None:
    given = [Node("a", {}, (IPv4Address("192.0.2.10"), IPv4Address("192.0.2.101"))), *nodes("b")]
    plan = plan_of(given)
    assert [str(address) for peer in plan.peers for address in peer.addresses] == ["192.0.2.101", "192.0.2.101"]
    (said,) = plan.advice
    assert said.reason == "NodeAddressTaken"
    assert said.text.startswith("Node a has 192.0.2.10 among its InternalIPs")
    assert "--node-ip" in said.text


def test_an_address_owner_has_the_address_by_right() -> None:
    given = [Node("a", {}, (IPv4Address("192.0.2.10"),)), *nodes("b")]
    assert plan_of(given, nodePriorities=[{"nodeName": "a", "priority": 255}]).advice == ()


def test_a_plan_has_the_advice_for_those_who_take_part() -> None:
    httpd = {"name": "httpd", "process": {"name": "httpd"}, "weight": 4}
    entries = [{"nodeName": "a", "priority": 244}, {"nodeName": "elsewhere", "priority": 250}]
    assert [piece.reason for piece in plan_of(nodes("a"), trackers=[httpd], nodePriorities=entries).advice] == []
    plan = plan_of(nodes("a", "b"), trackers=[httpd], nodePriorities=entries)
    assert [piece.reason for piece in plan.advice] == ["WeightTooSmall"]
