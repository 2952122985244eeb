"""A resource that is wrong is refused with the path of every field that is, and a sentence that helps."""

import copy
from ipaddress import IPv4Interface
from typing import Any

import pytest

from virtualip_api.duration import MILLISECOND, SECOND
from virtualip_api.errors import InvalidResource
from virtualip_api.selector import LabelSelector
from virtualip_api.trackers import FileTracker, ProcessTracker
from virtualip_api.virtual_ip import (
    Authentication,
    NodePriority,
    VirtualIPSpec,
    base_priority,
    parse_spec,
    parse_virtual_ip,
)

S1: dict[str, Any] = {
    "apiVersion": "virtualip.dev/v1alpha1",
    "kind": "VirtualIP",
    "metadata": {"name": "web", "generation": 3},
    "spec": {
        "addresses": ["192.168.122.200/24"],
        "vrid": 51,
        "version": 2,
        "interface": "eth0",
        "priority": 244,
        "nodePriorities": [{"nodeName": "server2", "priority": 240}],
        "advertInterval": "1s",
        "authentication": {"type": "PASS", "secretKeyRef": {"name": "web-vrrp", "key": "password"}},
        "trackers": [
            {"name": "apache", "process": {"name": "httpd"}, "weight": 10},
            {"name": "app", "file": {"path": "/var/run/my_app/vrrp_track_file"}},
        ],
    },
}
ABSENT = object()


def changed(path: str, value: object) -> dict[str, Any]:
    """S1's spec with one field changed; `trackers.1.weight` is the weight of the second."""
    spec: Any = copy.deepcopy(S1["spec"])
    *way, last = path.split(".")
    place = spec
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
    if value is ABSENT:
        del place[last]
    elif isinstance(place, list):
        place[int(last)] = value
    else:
        place[last] = value
    return spec  # type: ignore[no-any-return]


def errors_of(spec: object) -> list[str]:
    try:
        parse_spec(spec)
    except InvalidResource as invalid:
        return [str(error) for error in invalid.errors]
    return []


def test_the_scenarios_spec_is_what_it_says() -> None:
    web = parse_virtual_ip(S1)
    assert (web.name, web.generation) == ("web", 3)
    spec = web.spec
    assert spec.addresses == (IPv4Interface("192.168.122.200/24"),)
    assert (spec.vrid, spec.version, spec.interface, spec.priority) == (51, 2, "eth0", 244)
    assert spec.advert_interval == SECOND
    assert (spec.preempt, spec.fast_preempt) == (True, True)
    assert spec.node_priorities == (NodePriority(240, node_name="server2"),)
    assert spec.authentication == Authentication(secret_name="web-vrrp", secret_key="password")
    assert [(tracker.name, tracker.check, tracker.weight) for tracker in spec.trackers] == [
        ("apache", ProcessTracker(name="httpd"), 10),
        ("app", FileTracker(path="/var/run/my_app/vrrp_track_file"), 1),
    ]


def test_what_is_left_out_has_keepaliveds_defaults_but_for_the_version() -> None:
    assert parse_spec({"addresses": ["192.0.2.10/32"], "vrid": 7}) == VirtualIPSpec(
        addresses=(IPv4Interface("192.0.2.10/32"),), vrid=7, version=3, priority=100, advert_interval=SECOND
    )


