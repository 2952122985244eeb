"""deploy/monitoring/rules.yaml asks for metrics that there are."""

import re

import pytest
import yaml

from manifests import ROOT
from virtualip_operator.aggregation import View, aggregate
from virtualip_operator.conditions import Condition
from virtualip_operator.metrics import Metrics

FILE = yaml.safe_load((ROOT / "deploy/monitoring/rules.yaml").read_text())
RULES = [rule for group in FILE["groups"] for rule in group["rules"]]


def samples() -> set[tuple[str, str]]:
    """Names and condition types of everything that the operator shows of a VirtualIP."""
    metrics = Metrics()
    view = View(1, (), Condition("Accepted", "True", "Planned", ""), ("a",), {}, frozenset(), {})
    metrics.saw("web", aggregate(view, {}, 0.0))
    return {(s.name, s.labels.get("type", "")) for family in metrics.registry.collect() for s in family.samples}


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_an_alarm_asks_for_what_the_operator_shows(rule: dict[str, str]) -> None:
    asked = re.findall(r'\b(virtualip_\w+)(?:\{type="(\w+)"\})?', rule["expr"])
    if not asked:
        assert 'daemonset="virtualip-agent"' in rule["expr"]
    assert set(asked) <= samples()


def test_each_condition_has_an_alarm() -> None:
    conditions = {kind for name, kind in samples() if name == "virtualip_condition"}
    assert conditions == {kind for rule in RULES for kind in re.findall(r'type="(\w+)"', rule["expr"])}
