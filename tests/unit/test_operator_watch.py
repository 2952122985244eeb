"""kopf is run again and again in one process, and ends with it."""

import asyncio
import os
import signal
from types import SimpleNamespace
from typing import Any

import pytest

from virtualip_operator import main
from virtualip_operator.handlers import make_settings

DAY = 24 * 3600.0


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

    async def spawn_tasks(self, *, stop_flag: asyncio.Event, **_: Any) -> asyncio.Event:
        self.runs += 1
        return stop_flag

    async def run_tasks(self, flag: asyncio.Event, **_: Any) -> None:
        self.begun.set()
        await flag.wait()
        self.ending.set()
        await asyncio.sleep(0.05)


async def test_a_sigterm_that_comes_while_kopf_ends_to_be_started_again_ends_the_operator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kopf = Kopf()
    monkeypatch.setattr(main, "kopf", kopf)
    monkeypatch.setattr(main, "make_registry", lambda *_: None)
    again = main._StopFlag()
    nothing: Any = SimpleNamespace(credentials=None, tick=lambda _now: None, beat=lambda *_, **__: None)
    watching = asyncio.create_task(main._watch(nothing, nothing, nothing, nothing, nothing, again))
    await kopf.begun.wait()
    again.set_from_thread()
    await kopf.ending.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(5):
        await watching
    assert kopf.runs == 1
