"""A number in a file, whoever writes it and how. Real files, real inotify."""

import asyncio
import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from virtualip_agent.control.inotify import Inotify
from virtualip_agent.control.trackers import watched_files
from virtualip_agent.control.trackers.base import Number, Result, Unusable
from virtualip_agent.control.trackers.contribution import contribution
from virtualip_agent.control.trackers.file import RunningFileTracker, parse_number
from virtualip_agent.control.trackers.rooted import Watchable, read_start, watchable
from virtualip_agent.control.trackers.watched_files import Content, WatchedFiles
from virtualip_api.trackers import FileTracker, Tracker

ROOT = Path("/")


@pytest.fixture
async def inotify() -> AsyncIterator[Inotify]:
    one = Inotify()
    yield one
    one.close()


class Tracked:
    """A tracker of one file and everything it reported."""

    def __init__(self, files: WatchedFiles, path: Path, on_missing: str = "Zero") -> None:
        self.results: list[Result] = []
        self._changed = asyncio.Event()
        self.tracker = RunningFileTracker(FileTracker(str(path), on_missing), self._report, files)

    def _report(self, result: Result) -> None:
        if not self.results or self.results[-1] != result:
            self.results.append(result)
        self._changed.set()

    @property
    def last(self) -> Result:
        return self.results[-1]

    async def until(self, condition: Callable[[Result], bool], within: float = 10.0) -> None:
        async with asyncio.timeout(within):
            while not condition(self.last):
                self._changed.clear()
                await self._changed.wait()

    async def becomes(self, value: int, within: float = 10.0) -> None:
        await self.until(lambda result: isinstance(result, Number) and result.value == value, within)


@contextlib.contextmanager
def tracking(inotify: Inotify, path: Path, on_missing: str = "Zero", root: Path = ROOT) -> Iterator[Tracked]:
    tracked = Tracked(WatchedFiles(inotify, root), path, on_missing)
    yield tracked
    tracked.tracker.close()


