"""Each rule and each limit of the CRD, broken with kubectl: enumerated from the CRD, so that none is forgotten."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from barecluster import Cluster, ClusterError
from full_spec import FULL, PathOf, Schema, changed, properties, without
from validation_corpus import BAD, STRICTER, Case

pytestmark = pytest.mark.apiserver

CRD = yaml.safe_load((Path(__file__).parents[2] / "crds/virtualip.yaml").read_text())
ROOT: Schema = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
SPEC: Schema = ROOT["properties"]["spec"]

Breach = tuple[PathOf, str, dict[str, Any]]
"""The field, the keyword of the schema, and a spec that breaks it there."""
OF_ANOTHER_TYPE = {"string": 1, "integer": "x", "boolean": "x", "array": "x", "object": "x"}


def breaches() -> Iterator[Breach]:
    """All limits of the schema, each with a spec that breaks it alone."""
    for path, schema in properties(SPEC, FULL):
        yield from ((path, keyword, changed(path, value)) for keyword, value in _wrong(path, schema))
        for name in schema.get("required", ()):
            yield (*path, name), "required", without((*path, name))
        items = schema.get("items", {})
        if items.get("type") == "object":
            for name in items.get("required", ()):
                yield (*path, 0, name), "required", without((*path, 0, name))
        elif items:
            for keyword, value in _wrong((*path, 0), items):
                yield (*path, 0), keyword, changed((*path, 0), value)
        for keyword, value in _wrong(path, schema.get("additionalProperties", {})):
            yield path, f"values' {keyword}", changed(path, {"edge": value})
    for name in SPEC["required"]:
        yield (name,), "required", without((name,))


def _wrong(path: PathOf, schema: Schema) -> Iterator[tuple[str, Any]]:
    at: Any = FULL
    for step in path:
        at = at[step]
    for keyword, limit in schema.items():
        match keyword:
            case "type":
                yield keyword, OF_ANOTHER_TYPE[limit]
            case "minimum":
                yield keyword, limit - 1
            case "maximum":
                yield keyword, limit + 1
            case "enum":
                yield keyword, "Other"
            case "minLength" | "minItems":
                assert limit == 1
                yield keyword, "" if keyword == "minLength" else []
            case "maxLength":
                yield keyword, "a" * (limit + 1)
            case "pattern":
                yield keyword, "?"
            case "maxItems":
                yield keyword, [at[0]] * (limit + 1)
            case "maxProperties":
                yield keyword, {f"key{number}": "x" for number in range(limit + 1)}
            case _:
                assert keyword in KNOWN, f"{path}: how is {keyword} broken?"


KNOWN = {
    *("description", "default", "format", "required", "properties", "items", "additionalProperties"),
    *("x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type", "x-kubernetes-validations"),
}
"""What limits nothing, or is walked into, or is a rule of CEL (below)."""


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


def test_each_limit_of_the_schema_is_refused_with_its_field(own_api_server: Cluster) -> None:
    found = list(breaches())
    resources = [Case("", spec, "", f"breach-{number}").resource() for number, (_, _, spec) in enumerate(found)]
    said = refusals(own_api_server, *resources)
    parts = re.split(r'"breach-(\d+)" is invalid', said)
    by_number = dict(zip(parts[1::2], parts[2::2], strict=True))
    missed = []
    for number, (path, keyword, _) in enumerate(found):
        field = "spec" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
        if field not in by_number.get(str(number), ""):
            missed.append((field, keyword, by_number.get(str(number), "taken")))
    print(f"{len(found)} limits")
    assert missed == []


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
