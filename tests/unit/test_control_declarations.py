"""What is declared on a node, over restarts of control and over directories that are not the ones they were."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from virtualip_agent.control.declarations import Declarations
from virtualip_agent.control.directories import prepare_shared
from virtualip_agent.control.inotify import Inotify
from virtualip_agent.control.last_good import last_good_path
from virtualip_agent.desired_file import encode, write_atomically

PATIENCE = 10.0


def plan(name: str, priority: int = 100) -> bytes:
    """What the reporter writes of a VirtualIP."""
    number = ord(name[0])
    member = {
        "virtualIP": name, "node": "server1", "revision": 1, "generation": 1, "basePriority": priority, "rank": 0,
        "draining": False, "spec": {"addresses": [f"192.0.2.{number}/32"], "vrid": number},
    }  # fmt: skip
    return encode(name, member, None)


class Node:
    """The directories, and one control after the other."""

    def __init__(self, directory: Path) -> None:
        self.desired, self.manifests, self.run = (directory / name for name in ("desired", "manifests", "run"))
        for path in (self.desired, self.manifests, self.run):
            path.mkdir()
        self.changed = asyncio.Event()
        self._declarations: Declarations | None = None
        self._inotify = Inotify()

    @property
    def control(self) -> Declarations:
        """The one that runs."""
        assert self._declarations is not None
        return self._declarations

    def start_control(self) -> None:
        """As control's main does it."""
        prepare_shared(self.desired)
        self._declarations = Declarations(
            "server1", self.desired, self.manifests, self.run, self._inotify, self.changed.set
        )
        self._declarations.start()

    def stop_control(self) -> None:
        self.control.close()

    def write(self, *names: str, priority: int = 100) -> None:
        """As the reporter does it."""
        for name in names:
            write_atomically(self.desired / f"{name}.json", plan(name, priority))

    def restart_control_unmounted(self) -> None:
        """Between two controls the file system goes."""
        self.stop_control()
        self.unmount()
        self.start_control()

    def unmount(self) -> Path:
        """Nothing is where everything was; where it is now."""
        return self.desired.rename(self.desired.with_name("unmounted"))

    def mount(self, elsewhere: Path) -> None:
        """The directory of before is back."""
        self.desired.rename(self.desired.with_name("beneath"))
        elsewhere.rename(self.desired)

    def declared(self) -> dict[str, int]:
        """Priorities by VirtualIP."""
        return {name: one.base_priority for name, one in self.control.selection.instances.items()}

    def said(self) -> str:
        return "\n".join(map(str, self.control.problems))

    async def until(self, declared: dict[str, int]) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.declared() != declared:
                self.changed.clear()
                await self.changed.wait()

    def end(self) -> None:
        self.control.close()
        self._inotify.close()


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    node = Node(tmp_path)
    yield node
    node.end()


async def test_a_control_that_starts_while_the_desired_file_system_is_not_mounted_withdraws_nothing(node: Node) -> None:
    node.write("web", "api")
    node.start_control()
    node.restart_control_unmounted()
    assert node.declared() == {"web": 100, "api": 100}
    assert "is not the directory that it was (is its file system not mounted?)" in node.said()


async def test_what_goes_on_without_its_directory_is_withdrawn_by_whoever_takes_its_file_away_there(node: Node) -> None:
    node.write("web", "api")
    node.start_control()
    node.restart_control_unmounted()
    (node.desired / "web.json").unlink()
    await node.until({"api": 100})
    node.stop_control()
    node.start_control()
    assert node.declared() == {"api": 100}
    assert not node.said()


async def test_what_the_reporter_writes_into_the_new_directory_counts_and_what_it_does_not_write_goes_on(
    node: Node,
) -> None:
    node.write("web", "api")
    node.start_control()
    node.stop_control()
    node.unmount()
    node.desired.mkdir()
    node.write("web", priority=244)
    node.start_control()
    assert node.declared() == {"web": 244, "api": 100}
    assert (node.desired / "web.json").read_bytes() == plan("web", 244)
    node.write("api", priority=244)
    await node.until({"web": 244, "api": 244})


async def test_a_directory_that_is_exchanged_under_a_running_control_withdraws_nothing(node: Node) -> None:
    node.write("web", "api")
    node.start_control()
    elsewhere = node.unmount()
    node.desired.mkdir()
    node.write("web", priority=244)
    await node.until({"web": 244, "api": 100})
    assert "is not the directory that it was" in node.said()
    node.mount(elsewhere)
    node.write("web", priority=245)
    await node.until({"web": 245, "api": 100})
    assert not node.said()


async def test_a_new_directory_that_cannot_be_written_withdraws_nothing(node: Node) -> None:
    node.write("web")
    node.start_control()
    node.stop_control()
    node.unmount()
    node.desired.mkdir()
    (node.desired / ".web.json.again").mkdir()  # what would be written first
    node.start_control()
    assert node.declared() == {"web": 100}
    assert not (node.desired / "web.json").exists()
    node.stop_control()
    node.start_control()
    assert node.declared() == {"web": 100}


async def test_after_a_reboot_and_at_the_first_start_nothing_is_remembered(node: Node) -> None:
    node.write("web")
    node.start_control()
    node.stop_control()
    last_good_path(node.run).unlink()
    node.unmount()
    node.start_control()
    assert node.declared() == {}
    assert not node.said()
    node.write("api")
    await node.until({"api": 100})


async def test_what_a_version_before_this_one_remembers_is_read_as_it_was(node: Node) -> None:
    node.write("web", "api")
    node.start_control()
    node.stop_control()
    remembered = json.loads(last_good_path(node.run).read_text())
    del remembered["places"]
    last_good_path(node.run).write_text(json.dumps(remembered))
    (node.desired / "web.json").unlink()
    node.start_control()
    assert node.declared() == {"api": 100}
    assert "places" in json.loads(last_good_path(node.run).read_text())


async def test_a_file_deleted_while_control_was_away_is_withdrawn(node: Node) -> None:
    node.write("web", "api")
    node.start_control()
    node.stop_control()
    (node.desired / "web.json").unlink()
    node.start_control()
    assert node.declared() == {"api": 100}
    assert not node.said()