class Reads:
    """Which files were read, one after another."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.paths: list[str] = []
        monkeypatch.setattr(watched_files, "read_start", self._read)

    def _read(self, root: Path, path: str, length: int) -> bytes:
        self.paths.append(path)
        return read_start(root, path, length)


def by_rename(path: Path, content: str) -> None:
    new = path.with_name("new")
    new.write_text(content)
    new.rename(path)


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"5", 5),
        (b"5\n", 5),
        (b"  -12 \n\n", -12),
        (b"+3", 3),
        (b"007", 7),
        (b"010", 8),
        (b"08", 0),
        (b"-0x10", -16),
        (b"0x", 0),
        (b"1 down", 1),
        (b"1; # comment", 1),
        (b"", None),
        (b"\n", None),
        (b"five", None),
        (b"- 5", None),
        (b"5 6", 5),
        (b"5.0", 5),
        (b"0x10", 16),
        (b"\xd9\xa5", None),
        (b"9" * 64, int("9" * 64)),
    ],
)
def test_a_number_is_what_the_content_begins_with_as_strtol_reads_it(content: bytes, value: int | None) -> None:
    assert parse_number(content) == value


async def test_s2_the_value_is_known_at_once_and_each_change_follows(inotify: Inotify, tmp_path: Path) -> None:
    path = tmp_path / "vrrp_track_file"
    path.write_text("5\n")
    with tracking(inotify, path) as tracked:
        assert tracked.last == Number(5, "value 5")
        path.write_text("6\n")
        await tracked.becomes(6, within=0.9)  # by inotify: the look in any case comes after a second


async def test_s2_a_shell_that_empties_the_file_before_it_writes_shows_no_0_between(
    inotify: Inotify, tmp_path: Path
) -> None:
    path = tmp_path / "value"
    path.write_text("5\n")
    with tracking(inotify, path) as tracked:
        descriptor = os.open(path, os.O_WRONLY | os.O_TRUNC)
        await asyncio.sleep(0.02)  # the empty file is there to be seen
        os.write(descriptor, b"6\n")
        os.close(descriptor)
        await tracked.becomes(6)
        assert tracked.results == [Number(5, "value 5"), Number(6, "value 6")]


async def test_a_file_emptied_and_closed_counts_as_0_at_once(inotify: Inotify, tmp_path: Path) -> None:
    path = tmp_path / "value"
    path.write_text("5\n")
    with tracking(inotify, path) as tracked:
        path.write_text("")
        await tracked.becomes(0, within=0.9)
        assert tracked.last == Number(0, "empty: counts as 0")


@pytest.fixture
def searchable() -> Iterator[Callable[[bool], Path]]:
    """Makes a directory searchable or not, for this process too, which meanwhile is not root; it holds `value`, 6."""
    with tempfile.TemporaryDirectory() as name:

        def searchable(may: bool) -> Path:
            os.seteuid(0)
            Path(name).chmod(0o755 if may else 0o700)
            os.seteuid(65534)
            return Path(name)

        Path(name, "value").write_text("6\n")
        yield searchable
        os.seteuid(0)


async def test_a_directory_that_may_not_be_searched_is_said_and_looked_at_until_it_may(
    inotify: Inotify, searchable: Callable[[bool], Path]
) -> None:
    """In a pod root has no CAP_DAC_OVERRIDE."""
    with tracking(inotify, searchable(True) / "value") as tracked:
        for _ in range(2):
            assert tracked.last == Number(6, "value 6")
            searchable(False)
            await tracked.becomes(0)
            assert "Permission denied" in tracked.last.message
            searchable(True)
            await tracked.becomes(6)


async def test_a_writer_that_never_closes_is_read_all_the_same(inotify: Inotify, tmp_path: Path) -> None:
    path = tmp_path / "value"
    path.write_text("5")
    with tracking(inotify, path) as tracked, path.open("r+b", buffering=0) as writer:
        writer.write(b"7")
        await tracked.becomes(7, within=0.9)
        writer.truncate(0)
        await tracked.becomes(0)


async def test_an_atomic_rename_is_followed_again_and_again(inotify: Inotify, tmp_path: Path) -> None:
    path = tmp_path / "value"
    path.write_text("1")
    with tracking(inotify, path) as tracked:
        for value in range(2, 10):
            by_rename(path, str(value))
            await tracked.becomes(value, within=0.9)


async def test_a_file_that_comes_and_goes(inotify: Inotify, tmp_path: Path) -> None:
    path = tmp_path / "value"
    with tracking(inotify, path) as tracked:
        assert tracked.last == Number(0, "missing: counts as 0")
        path.write_text("5")
        await tracked.becomes(5, within=0.9)
        path.unlink()
        await tracked.becomes(0, within=0.9)


async def test_a_directory_that_comes_later_and_is_replaced(inotify: Inotify, tmp_path: Path) -> None:
    directory = tmp_path / "my_app"
    with tracking(inotify, directory / "value") as tracked:
        directory.mkdir()
        (directory / "value").write_text("5")
        await tracked.becomes(5)
        directory.rename(tmp_path / "old")
        await tracked.becomes(0)
        directory.mkdir()
        (directory / "value").write_text("6")
        await tracked.becomes(6)


async def test_a_directory_made_anew_with_the_same_inode_number_is_watched_again(
    inotify: Inotify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ext4 gives a number again that has just become free."""

    @contextlib.contextmanager
    def same_number(root: Path, path: str) -> Iterator[Watchable | None]:
        with watchable(root, path) as found:
            yield found and Watchable(found.path, (0, len(Path(path).parts)))

    monkeypatch.setattr(watched_files, "watchable", same_number)
    directory = tmp_path / "my_app"
    directory.mkdir()
    (directory / "value").write_text("5")
    with tracking(inotify, directory / "value") as tracked:
        for value in (6, 8):
            shutil.rmtree(directory)
            directory.mkdir()
            (directory / "value").write_text(str(value))
            await tracked.becomes(value, within=0.9)
            by_rename(directory / "value", str(value + 1))
            await tracked.becomes(value + 1, within=0.9)


async def test_a_config_map_is_followed_through_its_links(inotify: Inotify, tmp_path: Path) -> None:
    for version, value in (("..1", "5"), ("..2", "6")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "value").write_text(value)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "value").symlink_to("..data/value")
    with tracking(inotify, tmp_path / "value") as tracked:
        assert tracked.last == Number(5, "value 5")
        (tmp_path / "..new").symlink_to("..2")
        (tmp_path / "..new").rename(tmp_path / "..data")
        await tracked.becomes(6, within=0.9)


@pytest.mark.parametrize("content", ["five", "apples 5", "x10"])
async def test_no_number_counts_as_0_and_says_so(inotify: Inotify, tmp_path: Path, content: str) -> None:
    path = tmp_path / "value"
    path.write_text(content)
    with tracking(inotify, path) as tracked:
        assert tracked.last == Number(0, "not a number: counts as 0")


