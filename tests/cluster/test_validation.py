"""The API server refuses by itself what is wrong by itself, with a message that names the field: each rule, applied."""

import json
from typing import Any

import pytest

from article import SAMPLES
from barecluster import Cluster, ClusterError
from validation_corpus import BAD, GOOD, STRICTER, Case, by_name, spec

pytestmark = pytest.mark.apiserver


def refusal(cluster: Cluster, resource: dict[str, Any], *words: str) -> str:
    """What kubectl says when it is applied; '' where it is taken."""
    try:
        cluster.kubectl("apply", "--dry-run=server", "-f", "-", *words, stdin=json.dumps(resource))
    except ClusterError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("case", GOOD, ids=by_name)
def test_good_ones_are_taken(own_api_server: Cluster, case: Case) -> None:
    assert refusal(own_api_server, case.resource()) == ""


@pytest.mark.parametrize("case", [*BAD, *STRICTER], ids=by_name)
def test_bad_ones_are_refused_with_the_field(own_api_server: Cluster, case: Case) -> None:
    assert case.field in refusal(own_api_server, case.resource())


@pytest.mark.parametrize("name", sorted(path.name for path in SAMPLES.glob("*.yaml")))
def test_every_sample_is_taken(own_api_server: Cluster, name: str) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ingress"}}
    own_api_server.kubectl("apply", "-f", "-", stdin=json.dumps(namespace))
    said = own_api_server.kubectl("apply", "-f", SAMPLES / name)
    assert "virtualip.virtualip.dev/" in said
    own_api_server.kubectl("delete", "-f", SAMPLES / name)


@pytest.mark.parametrize(
    ("field", "old", "new"),
    [
        ("vrid", 51, 52),
        ("version", 3, 2),
        ("transport", "Multicast", "Unicast"),
        ("addresses", ["192.0.2.1/32"], ["2001:db8::1/64"]),
        ("addresses", ["192.0.2.1/32"], ["192.0.2.1/32", "2001:db8::1/64"]),
        ("addresses", ["192.0.2.1/32", "2001:db8::1/64"], ["2001:db8::1/64"]),
    ],
)
def test_what_is_on_the_wire_is_immutable(own_api_server: Cluster, field: str, old: Any, new: Any) -> None:
    name = f"immutable-{field}"
    own_api_server.kubectl("apply", "-f", "-", stdin=json.dumps(Case("", spec(**{field: old}), "", name).resource()))
    said = refusal(own_api_server, Case("", spec(**{field: new}), "", name).resource())
    assert f"spec.{field}" in said
    assert "immutable" in said
    assert refusal(own_api_server, Case("", spec(**{field: old}, priority=10), "", name).resource()) == ""
    own_api_server.kubectl("delete", "vip", name)


def test_the_default_version_is_as_immutable_as_a_given_one(own_api_server: Cluster) -> None:
    own_api_server.kubectl("apply", "-f", "-", stdin=json.dumps(Case("", spec(), "", "default-version").resource()))
    said = refusal(own_api_server, Case("", spec(version=2), "", "default-version").resource())
    assert "spec.version" in said


def test_defaults_are_filled_in_so_that_they_can_be_seen(own_api_server: Cluster) -> None:
    resource = json.dumps(Case("", spec(), "", "defaults").resource())
    created = json.loads(own_api_server.kubectl("apply", "--dry-run=server", "-o", "json", "-f", "-", stdin=resource))
    assert created["spec"] == spec(
        version=3,
        transport="Multicast",
        strictPeers=False,
        priority=100,
        advertInterval="1s",
        preempt=True,
        fastPreempt=True,
        preemptDamping=True,
        preemptDelay="0s",
        startupDelay="0s",
        downTimerAdverts=3,
        checksum="PseudoHeader",
    )


def test_the_short_name_is_vip(own_api_server: Cluster) -> None:
    assert "virtualips" in own_api_server.kubectl("api-resources", "--api-group=virtualip.dev").split("vip", 1)[0]
    own_api_server.kubectl("get", "vip")


@pytest.mark.parametrize(
    ("fields", "named"),
    [({"preempt": False}, "spec.preempt"), ({"nodePriorities": [{"nodeName": "a", "priority": 255}]}, "255")],
)
def test_what_is_probably_not_meant_is_taken_with_a_warning(
    own_api_server: Cluster, fields: dict[str, Any], named: str
) -> None:
    httpd = {"name": "httpd", "process": {"name": "httpd"}}
    weighted = Case("", spec(trackers=[httpd | {"weight": 10}], **fields), "").resource()
    assert refusal(own_api_server, weighted) == ""
    said = refusal(own_api_server, weighted, "--warnings-as-errors")
    assert "Warning: Validation failed for ValidatingAdmissionPolicy 'virtualip-advice'" in said
    assert named in said
    assert "spec.trackers" in said
    without_weight = Case("", spec(trackers=[httpd], **fields), "").resource()
    assert refusal(own_api_server, without_weight, "--warnings-as-errors") == ""


@pytest.mark.parametrize(
    ("tracker", "warned"),
    [
        ({"http": {"url": "https://127.0.0.1:6443/readyz"}}, True),
        ({"http": {"url": "https://[::1]:6443/readyz"}}, True),
        ({"tcp": {"host": "localhost", "port": 6443}}, True),
        ({"http": {"url": "https://127.0.0.1:6443/readyz"}, "weight": -60}, False),
        ({"http": {"url": "http://127.0.0.1:10254/healthz"}}, False),
        ({"process": {"name": "httpd"}}, False),
    ],
)
def test_an_api_tracker_of_weight_0_is_probably_not_meant_and_warned_of(
    own_api_server: Cluster, tracker: dict[str, Any], warned: bool
) -> None:
    resource = Case("", spec(trackers=[{"name": "api", **tracker}]), "").resource()
    assert refusal(own_api_server, resource) == ""
    said = refusal(own_api_server, resource, "--warnings-as-errors")
    assert ("a tracker of weight 0 asks the API server" in said) is warned
