"""What is allowed and probably not meant, with the fields that do not go together."""

from typing import Any

import pytest

from virtualip_api.advice import advice
from virtualip_api.virtual_ip import VirtualIPSpec, parse_spec

HTTPD: dict[str, Any] = {"name": "httpd", "process": {"name": "httpd"}}


def spec(*trackers: dict[str, Any], **fields: Any) -> VirtualIPSpec:
    return parse_spec({"addresses": ["192.0.2.10/32"], "vrid": 51, "trackers": list(trackers), **fields})


def test_s1_needs_none() -> None:
    assert advice(spec(HTTPD | {"weight": 10}), {244, 240}) == ()


def test_a_failure_that_is_fault_needs_none_whatever_the_settings() -> None:
    owner = {"nodeName": "a", "priority": 255}
    assert advice(spec(HTTPD, preempt=False, nodePriorities=[owner]), {255, 100}) == ()


def test_a_weight_without_preemption_names_both() -> None:
    (said,) = advice(spec(HTTPD, HTTPD | {"name": "b", "weight": 10}, preempt=False), {244, 240})
    assert said.reason == "WeightWithoutPreemption"
    assert said.text.startswith("spec.preempt and spec.trackers[1].weight: ")


def test_a_weight_on_an_address_owner_names_both() -> None:
    entries = [{"nodeName": "b", "priority": 100}, {"nodeName": "a", "priority": 255}]
    (said,) = advice(spec(HTTPD | {"weight": 10}, nodePriorities=entries), {255, 100})
    assert said.reason == "WeightOnOwner"
    assert said.text.startswith("spec.nodePriorities[1].priority and spec.trackers[0].weight: ")


@pytest.mark.parametrize(("base", "advised"), [(244, False), (245, True)])
def test_a_sum_above_254_hides_failures(base: int, advised: bool) -> None:
    said = advice(spec(HTTPD | {"weight": 10}), {base})
    assert [str(piece).split(": ")[:2] for piece in said] == (
        [["PrioritySaturated", "spec.priority, spec.nodePriorities and spec.trackers[0].weight"]] if advised else []
    )


@pytest.mark.parametrize(("weight", "advised"), [(4, True), (5, False), (-4, True), (-5, False)])
def test_a_weight_that_does_not_bridge_the_gap_moves_nothing(weight: int, advised: bool) -> None:
    """An equal priority never preempts (RFC 9568, section 6.4.2), so the weight must be greater than the gap."""
    said = advice(spec(HTTPD | {"weight": weight}), {244, 240, 100})
    assert [str(piece).split(": ")[:2] for piece in said] == (
        [["WeightTooSmall", "spec.trackers[0].weight and spec.nodePriorities"]] if advised else []
    )


def test_a_file_says_itself_how_much_it_is() -> None:
    assert advice(spec({"name": "f", "file": {"path": "/x"}, "weight": 1}), {254, 100}) == ()


@pytest.mark.parametrize(
    ("tracker", "reason"),
    [
        ({"http": {"url": "https://192.0.2.10:6443/readyz"}}, "TrackerAsksItself"),
        ({"http": {"url": "http://192.0.2.10/"}}, "TrackerAsksItself"),
        ({"tcp": {"host": "192.0.2.10", "port": 22}}, "TrackerAsksItself"),
        ({"http": {"url": "https://127.0.0.1:6443/readyz"}}, "ApiTrackerWeightZero"),
        ({"http": {"url": "https://[::1]:6443/livez"}}, "ApiTrackerWeightZero"),
        ({"tcp": {"host": "localhost", "port": 6443}}, "ApiTrackerWeightZero"),
        ({"http": {"url": "https://127.0.0.1:6443/readyz"}, "weight": -60}, ""),
        ({"http": {"url": "https://192.0.2.10:6443/readyz"}, "weight": -60}, ""),
        ({"http": {"url": "https://192.0.2.10:6443/"}, "reverse": True}, ""),
        ({"http": {"url": "http://127.0.0.1:10254/healthz"}}, ""),
        ({"tcp": {"host": "192.0.2.1", "port": 6443}}, ""),
        ({"process": {"name": "kube-apiserver"}}, ""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_failure_that_is_fault_must_not_wait_for_the_addresses_themselves(
    tracker: dict[str, Any], reason: str
) -> None:
    said = advice(spec({"name": "api", **tracker}), {100})
    assert [piece.reason for piece in said] == ([reason] if reason else [])