@pytest.mark.parametrize("content", [None, "", "five"])
async def test_the_user_may_have_a_missing_number_be_a_failure(
    inotify: Inotify, tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "value"
    if content is not None:
        path.write_text(content)
    with tracking(inotify, path, "Fail") as tracked:
        assert isinstance(tracked.last, Unusable)
        path.write_text("5")
        await tracked.becomes(5)


async def test_a_huge_file_is_not_read(inotify: Inotify, tmp_path: Path) -> None:
    path = tmp_path / "value"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with tracking(inotify, path) as tracked:
        assert tracked.last == Number(0, "not a number: counts as 0")


async def test_a_fifo_a_device_or_a_directory_is_refused_without_blocking(inotify: Inotify, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (fifo, tmp_path, Path("/dev/zero"), Path("/dev/tty")):
        with tracking(inotify, path) as tracked:
            assert tracked.last == Number(0, "not a regular file: counts as 0"), path


async def test_opening_a_fifo_would_wake_its_writer_so_it_is_not_opened(inotify: Inotify, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with tracking(inotify, fifo), pytest.raises(OSError, match="No such device"):
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))  # ENXIO: no reader
    assert stat.S_ISFIFO(fifo.stat().st_mode)


async def test_each_tracker_of_one_file_is_told_for_as_long_as_it_runs(inotify: Inotify, tmp_path: Path) -> None:
    path = tmp_path / "value"
    path.write_text("5")
    files = WatchedFiles(inotify, ROOT)
    one, other = Tracked(files, path), Tracked(files, path, "Fail")
    path.write_text("6")
    await one.becomes(6, within=0.9)
    await other.becomes(6, within=0.9)
    one.tracker.close()
    path.unlink()
    await other.until(lambda result: isinstance(result, Unusable), within=0.9)
    assert one.last == Number(6, "value 6")
    other.tracker.close()
    path.write_text("7")
    again = Tracked(files, path)  # nothing is remembered of what nobody followed
    assert again.last == Number(7, "value 7")
    again.tracker.close()


async def test_a_mistake_in_one_who_follows_a_file_costs_the_others_nothing(
    inotify: Inotify, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "value"
    path.write_text("5")
    files = WatchedFiles(inotify, ROOT)

    def mistaken(content: Content) -> None:
        raise RuntimeError(content)

    files.follow(str(path), mistaken)
    tracked = Tracked(files, path)
    by_rename(path, "6")
    await tracked.becomes(6, within=0.9)
    assert "one who follows it failed" in caplog.text
    tracked.tracker.close()
    files.leave(str(path), mistaken)


async def test_however_many_trackers_a_file_has_it_is_read_once(
    inotify: Inotify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "value"
    path.write_text("5")
    reads = Reads(monkeypatch)
    files = WatchedFiles(inotify, ROOT)
    trackers = [Tracked(files, path) for _ in range(50)]
    assert len(reads.paths) == 1
    by_rename(path, "6")
    for tracked in trackers:
        await tracked.becomes(6, within=0.9)
    assert len(reads.paths) < 10
    for tracked in trackers:
        tracked.tracker.close()


async def test_what_happens_to_other_files_of_the_directory_is_not_looked_at(
    inotify: Inotify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, link = tmp_path / "value", tmp_path / "link"
    path.write_text("5")
    link.symlink_to("..data")
    with tracking(inotify, path) as tracked, tracking(inotify, link) as linked:
        reads = Reads(monkeypatch)
        (tmp_path / "other").write_text("7")
        by_rename(tmp_path / "..data", "8")
        await linked.becomes(8, within=0.9)  # a link may lead to any of them
        assert str(path) not in reads.paths
        path.write_text("6")
        await tracked.becomes(6, within=0.9)
        path.unlink()
        await tracked.becomes(0, within=0.9)


async def test_beneath_a_host_root_absolute_links_are_the_hosts(inotify: Inotify, tmp_path: Path) -> None:
    """/var/run -> /run on the host, seen from a container that has the host's root at tmp_path."""
    (tmp_path / "run").mkdir()
    (tmp_path / "var").mkdir()
    (tmp_path / "var/run").symlink_to("/run")
    (tmp_path / "run/value").write_text("5")
    with tracking(inotify, Path("/var/run/value"), root=tmp_path) as tracked:
        assert tracked.last == Number(5, "value 5")
        by_rename(tmp_path / "run/value", "6")
        await tracked.becomes(6, within=0.9)


async def test_beneath_a_host_root_no_link_leads_out(inotify: Inotify, tmp_path: Path) -> None:
    root, secret = tmp_path / "host", tmp_path / "secret"
    root.mkdir()
    secret.write_text("42")
    (root / "up").symlink_to("../secret")
    (root / "absolute").symlink_to(secret)
    (root / "magic").symlink_to("/proc/self/root")
    for path in ("/up", "/absolute", f"/magic{secret}", f"/../{secret.name}"):
        with tracking(inotify, Path(path), root=root) as tracked:
            assert isinstance(tracked.last, Number)
            assert tracked.last.value == 0, path


async def test_s3_and_s4_from_the_file_to_what_it_is_worth(inotify: Inotify, tmp_path: Path) -> None:
    path = tmp_path / "value"
    path.write_text("0")
    check = FileTracker(str(path))
    without, heavy = Tracker("app", check, weight=0), Tracker("app", check, weight=254)
    with tracking(inotify, path) as tracked:
        assert not contribution(without, tracked.last).fault
        path.write_text("1")
        await tracked.becomes(1)
        assert contribution(without, tracked.last).fault
        assert contribution(heavy, tracked.last).value == 253
        path.write_text("-1")
        await tracked.becomes(-1)
        assert contribution(heavy, tracked.last).fault
