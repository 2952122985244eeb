"""`kubectl vip`, as kubectl finds and runs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from house import House

pytestmark = [pytest.mark.nodes, pytest.mark.timeout(180)]


def run(house: House, *words: str) -> subprocess.CompletedProcess[str]:
    """kubectl vip ..., with the programs of this environment in PATH."""
    programs = [Path(sys.executable).parent, *([house.own.binaries] if house.own else [])]
    path = os.pathsep.join([*map(str, programs), os.environ["PATH"]])
    return subprocess.run(
        ["kubectl", "vip", *words],
        env=os.environ | {"PATH": path, "KUBECONFIG": str(house.kubeconfig)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def vip(house: House, *words: str) -> str:
    """What it prints."""
    done = run(house, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(text: str) -> list[list[str]]:
    """Its tables, cell by cell."""
    return [line.split() for line in text.splitlines()]


def test_why_tells_who_has_it_and_how_each_node_and_tracker_stands(house: House) -> None:
    tracker = {"name": "kubelet", "process": {"name": "kubelet"}, "weight": 5}
    with house.applied("web", trackers=[tracker]) as master:
        house.wait("web", lambda status: status.get("priority") == 249)
        told = vip(house, "why", "web")
        assert told.startswith(f"web  {house.vip}/32  VRRPv3, VRID 51, every 100ms\n{master} has it on ")
        stand = [row[:3] for row in rows(told) if row[1:2] in (["MASTER"], ["BACKUP"])]
        first, *others = house.nodes
        assert stand[0] == [first, "MASTER", "249"]
        behind = zip(others, ("245", "155"), strict=False)
        assert stand[1:] == [[node, "BACKUP", priority] for node, priority in behind]
        assert [row[:4] for row in rows(told) if row[:1] == ["kubelet"]] == [
            ["kubelet", node, "healthy", "+5"] for node in sorted(house.nodes)
        ]
        assert vip(house, "why").splitlines()[0] == told.splitlines()[0]


def test_move_returns_when_the_node_has_it_and_end_brings_it_back(house: House) -> None:
    first, second = house.nodes[:2]
    with house.applied("web"):
        told = vip(house, "move", "web", "--to", second, "--for", "10m")
        assert told.startswith(f"{second} has web, until ")
        assert house.holders() == [second]
        vip(house, "move", "web", "--end")
        house.wait_master("web", first)
        nodes = [row[1] for row in rows(vip(house, "history", "web")) if row[3:4] == ["MASTER"]]
        assert nodes[-3:] == [first, second, first]


def test_a_move_that_cannot_be_made_says_why_and_moves_nothing(house: House) -> None:
    with house.applied("web") as master:
        done = run(house, "move", "web", "--to", "nowhere", "--for", "10m")
        assert done.returncode == 1
        assert "nowhere takes no part" in done.stderr
        assert house.wait_master("web") == master


def test_check_tells_what_is_to_be_looked_at_and_exits_1(house: House) -> None:
    with house.applied("web"):
        house.wait("web", lambda status: all(one["status"] == "True" for one in status["conditions"]))
        assert vip(house, "check") == "1 VirtualIP, and nothing to look at\n"
        tracker = {"name": "nothing", "process": {"name": "no-such"}, "weight": 1}
        house.apply("web", trackers=[tracker])
        house.wait("web", lambda status: len([n for n in status["nodes"] if n.get("trackers")]) == len(house.nodes))
        done = run(house, "check")
        assert done.returncode == 1
        assert [line.split(" ")[:3] for line in done.stdout.splitlines()] == [
            ["web:", "Accepted", "True"],  # a weight that moves nothing is a warning
            ["web:", "TrackersHealthy", "False"],
        ]
        assert "server" in done.stdout


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        (
            ("why", "nothing"),
            1,
            'kubectl vip: Error from server (NotFound): virtualips.virtualip.dev "nothing" not found',
        ),
        (("move", "web"), 2, "kubectl vip: either --to NODE and --for DURATION, or --end"),
        (("move", "web", "--to", "x", "--for", "soon"), 2, "'soon' is not a duration such as 1s or 100ms"),
        (("--context", "nowhere", "why"), 1, "context was not found for specified context: nowhere"),
    ],
    ids=["unknown", "move what", "how long", "where"],
)
def test_what_is_wrong_is_said_in_a_line(house: House, words: tuple[str, ...], status: int, complaint: str) -> None:
    done = run(house, *words)
    assert (done.returncode, done.stdout) == (status, "")
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
