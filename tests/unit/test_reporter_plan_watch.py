"""The evidence of absence, gathered from an API that is restored, refuses, loses its CRDs: which files lie there then?

The API here keeps state as etcd does: one revision for everything, uids, snapshots."""

import contextlib
import copy
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from virtualip_agent.reporter import plan_watch
from virtualip_agent.reporter.api import ApiError, WatchEvent
from virtualip_agent.reporter.backoff import BackOff
from virtualip_agent.reporter.desired_directory import DesiredDirectory
from virtualip_agent.reporter.entry import VIRTUAL_IPS_PATH
from virtualip_agent.reporter.memory import Memory
from virtualip_agent.reporter.passwords import read_password
from virtualip_agent.reporter.plan_watch import MEMBERS_PATH, PlanWatch
from virtualip_agent.reporter.withdrawal import GIVE_WAY, GRACE, Store
from virtualip_api.member import Peer, member_spec
from virtualip_api.names import WITHDRAWN_ANNOTATION, member_name

NODE = "server1"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"


@dataclass
class Database:
    """What etcd holds."""

    revision: int = 100
    crds: dict[str, dict[str, Any]] = field(default_factory=dict)
    virtual_ips: dict[str, dict[str, Any]] = field(default_factory=dict)
    members: dict[str, dict[str, Any]] = field(default_factory=dict)


class FakeApi:
    """An API server over a Database; `refuses` makes it answer everything with that status."""

    def __init__(self) -> None:
        self.database = Database()
        self.refuses = 0
        self._uids = 0
        for plural in ("virtualips", "virtualipmembers"):
            self.make_crd(plural)

    def _object(self, name: str, **rest: Any) -> dict[str, Any]:
        self.database.revision += 1
        self._uids += 1
        metadata = {
            "name": name,
            "uid": f"uid-{self._uids}",
            "resourceVersion": str(self.database.revision),
            "creationTimestamp": f"2026-01-01T00:00:{self._uids:02}Z",
        }
        return {"metadata": metadata, **rest}

    def make_crd(self, plural: str) -> None:
        self.database.crds[plural] = self._object(f"{plural}.virtualip.dev")

    def make(self, name: str, revision: int = 1, vrid: int = 0) -> WatchEvent:
        """A VirtualIP where there is none, and this node's Member of it."""
        self.database.virtual_ips.setdefault(name, self._object(name))
        spec = member_spec(
            virtual_ip=name,
            node=NODE,
            generation=1,
            base_priority=100,
            rank=0,
            draining=False,
            peers=(Peer(NODE),),
            spec={"addresses": [f"192.0.2.{vrid or len(name)}/32"], "vrid": vrid or len(name)},
        )
        key = member_name(name, NODE)
        known = self.database.members.get(key)
        made = self._object(key, spec={**spec, "revision": revision})
        if known is not None:
            for constant in ("uid", "creationTimestamp"):
                made["metadata"][constant] = known["metadata"][constant]
        self.database.members[key] = made
        return WatchEvent("MODIFIED" if known else "ADDED", copy.deepcopy(made))

    def mark(self, name: str) -> WatchEvent:
        """As the operator does to a Member that it is about to delete."""
        member = self.database.members[member_name(name, NODE)]
        self.database.revision += 1
        member["metadata"] |= {
            "resourceVersion": str(self.database.revision),
            "annotations": {WITHDRAWN_ANNOTATION: "true"},
        }
        return WatchEvent("MODIFIED", copy.deepcopy(member))

    def delete_member(self, name: str) -> WatchEvent:
        member = self.database.members.pop(member_name(name, NODE))
        self.database.revision += 1
        member["metadata"]["resourceVersion"] = str(self.database.revision)
        return WatchEvent("DELETED", member)

    def get(self, path: str, query: Mapping[str, str] | None = None, *, accept: str = "") -> dict[str, Any]:
        if self.refuses:
            raise ApiError(self.refuses, "as the test wants")
        database = self.database
        if path == MEMBERS_PATH:
            self._need(database.crds, "virtualipmembers")
            items = copy.deepcopy(list(database.members.values()))
            return {"metadata": {"resourceVersion": str(database.revision)}, "items": items}
        if path.startswith(CRDS):
            return self._found(database.crds, path.removeprefix(CRDS).removesuffix(".virtualip.dev"))
        if path.startswith(VIRTUAL_IPS_PATH):
            self._need(database.crds, "virtualips")
            return self._found(database.virtual_ips, path.removeprefix(f"{VIRTUAL_IPS_PATH}/"))
        raise AssertionError(path)

    def _need(self, crds: Mapping[str, Any], plural: str) -> None:
        if plural not in crds:
            raise ApiError(404, "404 page not found")

    def _found(self, objects: Mapping[str, dict[str, Any]], name: str) -> dict[str, Any]:
        if name not in objects:
            raise ApiError(404, "NotFound", absent_name=name)
        return copy.deepcopy(objects[name])