@pytest.mark.parametrize(("path", "value", "message"), [
    ("vrid", ABSENT, "spec.vrid: is required"),
    ("vrid", 0, "spec.vrid: 0 is not within 1..255"),
    ("vrid", 256, "spec.vrid: 256 is not within 1..255"),
    ("vrid", "51", "spec.vrid: '51' is not a whole number"),
    ("vrid", True, "spec.vrid: True is not a whole number"),
    ("vrid", 51.0, "spec.vrid: 51.0 is not a whole number"),
    ("priority", 255, "spec.priority: 255 is not within 1..254"),
    ("priority", 0, "spec.priority: 0 is not within 1..254"),
    ("preempt", "yes", "spec.preempt: 'yes' is not true or false"),
    ("fastPreempt", 1, "spec.fastPreempt: 1 is not true or false"),
    ("preemptDamping", "no", "spec.preemptDamping: 'no' is not true or false"),
    ("preemptDelay", "1001s", "spec.preemptDelay: 1001s is not within 0ms..16m40s"),
    ("startupDelay", "soon", "spec.startupDelay: 'soon' is not a duration such as 1s or 100ms"),
    ("downTimerAdverts", 0, "spec.downTimerAdverts: 0 is not within 1..100"),
    ("advertInterval", "100ms", "spec.advertInterval: 100ms is not within 1s..4m15s"),
    ("advertInterval", "1500ms",
     "spec.advertInterval: with version 2 it is in whole seconds (RFC 3768, section 5.3.7)"),
    ("advertInterval", "soon", "spec.advertInterval: 'soon' is not a duration such as 1s or 100ms"),
    ("advertInterval", 1, "spec.advertInterval: 1 is not a duration such as 1s or 100ms"),
    ("addresses", ABSENT, "spec.addresses: is required"),
    ("addresses", [], "spec.addresses: is empty"),
    ("addresses", "192.0.2.1/32", "spec.addresses: '192.0.2.1/32' is not a list"),
    ("addresses", ["192.0.2.1/33"],
     "spec.addresses[0]: '192.0.2.1/33' is not an address with a prefix length, such as 192.0.2.10/32"),
    ("addresses", ["192.0.2.1"],
     "spec.addresses[0]: '192.0.2.1' is not an address with a prefix length, such as 192.0.2.10/32"),
    ("addresses", ["255.255.255.255/32"], "spec.addresses[0]: '255.255.255.255/32' is not a unicast address"),
    ("addresses", ["224.0.0.18/32"], "spec.addresses[0]: '224.0.0.18/32' is not a unicast address"),
    ("addresses", ["0.0.0.0/32"], "spec.addresses[0]: '0.0.0.0/32' is not a unicast address"),
    ("addresses", ["127.0.0.1/8"], "spec.addresses[0]: '127.0.0.1/8' is not a unicast address"),
    ("addresses", ["2001:db8::1/128"],
     "spec.addresses: IPv6 needs version: 3 (version 2 is IPv4 alone, RFC 3768, section 1)"),
    ("addresses", ["192.0.2.1/32", "192.0.2.1/24"], "spec.addresses[1]: 192.0.2.1 is there twice"),
    ("addresses", ["192.0.2.0/24"], "spec.addresses[0]: '192.0.2.0/24' is the network's own or its broadcast address"),
    ("addresses", ["192.0.2.255/24"],
     "spec.addresses[0]: '192.0.2.255/24' is the network's own or its broadcast address"),
    ("interface", "a name that is too long", "spec.interface: 'a name that is too long' is not an interface's name"),
    ("interface", "../eth0", "spec.interface: '../eth0' is not an interface's name"),
    ("interface", "", "spec.interface: is empty"),
    ("nodeSelector", "edge", "spec.nodeSelector: 'edge' is not a mapping"),
    ("nodeSelector", {"matchLabels": {"edge": True}},
     "spec.nodeSelector.matchLabels: {'edge': True} is not a mapping of strings"),
    ("nodeSelector", {"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]},
     "spec.nodeSelector.matchExpressions[0].operator: 'Gt' is not one of In, NotIn, Exists, DoesNotExist"),
    ("nodeSelector", {"matchExpressions": [{"key": "a", "operator": "In"}]},
     "spec.nodeSelector.matchExpressions[0].values: is required with In"),
    ("nodeSelector", {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]},
     "spec.nodeSelector.matchExpressions[0].values: must be absent with Exists"),
    ("nodePriorities.0.priority", 256, "spec.nodePriorities[0].priority: 256 is not within 1..255"),
    ("nodePriorities.0.nodeName", ABSENT, "spec.nodePriorities[0]: needs exactly one of nodeName and nodeSelector"),
    ("nodePriorities.0.nodeSelector", {}, "spec.nodePriorities[0]: needs exactly one of nodeName and nodeSelector"),
    ("nodePriorities", [{"nodeSelector": {}, "priority": 255}],
     "spec.nodePriorities[0].priority: 255 (address owner) needs nodeName: only one node can own an address"),
    ("nodePriorities", [{"nodeName": "a", "priority": 255}, {"nodeName": "b", "priority": 255}],
     "spec.nodePriorities[1].priority: 255 (address owner) is given to two nodes"),
    ("authentication.type", "AH", "spec.authentication.type: 'AH' is not one of PASS"),
    ("authentication.secretKeyRef", ABSENT, "spec.authentication: needs exactly one of secretKeyRef and passwordFile"),
    ("authentication.passwordFile", "/etc/p",
     "spec.authentication: needs exactly one of secretKeyRef and passwordFile"),
    ("authentication.secretKeyRef.key", ABSENT, "spec.authentication.secretKeyRef.key: is required"),
    ("trackers.1.weight", 300, "spec.trackers[1].weight: 300 is not within -254..254"),
    ("trackers.1.weight", "5", "spec.trackers[1].weight: '5' is not a whole number"),
    ("trackers.1.name", "apache", "spec.trackers[1].name: 'apache' is there twice"),
    ("trackers.1.name", ABSENT, "spec.trackers[1].name: is required"),
    ("trackers.1.reverse", "no", "spec.trackers[1].reverse: 'no' is not true or false"),
    ("trackers.1.file", ABSENT,
     "spec.trackers[1]: has none of process, file, interface, http, tcp, script, podReady; exactly one is needed"),
    ("trackers.1.process", {"name": "x"},
     "spec.trackers[1]: has process and file of process, file, interface, http, tcp, script, podReady; "
     "exactly one is needed"),
    ("trackers.1.file.path", "relative", "spec.trackers[1].file.path: 'relative' is not an absolute path without '..'"),
    ("trackers.1.file.path", "/var/../etc",
     "spec.trackers[1].file.path: '/var/../etc' is not an absolute path without '..'"),
    ("trackers.1.file.onMissing", "Ignore", "spec.trackers[1].file.onMissing: 'Ignore' is not one of Zero, Fail"),
    ("trackers.0.process.quorum", 0, "spec.trackers[0].process.quorum: 0 is not within 1..65535"),
    ("trackers.0.process.quorum", 1, ""),
    ("trackers.0.process.delay", "2h", "spec.trackers[0].process.delay: 2h is not within 0ms..60m"),
    ("trackers.0.process.argumentsMatch", "Initial", "spec.trackers[0].process.argumentsMatch: needs arguments"),
    ("trackers.0.process.arguments", ["-D", 8],  "spec.trackers[0].process.arguments[1]: 8 is not a string"),
    ("trackers.0.process.pid", 1, "spec.trackers[0].process.pid: unknown field"),
    ("trackers.0.wieght", 1, "spec.trackers[0].wieght: unknown field"),
    ("nodePriorities.0.node", "x", "spec.nodePriorities[0].node: unknown field"),
    ("vrId", 51, "spec.vrId: unknown field"),
])  # fmt: skip
def test_a_bad_field_is_named_with_what_is_wrong_with_it(path: str, value: object, message: str) -> None:
    assert errors_of(changed(path, value)) == ([message] if message else [])


