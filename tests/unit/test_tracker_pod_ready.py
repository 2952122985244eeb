"""podReady: what is known of pods is worth, how long it holds without the API, and the file that carries it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from virtualip_agent import pods_file
from virtualip_agent.control.inotify import Inotify
from virtualip_agent.control.trackers import pod_table
from virtualip_agent.control.trackers.base import Check, Result
from virtualip_agent.control.trackers.pod_ready import FIRST_ANSWER, OLD, RunningPodReadyTracker, result_of
from virtualip_agent.control.trackers.pod_table import PodTable
from virtualip_agent.desired_file import write_atomically
from virtualip_agent.pods_file import Pod, PodsOfNamespace
from virtualip_agent.run_directory import pods_path
from virtualip_api.duration import MINUTE
from virtualip_api.selector import LabelSelector
from virtualip_api.trackers import PodReadyTracker

NGINX = LabelSelector((("app", "nginx"),))
ONE = PodReadyTracker("ingress", NGINX, hold_for=5 * MINUTE)
TWO = PodReadyTracker("ingress", NGINX, quorum=2, hold_for=5 * MINUTE)


def known(*ready: bool, at: float = 1000.0, problem: str = "") -> PodsOfNamespace:
    pods = {f"nginx-{number}": Pod({"app": "nginx"}, one) for number, one in enumerate(ready)}
    return PodsOfNamespace(pods | {"other": Pod({"app": "other"}, True)}, at, problem)


def test_one_that_is_ready_and_matches_is_enough() -> None:
    assert result_of(ONE, known(False, True), 1000, 0) == Check(True, "Ready")
    assert result_of(ONE, known(False), 1000, 0) == Check(False, "0 pods Ready, 1 wanted")
    assert result_of(ONE, known(), 1000, 0) == Check(False, "0 pods Ready, 1 wanted")


def test_the_quorum_decides() -> None:
    assert result_of(TWO, known(True, False), 1000, 0) == Check(False, "1 pod Ready, 2 wanted")
    assert result_of(TWO, known(True, True), 1000, 0) == Check(True, "at least 2 Ready")


@pytest.mark.parametrize("ready", [True, False])
def test_while_the_api_is_away_the_last_value_holds_for_hold_for_and_then_it_is_a_failure(ready: bool) -> None:
    last = known(ready)
    results = [result_of(ONE, last, 1000 + age, 0) for age in (0, OLD, OLD + 1, 300, 301)]
    assert [result.passed for result in results if result] == [ready] * 4 + [False]
    assert [result.message.endswith(" (last known: no answer of the API)") for result in results if result] == [
        False, False, True, True, False,
    ]  # fmt: skip
    assert results[-1] == Check(False, "not known for 5m: no answer of the API")


def test_before_the_first_answer_it_waits_but_not_for_ever() -> None:
    for nothing in (None, PodsOfNamespace()):
        assert result_of(ONE, nothing, 5 + FIRST_ANSWER - 1, 5) is None
        assert result_of(ONE, nothing, 5 + FIRST_ANSWER, 5) == Check(False, "the API has not been asked yet")


def test_a_refusal_is_said_at_once_and_keeps_what_was_known() -> None:
    assert result_of(ONE, PodsOfNamespace(problem="403 forbidden"), 5, 5) == Check(False, "403 forbidden")
    assert result_of(ONE, known(True, problem="403 forbidden"), 1001, 5) == Check(True, "Ready")


def test_the_file_is_read_as_it_was_written_and_only_in_the_same_boot() -> None:
    namespaces = {
        "ingress": known(True, False),
        "new": PodsOfNamespace(problem="403"),
        "empty": PodsOfNamespace({}, 1.5),
    }
    content = pods_file.encode(namespaces, "this boot")
    assert pods_file.decode(content, "this boot") == namespaces
    assert pods_file.decode(content, "another") == {}


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"format": 2, "boot": "b"}', b'{"format": 1, "boot": "b", "namespaces": {"a": 1}}'],
)
def test_garbage_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        pods_file.decode(content, "b")


class Scene:
    """A run directory, and a tracker that reads it."""

    def __init__(self, run: Path) -> None:
        self.path = pods_path(run)
        self.inotify = Inotify()
        self.table = PodTable(run, self.inotify)
        self.last: Result | None = None
        self._changed = asyncio.Event()

    def start(self, check: PodReadyTracker = ONE) -> RunningPodReadyTracker:
        return RunningPodReadyTracker(check, self._report, self.table)

    def write(self, *ready: bool, age: float = 0.0) -> None:
        content = pods_file.encode({"ingress": known(*ready, at=pods_file.now() - age)}, pods_file.boot_id())
        write_atomically(self.path, content)

    def _report(self, result: Result) -> None:
        self.last = result
        self._changed.set()

    async def becomes(self, result: Result) -> None:
        async with asyncio.timeout(5):
            while self.last != result:
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.inotify.close()


async def test_each_change_of_the_file_is_known_at_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pod_table, "LOOK_EVERY", 3600.0)  # so that only inotify can tell
    running = scene.start()
    assert scene.last is None
    scene.write(True)
    await scene.becomes(Check(True, "Ready"))
    scene.write(False)
    await scene.becomes(Check(False, "0 pods Ready, 1 wanted"))
    running.close()


async def test_what_is_known_grows_old_though_nothing_happens(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pod_table, "LOOK_EVERY", 0.02)
    scene.write(True, age=299.8)
    running = scene.start()
    assert scene.last == Check(True, "Ready (last known: no answer of the API)")
    await scene.becomes(Check(False, "not known for 5m: no answer of the API"))
    running.close()


async def test_a_damaged_file_or_a_link_keeps_what_was_known(scene: Scene, tmp_path: Path) -> None:
    scene.write(True)
    running = scene.start()
    scene.path.write_bytes(b"{")
    scene.table._look()
    assert scene.last == Check(True, "Ready")
    scene.path.unlink()
    scene.path.symlink_to(tmp_path / "elsewhere")
    scene.table._look()
    assert scene.last == Check(True, "Ready")
    running.close()


async def test_without_trackers_nothing_is_read(scene: Scene) -> None:
    running = scene.start()
    running.close()
    scene.write(True)
    await asyncio.sleep(0.05)
    assert (scene.last, scene.table.namespaces) == (None, {})
