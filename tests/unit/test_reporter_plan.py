"""Which plan is written, and what is said where it is not."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from virtualip_agent.desired_file import decode
from virtualip_agent.reporter.desired_directory import DesiredDirectory
from virtualip_agent.reporter.entry import LONGEST_MESSAGE, Remark, apply_body, compose, own_entry, shows
from virtualip_agent.reporter.memory import FILE_NAME, KnownMember, Memory, load, save
from virtualip_agent.reporter.passwords import password_in
from virtualip_agent.reporter.plan import Password, Plan, SecretKey, read_plan
from virtualip_api.member import Peer, member_spec
from virtualip_api.names import member_name

NODE = "server1"
SECRET = SecretKey("web-vrrp", "password")


def member(revision: int = 1, uid: str = "u", created: str = "2026-01-01T00:00:00Z", **changes: Any) -> dict[str, Any]:
    spec: dict[str, Any] = member_spec(
        virtual_ip="web",
        node=NODE,
        generation=revision,
        base_priority=100,
        rank=0,
        draining=False,
        peers=(Peer(NODE),),
        spec={"addresses": ["192.0.2.10/32"], "vrid": 51, **changes.pop("spec", {})},
    )
    metadata = {"name": member_name("web", NODE), "uid": uid, "creationTimestamp": created}
    return {"metadata": metadata, "spec": {**spec, "revision": revision, **changes}}


def plan(*arguments: Any, **changes: Any) -> Plan:
    found = read_plan(member(*arguments, **changes), NODE)
    assert found is not None
    return found


def with_password(**changes: Any) -> Plan:
    reference = {"name": SECRET.name, "key": SECRET.key}
    return plan(spec={"version": 2, "authentication": {"type": "PASS", "secretKeyRef": reference}}, **changes)


class Directory:
    """A desired directory and what was last remarked of each VIP."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.remarks: dict[str, Remark | None] = {}
        self.desired = DesiredDirectory(path, self.remarks.__setitem__)

    def take(self, new: Plan) -> str:
        """Takes a plan; the reason that is then said."""
        self.desired.take(new)
        return self.reason

    @property
    def reason(self) -> str:
        """Why the newest plan does not run; '' where it does."""
        remark = self.remarks.get("web")
        return remark.reason if remark else ""

    @property
    def revision(self) -> int | None:
        """Of the file; None where there is none."""
        file = self.path / "web.json"
        return decode(file.read_bytes()).member.revision if file.exists() else None


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    return Directory(tmp_path)


def test_a_plan_is_written_once(directory: Directory) -> None:
    assert directory.take(plan()) == ""
    first = (directory.path / "web.json").stat()
    assert directory.take(plan()) == ""
    second = (directory.path / "web.json").stat()
    assert (first.st_ino, first.st_mtime_ns) == (second.st_ino, second.st_mtime_ns)
    assert directory.take(plan(2)) == ""
    assert directory.revision == 2


@pytest.mark.parametrize(
    ("newer", "reason"),
    [
        (plan(3, colour="blue"), "UnsupportedField"),
        (plan(3, spec={"addresses": ["2001:db8::1/128%eth0"]}), "UnsupportedField"),
        (plan(3, members=[]), "EmptyPlan"),
        (plan(1), "OlderPlan"),
        (plan(9, uid="v", created="2025-01-01T00:00:00Z"), "OlderPlan"),
    ],
)
def test_what_cannot_be_followed_leaves_the_last_file(directory: Directory, newer: Plan, reason: str) -> None:
    directory.take(plan(2))
    assert directory.take(newer) == reason
    assert directory.revision == 2
    remark = directory.remarks["web"]
    assert remark is not None
    assert "runs on with generation 2" in remark.message
    assert directory.take(plan(4)) == ""
    assert directory.revision == 4


@pytest.mark.parametrize(
    ("first", "reason"), [(plan(colour="blue"), "UnsupportedField"), (with_password(), "SecretMissing")]
)
def test_without_a_last_file_none_is_written(directory: Directory, first: Plan, reason: str) -> None:
    assert directory.take(first) == reason
    assert directory.revision is None


def test_a_younger_member_may_count_from_one_again(directory: Directory) -> None:
    directory.take(plan(7))
    assert directory.take(plan(1, uid="v", created="2026-02-01T00:00:00Z")) == ""
    assert directory.revision == 1


def test_a_restart_knows_what_runs(directory: Directory) -> None:
    directory.take(plan(7))
    again = Directory(directory.path)
    again.desired.remember("web", "u", "2026-01-01T00:00:00Z")
    assert again.take(plan(6)) == "OlderPlan"
    assert again.desired.names() == {"web"}


def test_a_damaged_file_is_replaced(directory: Directory) -> None:
    (directory.path / "web.json").write_bytes(b"{")
    again = Directory(directory.path)
    assert again.take(plan(1)) == ""
    assert again.revision == 1