def test_a_wrong_version_does_not_hide_the_rest() -> None:
    assert errors_of(changed("version", 4) | {"vrid": 0})[:1] == ["spec.version: 4 is not within 2..3"]
    assert "spec.vrid: 0 is not within 1..255" in errors_of(changed("version", 4) | {"vrid": 0})


def test_version_3_has_no_authentication_and_other_intervals() -> None:
    assert errors_of(changed("version", 3)) == [
        "spec.authentication: needs version: 2 (VRRPv3 has no authentication, RFC 9568, section 9)"
    ]
    base = {"addresses": ["192.0.2.10/32"], "vrid": 7}
    assert parse_spec(base | {"advertInterval": "10ms"}).advert_interval == 10 * MILLISECOND
    assert parse_spec(base | {"advertInterval": "40.95s"}).advert_interval == 40_950 * MILLISECOND
    for interval, problem in {
        "15ms": "with version 3 it is in steps of 10ms (RFC 9568, section 5.2.7)",
        "9ms": "9ms is not within 10ms..40.95s",
        "41s": "41s is not within 10ms..40.95s",
    }.items():
        assert errors_of(base | {"advertInterval": interval}) == [f"spec.advertInterval: {problem}"]


def test_all_errors_are_told_at_once() -> None:
    spec = changed("vrid", 300) | {"priority": 0, "colour": "red"}
    assert [error.split(":")[0] for error in errors_of(spec)] == ["spec.vrid", "spec.priority", "spec.colour"]


