"""Sync groups with the real engine: two VIPs of a node move as one."""

import time
from pathlib import Path

from article import fast
from machine import Machine

Servers = tuple[Machine, Machine]
FIRST, SECOND = "192.168.122.210", "192.168.122.211"


def pair(health: Path, **spec: object) -> str:
    """Two VIPs of a group; the second looks at a file."""
    tracker = {"name": "health", "file": {"path": str(health)}, "weight": 0}
    first = fast("first", addresses=[f"{FIRST}/24"], vrid=61, syncGroup="edge", **spec)
    return first + "---\n" + fast("second", addresses=[f"{SECOND}/24"], vrid=62, syncGroup="edge", trackers=[tracker])


def start(servers: Servers, tmp_path: Path) -> list[Path]:
    files = [tmp_path / f"{server.host.name}-health" for server in servers]
    for server, file in zip(servers, files, strict=True):
        file.write_text("0")
        server.manifest("pair.yaml", pair(file))
        server.start_engine()
        servers[0].wait_state("first", "MASTER")
    for name in ("first", "second"):
        servers[0].wait_state(name, "MASTER")
        servers[1].wait(name, lambda entry: entry["reason"] == "LowerPriority")
    return files


def test_what_is_wrong_with_one_moves_both_and_they_return(servers: Servers, tmp_path: Path) -> None:
    one, two = servers
    files = start(servers, tmp_path)
    files[0].write_text("1")
    for name in ("first", "second"):
        two.wait_state(name, "MASTER")
    entry = one.wait_state("first", "FAULT")
    assert entry["reason"] == "SyncGroup"
    assert entry["message"].startswith("second: health")
    one.wait("second", lambda entry: entry["reason"] == "TrackerFailed")
    assert [two.host.has(address) for address in (FIRST, SECOND)] == [True, True]
    assert [one.host.has(address) for address in (FIRST, SECOND)] == [False, False]
    files[0].write_text("0")
    for name in ("first", "second"):
        one.wait_state(name, "MASTER")
        two.wait(name, lambda entry: entry["state"] == "BACKUP")
    assert [one.host.has(address) for address in (FIRST, SECOND)] == [True, True]


def test_both_follow_a_dead_node_and_a_stopped_one(servers: Servers, tmp_path: Path) -> None:
    one, two = servers
    start(servers, tmp_path)
    one.stop_engine()
    for name in ("first", "second"):
        two.wait_state(name, "MASTER")
    one.start_engine()
    for name in ("first", "second"):
        one.wait_state(name, "MASTER")
    one.power_off()
    for name in ("first", "second"):
        two.wait_state(name, "MASTER")


def test_an_edit_binds_what_two_nodes_share(servers: Servers, tmp_path: Path) -> None:
    one, two = servers
    prefer = [
        [{"nodeName": f"server{number}", "priority": 244 if number == first else 240} for number in (1, 2)]
        for first in (1, 2)
    ]

    def both(group: str | None) -> str:
        return (
            fast("first", addresses=[f"{FIRST}/24"], vrid=61, syncGroup=group, nodePriorities=prefer[0])
            + "---\n"
            + fast("second", addresses=[f"{SECOND}/24"], vrid=62, syncGroup=group, nodePriorities=prefer[1])
        )

    for server in servers:
        server.manifest("pair.yaml", both(None))
        server.start_engine()
    one.wait_state("first", "MASTER")
    two.wait_state("second", "MASTER")
    one.wait("second", lambda entry: entry["reason"] == "LowerPriority")
    for server in servers:
        server.manifest("pair.yaml", both("edge"))
    for server in servers:
        server.wait("first", lambda entry: entry["priority"] == 240)
    deadline = time.monotonic() + 10
    while len(set(states(servers))) != 2 or any(len(set(of_one)) != 1 for of_one in states(servers)):
        assert time.monotonic() < deadline, states(servers)
        time.sleep(0.1)
    before = states(servers)
    time.sleep(2)
    assert states(servers) == before
    assert sorted(before) == [("BACKUP", "BACKUP"), ("MASTER", "MASTER")]


def states(servers: Servers) -> list[tuple[str, ...]]:
    """(first, second) of each server."""
    entries = [[server.entry(name) for name in ("first", "second")] for server in servers]
    return [tuple("" if entry is None else str(entry["state"]) for entry in of_one) for of_one in entries]