def test_a_password_comes_and_changes_and_never_goes(directory: Directory) -> None:
    directory.take(with_password())
    assert directory.desired.secrets() == {SECRET}
    directory.desired.take_password(SECRET, Password(b"12345"))
    assert decode((directory.path / "web.json").read_bytes()).password == b"12345"
    assert directory.reason == ""
    directory.desired.take_password(SECRET, Password(problem="not found"))
    assert decode((directory.path / "web.json").read_bytes()).password == b"12345"
    assert directory.reason == "SecretMissing"
    directory.desired.take_password(SECRET, Password(b"54321"))
    assert decode((directory.path / "web.json").read_bytes()).password == b"54321"
    directory.desired.take(plan(2))
    assert directory.desired.secrets() == set()
    assert not directory.desired.has_password(SECRET)


def test_a_full_disk_is_said_and_tried_again(directory: Directory, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("virtualip_agent.reporter.desired_directory.write_atomically", full)
        assert directory.take(plan()) == "WriteFailed"
    directory.desired.retry()
    assert directory.remarks["web"] is None
    assert directory.revision == 1


def test_removed_is_removed(directory: Directory) -> None:
    directory.take(plan(2))
    directory.take(plan(3, colour="blue"))
    directory.desired.remove("web")
    assert directory.revision is None
    assert directory.remarks["web"] is None
    directory.desired.remove("web")


@pytest.mark.parametrize(
    ("data", "password"),
    [
        ({"password": base64.b64encode(b"12345").decode()}, b"12345"),
        ({"password": base64.b64encode(b"12345\n").decode()}, b"12345"),
        ({"password": base64.b64encode(b"12345678").decode()}, b"12345678"),
        ({"password": base64.b64encode(b"123456789").decode()}, None),
        ({"password": ""}, None),
        ({"password": "no base64!"}, None),
        ({"other": "MTIz"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_what_a_password_may_be(data: object, password: bytes | None) -> None:
    found = password_in(data, "password")
    assert found.value == password
    assert bool(found.problem) is (password is None)


def test_no_representation_shows_a_password(directory: Directory) -> None:
    directory.take(with_password())
    directory.desired.take_password(SECRET, Password(b"12345"))
    assert "12345" not in repr(Password(b"12345"))
    running = directory.desired._running("web")
    assert running is not None
    assert "12345" not in repr(running)


def test_the_entry_keeps_state_and_priority_and_gets_the_reason() -> None:
    told = {"node": "x", "state": "MASTER", "priority": 254, "observedGeneration": 3, "message": "244 + apache 10"}
    assert compose(NODE, told, None) == {**told, "node": NODE}
    assert compose(NODE, told, Remark("UnsupportedField", "colour")) == {
        **told,
        "node": NODE,
        "reason": "UnsupportedField",
        "message": "colour; 244 + apache 10",
    }
    assert compose(NODE, None, Remark("SecretMissing", "x" * 999)) == {
        "node": NODE,
        "observedGeneration": 0,
        "state": "FAULT",
        "priority": 0,
        "reason": "SecretMissing",
        "message": "x" * LONGEST_MESSAGE,
    }
    assert compose(NODE, None, None) is None


def test_the_apply_names_nothing_but_the_own_entry() -> None:
    entry = {"node": NODE, "state": "BACKUP", "priority": 1}
    body = apply_body("web", entry)
    assert body.pop("status") == {"nodes": [entry]}
    assert body == {"apiVersion": "virtualip.dev/v1alpha1", "kind": "VirtualIP", "metadata": {"name": "web"}}
    assert apply_body("web", None)["status"] == {"nodes": []}


def test_what_counts_as_shown() -> None:
    entry = {"node": NODE, "state": "BACKUP", "priority": 1}
    found = own_entry({"status": {"nodes": [{"node": "server2"}, {**entry, "observedGeneration": 0}]}}, NODE)
    assert shows(found, entry)
    assert not shows(found, {**entry, "state": "MASTER"})
    empty: list[dict[str, Any]] = [{}, {"status": None}, {"status": {"nodes": None}}, {"status": {"nodes": []}}]
    for nothing in empty:
        assert own_entry(nothing, NODE) is None
    assert not shows(None, entry)


def test_the_memory_is_what_was_saved(tmp_path: Path) -> None:
    memory = Memory("17", ("a", "b"), "2026-01-01T00:00:00.000000Z", {"web": KnownMember("u", "c", True)}, ("web",))
    assert load(tmp_path) == Memory()
    save(tmp_path, memory)
    assert load(tmp_path) == memory


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"format": 2}', json.dumps({"format": 1}), '{"format":1,"store":7}']
)
def test_a_memory_that_is_not_understood_is_empty(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE_NAME).write_text(content)
    assert load(tmp_path) == Memory()
