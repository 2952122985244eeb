"""Today's CRDs over those of the project's first days: what is stored stays, and can be edited."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from barecluster import Cluster, ClusterError
from operator_harness import World, eventually
from virtualip_api.member import parse_member_spec
from virtualip_api.names import field_manager
from virtualip_api.status import NodeEntry, State, TrackerStatus, entry_to_json
from virtualip_api.virtual_ip import parse_spec

pytestmark = pytest.mark.apiserver
REPOSITORY = Path(__file__).parents[2]
CRDS = ("crds/virtualip.yaml", "crds/virtualipmember.yaml")
SPEC: dict[str, Any] = {
    "addresses": ["192.0.2.10/24", "192.0.2.11/32"],
    "vrid": 51,
    "version": 2,
    "priority": 240,
    "nodePriorities": [{"nodeName": "stored1", "priority": 244}],
    "preempt": False,
    "trackers": [{"name": "httpd", "process": {"name": "httpd"}, "weight": 10}],
}


def git(*words: str) -> str:
    done = subprocess.run(["git", "-C", str(REPOSITORY), *words], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def oldest() -> list[dict[str, Any]]:
    """The CRDs of the first commit that has both."""
    for commit in git("log", "--reverse", "--format=%H", "--", *CRDS).split():
        texts = [git("show", f"{commit}:{path}") for path in CRDS]
        if all(texts):
            return [yaml.safe_load(text) for text in texts]
    pytest.skip("this checkout has no history to take an older CRD from")


def todays() -> list[dict[str, Any]]:
    return [yaml.safe_load((REPOSITORY / path).read_text()) for path in CRDS]


@pytest.fixture
def world(own_api_server: Cluster) -> Iterator[World]:
    world = World(own_api_server)
    yield world
    world.delete("vip", "stored")
    world.delete("virtualipmember", "stored.stored1")
    for crd in todays():
        world.apply(crd)


def test_a_newer_crd_keeps_stored_objects_their_status_and_their_plans(world: World) -> None:
    for crd in oldest():
        world.apply(crd)
    eventually(lambda: _tries(world))
    resolved = {key: value for key, value in SPEC.items() if key not in ("priority", "nodePriorities")}
    member = {
        "apiVersion": "virtualip.dev/v1alpha1", "kind": "VirtualIPMember",
        "metadata": {"name": "stored.stored1", "labels": {"virtualip.dev/node": "stored1"}},
        "spec": {
            "virtualIP": "stored", "node": "stored1", "revision": 1, "generation": 1, "basePriority": 244, "rank": 0,
            "members": [{"node": "stored1", "addresses": ["192.0.2.101"]}], "spec": resolved,
        },
    }  # fmt: skip
    world.apply(member)
    world.says("stored", NodeEntry("stored1", State.MASTER, 254))
    before = {kind: world.get(kind, name) for kind, name in _STORED.items()}

    for crd in todays():
        world.apply(crd)
    eventually(lambda: _takes_what_is_new(world))

    for kind, name in _STORED.items():
        old, new = before[kind], world.get(kind, name)
        assert old is not None
        assert new is not None
        assert new["metadata"]["uid"] == old["metadata"]["uid"]
        assert new["metadata"]["generation"] == old["metadata"]["generation"] or kind == "vip"
        assert new.get("status") == old.get("status")
        assert old["spec"].items() <= new["spec"].items()
    vip, plan = world.get("vip", "stored"), world.get("virtualipmember", "stored.stored1")
    assert vip is not None
    assert plan is not None
    assert parse_spec(vip["spec"]).drain.on_cordon is True
    assert parse_member_spec(plan["spec"]).base_priority == 244


def test_an_entry_that_was_written_under_an_older_crd_is_still_its_agents_and_replaced_as_a_whole(world: World) -> None:
    for crd in oldest():
        world.apply(crd)
    eventually(lambda: _tries(world))
    before = NodeEntry(
        "stored1", State.FAULT, 0, message="httpd is down", trackers=(TrackerStatus("httpd", False, 0, "no process"),)
    )
    other = NodeEntry("stored2", State.MASTER, 240, trackers=(TrackerStatus("httpd", True, 10, "1 process"),))
    for entry in (before, other):
        world.says("stored", entry)
    for crd in todays():
        world.apply(crd)
    eventually(lambda: _takes_what_is_new(world))

    after = NodeEntry("stored1", State.BACKUP, 234, trackers=(TrackerStatus("apache", True, 0, "2 processes"),))
    world.says("stored", after)  # without force: nobody else has a part of it

    assert world.status("stored")["nodes"] == [entry_to_json(after), entry_to_json(other)]
    found = world.get("vip", "stored")
    assert found is not None
    owned = [
        one["fieldsV1"] for one in found["metadata"]["managedFields"] if one["manager"] == field_manager("stored1")
    ]
    # The entry, and none of what is in it: the API server's work for each write grows with these.
    assert owned == [{"f:status": {"f:nodes": {'k:{"node":"stored1"}': {}}}}]


_STORED = {"vip": "stored", "virtualipmember": "stored.stored1"}


def _vip(**spec: object) -> dict[str, Any]:
    return {
        "apiVersion": "virtualip.dev/v1alpha1", "kind": "VirtualIP", "metadata": {"name": "stored"},
        "spec": SPEC | spec,
    }  # fmt: skip


def _tries(world: World) -> bool:
    with contextlib.suppress(ClusterError):
        world.apply(_vip())
    return world.get("vip", "stored") is not None


def _takes_what_is_new(world: World) -> bool:
    """A field that the older CRD did not know; it would have been refused or cut off."""
    drain = {"onCordon": True, "onExcludeLabel": False}
    with contextlib.suppress(ClusterError):
        world.apply(_vip(drain=drain))
    found = world.get("vip", "stored")
    return found is not None and found["spec"].get("drain") == drain
