"""The CRDs and the dataclasses say the same: every property, bound, enumeration and default."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from full_spec import FULL, PathOf, Schema, changed, properties, without
from virtualip_api import addresses, member, names, selector, status, trackers, virtual_ip
from virtualip_api.defaults import DEFAULTS, without_defaults
from virtualip_api.errors import InvalidResource
from virtualip_api.virtual_ip import VirtualIPSpec, parse_spec

CRDS = Path(__file__).parents[2] / "crds"


def crd(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CRDS / name).read_text())
    return loaded


def root(name: str) -> Schema:
    schema: Schema = crd(name)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


VIRTUAL_IP = root("virtualip.yaml")
MEMBER = root("virtualipmember.yaml")
SPEC = VIRTUAL_IP["properties"]["spec"]

ALL = list(properties(SPEC, FULL))


def defaults_in(schema: Schema) -> dict[str, Any]:
    """By field; of a list those of its elements."""
    found = {}
    for name, child in schema.get("properties", {}).items():
        below = defaults_in(child.get("items", child))
        if below or "default" in child:
            found[name] = below or child["default"]
    return found


def test_no_field_is_given_a_default_by_the_api_server_but_those_of_the_first_release() -> None:
    """An operator that does not know the field yet would refuse every VirtualIP from the moment the CRD is applied."""
    assert defaults_in(SPEC) == DEFAULTS


@pytest.mark.parametrize(("path", "schema"), [(path, s) for path, s in properties(SPEC, FULL) if "default" in s])
def test_what_is_so_by_default_is_left_out_and_means_the_same(path: PathOf, schema: Schema) -> None:
    spec = changed(path, schema["default"])
    short = without_defaults(spec)
    assert short != spec
    try:
        meant = parse_spec(spec)
    except InvalidResource:
        return  # another field of the whole wants another value of this one
    assert parse_spec(short) == meant


def schema_paths(schema: Schema, path: PathOf = ()) -> Iterator[PathOf]:
    yield from schema_paths(schema["items"], path) if schema["type"] == "array" else ()
    for name, child in schema.get("properties", {}).items():
        yield (*path, name)
        yield from schema_paths(child, (*path, name))


def identifier(value: object) -> str:
    return ".".join(map(str, value)) if isinstance(value, tuple) else ""


def with_key(key: str) -> list[Any]:
    return [pytest.param(path, schema, id=identifier(path)) for path, schema in ALL if key in schema]


def camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join("IP" if word == "ip" else word.capitalize() for word in rest)


def at(schema: Schema, *path: str) -> Schema:
    for step in path:
        schema = schema["properties"][step]
        schema = schema.get("items", schema)
    return schema


def test_the_full_example_is_good_and_has_every_property() -> None:
    parse_spec(FULL)
    assert {tuple(step for step in path if isinstance(step, str)) for path, _ in ALL} == set(schema_paths(SPEC))


@pytest.mark.parametrize(
    ("schema", "dataclass", "differences"),
    [
        (SPEC, VirtualIPSpec, {}),
        (at(SPEC, "nodePriorities"), virtual_ip.NodePriority, {}),
        (at(SPEC, "nodeAddresses"), addresses.NodeAddress, {}),
        # passwordFile is for static manifests; what a Secret's reference has is flat in the dataclass.
        (
            at(SPEC, "authentication"),
            virtual_ip.Authentication,
            {"secretName": {"type", "secretKeyRef"}, "secretKey": set(), "passwordFile": set()},
        ),
        (at(SPEC, "garp"), virtual_ip.Garp, {}),
        (at(SPEC, "drain"), virtual_ip.Drain, {}),
        (at(SPEC, "nodeSelector"), selector.LabelSelector, {}),
        (at(SPEC, "nodePriorities", "nodeSelector"), selector.LabelSelector, {}),
        (at(SPEC, "nodeSelector", "matchExpressions"), selector.Requirement, {}),
        (at(SPEC, "nodePriorities", "nodeSelector", "matchExpressions"), selector.Requirement, {}),
        (
            at(SPEC, "trackers"),
            trackers.Tracker,
            {"check": {"process", "file", "interface", "http", "tcp", "script", "podReady"}},
        ),
        (at(SPEC, "trackers", "process"), trackers.ProcessTracker, {}),
        (at(SPEC, "trackers", "file"), trackers.FileTracker, {}),
        (at(SPEC, "trackers", "interface"), trackers.InterfaceTracker, {}),
        (at(SPEC, "trackers", "http"), trackers.HttpTracker, {}),
        (at(SPEC, "trackers", "tcp"), trackers.TcpTracker, {}),
        (at(SPEC, "trackers", "script"), trackers.ScriptTracker, {}),
        (at(SPEC, "trackers", "podReady"), trackers.PodReadyTracker, {}),
        (at(SPEC, "trackers", "podReady", "selector"), selector.LabelSelector, {}),
        (at(SPEC, "trackers", "podReady", "selector", "matchExpressions"), selector.Requirement, {}),
        (at(VIRTUAL_IP, "status", "nodes"), status.NodeEntry, {}),
        (at(VIRTUAL_IP, "status", "nodes", "trackers"), status.TrackerStatus, {}),
        (at(VIRTUAL_IP, "status", "nodes", "families"), status.FamilyStatus, {}),
        (at(VIRTUAL_IP, "status", "nodes", "mismatches"), status.Mismatch, {}),
        (at(MEMBER, "spec"), member.MemberSpec, {"peers": {"members"}}),
        (at(MEMBER, "spec", "members"), member.Peer, {}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_every_property_is_a_field_and_every_field_a_property(
    schema: Schema, dataclass: type, differences: dict[str, set[str]]
) -> None:
    fields: set[str] = set()
    for field in dataclasses.fields(dataclass):
        fields |= differences.get(camel(field.name), {camel(field.name)})
    assert set(schema["properties"]) == fields


@pytest.mark.parametrize(("path", "schema"), with_key("minimum"))
def test_what_is_below_the_minimum_is_refused_by_both(path: PathOf, schema: Schema) -> None:
    assert wrong(changed(path, schema["minimum"] - 1), path)
    assert not wrong(changed(path, schema["minimum"]), path)


@pytest.mark.parametrize(("path", "schema"), with_key("maximum"))
def test_what_is_above_the_maximum_is_refused_by_both(path: PathOf, schema: Schema) -> None:
    assert wrong(changed(path, schema["maximum"] + 1), path)
    if path != ("nodePriorities", 0, "priority"):  # 255 needs nodeName
        assert not wrong(changed(path, schema["maximum"]), path)


@pytest.mark.parametrize(("path", "schema"), with_key("enum"))
def test_words_are_the_same(path: PathOf, schema: Schema) -> None:
    assert wrong(changed(path, "Other"), path)
    for word in schema["enum"]:
        if word != "RFC9568":  # needs version 3
            assert not wrong(changed(path, word), path)


@pytest.mark.parametrize(("path", "schema"), with_key("maxItems"))
def test_lists_are_bounded_alike(path: PathOf, schema: Schema) -> None:
    element = value_at(path)[0]
    assert wrong(changed(path, [element] * (schema["maxItems"] + 1)), path)


@pytest.mark.parametrize(("path", "schema"), with_key("default"))
def test_a_default_in_the_schema_is_that_of_the_dataclass(path: PathOf, schema: Schema) -> None:
    assert _parsed(without(path)) == _parsed(changed(path, schema["default"]))


WITHOUT_DEFAULT = {
    ("interface",),
    ("syncGroup",),
    ("nodePriorities", "nodeName"),
    ("trackers", "weight"),  # 1 for files, else 0
    ("trackers", "process", "argumentsMatch"),  # needs arguments where it is given
    ("trackers", "http", "caFile"),  # the system's
    ("trackers", "http", "host"),  # the URL's
    ("trackers", "http", "serverName"),  # the URL's
    ("notify", "instance"),  # the VirtualIP's name
}


def test_every_optional_scalar_has_its_default_in_the_schema() -> None:
    missing = set()
    for path, schema in ALL:
        names_only = tuple(step for step in path if isinstance(step, str))
        scalar = schema["type"] in ("integer", "boolean", "string")
        if scalar and "default" not in schema and _is_optional(path):
            missing.add(names_only)
    assert missing == WITHOUT_DEFAULT


@pytest.mark.parametrize("name", ["virtualip.yaml", "virtualipmember.yaml"])
def test_the_names_are_the_contracts(name: str) -> None:
    spec = crd(name)["spec"]
    kinds = {
        "virtualip.yaml": (names.VIRTUAL_IP_KIND, names.VIRTUAL_IP_PLURAL),
        "virtualipmember.yaml": (names.MEMBER_KIND, names.MEMBER_PLURAL),
    }
    assert (spec["group"], spec["versions"][0]["name"]) == (names.GROUP, names.VERSION)
    assert (spec["names"]["kind"], spec["names"]["plural"]) == kinds[name]
    assert spec["scope"] == "Cluster"
    assert crd(name)["metadata"]["name"] == f"{spec['names']['plural']}.{spec['group']}"


def test_members_fit_in_what_the_schema_bounds() -> None:
    assert at(MEMBER, "spec")["properties"]["members"]["maxItems"] == virtual_ip.MOST_MEMBERS
    assert at(MEMBER, "spec", "rank")["maximum"] == virtual_ip.MOST_MEMBERS - 1
    assert at(MEMBER, "spec", "basePriority")["maximum"] == virtual_ip.OWNER_PRIORITY


def test_states_are_the_contracts() -> None:
    assert at(VIRTUAL_IP, "status", "nodes", "state")["enum"] == [str(state) for state in status.State]


def test_the_columns_are_those_of_the_design() -> None:
    columns = crd("virtualip.yaml")["spec"]["versions"][0]["additionalPrinterColumns"]
    shown = [column["name"].upper() for column in columns if not column.get("priority")]
    assert shown == ["ADDRESSES", "VRID", "MASTER", "PRIORITY", "READY", "AGE"]
    assert [column["name"].upper() for column in columns if column.get("priority")] == ["SUMMARY", "LAST-MOVE"]


def value_at(path: PathOf) -> Any:
    value: Any = FULL
    for step in path:
        value = value[step]
    return value


def wrong(document: dict[str, Any], path: PathOf) -> bool:
    """Whether the dataclasses refuse this path of the document, or something below it."""
    try:
        parse_spec(document)
    except InvalidResource as error:
        name = "spec" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
        return any(found.path == name or found.path.startswith(f"{name}[") for found in error.errors)
    return False


def _parsed(document: dict[str, Any]) -> VirtualIPSpec:
    if document.get("version") != 2:
        document.pop("authentication", None)
    return parse_spec(document)


def _is_optional(path: PathOf) -> bool:
    try:
        parse_spec(without(path))
    except InvalidResource as error:
        return "is required" not in str(error)
    return True
