"""Pods in: which are watched, what is said of them, and what an API that goes away or refuses leaves standing."""

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from virtualip_agent import pods_file
from virtualip_agent.pods_file import Pod, PodsOfNamespace
from virtualip_agent.reporter import backoff
from virtualip_agent.reporter.api import ApiError, WatchEvent
from virtualip_agent.reporter.desired_directory import DesiredDirectory
from virtualip_agent.reporter.plan import read_plan
from virtualip_agent.reporter.pod_watch import NamespaceWatch, PodWatch, pod_of
from virtualip_agent.run_directory import pods_path
from virtualip_api.member import Peer, member_spec
from virtualip_api.names import member_name

NODE = "server1"


def pod(name: str = "nginx-0", ready: str | None = "True", **metadata: Any) -> dict[str, Any]:
    conditions = [{"type": "Initialized", "status": "True"}]
    if ready is not None:
        conditions.append({"type": "Ready", "status": ready})
    return {
        "metadata": {"name": name, "labels": {"app": "nginx"}, "resourceVersion": "7", **metadata},
        "status": {"conditions": conditions},
    }


class FakeApi:
    """Pods of one namespace; `fails` makes every request fail with that status."""

    def __init__(self, *pods: dict[str, Any]) -> None:
        self.pods = {it["metadata"]["name"]: it for it in pods}
        self.fails: int | None = None
        self.asked: list[tuple[str, dict[str, str]]] = []

    def get(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        self.asked.append((path, dict(query)))
        if self.fails is not None:
            raise ApiError(self.fails, "pods is forbidden" if self.fails == 403 else "away")
        return {"metadata": {"resourceVersion": "5"}, "items": list(self.pods.values())}

    def watch(self, path: str, query: Mapping[str, str], seconds: int) -> Iterator[WatchEvent]:
        yield from ()
        raise ApiError(0, "away")


def watch(api: FakeApi, before: PodsOfNamespace | None = None) -> NamespaceWatch:
    return NamespaceWatch(api, NODE, "ingress", before, lambda: None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("thing", "ready"),
    [
        (pod(), True),
        (pod(ready="False"), False),
        (pod(ready="Unknown"), False),
        (pod(ready=None), False),
        (pod(deletionTimestamp="2026-01-01T00:00:00Z"), False),
        ({"metadata": {"name": "nginx-0", "labels": {"app": "nginx"}}}, False),
    ],
)
def test_ready_is_the_condition_and_not_being_deleted(thing: dict[str, Any], ready: bool) -> None:
    assert pod_of(thing) == ("nginx-0", Pod({"app": "nginx"}, ready))


def test_only_pods_of_this_node_and_namespace_are_asked_for() -> None:
    api = FakeApi()
    watch(api).look()
    assert api.asked == [("/api/v1/namespaces/ingress/pods", {"fieldSelector": "spec.nodeName=server1"})]


def test_events_change_what_is_known() -> None:
    watching = watch(FakeApi(pod("a"), pod("b")))
    watching.look()
    watching.handle(WatchEvent("MODIFIED", pod("a", ready="False")))
    watching.handle(WatchEvent("DELETED", pod("b")))
    watching.handle(WatchEvent("ADDED", pod("c")))
    watching.handle(WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": "9"}}))
    pods = watching.known().pods
    assert pods is not None
    assert {name: it.ready for name, it in pods.items()} == {"a": False, "c": True}


def test_while_the_api_is_there_it_is_confirmed_and_while_it_is_away_not(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(pods_file, "now", lambda: clock[0])
    watching = watch(FakeApi(pod()))
    watching.look()
    clock[0] = 160.0
    assert watching.known().confirmed_at == 160
    watching._lost(ApiError(0, "away"))
    clock[0] = 300.0
    lost = watching.known()
    assert (lost.confirmed_at, lost.problem) == (160, "")
    assert lost.pods == {"nginx-0": Pod({"app": "nginx"}, True)}


def test_a_refusal_is_told_with_what_was_known() -> None:
    watching = watch(FakeApi(pod()))
    watching.look()
    watching._lost(ApiError(403, "pods is forbidden"))
    known = watching.known()
    assert known.problem == "pods of ingress cannot be watched: 403 pods is forbidden"
    assert known.pods is not None
    watching.look()
    assert watching.known().problem == ""


def desired(path: Path) -> DesiredDirectory:
    path.mkdir(exist_ok=True)
    return DesiredDirectory(path, lambda _name, _remark: None)


def take(directory: DesiredDirectory, name: str, *namespaces: str) -> None:
    trackers = [
        {"name": f"t{number}", "podReady": {"namespace": namespace, "selector": {}}}
        for number, namespace in enumerate(namespaces)
    ]
    spec = member_spec(
        virtual_ip=name, node=NODE, generation=1, base_priority=100, rank=0, draining=False, peers=(Peer(NODE),),
        spec={"addresses": ["192.0.2.10/32"], "vrid": 51, "trackers": trackers},
    )  # fmt: skip
    plan = read_plan(
        {"metadata": {"name": member_name(name, NODE), "uid": name}, "spec": {**spec, "revision": 1}}, NODE
    )
    assert plan is not None
    directory.take(plan)


def test_the_namespaces_are_those_of_the_vips_that_run_here_also_after_a_restart(tmp_path: Path) -> None:
    directory = desired(tmp_path)
    assert directory.pod_namespaces() == set()
    take(directory, "web", "ingress", "other")
    take(directory, "db", "ingress")
    assert directory.pod_namespaces() == {"ingress", "other"}
    assert desired(tmp_path).pod_namespaces() == {"ingress", "other"}
    directory.remove("web")
    assert directory.pod_namespaces() == {"ingress"}
    directory.remove("db")
    assert directory.pod_namespaces() == set()


class Scene:
    """A PodWatch whose threads the test ends by what it wants."""

    def __init__(self, run: Path, api: FakeApi) -> None:
        self.api = api
        self.path = pods_path(run)
        self.wanted: set[str] = set()
        self.started: list[str] = []
        self.watch = PodWatch(api, NODE, self.path, lambda: self.wanted, self._start)  # type: ignore[arg-type]

    def _start(self, name: str, body: Callable[[], None]) -> None:
        self.started.append(name)
        threading.Thread(target=body, daemon=True).start()

    def file(self) -> dict[str, PodsOfNamespace]:
        return pods_file.decode(self.path.read_bytes(), pods_file.boot_id())

    def until(self, condition: Callable[[dict[str, PodsOfNamespace]], object]) -> None:
        for _ in range(200):
            self.watch.round()
            if condition(self.file()):
                return
            self.watch._wake.wait(0.05)
            self.watch._wake.clear()
        raise AssertionError(self.file())


def test_without_such_trackers_nothing_is_asked_and_no_file_made(tmp_path: Path) -> None:
    scene = Scene(tmp_path, FakeApi())
    scene.watch.round()
    assert (scene.api.asked, scene.started, scene.path.exists()) == ([], [], False)


def test_it_begins_and_ends_with_the_trackers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(backoff, "LONGEST_PAUSE", 0.01)
    scene = Scene(tmp_path, FakeApi(pod()))
    scene.wanted = {"ingress"}
    scene.until(lambda file: file["ingress"].pods == {"nginx-0": Pod({"app": "nginx"}, True)})
    assert scene.started == ["pods-ingress"]
    scene.wanted = set()
    scene.until(lambda file: file == {})


def test_what_an_earlier_process_knew_is_kept_until_the_api_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "FIRST_PAUSE", 0.01)
    before = PodsOfNamespace({"nginx-0": Pod({"app": "nginx"}, True)}, 1.0)
    pods_path(tmp_path).write_bytes(pods_file.encode({"ingress": before, "old": before}, pods_file.boot_id()))
    api = FakeApi(pod(ready="False"))
    api.fails = 0
    scene = Scene(tmp_path, api)
    scene.wanted = {"ingress"}
    scene.until(lambda file: api.asked)
    assert scene.file() == {"ingress": before}
    api.fails = None
    scene.until(lambda file: file["ingress"].pods == {"nginx-0": Pod({"app": "nginx"}, False)})
    scene.wanted = set()
    scene.watch.round()


class Restored(FakeApi):
    """etcd has been restored behind API servers that go on: nothing is sent to a watch from a version yet to come."""

    watched = 0

    def get(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        return super().get(path, query) | {"metadata": {"resourceVersion": "9000" if not self.watched else "500"}}

    def watch(self, path: str, query: Mapping[str, str], seconds: int) -> Iterator[WatchEvent]:
        self.watched += 1
        if self.watched > 1 and int(query["resourceVersion"]) < 501:
            yield WatchEvent("MODIFIED", pod(ready="False", resourceVersion="501"))
        assert self.watched < 3


def test_after_each_watch_the_pods_are_listed_so_that_a_restored_database_is_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backoff, "FIRST_PAUSE", 0.0)
    watching = watch(Restored(pod()))
    seen = []

    def changed() -> None:
        pods = watching.known().pods or {}
        seen.append([it.ready for it in pods.values()])
        if seen[-1] == [False]:
            watching.stop()

    monkeypatch.setattr(watching, "_changed", changed)
    watching.work()
    assert seen == [[True], [False]]
