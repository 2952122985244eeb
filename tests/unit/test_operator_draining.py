"""Which members drain: cordoned, labelled where asked for, or for the time of a planned move all but its target."""

from typing import Any

import pytest

from virtualip_api.virtual_ip import parse_spec
from virtualip_operator.draining import EXCLUDE_LABEL, Diversion, divert, emptied
from virtualip_operator.members import diff
from virtualip_operator.planning import Node, Plan, make_plan, node_from_json

SPEC: dict[str, Any] = {
    "addresses": ["192.0.2.10/32"],
    "vrid": 51,
    "nodePriorities": [{"nodeName": "b", "priority": 150}, {"nodeName": "a", "priority": 200}],
}
NOON = 1_764_158_400.0
"""2025-11-26T12:00:00Z"""
MOVE = {"virtualip.dev/move-to": "c", "virtualip.dev/move-until": "2025-11-26T13:00:00+01:00"}


def node(name: str, *, cordoned: bool = False, label: str = "", value: str = "") -> Node:
    labels = {label: value} if label else {}
    return node_from_json({"metadata": {"name": name, "labels": labels}, "spec": {"unschedulable": cordoned}})


def plan(*cordoned: str, nodes: str = "abc", **spec: object) -> Plan:
    parsed = parse_spec(SPEC | spec)
    given = [node(name, cordoned=name in cordoned) for name in nodes]
    made = make_plan("web", parsed, given, emptied(given, parsed.drain))
    assert isinstance(made, Plan)
    return made


def draining(made: Plan) -> set[str]:
    return {member.node for member in made.members if member.draining}


def diverted(made: Plan, **changes: str) -> Diversion:
    annotations = MOVE | {f"virtualip.dev/{key.replace('_', '-')}": value for key, value in changes.items()}
    return divert(made, {key: value for key, value in annotations.items() if value != "-"}, NOON - 3600)


def test_a_cordoned_node_drains_unless_the_spec_says_otherwise() -> None:
    assert draining(plan("a")) == {"a"}
    assert draining(plan("a", drain={})) == {"a"}
    assert draining(plan("a", drain={"onCordon": False})) == set()


def test_everybody_may_be_cordoned_and_all_take_part_all_the_same() -> None:
    made = plan("a", "b", "c")
    assert [member.node for member in made.members] == ["a", "b", "c"]
    assert draining(made) == {"a", "b", "c"}


@pytest.mark.parametrize("value", ["", "true", "false"])
def test_the_label_counts_only_where_asked_for_and_whatever_its_value(value: str) -> None:
    labelled = [node("a", label=EXCLUDE_LABEL, value=value)]
    assert emptied(labelled, parse_spec(SPEC).drain) == set()
    assert emptied(labelled, parse_spec(SPEC | {"drain": {"onExcludeLabel": True}}).drain) == {"a"}


def test_a_move_drains_all_but_its_target_until_its_end() -> None:
    found = diverted(plan())
    assert draining(found.plan) == {"a", "b"}
    assert found.remark == "moved to c until 2025-11-26T12:00:00Z"
    assert found.ends_in == 3600
    assert not found.warning


def test_a_move_whose_time_is_over_is_none_and_needs_no_tidying_up() -> None:
    assert divert(plan(), MOVE, NOON) == Diversion(plan())
    assert divert(plan(), {}, NOON) == Diversion(plan())


@pytest.mark.parametrize(("changes", "complaint"), [
    ({"move_until": "-"}, "metadata.annotations[virtualip.dev/move-until]: is missing: a move says when it ends"),
    ({"move_to": "-"}, "metadata.annotations[virtualip.dev/move-to]: is missing"),
    ({"move_until": "5pm"}, "'5pm' is not a time such as"),
    ({"move_until": "2025-11-26T13:00:00"}, "is not a time such as 2026-11-26T06:00:00Z"),
    ({"move_until": "9999-12-31T23:59:59-05:00"}, "is not a time such as 2026-11-26T06:00:00Z"),
    ({"move_to": "d"}, "metadata.annotations[virtualip.dev/move-to]: d takes no part"),
])  # fmt: skip
def test_a_move_that_is_not_clear_is_not_made_and_said(changes: dict[str, str], complaint: str) -> None:
    found = diverted(plan(), **changes)
    assert complaint in found.warning
    assert found.plan == plan()


def test_the_target_is_cordoned_in_the_middle_and_the_move_waits() -> None:
    """Else `kubectl drain` of it would move nothing."""
    found = diverted(plan("c"))
    assert draining(found.plan) == {"c"}
    assert "c drains itself" in found.warning
    assert found.ends_in == 3600


def test_who_drains_is_told() -> None:
    assert Diversion(plan("c", "a")).said == "draining: a, c"
    assert Diversion(plan()).said == ""
    assert Diversion(plan("c")).drained == {"c": "c is draining"}
    assert diverted(plan()).drained == {"a": "planned move", "b": "planned move"}


def written(before: Plan, after: Plan, master: str) -> list[str]:
    resource = {"metadata": {"name": "web", "uid": "1"}, "spec": SPEC, "status": {"master": master}}
    existing = {body["metadata"]["name"]: body for body in diff(resource, before, {}, 1.0).create}
    return [body["spec"]["node"] for body in diff(resource, after, existing, 2.0).replace]


@pytest.mark.parametrize(("master", "order"), [("a", ["b", "a"]), ("b", ["a", "b"])])
def test_the_master_is_told_last_that_it_drains_so_that_nobody_else_who_does_takes_over(
    master: str, order: list[str]
) -> None:
    assert written(plan(), diverted(plan()).plan, master) == order


def test_at_the_end_of_a_move_the_best_is_told_first() -> None:
    assert written(diverted(plan()).plan, plan(), "c") == ["a", "b"]


def test_what_makes_a_node_drain_is_resolved_by_the_operator_and_asked_of_no_agent() -> None:
    """An agent that does not know the field follows the plan all the same."""
    resource = {"metadata": {"name": "web", "uid": "1"}, "spec": SPEC | {"drain": {"onCordon": True}}}
    assert all("drain" not in body["spec"]["spec"] for body in diff(resource, plan(), {}, 1.0).create)
