"""What operator, reporter and control pass on to one another: plans, desired files, static manifests, names, status."""

import json
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from virtualip_agent.desired_file import DesiredVirtualIP, decode, encode, write_atomically
from virtualip_api.errors import InvalidResource
from virtualip_api.member import Peer, member_spec, parse_member_spec
from virtualip_api.names import label_value, member_name
from virtualip_api.status import (
    NodeEntry,
    State,
    TrackerStatus,
    entry_from_json,
    entry_to_json,
    format_time,
    parse_time,
)
from virtualip_api.virtual_ip import parse_spec, parse_virtual_ip

SPEC: dict[str, Any] = {
    "addresses": ["192.168.122.200/24"],
    "vrid": 51,
    "priority": 244,
    "nodePriorities": [{"nodeName": "server2", "priority": 240}],
    "nodeSelector": {"matchLabels": {"edge": "true"}},
    "trackers": [{"name": "apache", "process": {"name": "httpd"}, "weight": 10}],
}


def plan(**changes: Any) -> dict[str, Any]:
    peers = (Peer("server1"), Peer("server2"))
    made = member_spec(
        virtual_ip="web",
        node="server1",
        generation=3,
        base_priority=244,
        rank=0,
        draining=False,
        peers=peers,
        spec=SPEC,
    )
    return made | {"revision": 7} | changes


def errors_of(value: object) -> list[str]:
    with pytest.raises(InvalidResource) as invalid:
        parse_member_spec(value)
    return [str(error) for error in invalid.value.errors]


def test_a_plan_is_read_as_it_was_made_and_what_chose_the_nodes_is_left_out() -> None:
    member = parse_member_spec(plan())
    assert (member.virtual_ip, member.node, member.revision, member.generation) == ("web", "server1", 7, 3)
    assert (member.base_priority, member.rank, member.draining) == (244, 0, False)
    assert member.peers == (Peer("server1"), Peer("server2"))
    expected = {key: value for key, value in SPEC.items() if key in ("addresses", "vrid", "trackers")}
    assert member.spec == parse_spec(expected)


@pytest.mark.parametrize(("changes", "message"), [
    ({"rank": 16}, "spec.rank: 16 is not within 0..15"),
    ({"basePriority": 0}, "spec.basePriority: 0 is not within 1..255"),
    ({"revision": None}, "spec.revision: is required"),
    ({"spec": None}, "spec.spec: is required"),
    ({"spec": {"addresses": ["192.0.2.1/32"], "vrid": 300}}, "spec.spec.vrid: 300 is not within 1..255"),
    ({"spec": SPEC | {"fromTheFuture": {"repeat": 5}}}, "spec.spec.fromTheFuture: unknown field"),
    ({"spec": SPEC | {"trackers": [{"name": "x", "bfd": {"peer": "x"}}]}},
     "spec.spec.trackers[0].bfd: unknown field"),
    ({"members": [{"node": "a", "addresses": ["nowhere"]}]},
     "spec.members[0].addresses[0]: 'nowhere' is not an IP address"),
    ({"members": [{"node": "a", "zone": "b"}]}, "spec.members[0].zone: unknown field"),
    ({"priorityClass": 1}, "spec.priorityClass: unknown field"),
])  # fmt: skip
def test_what_a_newer_operator_says_is_named_so_that_the_last_good_plan_can_stay(
    changes: dict[str, Any], message: str
) -> None:
    assert message in errors_of(plan(**changes))


def test_a_members_addresses_are_of_either_family() -> None:
    member = parse_member_spec(plan(members=[{"node": "a", "addresses": ["192.0.2.1", "2001:db8::1"]}]))
    assert [str(address) for address in member.peers[0].addresses] == ["192.0.2.1", "2001:db8::1"]


def test_an_agent_of_the_version_before_is_not_told_of_what_nobody_asked_for() -> None:
    """The API server fills defaults into every VirtualIP, those of new fields too."""
    filled = SPEC | {"preemptDamping": True, "garp": {"repeat": 5, "interval": "10ms"}, "checksum": "PseudoHeader"}
    told = member_spec(
        virtual_ip="web", node="a", generation=1, base_priority=100, rank=0, draining=False, peers=(), spec=filled
    )["spec"]
    assert isinstance(told, dict)
    assert told["garp"] == {"interval": "10ms"}
    assert "preemptDamping" not in told
    assert "checksum" not in told


