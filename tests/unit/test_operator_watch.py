"""kopf is run again and again in one process, and ends with it."""

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Collection
from types import SimpleNamespace
from typing import Any, cast

import kopf
import pytest
from kopf._cogs.aiokits import aiotasks
from kopf._cogs.structs.references import Resource

from virtualip_operator import main, workers
from virtualip_operator.api import MEMBERS
from virtualip_operator.handlers import make_settings
from virtualip_operator.health import Health
from virtualip_operator.store import Store
from virtualip_operator.work_queue import WorkQueue

DAY = 24 * 3600.0
MEMBER = {"metadata": {"name": "web.a", "resourceVersion": "5"}, "spec": {"virtualIP": "web", "node": "a"}}


class Deaf:
    """kopf's run that found two kinds of three, as the API server had only just started, until it is begun anew."""

    def __init__(self) -> None:
        self.run = main._KopfRun()
        self.finds("virtualipmembers", "nodes")
        self.anew = threading.Event()

    def finds(self, *plurals: str) -> None:
        self.run.insights.watched_resources.update(Resource("virtualip.dev", "v1alpha1", one) for one in plurals)
        self.run.insights.ready_resources.set()

    def lacks(self, plurals: Collection[str]) -> bool:
        return self.run.lacks(plurals)

    def begin_anew(self) -> None:
        self.finds("virtualips", "virtualipmembers", "nodes")
        self.anew.set()


class ServesAll:
    """Nothing but the CRDs, and empty lists."""

    def get(self, path: str) -> dict[str, Any]:
        return {"metadata": {"uid": path, "resourceVersion": "7"}, "items": []}


def test_what_the_api_server_did_not_serve_when_kopf_looked_is_noticed_and_kopf_looks_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "SOON", 0.01)
    deaf, nothing = Deaf(), cast("Any", SimpleNamespace())
    threads = workers.Workers(
        cast("Any", ServesAll()), Store(), WorkQueue(), nothing, nothing, Health(), lambda: True, deaf
    )
    threads.start()
    try:
        assert deaf.anew.wait(10)
        assert not deaf.lacks(workers.PLURALS)
    finally:
        threads.stop()


class Serves:
    """One Member, until it is deleted, of which no watch tells."""

    def __init__(self) -> None:
        self.version = 7
        self.there = True

    def get(self, path: str) -> dict[str, Any]:
        items = [MEMBER] if self.there and path == MEMBERS else []
        return {"metadata": {"uid": path, "resourceVersion": str(self.version)}, "items": items}


class Watches:
    """All of it, from whenever it is."""

    def begin_anew(self) -> None: ...

    def lacks(self, _plurals: Collection[str]) -> bool:
        return False


def test_what_is_deleted_between_a_list_and_the_watches_that_begin_anew_is_found_soon_after(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """kopf opens them when it has got an answer, seconds later perhaps, and tells of no absence."""
    monkeypatch.setattr(workers, "SOON", 0.2)
    monkeypatch.setattr(workers, "_FIRST_LOOK", 0.01)
    serves, store, nothing = Serves(), Store(), cast("Any", SimpleNamespace())
    threads = workers.Workers(
        cast("Any", serves), store, WorkQueue(), nothing, nothing, Health(), lambda: False, Watches()
    )
    threads.start()
    try:
        for at_the_start in (True, False):
            serves.there = True
            if not at_the_start:
                threads.look_anew()
            eventually(lambda: store.members_of("web"))
            serves.there, serves.version = False, serves.version + 1
            eventually(lambda: not store.members_of("web"))
            serves.version += 1
    finally:
        threads.stop()


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_while_kopf_has_not_looked_yet_nothing_is_missing() -> None:
    assert not main._KopfRun().lacks(workers.PLURALS)


def test_a_watch_ends_by_the_clients_time_out_and_never_by_kopfs_for_inactivity() -> None:
    """kopf's is a cancellation of the whole task: one that hits it while it hands an event on ends it for good, and
    nothing is watched any more (kopf 1.45, `watch_objs` and `watcher`)."""
    watching = make_settings().watching
    assert watching.inactivity_timeout is not None
    assert watching.inactivity_timeout > DAY
    assert watching.client_timeout is not None
    assert watching.client_timeout <= 60


class Kopf:
    """Ends when it is told to by its flag, and takes its time."""

    def __init__(self) -> None:
        self.runs = 0
        self.begun, self.ending = asyncio.Event(), asyncio.Event()

    async def spawn_tasks(self, *, stop_flag: asyncio.Event, **_: Any) -> "set[asyncio.Task[Any]]":
        self.runs += 1
        return {asyncio.create_task(stop_flag.wait())}

    async def run_tasks(self, tasks: "set[asyncio.Task[Any]]", **_: Any) -> None:
        self.begun.set()
        await asyncio.wait(tasks)
        self.ending.set()
        await asyncio.sleep(0.05)


async def test_a_sigterm_that_comes_while_kopf_ends_to_be_started_again_ends_the_operator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = Kopf()
    monkeypatch.setattr(main, "kopf", run)
    monkeypatch.setattr(main, "make_registry", lambda *_: None)
    again = main._KopfRun()
    nothing: Any = SimpleNamespace(credentials=None, tick=lambda _now: None, beat=lambda *_, **__: None)
    watching = asyncio.create_task(main._watch(nothing, nothing, nothing, nothing, nothing, again))
    await run.begun.wait()
    again.begin_anew()
    await run.ending.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(5):
        await watching
    assert run.runs == 1


async def deaf_once() -> None:
    """As a watch of kopf's that is just being opened again (its `streaming_block`)."""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    await asyncio.Event().wait()


@pytest.mark.parametrize("hung", [False, True], ids=["a root task", "one of a root task's"])
async def test_a_watch_that_has_lost_its_cancellation_does_not_keep_kopf_from_being_started_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, hung: bool
) -> None:
    """Else nothing would be watched any more, and nothing would say so."""
    monkeypatch.setattr(main, "_KOPF_END", 0.1)
    monkeypatch.setattr("kopf._core.reactor.running.aiotasks.wait", impatient(aiotasks.wait))
    others = asyncio.all_tasks()
    watch, flag = asyncio.create_task(deaf_once()), asyncio.create_task(asyncio.sleep(0))
    tasks = [flag] if hung else [flag, watch]
    async with asyncio.timeout(5):
        await main._run_to_its_end(asyncio.create_task(kopf.run_tasks(tasks, ignored=others)), tasks, others)
    assert watch.done()
    assert "cancelled again" in caplog.text


def impatient(wait: Any) -> Any:
    """kopf gives tasks that hang five seconds."""
    return lambda tasks, *, timeout=None, **rest: wait(tasks, timeout=timeout and 0.01, **rest)
