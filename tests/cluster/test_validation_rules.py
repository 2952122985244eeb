"""Each rule of the CRD, broken with kubectl: enumerated from the CRD, so that none is forgotten."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from barecluster import Cluster, ClusterError
from full_spec import FULL, Schema
from validation_corpus import BAD, STRICTER, Case

pytestmark = pytest.mark.apiserver

CRD = yaml.safe_load((Path(__file__).parents[2] / "crds/virtualip.yaml").read_text())
ROOT: Schema = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
SPEC: Schema = ROOT["properties"]["spec"]


def rules(schema: Schema, path: str) -> Iterator[tuple[str, str, str]]:
    """Field (a regular expression), rule and message of each rule of CEL."""
    for found in schema.get("x-kubernetes-validations", ()):
        yield path + re.escape(found.get("fieldPath", "")), found["rule"], found["message"]
    for name, child in schema.get("properties", {}).items():
        yield from rules(child, rf"{path}\.{name}" if path else name)
    if "items" in schema:
        yield from rules(schema["items"], rf"{path}\[\d+\]")


def refusals(cluster: Cluster, *resources: dict[str, Any]) -> str:
    """What kubectl says when all of them are applied; '' where all are taken."""
    text = yaml.safe_dump_all(resources)
    try:
        cluster.kubectl("apply", "--dry-run=server", "-f", "-", stdin=text, timeout=120.0)
    except ClusterError as error:
        return str(error)
    return ""


def test_the_full_example_is_taken(own_api_server: Cluster) -> None:
    assert refusals(own_api_server, Case("", FULL).resource()) == ""


def test_each_rule_of_the_crd_is_broken_by_a_case_of_the_corpus_and_says_its_message(own_api_server: Cluster) -> None:
    said = refusals(own_api_server, *(case.resource() for case in (*BAD, *STRICTER)))
    found = [*rules(SPEC, "spec"), *rules({**ROOT, "properties": {}}, "")]
    missed = [
        (field, message)
        for field, rule, message in found
        # what needs an old object has its tests beside this file
        if "oldSelf" not in rule and not re.search(rf"{field}: [^\n]*{re.escape(message)}", said)
    ]
    print(f"{len(found)} rules")
    assert missed == []


def test_what_is_immutable_is_what_the_rules_say() -> None:
    """tests/cluster/test_validation.py edits each of these."""
    found = {field for field, rule, _ in rules(SPEC, "spec") if "oldSelf" in rule}
    assert found == {r"spec\.addresses", r"spec\.transport", r"spec\.version", r"spec\.vrid"}
