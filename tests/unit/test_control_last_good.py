"""What a control remembers of the one before it."""

import stat
from pathlib import Path

import pytest
import yaml

from virtualip_agent.control.instance import Source
from virtualip_agent.control.interpret import interpret_desired, interpret_manifest
from virtualip_agent.control.last_good import LastGood, load, save
from virtualip_agent.desired_file import encode

SPEC = {
    "addresses": ["192.168.122.200/24"],
    "vrid": 51,
    "version": 2,
    "trackers": [
        {"name": "apache", "process": {"name": "httpd"}, "weight": 10},
        {"name": "app", "file": {"path": "/run/value"}},
    ],
}


def known(tmp_path: Path) -> LastGood:
    password = tmp_path / "password"
    password.write_text("12345")
    manifest = yaml.safe_dump(
        {
            "apiVersion": "virtualip.dev/v1alpha1",
            "kind": "VirtualIP",
            "metadata": {"name": "api"},
            "spec": SPEC | {"authentication": {"type": "PASS", "passwordFile": str(password)}},
        }
    )
    member = {
        "virtualIP": "web", "node": "server1", "revision": 1, "generation": 3, "basePriority": 244, "rank": 1,
        "draining": False, "members": [{"node": "server2", "addresses": ["192.168.122.102"]}],
        "spec": SPEC | {"authentication": {"type": "PASS", "secretKeyRef": {"name": "n", "key": "k"}}},
    }  # fmt: skip
    desired = interpret_desired("web.json", encode("web", member, b"54321"), {}, "server1")
    manifests = interpret_manifest("a.yaml", manifest.encode(), {}, "server1")
    assert not desired.problems
    assert not manifests.problems
    return LastGood(
        {"web.json": desired.instances},
        {"a.yaml": manifests.instances},
        {**desired.instances, **manifests.instances},
    )


def test_everything_comes_back_as_it_was_passwords_and_trackers_included(tmp_path: Path) -> None:
    path, before = tmp_path / "last-good.json", known(tmp_path)
    save(path, before)
    after = load(path, "server1")
    assert after == before
    assert after.running["web"].source is Source.DESIRED
    assert after.running["api"].password == b"12345"


def test_nobody_else_reads_the_passwords(tmp_path: Path) -> None:
    path = tmp_path / "last-good.json"
    save(path, known(tmp_path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_another_nodes_memory_is_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "last-good.json"
    save(path, known(tmp_path))
    assert load(path, "server2").desired == {"web.json": {}}


@pytest.mark.parametrize(
    "content",
    ["", "[]", "null", "{", '{"format": 2}', '{"format": 1}', '{"format": 1, "desired": [], "manifests": 1}',
     '{"format": 1, "desired": {"a": ["x", 1, null]}, "manifests": {"b": ["{}"]}, "running": [[], ["Desired"], 3]}'],
)  # fmt: skip
def test_a_memory_that_makes_no_sense_is_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "last-good.json"
    path.write_text(content)
    remembered = load(path, "server1")
    assert not remembered.running
    assert not any(remembered.desired.values())


def test_the_first_start_remembers_nothing(tmp_path: Path) -> None:
    assert load(tmp_path / "none.json", "server1") == LastGood()


def test_a_disk_that_does_not_take_it_stops_nothing(tmp_path: Path) -> None:
    save(tmp_path / "none" / "last-good.json", known(tmp_path))
