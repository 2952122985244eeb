"""Plans in, against a real API server: which files lie in the desired directory, whatever becomes of the API."""

from pathlib import Path

import pytest

from reporter_harness import Scene, eventually, never
from virtualip_api.names import member_name

pytestmark = pytest.mark.apiserver


def test_a_member_becomes_a_file_and_its_change_too(scene: Scene) -> None:
    scene.api.virtual_ip("web")
    scene.api.member("web", scene.reporter.node)
    eventually(lambda: scene.reporter.files() == {"web.json"})
    scene.api.member("web", scene.reporter.node, revision=2, priority=7)
    eventually(lambda: scene.reporter.file("web")["member"]["revision"] == 2)


def test_a_deleted_virtual_ip_is_withdrawn_at_once(scene: Scene) -> None:
    scene.api.virtual_ip("web")
    scene.api.member("web", scene.reporter.node)
    eventually(lambda: scene.reporter.files() == {"web.json"})
    scene.api.delete("virtualip", "web")
    assert scene.reporter.files() == {"web.json"}  # the Member is what counts
    scene.api.delete("virtualipmember", member_name("web", scene.reporter.node))
    eventually(lambda: scene.reporter.files() == set(), 3)


def test_members_deleted_by_hand_and_made_again_move_nothing(scene: Scene) -> None:
    scene.api.virtual_ip("web")
    scene.api.member("web", scene.reporter.node)
    eventually(lambda: scene.reporter.files() == {"web.json"})
    scene.api.delete("virtualipmember", member_name("web", scene.reporter.node))
    eventually(lambda: scene.reporter.logged("it may be made again"))
    scene.api.member("web", scene.reporter.node)
    never(lambda: scene.reporter.files() != {"web.json"}, 13)


def test_a_node_that_is_no_longer_selected_is_withdrawn_when_that_has_lasted(scene: Scene) -> None:
    scene.api.virtual_ip("web")
    scene.api.member("web", scene.reporter.node)
    eventually(lambda: scene.reporter.files() == {"web.json"})
    scene.api.delete("virtualipmember", member_name("web", scene.reporter.node))
    never(lambda: scene.reporter.files() != {"web.json"}, 9)
    eventually(lambda: scene.reporter.files() == set(), 5)


def test_what_was_deleted_while_the_reporter_was_away_is_withdrawn_after_two_lists(scene: Scene) -> None:
    for name in ("db", "web"):
        scene.api.virtual_ip(name)
        scene.api.member(name, scene.reporter.node)
    eventually(lambda: scene.reporter.files() == {"db.json", "web.json"})
    scene.reporter.stop()
    scene.api.delete("virtualip", "web")
    scene.api.delete("virtualipmember", member_name("web", scene.reporter.node))
    scene.reporter.start()
    never(lambda: "web.json" not in scene.reporter.files(), 8)
    eventually(lambda: scene.reporter.files() == {"db.json"}, 8)


@pytest.mark.parametrize("resource", ["virtualips", "virtualipmembers"])
def test_a_deleted_crd_withdraws_nothing_also_when_it_is_made_anew(scene: Scene, resource: str) -> None:
    scene.api.virtual_ip("web")
    scene.api.member("web", scene.reporter.node)
    eventually(lambda: scene.reporter.files() == {"web.json"})
    scene.api.delete("crd", f"{resource}.virtualip.dev")
    if resource == "virtualips":  # what the garbage collector makes of it
        scene.api.delete("virtualipmember", member_name("web", scene.reporter.node))
    eventually(lambda: scene.reporter.logged("kept though its Member is gone"))
    scene.api.install()
    never(lambda: scene.reporter.files() != {"web.json"}, 14)
    # From here on it is followed again.
    scene.api.virtual_ip("web")
    scene.api.member("web", scene.reporter.node, revision=5)
    eventually(lambda: scene.reporter.file("web")["member"]["revision"] == 5)
    scene.api.delete("virtualip", "web")
    scene.api.delete("virtualipmember", member_name("web", scene.reporter.node))
    eventually(lambda: scene.reporter.files() == set())