class Scene:
    """A PlanWatch whose clock, API and Lease are the test's."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.api = FakeApi()
        self.now = 1_000_000_000_000
        self.lease = Store.SAME
        self.memory = Memory()
        self.start()

    def start(self) -> None:
        """A reporter process begins, with what the last one remembered."""
        self.desired = DesiredDirectory(self.path, lambda _name, _remark: None)
        self.watch = PlanWatch(
            self.api,  # type: ignore[arg-type]
            NODE,
            self.desired,
            self.memory,
            read_password=lambda secret: read_password(self.api, "ns", secret),  # type: ignore[arg-type]
            lease_store=lambda: self.lease,
            checkpoint=self._remember,
            clock=lambda: self.now,
        )

    def _remember(self) -> None:
        version, store, members = self.watch.memory()
        self.memory = Memory(resource_version=version, store=store, members=members)

    def look(self, times: int = 1) -> None:
        """So many lists, GRACE apart; refused ones are no answer."""
        for _ in range(times):
            with contextlib.suppress(ApiError):
                self.watch.look()
            self.now += GRACE

    def running(self) -> set[str]:
        return {file.stem for file in self.path.glob("*.json") if not file.name.startswith(".")}


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    scene = Scene(tmp_path)
    scene.api.make("db")
    scene.api.make("web")
    scene.look()
    assert scene.running() == {"db", "web"}
    return scene


def test_deleted_with_its_virtual_ip(scene: Scene) -> None:
    del scene.api.database.virtual_ips["web"]
    scene.watch.handle(scene.api.delete_member("web"))
    assert scene.running() == {"db"}


def test_a_virtual_ip_that_is_being_deleted_is_as_good_as_gone(scene: Scene) -> None:
    scene.api.database.virtual_ips["web"]["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z"
    scene.watch.handle(scene.api.delete_member("web"))
    assert scene.running() == {"db"}


def test_deselected_by_the_operator(scene: Scene) -> None:
    """Which marks the Member before it deletes it: nobody will make it again."""
    marked = scene.api.mark("web")
    scene.watch.handle(marked)
    scene.look()
    assert scene.running() == {"db", "web"}, "it is still there"
    scene.watch.handle(scene.api.delete_member("web"))
    assert scene.running() == {"db"}


def test_a_marked_member_that_goes_with_its_crd_is_kept(scene: Scene) -> None:
    scene.watch.handle(scene.api.mark("web"))
    del scene.api.database.crds["virtualipmembers"]
    scene.watch.handle(scene.api.delete_member("web"))
    scene.look(3)
    assert scene.running() == {"db", "web"}


def test_deselected_while_nobody_marks(scene: Scene) -> None:
    scene.watch.handle(scene.api.delete_member("web"))
    scene.look()
    assert scene.running() == {"db", "web"}
    scene.look()
    assert scene.running() == {"db"}


def test_all_members_deleted_by_hand_and_made_again(scene: Scene) -> None:
    for name in ("db", "web"):
        scene.watch.handle(scene.api.delete_member(name))
    for name in ("db", "web"):
        scene.watch.handle(scene.api.make(name))
    scene.look(3)
    assert scene.running() == {"db", "web"}


def test_lists_that_lack_it_count_twice_over_a_restart_of_the_reporter(scene: Scene) -> None:
    del scene.api.database.virtual_ips["web"]
    scene.api.delete_member("web")
    scene.start()
    scene.look()
    assert scene.running() == {"db", "web"}
    scene.look()
    assert scene.running() == {"db"}


@pytest.mark.parametrize("status", [0, 401, 403, 404, 429, 500, 503])
def test_no_answer_is_no_evidence(scene: Scene, status: int) -> None:
    scene.api.database.members.clear()
    scene.api.refuses = status or 503
    scene.look(3)
    assert scene.running() == {"db", "web"}


@pytest.mark.parametrize("plural", ["virtualips", "virtualipmembers"])
@pytest.mark.parametrize("watched", [True, False])
def test_a_crd_that_goes_and_comes_anew(scene: Scene, plural: str, watched: bool) -> None:
    scene.api.database.crds[plural]["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z"
    scene.api.database.virtual_ips.clear()
    deletions = [scene.api.delete_member(name) for name in ("db", "web")]
    for deletion in deletions if watched else ():
        scene.watch.handle(deletion)
    scene.look(3)
    del scene.api.database.crds[plural]
    scene.look(3)
    scene.api.make_crd(plural)
    scene.look(3)
    scene.start()
    scene.look(3)
    assert scene.running() == {"db", "web"}
    scene.watch.handle(scene.api.make("web"))  # applied again: followed again
    scene.look(2)
    del scene.api.database.virtual_ips["web"]
    scene.watch.handle(scene.api.delete_member("web"))
    assert scene.running() == {"db"}


def test_an_etcd_restored_to_a_time_before_the_members(scene: Scene, tmp_path: Path) -> None:
    scene.look()
    before = Database(revision=10, crds=copy.deepcopy(scene.api.database.crds))
    scene.api.database = before
    scene.look(3)
    assert scene.running() == {"db", "web"}
    before.revision = 1000  # and it goes on
    scene.look(3)
    scene.start()
    scene.look(3)
    assert scene.running() == {"db", "web"}


def test_an_etcd_restored_with_a_bumped_revision_is_known_by_the_lease(scene: Scene) -> None:
    scene.api.database = Database(revision=10**9, crds=copy.deepcopy(scene.api.database.crds))
    scene.lease = Store.CHANGED
    scene.look(3)
    assert scene.running() == {"db", "web"}
    scene.lease = Store.SAME  # renewed, as Leases are
    scene.look(3)
    assert scene.running() == {"db", "web"}


def test_the_lease_that_tells_of_a_restored_etcd_ends_all_evidence(scene: Scene) -> None:
    scene.api.database = Database(revision=10**9, crds=copy.deepcopy(scene.api.database.crds))
    scene.look()
    scene.watch.replaced()
    scene.look(3)
    assert scene.running() == {"db", "web"}


def test_after_the_lease_told_of_it_the_watch_ends_and_what_is_made_anew_can_be_deleted(scene: Scene) -> None:
    scene.api.database = Database(revision=10, crds=copy.deepcopy(scene.api.database.crds))
    scene.look()
    ended = []
    scene.watch._opened(lambda: ended.append("watch"))
    scene.watch.handle(scene.api.make("web"))
    scene.watch.replaced()
    assert ended == ["watch"]
    scene.look()
    scene.api.database.virtual_ips.pop("web")
    scene.watch.handle(scene.api.delete_member("web"))
    assert scene.running() == {"db"}


def test_an_etcd_restored_empty(scene: Scene) -> None:
    scene.api.database = Database(revision=1)
    scene.look(3)
    for plural in ("virtualips", "virtualipmembers"):
        scene.api.make_crd(plural)
    scene.look(3)
    assert scene.running() == {"db", "web"}


def test_an_older_revision_of_the_plan_is_not_followed(scene: Scene) -> None:
    scene.watch.handle(scene.api.make("web", revision=5))
    scene.watch.handle(scene.api.make("web", revision=4))
    assert b'"revision": 5' in (scene.path / "web.json").read_bytes()
    scene.watch.handle(scene.api.make("web", revision=6))
    assert b'"revision": 6' in (scene.path / "web.json").read_bytes()


def test_a_member_made_anew_begins_to_count_anew(scene: Scene) -> None:
    scene.watch.handle(scene.api.make("web", revision=5))
    scene.watch.handle(scene.api.delete_member("web"))
    scene.watch.handle(scene.api.make("web", revision=1))
    assert b'"revision": 1' in (scene.path / "web.json").read_bytes()


def test_without_its_memory_the_reporter_withdraws_nothing_it_has_not_seen(scene: Scene) -> None:
    scene.api.delete_member("web")
    scene.memory = Memory()
    scene.start()
    scene.look(3)
    assert scene.running() == {"db", "web"}


def test_members_of_other_nodes_and_wrong_names_are_not_ours(scene: Scene) -> None:
    for key, changes in {
        "web.server2": {"node": "server2"},
        "other.server1": {"virtualIP": "../../etc/passwd"},
        "x.server1": {"virtualIP": "y"},
    }.items():
        member = copy.deepcopy(scene.api.database.members["web.server1"])
        member["metadata"]["name"] = key
        member["spec"].update(changes)
        scene.watch.handle(WatchEvent("ADDED", member))
    assert scene.running() == {"db", "web"}
    assert {file.name for file in scene.path.iterdir()} == {"db.json", "web.json"}


# ---- installed anew, and what was there before


def installed_anew(scene: Scene) -> None:
    """Everything is deleted with its CRDs, and they are made again; etcd goes on."""
    scene.api.database.members.clear()
    scene.api.database.virtual_ips.clear()
    for plural in ("virtualips", "virtualipmembers"):
        scene.api.make_crd(plural)
    scene.start()
    scene.look(2)


def test_what_is_kept_without_a_virtual_ip_in_the_api_is_said_once(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    installed_anew(scene)
    scene.look(5)
    assert scene.running() == {"db", "web"}
    said = [record.getMessage() for record in caplog.records if "without a VirtualIP" in record.getMessage()]
    assert [line.split(":")[0] for line in said] == ["db", "web"]
    assert "virtualip-agent forget web" in said[1]


def test_it_gives_way_to_one_with_its_vrid_that_the_api_has_had_for_long(scene: Scene) -> None:
    installed_anew(scene)
    scene.api.make("web2", vrid=len("web"))
    scene.look()
    begun = scene.now - GRACE
    while scene.now - begun < GIVE_WAY:
        assert scene.running() == {"db", "web", "web2"}
        scene.look()
    scene.look()
    assert scene.running() == {"db", "web2"}


def test_it_does_not_give_way_where_it_is_in_nobodys_way(scene: Scene) -> None:
    installed_anew(scene)
    scene.api.make("web2", vrid=77)
    scene.now += GIVE_WAY
    scene.look(2)
    scene.now += GIVE_WAY
    scene.look(2)
    assert scene.running() == {"db", "web", "web2"}


def test_nor_while_the_api_has_a_virtual_ip_of_its_name_or_does_not_say(scene: Scene) -> None:
    installed_anew(scene)
    scene.api.make("web2", vrid=len("web"))
    scene.api.make("web")
    scene.api.delete_member("web")  # the operator has not planned it for this node yet
    scene.look()
    scene.now += GIVE_WAY
    scene.look(2)
    assert scene.running() == {"db", "web", "web2"}


def test_forgotten_by_hand_it_is_gone_also_from_the_memory_and_a_planned_one_is_written_again(scene: Scene) -> None:
    installed_anew(scene)
    scene.api.make("db")
    scene.look()
    for name in ("db", "web"):
        (scene.path / f"{name}.json").unlink()
    scene.look()
    assert scene.running() == {"db"}
    assert set(scene.memory.members) == {"db"}
    scene.start()
    scene.look()
    assert scene.running() == {"db"}


def test_a_restored_database_is_listed_at_once_however_long_the_api_was_refused_before(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is deleted in the seconds that the back-off may still last would look as if it had never been there."""
    paused, followed = threading.Event(), threading.Event()

    class Patient(BackOff):
        def ended(self, *, failed: bool) -> float:
            paused.set()
            return 3600.0

    monkeypatch.setattr(plan_watch, "BackOff", Patient)
    monkeypatch.setattr(scene.watch, "_follow", followed.set)
    scene.api.refuses = 503
    threading.Thread(target=scene.watch.work, daemon=True).start()
    assert paused.wait(10)
    assert not followed.is_set()
    scene.api.refuses = 0
    scene.watch.replaced()
    assert followed.wait(10)
