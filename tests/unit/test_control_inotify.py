"""Watching files where the kernel has no inotify instance left for us (kubelet and containerd use them up too)."""

import asyncio
import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from virtualip_agent.control.inotify import Inotify

if TYPE_CHECKING:
    from virtualip_agent.control.inotify import Happened


MOST_QUEUED = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())


@contextlib.contextmanager
def no_instance_left() -> Iterator[None]:
    """No further descriptor: to inotify_init1(2) the same error as no further instance."""
    lowest_free = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest_free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_without_an_instance_watching_fails_and_says_once_which_limit_it_is_until_there_is_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[str] = []
    happened: asyncio.Queue[Happened] = asyncio.Queue()
    with no_instance_left():
        inotify = Inotify(lambda: said.append(inotify.problem))
        assert "fs.inotify.max_user_instances" in inotify.problem
        for _ in range(2):
            with pytest.raises(OSError, match="Too many open files"):
                inotify.watch(str(tmp_path), happened.put_nowait)
    assert caplog.text.count("fs.inotify.max_user_instances") == 1
    inotify.watch(str(tmp_path), happened.put_nowait)
    assert said == [""]
    (tmp_path / "new").touch()
    assert "new" in (await asyncio.wait_for(happened.get(), 10)).names
    inotify.close()


async def test_events_that_were_lost_may_have_said_that_a_watch_has_ended_and_what_was_told_is_told_all_the_same(
    tmp_path: Path,
) -> None:
    happened: asyncio.Queue[Happened] = asyncio.Queue()
    inotify = Inotify()
    inotify.watch(str(tmp_path), happened.put_nowait)
    first, second = tmp_path / "first", tmp_path / "second"
    first.touch()
    for _ in range(MOST_QUEUED // 4 + 1):
        first.rename(second)
        second.rename(first)
    told = await asyncio.wait_for(happened.get(), 10)
    assert (told.gone, told.unknown, told.names) == (True, True, frozenset({"first", "second"}))
    inotify.close()


def fails(_: "Happened") -> None:
    raise ZeroDivisionError


async def test_a_callback_that_fails_costs_nobody_else_an_event(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    happened: asyncio.Queue[Happened] = asyncio.Queue()
    inotify = Inotify()
    inotify.watch(str(tmp_path), fails)
    inotify.watch(str(tmp_path), happened.put_nowait)
    (tmp_path / "new").touch()
    assert "new" in (await asyncio.wait_for(happened.get(), 10)).names
    assert "ZeroDivisionError" in caplog.text
    inotify.close()