# ---- desired files


def test_a_desired_file_comes_back_as_it_was_written() -> None:
    content = encode("web", plan(), b"12345\xff")
    desired = decode(content)
    assert desired == DesiredVirtualIP("web", parse_member_spec(plan()), b"12345\xff")
    assert decode(encode("web", plan(), None)).password is None


@pytest.mark.parametrize("content", [
    b"", b"{", b"[]", b"null", b"7", b"{}", b"\xff\xfe",
    json.dumps({"format": 1, "name": "web"}).encode(),
    json.dumps({"format": 2, "name": "web", "member": plan()}).encode(),
    json.dumps({"format": 1, "name": "web", "member": plan(), "password": "zz"}).encode(),
    json.dumps({"format": 1, "name": "web", "member": plan(rank=99)}).encode(),
])  # fmt: skip
def test_a_desired_file_that_is_damaged_is_an_invalid_resource_and_nothing_else(content: bytes) -> None:
    with pytest.raises(InvalidResource):
        decode(content)


@given(st.binary(max_size=60))
def test_whatever_is_in_it(content: bytes) -> None:
    with pytest.raises(InvalidResource):
        decode(content)


def test_a_file_is_replaced_as_a_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "web.json"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o007 == 0  # a password may be in it


# ---- static manifests


def test_a_static_manifest_is_a_virtual_ip_as_one_would_apply_it() -> None:
    text = """
    apiVersion: virtualip.dev/v1alpha1
    kind: VirtualIP
    metadata: {name: api}
    spec:
      addresses: [192.0.2.10/32]
      vrid: 10
      version: 2
      authentication: {type: PASS, passwordFile: /etc/virtualip/password}
      nodePriorities: [{nodeName: cp1, priority: 255}]
    ---
    apiVersion: virtualip.dev/v1alpha1
    kind: VirtualIP
    metadata: {name: ingress}
    spec: {addresses: [192.0.2.11/32], vrid: 11, advertInterval: 100ms}
    """
    api, ingress = (parse_virtual_ip(document) for document in yaml.safe_load_all(dedent(text)))
    assert (api.name, ingress.name) == ("api", "ingress")
    assert api.spec.authentication is not None
    assert api.spec.authentication.password_file == "/etc/virtualip/password"


def test_yamls_surprises_are_refused_with_their_field() -> None:
    text = "addresses: [192.0.2.10/32]\nvrid: 10\npreempt: 'no'\npriority: 1_0.5\ninterface: 1:2"
    with pytest.raises(InvalidResource) as invalid:
        parse_spec(yaml.safe_load(text))
    assert [error.path for error in invalid.value.errors] == ["spec.interface", "spec.priority", "spec.preempt"]


# ---- names and status


def test_a_members_name_cannot_be_confused() -> None:
    assert member_name("web", "server1.example.com") == "web.server1.example.com"


def test_long_names_make_distinct_labels_of_at_most_63_characters() -> None:
    assert label_value("server1") == "server1"
    long = [f"{'node-' * 20}{index}.example.com" for index in range(50)]
    labels = {label_value(name) for name in long}
    assert len(labels) == 50
    assert all(len(label) <= 63 for label in labels)


def test_an_entry_comes_back_as_it_was_written_and_empty_fields_are_left_out() -> None:
    entry = NodeEntry(
        node="server1",
        state=State.MASTER,
        priority=254,
        observed_generation=3,
        last_transition_time=format_time(1.5),
        reason="HigherPriority",
        message="244 + apache 10",
        interface="eth0",
        takeover="12ms",
        trackers=(TrackerStatus("apache", True, 10, "2 processes", format_time(1.0)),),
    )
    assert entry_from_json(json.loads(json.dumps(entry_to_json(entry)))) == entry
    assert entry_to_json(NodeEntry("a", State.BACKUP, 1)) == {
        "node": "a", "observedGeneration": 0, "state": "BACKUP", "priority": 1,
    }  # fmt: skip


@given(st.floats(0, 4e9))
def test_times_come_back_to_the_microsecond(seconds: float) -> None:
    assert abs(parse_time(format_time(seconds)) - seconds) < 2e-6


def test_what_is_no_time_is_long_ago() -> None:
    assert parse_time("") == parse_time("yesterday") == 0.0