def test_an_api_that_is_away_or_refuses_withdraws_nothing(scene: Scene) -> None:
    scene.api.virtual_ip("web")
    scene.api.member("web", scene.reporter.node)
    eventually(lambda: scene.reporter.files() == {"web.json"})
    binding = scene.api.get("clusterrolebinding", "virtualip-agent")
    scene.api.cluster.stop_api_servers()
    try:
        never(lambda: scene.reporter.files() != {"web.json"}, 3)
    finally:
        scene.api.cluster.start_api_servers()
    try:
        scene.api.delete("clusterrolebinding", "virtualip-agent")
        scene.reporter.stop()
        scene.reporter.start()
        eventually(lambda: scene.reporter.logged("plans cannot be read"))
        scene.api.delete("virtualip", "web")
        scene.api.delete("virtualipmember", member_name("web", scene.reporter.node))
        never(lambda: scene.reporter.files() != {"web.json"}, 5)
    finally:
        scene.api.install()
    assert binding is not None
    eventually(lambda: scene.reporter.files() == set(), 25)
    assert scene.reporter.log.read_text().count("API server does not answer") == 1


def test_a_plan_that_is_not_understood_leaves_the_last_and_says_so(scene: Scene) -> None:
    scene.api.virtual_ip("web")
    scene.api.member("web", scene.reporter.node)
    eventually(lambda: scene.reporter.files() == {"web.json"})
    scene.control.set("web", state="MASTER", priority=100, message="fine")
    scene.api.member("web", scene.reporter.node, revision=2, extra={"colour": "blue"})
    entry = eventually(lambda: scene.entry("web").get("reason") == "UnsupportedField" and scene.entry("web"))
    assert (entry["state"], entry["priority"]) == ("MASTER", 100)
    assert "colour: unknown field" in entry["message"]
    assert scene.reporter.file("web")["member"]["revision"] == 1
    scene.api.member("web", scene.reporter.node, revision=3)
    eventually(lambda: "reason" not in scene.entry("web"))
    assert scene.reporter.file("web")["member"]["revision"] == 3


def test_passwords_come_from_secrets_and_follow_them(scene: Scene) -> None:
    authentication = {"type": "PASS", "secretKeyRef": {"name": scene.reporter.node, "key": "password"}}
    scene.api.virtual_ip("web", version=2, authentication=authentication)
    scene.api.member("web", scene.reporter.node, version=2, authentication=authentication)
    entry = eventually(lambda: scene.entry("web"))
    assert (entry["state"], entry["reason"]) == ("FAULT", "SecretMissing")
    assert scene.reporter.files() == set()
    scene.api.secret(scene.reporter.node, password="12345")
    eventually(lambda: scene.reporter.files() == {"web.json"})
    assert bytes.fromhex(scene.reporter.file("web")["password"]) == b"12345"
    scene.api.secret(scene.reporter.node, password="much-too-long")
    scene.control.set("web", state="MASTER")
    eventually(lambda: "13 bytes" in scene.entry("web").get("message", ""))
    assert bytes.fromhex(scene.reporter.file("web")["password"]) == b"12345"
    scene.api.secret(scene.reporter.node, password="54321")
    eventually(lambda: bytes.fromhex(scene.reporter.file("web")["password"]) == b"54321")
    for value in ("12345", "54321", "much-too-long"):
        assert not scene.reporter.logged(value)
    assert (scene.reporter.desired / "web.json").stat().st_mode & 0o007 == 0


@pytest.mark.power
def test_an_etcd_restored_from_a_backup_withdraws_nothing_however_long_it_runs_on(scene: Scene, tmp_path: Path) -> None:
    scene.api.virtual_ip("old")
    scene.api.member("old", scene.reporter.node)
    scene.api.cluster.save_store(tmp_path / "backup")
    scene.api.virtual_ip("web")
    scene.api.member("web", scene.reporter.node)
    eventually(lambda: scene.reporter.files() == {"old.json", "web.json"})
    scene.api.cluster.restore_store(tmp_path / "backup")
    eventually(lambda: scene.reporter.logged("older than before"), 25)
    for revision in range(2, 12):  # beyond the resourceVersion that was seen last
        scene.api.member("old", scene.reporter.node, revision=revision)
    eventually(lambda: scene.reporter.file("old")["member"]["revision"] == 11)
    never(lambda: scene.reporter.files() != {"old.json", "web.json"}, 12)
    scene.reporter.stop()
    scene.reporter.start()
    never(lambda: scene.reporter.files() != {"old.json", "web.json"}, 22)
    scene.api.delete("virtualip", "old")
    scene.api.delete("virtualipmember", member_name("old", scene.reporter.node))
    eventually(lambda: scene.reporter.files() == {"web.json"})
