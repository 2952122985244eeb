"""The reporter's rounds: an API server that is slow with one thing holds up nothing else."""

import base64
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from virtualip_agent.reporter import main
from virtualip_agent.reporter.api import ApiError
from virtualip_agent.reporter.desired_directory import DesiredDirectory
from virtualip_agent.reporter.main import Options, Reporter
from virtualip_agent.reporter.plan import Plan, read_plan
from virtualip_api.member import Peer, member_spec

if TYPE_CHECKING:
    from virtualip_agent.reporter.entry import Remark

NODE = "server1"


class Api:
    """Secrets; `fails` is the status of every request for one, and none is answered while `answers` is clear."""

    def __init__(self) -> None:
        self.fails: int | None = None
        self.asked = 0
        self.answers = threading.Event()
        self.answers.set()

    def get(self, path: str, *_: Any, **__: Any) -> dict[str, Any]:
        self.asked += 1
        self.answers.wait()
        if self.fails is not None:
            raise ApiError(self.fails, "no answer" if not self.fails else "refused")
        return {"data": {"password": base64.b64encode(b"secret").decode()}}

    def take_long_outage(self, _seconds: float) -> bool:
        return False


def plan(name: str, revision: int) -> Plan:
    spec = member_spec(
        virtual_ip=name, node=NODE, generation=1, base_priority=100, rank=0, draining=False, peers=(Peer(NODE),),
        spec={
            "addresses": ["192.0.2.1/32"], "vrid": 1, "version": 2,
            "authentication": {"type": "PASS", "secretKeyRef": {"name": f"{name}-vrrp", "key": "password"}},
        },
    )  # fmt: skip
    metadata = {"name": f"{name}.{NODE}", "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"}
    found = read_plan({"metadata": metadata, "spec": {**spec, "revision": revision}}, NODE)
    assert found is not None
    return found


class Scene:
    """A reporter's part that keeps passwords, without its threads."""

    def __init__(self, directory: Path) -> None:
        self.api = Api()
        self.remarks: dict[str, Remark | None] = {}
        self.desired = DesiredDirectory(directory, self.remarks.__setitem__)
        self.reporter = Reporter.__new__(Reporter)
        self.reporter._api = self.api  # type: ignore[assignment]
        self.reporter._desired = self.desired
        self.reporter._options = Options(node=NODE, namespace="ns")
        self.reporter._refusals = {}

    def take(self, name: str, revision: int) -> None:
        self.desired.take(plan(name, revision))

    def refresh(self) -> None:
        self.reporter._try("password", self.reporter._refresh_passwords)

    def remark(self, name: str) -> "Remark":
        remark = self.remarks[name]
        assert remark is not None
        return remark

    def revision(self, name: str) -> int:
        running = self.desired._running(name)
        assert running is not None
        return running.desired.member.revision


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.mark.parametrize("status", [0, 403, 500])
def test_a_password_that_is_known_holds_while_it_cannot_be_read(scene: Scene, status: int) -> None:
    scene.take("web", 1)
    scene.refresh()
    scene.api.fails = status
    scene.refresh()
    scene.take("web", 2)
    assert (scene.revision("web"), scene.remarks["web"]) == (2, None)


def test_one_that_was_never_read_or_is_deleted_is_said_to_be_missing(scene: Scene) -> None:
    scene.api.fails = 403
    scene.take("web", 1)
    scene.refresh()
    remark = scene.remark("web")
    assert (remark.reason, remark.message) == ("SecretMissing", "Secret web-vrrp: cannot be read: 403 refused")
    scene.api.fails = None
    scene.refresh()
    assert scene.remarks["web"] is None
    scene.api.fails = 404
    scene.refresh()
    assert "not found (runs on with" in scene.remark("web").message


def test_while_nobody_answers_one_secret_is_asked_for_and_not_each_in_turn(scene: Scene) -> None:
    for name in ("web", "db", "mail"):
        scene.take(name, 1)
    scene.api.fails = 0
    scene.refresh()
    assert scene.api.asked == 1
    scene.api.fails = 403
    scene.refresh()
    assert scene.api.asked == 4


def test_the_lease_is_renewed_while_a_secret_does_not_answer(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.take("web", 1)
    scene.api.answers.clear()
    reporter, stop, renewed = scene.reporter, threading.Event(), threading.Semaphore(0)
    monkeypatch.setattr(main, "RENEWAL", 0.001)
    monkeypatch.setattr(reporter, "_renew", renewed.release)
    threads = [threading.Thread(target=body) for body in (scene.refresh, lambda: reporter._renewals(stop))]
    for thread in threads:
        thread.start()
    try:
        assert all(renewed.acquire(timeout=5.0) for _ in range(5))
        assert threads[0].is_alive()  # it waits for the Secret
    finally:
        stop.set()
        scene.api.answers.set()
        for thread in threads:
            thread.join()
