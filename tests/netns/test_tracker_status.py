"""What the status says of each kind of tracker, and how soon."""

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from article import VIP
from machine import Machine
from segment import kill_group
from tracked import add_interface, start_web_server, write_script
from virtualip_agent import pods_file
from virtualip_agent.desired_file import encode, write_atomically
from virtualip_agent.pods_file import Pod, PodsOfNamespace
from virtualip_agent.run_directory import pods_path
from virtualip_api.status import parse_time

if TYPE_CHECKING:
    from collections.abc import Callable

Tracker = dict[str, Any]

AT_ONCE = 0.3
PORT = 8080
OFTEN = "100ms"
ASKS_EVERY = {"tcp": 0.1, "http": 0.1, "script": 0.1, "process": 0.25}
"""Seconds until a change can be noticed by those that ask; of processes it is their starts."""


class Node:
    """server1 with one VirtualIP of a tracker of each kind (podReady takes one of the API's), and their causes."""

    def __init__(self, machine: Machine, directory: Path, scripts: Path) -> None:
        self.machine = machine
        self.number = directory / "number"
        self.good = scripts / "good"
        self.worker = directory / "worker"
        self.worker.symlink_to("/bin/sleep")
        self.checks: dict[str, Tracker] = {
            "process": {"process": {"name": "worker"}},
            "file": {"file": {"path": str(self.number)}},
            "interface": {"interface": {"name": "ens9"}},
            "script": {"script": {"command": [self._script(scripts)], "interval": OFTEN, "fall": 1, "rise": 1}},
            "tcp": {"tcp": {"host": "192.0.2.1", "port": PORT, "interval": OFTEN, "fall": 1}},
            "http": {"http": {"url": f"http://192.0.2.2:{PORT}/", "interval": OFTEN, "fall": 1}},
            "podReady": {"podReady": {"namespace": "ingress", "selector": {"matchLabels": {"app": "nginx"}}}},
        }
        self.change: dict[str, Callable[[bool], object]] = {
            "process": self._process,
            "file": lambda good: self.number.write_text("5" if good else "0"),
            "interface": lambda good: machine.host.run(f"ip link set ens9 {'up' if good else 'down'}"),
            "script": lambda good: self.good.touch() if good else self.good.unlink(),
            "tcp": lambda good: machine.host.run(f"ip addr {'add' if good else 'del'} 192.0.2.1/32 dev lo"),
            "http": lambda good: machine.host.run(f"ip addr {'add' if good else 'del'} 192.0.2.2/32 dev lo"),
            "podReady": self._pod,
        }

    def _script(self, scripts: Path) -> str:
        return write_script(scripts, "check.sh", f"#!/bin/sh\ntest -e {self.good}\n")

    def _process(self, good: bool) -> None:
        if good:
            self.running = self.machine.popen([str(self.worker), "1000"])
        else:
            kill_group(self.running)

    def _pod(self, good: bool) -> None:
        """As the reporter writes it."""
        known = PodsOfNamespace({"nginx-1": Pod({"app": "nginx"}, good)}, pods_file.now())
        content = pods_file.encode({"ingress": known}, pods_file.boot_id())
        write_atomically(pods_path(self.machine.run_directory), content)

    def start(self, scripts: Path) -> None:
        add_interface(self.machine.host, "ens9")
        start_web_server(self.machine, PORT)
        self.machine.host.run("ip addr add 192.0.2.1/32 dev lo")
        self.machine.host.run("ip addr add 192.0.2.2/32 dev lo")
        for kind in ("process", "file", "script", "podReady"):
            self.change[kind](True)
        trackers = [
            {"name": kind.lower(), "weight": 1 if kind == "file" else 5, **check} for kind, check in self.checks.items()
        ]
        spec = {"addresses": [f"{VIP}/24"], "vrid": 51, "interface": "eth0", "advertInterval": "100ms"}
        member = {
            "virtualIP": "web",
            "node": "server1",
            "revision": 1,
            "generation": 1,
            "basePriority": 100,
            "rank": 0,
            "draining": False,
            "members": [{"node": "server1", "addresses": [self.machine.host.address]}],
            "spec": {**spec, "trackers": trackers},
        }
        write_atomically(self.machine.directory / "desired/web.json", encode("web", member, None))
        self.machine.start_engine(None, "--script-directories", str(scripts))

    def wait(self, kind: str, contribution: int) -> Tracker:
        def of(entry: dict[str, Any]) -> Tracker:
            return next((it for it in entry.get("trackers", []) if it["name"] == kind.lower()), {})

        return of(self.machine.wait("web", lambda entry: of(entry).get("contribution") == contribution))


@pytest.fixture
def node(servers: tuple[Machine, Machine], tmp_path: Path, scripts: Path) -> Node:
    made = Node(servers[0], tmp_path, scripts)
    made.start(scripts)
    for kind in made.checks:
        made.wait(kind, 5)
    return made


def test_contribution_health_last_change_and_message_of_every_kind_within_300_ms(node: Node) -> None:
    longest: dict[str, float] = {}
    for kind, change in node.change.items():
        before = node.wait(kind, 5)
        for good in (False, True) * 4:
            began, then = time.monotonic(), time.time()
            change(good)
            tracker = node.wait(kind, 5 if good else 0)
            took = time.monotonic() - began
            longest[kind] = max(took, longest.get(kind, 0.0))
            assert tracker["message"] != before["message"]
            if kind != "file":  # a number of a weight is neither good nor bad
                assert tracker["healthy"] is good
                assert parse_time(tracker["lastTransitionTime"]) >= then - 0.001
            before = tracker
    print(", ".join(f"{kind} {took * 1000:.0f} ms" for kind, took in longest.items()))
    for kind, took in longest.items():
        assert took < AT_ONCE + ASKS_EVERY.get(kind, 0.0), kind
    # the trackers' results are told as they come, and the priority that they make when vrrp has it
    shown = node.machine.wait("web", lambda entry: entry["priority"] == 100 + 5 * len(node.checks))
    assert shown["message"] == "100" + "".join(f" + {kind.lower()} 5" for kind in node.checks)


def test_the_command_status_says_the_same_as_a_table(node: Node) -> None:
    for kind, change in node.change.items():
        change(False)
        node.wait(kind, 0)
    command = [sys.executable, "-m", "virtualip_agent.cli", "status", "--run", str(node.machine.run_directory)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = printed.splitlines()
    table = lines[lines.index(next(line for line in lines if "TRACKER" in line)) + 1 :]
    rows = {line.split()[1]: line.split(maxsplit=5) for line in table[: len(node.checks)]}
    print(printed)
    assert rows.keys() == {kind.lower() for kind in node.checks}
    entry = node.machine.entry("web")
    assert entry is not None
    for tracker in entry["trackers"]:
        health = "healthy" if tracker["name"] == "file" else "failing"
        assert rows[tracker["name"]] == [
            *("web", tracker["name"], health, "0"),
            *(tracker["lastTransitionTime"], tracker["message"]),
        ]
