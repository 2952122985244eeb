"""The whole control process beside a vrrp that only keeps state: from files and processes to priorities and states."""

import asyncio
import contextlib
import copy
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from article import manifest
from fake_vrrp import FakeVrrp
from virtualip_agent.control.history import read_history
from virtualip_agent.control.lasting import LASTS
from virtualip_agent.control.status_view import Picture
from virtualip_agent.desired_file import encode, write_atomically
from virtualip_agent.run_directory import GROUP_ID, history_path, state_socket_path, vrrp_socket_path

APACHE = {"name": "apache", "process": {"name": "vip-ctl-httpd"}, "weight": 10}
PATIENCE = 30.0


class Node:
    """A node's directories, its control process and its vrrp."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.manifests, self.desired, self.run = (directory / name for name in ("manifests", "desired", "run"))
        self.run.mkdir()
        self.manifests.mkdir()
        self.vrrp = FakeVrrp(vrrp_socket_path(self.run))
        self.controls: list[subprocess.Popen[bytes]] = []
        self.log = directory / "log"

    def start_control(self, *before: str) -> "subprocess.Popen[bytes]":
        options = {"node": "server1", "manifests": self.manifests, "desired": self.desired, "run": self.run}
        arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        with self.log.open("ab") as log:
            control = subprocess.Popen(
                [*before, sys.executable, "-W", "error", "-m", "virtualip_agent.cli", "control", *arguments],
                stderr=log,
            )
        self.controls.append(control)
        return control

    def state_socket(self) -> int:
        """Which it is."""
        return state_socket_path(self.run).stat().st_ino

    async def watch(self) -> "Watcher":
        """A client of the state socket, once there is one."""
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    reader, writer = await asyncio.open_unix_connection(state_socket_path(self.run), limit=1 << 24)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    return Watcher(reader, writer)

    async def end(self) -> None:
        for control in self.controls:
            if control.poll() is None:
                control.kill()
            control.wait()
        self.vrrp.stop()
        assert "Traceback" not in self.log.read_text()


class Watcher:
    """What the state socket says."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.picture = Picture()
        self.states: list[str] = []

    async def until(self, condition: Callable[[Picture], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition(self.picture):
                line = await self._reader.readline()
                assert line, "control hung up"
                message = json.loads(line)
                self.picture.apply(message)
                if message["type"] == "vip":
                    self.states.append(message["entry"]["state"])

    async def until_entry(self, name: str = "web", **wanted: object) -> dict[str, Any]:
        await self.until(
            lambda picture: (
                name in picture.vips
                and all(picture.vips[name]["entry"].get(key) == value for key, value in wanted.items())
            )
        )
        found: dict[str, Any] = dict(self.picture.vips[name])
        return found

    async def _line(self) -> bytes:
        with contextlib.suppress(ConnectionResetError):  # it was killed while something of ours was unread
            return await self._reader.readline()
        return b""

    async def until_closed(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while line := await self._line():
                message = json.loads(line)
                if message["type"] == "vip":
                    self.states.append(message["entry"]["state"])

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionResetError):
            await self._writer.wait_closed()


async def until_changed(value: Callable[[], int], before: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while value() == before:  # noqa: ASYNC110 — nothing tells when a path is another inode
            await asyncio.sleep(0.02)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    one = Node(tmp_path)
    yield one
    await one.end()


class Httpd:
    """A process of that name."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "vip-ctl-httpd"
        shutil.copy(os.path.realpath("/bin/sleep"), self._path)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen([self._path, "60"])

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@pytest.fixture
def httpd(tmp_path: Path) -> Iterator[Httpd]:
    one = Httpd(tmp_path)
    yield one
    one.stop()


def member(generation: int = 3, **spec: Any) -> dict[str, Any]:
    whole = {"addresses": ["192.168.122.200/24"], "vrid": 51, "version": 2, "interface": "eth0"}
    return {
        "virtualIP": "web",
        "node": "server1",
        "revision": generation,
        "generation": generation,
        "basePriority": 100,
        "rank": 0,
        "draining": False,
        "members": [{"node": "server1"}, {"node": "server2", "addresses": ["192.168.122.102"]}],
        "spec": whole | spec,
    }


async def test_s1_httpd_moves_the_priority_between_244_and_254(node: Node, httpd: Httpd) -> None:
    (node.manifests / "web.yaml").write_text(manifest(trackers=[APACHE]))
    httpd.start()
    node.vrrp.start()
    node.start_control()
    await node.vrrp.until(lambda: node.vrrp.advertised.get("web") == [254])
    httpd.stop()
    await node.vrrp.until(lambda: node.vrrp.priority("web") == 244)
    httpd.start()
    await node.vrrp.until(lambda: node.vrrp.priority("web") == 254)
    assert node.vrrp.advertised["web"] == [254, 244, 254]
    watcher = await node.watch()
    await watcher.until_entry(state="MASTER", priority=254)

    def said(picture: Picture) -> list[tuple[str, int, str]]:
        trackers = picture.vips["web"]["entry"]["trackers"]
        return [(one["name"], one["contribution"], one["message"]) for one in trackers]

    await watcher.until(lambda picture: said(picture) == [("apache", 10, "running")])
    vip = await watcher.until_entry(state="MASTER", priority=254)
    assert vip["detail"]["source"] == "Manifest"
    assert said(watcher.picture) == [("apache", 10, "running")]
    await watcher.close()


@pytest.fixture
def crowd(tmp_path: Path) -> Iterator[list[Httpd]]:
    """150 processes of that name."""
    many = [Httpd(tmp_path)]
    many += [copy.copy(many[0]) for _ in range(149)]
    for one in many:
        one.start()
    yield many
    for one in many:
        one.stop()


async def test_more_processes_than_descriptors_leave_control_with_enough_for_the_rest(
    node: Node, crowd: list[Httpd]
) -> None:
    tracker = {"name": "apache", "process": {"name": "vip-ctl-httpd", "quorum": 150}, "weight": 10}
    (node.manifests / "web.yaml").write_text(manifest(trackers=[tracker]))
    node.vrrp.start()
    node.start_control("prlimit", "--nofile=128:128")
    watcher = await node.watch()
    await watcher.until_entry(state="MASTER", priority=254)
    crowd.pop().stop()
    vip = await watcher.until_entry(state="MASTER", priority=244)
    assert vip["entry"]["trackers"][0]["message"] == "149 processes, 150 wanted"
    await watcher.close()


async def test_it_takes_as_many_descriptors_as_it_may(node: Node) -> None:
    control = node.start_control("prlimit", "--nofile=64:2048")
    await (await node.watch()).close()
    assert resource.prlimit(control.pid, resource.RLIMIT_NOFILE) == (2048, 2048)


async def test_s2_to_s4_a_file_moves_the_priority_and_faults_out_of_bounds(node: Node, tmp_path: Path) -> None:
    value = tmp_path / "vrrp_track_file"
    value.write_text("5\n")
    (node.manifests / "web.yaml").write_text(
        manifest(trackers=[{"name": "app", "file": {"path": str(value)}, "weight": 1}])
    )
    node.vrrp.start()
    node.start_control()
    await node.vrrp.until(lambda: node.vrrp.advertised.get("web") == [249])
    value.write_text("6\n")
    await node.vrrp.until(lambda: node.vrrp.advertised["web"] == [249, 250])
    watcher = await node.watch()
    value.write_text("-254\n")
    vip = await watcher.until_entry(state="FAULT")
    assert vip["entry"]["message"] == "app: value -254"
    value.write_text("-253\n")
    await watcher.until_entry(state="MASTER", priority=1)
    (node.manifests / "web.yaml").write_text(
        manifest(trackers=[{"name": "app", "file": {"path": str(value)}, "weight": 0}])
    )
    await watcher.until_entry(state="FAULT")
    value.write_text("0\n")
    await watcher.until_entry(state="MASTER", priority=244)
    await watcher.close()


MOST_INSTANCES = "/proc/sys/user/max_inotify_instances"
"""fs.inotify.max_user_instances by another name, and this one is each user namespace's own."""


async def test_with_no_inotify_instance_left_files_are_looked_at_and_it_is_said_until_there_is_one(
    node: Node, tmp_path: Path
) -> None:
    value = tmp_path / "vrrp_track_file"
    value.write_text("5\n")
    (node.manifests / "web.yaml").write_text(
        manifest(trackers=[{"name": "app", "file": {"path": str(value)}, "weight": 1}])
    )
    node.vrrp.start()
    none_left = f'echo 0 > {MOST_INSTANCES} && exec "$@"'
    control = node.start_control("unshare", "--user", "--map-root-user", "sh", "-c", none_left, "sh")
    await node.vrrp.until(lambda: node.vrrp.advertised.get("web") == [249])
    value.write_text("6\n")
    await node.vrrp.until(lambda: node.vrrp.advertised["web"] == [249, 250])
    (node.manifests / "api.yaml").write_text(manifest("api", vrid=52, addresses=["192.168.122.201/32"]))
    await node.vrrp.until(lambda: "api" in node.vrrp.routers)
    watcher = await node.watch()
    await watcher.until(lambda picture: bool(picture.agent.get("problems")))
    (problem,) = watcher.picture.agent["problems"]
    assert "fs.inotify.max_user_instances" in problem
    assert node.log.read_text().count(problem) == 1
    some = ["nsenter", "--user", f"--target={control.pid}", "sh", "-c", f"echo 9 > {MOST_INSTANCES}"]
    await asyncio.to_thread(subprocess.run, some, check=True)
    await watcher.until(lambda picture: not picture.agent["problems"])
    await watcher.close()


async def test_a_virtual_ip_takes_its_manifest_over_in_place_and_gives_it_back(node: Node) -> None:
    (node.manifests / "web.yaml").write_text(manifest())
    node.vrrp.start()
    node.start_control()
    watcher = await node.watch()
    await watcher.until_entry(state="MASTER", priority=244)
    desired = node.desired / "web.json"
    write_atomically(desired, encode("web", member(vrid=52), None))
    await watcher.until(lambda picture: "differs in vrid" in picture.vips["web"]["detail"]["conflict"])
    write_atomically(desired, encode("web", member(), None))
    await watcher.until(lambda picture: picture.vips["web"]["detail"]["source"] == "Desired")
    await watcher.until_entry(priority=100, observedGeneration=3)
    desired.unlink()
    await watcher.until_entry(priority=244, observedGeneration=0)
    assert set(watcher.states) == {"MASTER"}
    assert [record["to"] for record in read_history(history_path(node.run))][-1] == "MASTER"
    await watcher.close()


async def test_a_bad_edit_is_reported_and_what_ran_goes_on_also_over_a_restart(node: Node) -> None:
    path = node.desired / "web.json"
    node.vrrp.start()
    control = node.start_control()
    watcher = await node.watch()
    write_atomically(path, encode("web", member(trackers=[APACHE]), None))
    await watcher.until_entry(state="MASTER", priority=100)
    write_atomically(path, encode("web", member(quantum=True), None))
    await watcher.until(lambda picture: bool(picture.agent.get("problems")))
    assert watcher.picture.vips["web"]["detail"]["problems"] == ["web.json: member.spec.quantum: unknown field"]
    assert watcher.picture.vips["web"]["entry"]["state"] == "MASTER"
    control.kill()
    await asyncio.to_thread(control.wait, PATIENCE)
    await watcher.until_closed()
    await watcher.close()
    node.start_control()
    watcher = await node.watch()
    vip = await watcher.until_entry(state="MASTER", priority=100)
    assert vip["entry"]["trackers"]
    assert node.vrrp.routers.keys() == {"web"}
    path.unlink()
    await node.vrrp.until(lambda: not node.vrrp.routers)
    await watcher.close()


async def test_a_deleted_manifest_is_withdrawn_and_gone_from_the_state(node: Node) -> None:
    (node.manifests / "a.yaml").write_text(manifest("web"))
    (node.manifests / "b.yaml").write_text(manifest("api", vrid=52, addresses=["192.168.122.201/32"]))
    node.vrrp.start()
    node.start_control()
    watcher = await node.watch()
    await watcher.until(lambda picture: picture.vips.keys() == {"web", "api"})
    (node.manifests / "a.yaml").unlink()
    await watcher.until(lambda picture: picture.vips.keys() == {"api"})
    assert node.vrrp.routers.keys() == {"api"}
    await watcher.close()


async def test_without_vrrp_the_state_says_so_and_when_it_dies_too(node: Node) -> None:
    (node.manifests / "web.yaml").write_text(manifest())
    node.start_control()
    watcher = await node.watch()
    await watcher.until_entry(state="BACKUP", reason="WaitingForVrrp")
    assert not watcher.picture.agent["ready"]
    node.vrrp.start()
    await watcher.until_entry(state="MASTER")
    await watcher.until(lambda picture: bool(picture.agent["ready"]))
    node.vrrp.stop()
    await watcher.until(lambda picture: bool(picture.vips["web"]["detail"]["stale"]))
    assert watcher.picture.vips["web"]["entry"]["state"] == "MASTER"
    # L is 5 s here; then the kernel has dropped the addresses
    await watcher.until_entry(state="FAULT", reason="VrrpNotRunning")
    node.vrrp = FakeVrrp(vrrp_socket_path(node.run)).start()
    await watcher.until_entry(state="MASTER")
    assert not watcher.picture.vips["web"]["detail"]["stale"]
    await watcher.close()


async def test_a_control_that_is_asked_to_stop_tells_vrrps_last_word_first(node: Node) -> None:
    (node.manifests / "web.yaml").write_text(manifest())
    node.vrrp.start()
    control = node.start_control()
    watcher = await node.watch()
    await watcher.until_entry(state="MASTER")
    control.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.2)
    assert control.poll() is None
    node.vrrp.set_state("web", "BACKUP", "Stopped")
    await watcher.until_closed()
    assert watcher.states[-1] == "BACKUP"
    assert await asyncio.to_thread(control.wait, PATIENCE) == 0
    assert not state_socket_path(node.run).exists()
    assert node.vrrp.routers.keys() == {"web"}
    await watcher.close()


async def test_a_member_that_goes_on_disagreeing_is_told_in_the_entry_and_an_edit_under_way_is_not(node: Node) -> None:
    (node.manifests / "web.yaml").write_text(manifest())
    node.vrrp.start()
    node.start_control()
    watcher = await node.watch()
    await watcher.until_entry(state="MASTER")
    agrees = node.vrrp.states["web"]
    disagrees = msgspec.structs.replace(agrees, mismatches={"192.168.122.102": "password"})
    node.vrrp.say(disagrees)
    await watcher.until(lambda picture: bool(picture.vips["web"]["detail"]["mismatches"]))
    began = asyncio.get_running_loop().time()
    assert "mismatches" not in watcher.picture.vips["web"]["entry"]
    await watcher.until_entry(mismatches=[{"source": "192.168.122.102", "differs": "password"}])
    assert asyncio.get_running_loop().time() - began > LASTS - 1
    node.vrrp.say(agrees)
    await watcher.until_entry(mismatches=None)
    await watcher.close()


async def test_a_second_control_stands_by_and_takes_over(node: Node) -> None:
    (node.manifests / "web.yaml").write_text(manifest())
    node.vrrp.taken = True
    node.vrrp.start()
    node.start_control()
    await node.vrrp.until(lambda: node.vrrp.clients == 1)
    await asyncio.sleep(0.2)
    assert not state_socket_path(node.run).exists()
    assert not node.vrrp.routers
    node.vrrp.give_way()
    watcher = await node.watch()
    await watcher.until_entry(state="MASTER")
    await watcher.close()


async def test_of_two_controls_that_were_there_before_vrrp_the_one_that_it_takes_has_the_state_socket(
    node: Node,
) -> None:
    (node.manifests / "web.yaml").write_text(manifest())
    first = node.start_control()
    await (await node.watch()).close()
    socket_of_first = node.state_socket()
    second = node.start_control()
    await until_changed(node.state_socket, socket_of_first)
    second.send_signal(signal.SIGSTOP)
    socket_of_second = node.state_socket()
    node.vrrp.start()
    await node.vrrp.until(lambda: node.vrrp.complete)
    await until_changed(node.state_socket, socket_of_second)
    socket_of_first = node.state_socket()
    second.send_signal(signal.SIGCONT)
    await node.vrrp.until(lambda: node.vrrp.clients == 2)
    watcher = await node.watch()
    await watcher.until_entry(state="MASTER")
    await watcher.close()
    assert node.state_socket() == socket_of_first
    first.kill()
    await until_changed(node.state_socket, socket_of_first)
    watcher = await node.watch()
    await watcher.until_entry(state="MASTER")
    await watcher.close()


async def test_the_directories_are_made_for_the_group(node: Node) -> None:
    node.start_control()
    await (await node.watch()).close()
    try:
        os.chown(node.directory, -1, GROUP_ID)
    except PermissionError:
        pytest.skip("we may not give files to the group: neither root nor a member")
    assert node.desired.stat().st_mode & 0o7777 == 0o2770
    assert node.desired.stat().st_gid == state_socket_path(node.run).stat().st_gid == GROUP_ID


async def test_250_virtual_ips_are_taken_up_quickly(node: Node) -> None:
    for number in range(250):
        spec: dict[str, Any] = {
            "vrid": number + 1,
            "version": 3,
            "addresses": [f"10.1.{number}.1/32"],
            "trackers": [APACHE],
        }
        (node.manifests / f"{number}.yaml").write_text(manifest(f"vip-{number}", **spec))
    node.vrrp.start()
    loop = asyncio.get_running_loop()
    started = loop.time()
    node.start_control()
    await node.vrrp.until(lambda: node.vrrp.complete)
    assert len(node.vrrp.routers) == 250
    assert loop.time() - started < 15  # 1.2 s where nothing else runs