@pytest.mark.parametrize(("resource", "message"), [
    ({}, "apiVersion: is required"),
    (S1 | {"kind": "Service"}, "kind: is not VirtualIP"),
    (S1 | {"apiVersion": "v1"}, "apiVersion: is not virtualip.dev/v1alpha1"),
    (S1 | {"metadata": {"name": "Web"}},
     "metadata.name: 'Web' is not a lower-case DNS label (a-z, 0-9, '-', at most 63 characters)"),
    (S1 | {"metadata": {"name": "web.edge"}},
     "metadata.name: 'web.edge' is not a lower-case DNS label (a-z, 0-9, '-', at most 63 characters)"),
    (S1 | {"metadata": {}}, "metadata.name: is required"),
    ({key: value for key, value in S1.items() if key != "spec"}, "spec: is required"),
    (S1 | {"data": 1}, "data: unknown field"),
    ([1], ": [1] is not a mapping"),
    (None, ": None is not a mapping"),
])  # fmt: skip
def test_a_whole_resource_that_is_wrong(resource: object, message: str) -> None:
    with pytest.raises(InvalidResource) as invalid:
        parse_virtual_ip(resource)
    assert message.removeprefix(": ") in [str(error).removeprefix(": ") for error in invalid.value.errors]


def test_status_and_the_api_servers_metadata_are_nobodys_business() -> None:
    resource = S1 | {"status": {"master": "server1"}}
    resource["metadata"] = {"name": "web", "uid": "1", "labels": {"a": "b"}, "resourceVersion": "7"}
    assert parse_virtual_ip(resource).name == "web"


def test_a_nodes_base_priority_is_the_first_that_matches() -> None:
    spec = parse_spec({
        "addresses": ["192.0.2.10/32"],
        "vrid": 7,
        "priority": 50,
        "nodePriorities": [
            {"nodeName": "a", "priority": 200},
            {"nodeSelector": {"matchLabels": {"rack": "1"}}, "priority": 150},
            {"nodeName": "b", "priority": 120},
        ],
    })  # fmt: skip
    assert base_priority(spec, "a", {"rack": "1"}) == 200
    assert base_priority(spec, "b", {"rack": "1"}) == 150
    assert base_priority(spec, "b", {}) == 120
    assert base_priority(spec, "b") == 120
    assert base_priority(spec, "c", {"rack": "2"}) == 50


@pytest.mark.parametrize(("selector", "labels", "selected"), [
    ({}, {}, True),
    ({"matchLabels": {"a": "1"}}, {"a": "1", "b": "2"}, True),
    ({"matchLabels": {"a": "1"}}, {"a": "2"}, False),
    ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, {"a": "2"}, True),
    ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}, {}, False),
    ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {}, True),
    ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {"a": "1"}, False),
    ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"a": ""}, True),
    ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"a": ""}, False),
])  # fmt: skip
def test_selectors_have_kubernetes_meaning(selector: dict[str, Any], labels: dict[str, str], selected: bool) -> None:
    spec = parse_spec({"addresses": ["192.0.2.10/32"], "vrid": 7, "nodeSelector": selector})
    assert isinstance(spec.node_selector, LabelSelector)
    assert spec.node_selector.matches(labels) is selected


@pytest.mark.parametrize("host", ["[127.0.0.1]", "[1.2.3]", "[::g]", "[:::]"])
def test_what_stands_in_brackets_in_a_url_is_an_ipv6_address(host: str) -> None:
    tracker = {"name": "api", "http": {"url": f"http://{host}:8080/"}}
    with pytest.raises(InvalidResource, match=r"spec.trackers\[0\].http.url"):
        parse_spec({"addresses": ["192.0.2.1/32"], "vrid": 51, "trackers": [tracker]})
