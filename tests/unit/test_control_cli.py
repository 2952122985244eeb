"""The commands: one line for what is wrong, nothing heavy where it does not belong."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from virtualip_agent.control.status_view import Picture, history_text, status_text
from virtualip_agent.run_directory import history_path, state_socket_path
from virtualip_agent.state_stream import encode_line

AGENT = {
    "type": "agent",
    "agent": {
        "node": "server1",
        "active": True,
        "ready": True,
        "scheduling": "SCHED_RR 50",
        "processStarts": "a scan",
        "problems": [],
    },
}
WEB: dict[str, Any] = {
    "type": "vip",
    "name": "web",
    "entry": {
        "node": "server1",
        "state": "MASTER",
        "priority": 254,
        "reason": "HigherPriority",
        "message": "244 + apache 10",
        "trackers": [
            {
                "name": "apache",
                "healthy": True,
                "contribution": 10,
                "message": "running",
                "lastTransitionTime": "2026-11-24T13:00:00.000000Z",
            }
        ],
    },
    "detail": {"addresses": ["192.168.122.200/24"], "master": "192.168.122.101", "stale": False},
}


def agent(*arguments: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "virtualip_agent.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={"PATH": "/usr/bin:/bin", **environment},
    )


@pytest.fixture
def control(tmp_path: Path) -> Iterator[list[dict[str, Any]]]:
    """A state socket that tells every client these lines."""
    lines = [AGENT, WEB, {"type": "ready"}]
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(state_socket_path(tmp_path)))
    listener.listen()

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            with client:
                client.sendall(b"".join(map(encode_line, lines)))
                client.shutdown(socket.SHUT_WR)
                while client.recv(1024):
                    pass

    thread = threading.Thread(target=serve)
    thread.start()
    yield lines
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "Missing command."),
        (("fly",), "No such command 'fly'."),
        (("control",), "Missing option '--node'"),
        (("control", "--node", "a/b"), "'a/b' is not a node's name"),
        (("control", "--node", ""), "'' is not a node's name"),
        (("engine", "--node", "a", "--run", __file__), "is a file"),
        (("engine", "--node", "a", "--host-root", "/nowhere"), "'/nowhere' does not exist"),
        (("vrrp", "--log-level", "loud"), "'loud' is not one of"),
        (("history", "-n", "0"), "0 is not in the range"),
        (("status", "-o", "xml"), "'xml' is not one of"),
    ],
)
def test_wrong_options_are_told_in_one_line_with_exit_code_2(arguments: tuple[str, ...], problem: str) -> None:
    done = agent(*arguments)
    assert done.returncode == 2
    assert problem in done.stderr
    assert done.stderr.startswith("virtualip-agent: ")
    assert done.stderr.count("\n") == 1


def test_every_option_is_also_an_environment_variable(tmp_path: Path) -> None:
    done = agent("status", VIRTUALIP_RUN=str(tmp_path))
    assert str(tmp_path) in done.stderr
    assert "VIRTUALIP_NODE" in agent("control", "--help").stdout


@pytest.mark.parametrize("command", ["engine", "vrrp", "control"])
def test_a_run_directory_that_cannot_be_is_one_line_too(tmp_path: Path, command: str) -> None:
    node = () if command == "vrrp" else ("--node", "a")
    (tmp_path / "file").write_text("")
    done = agent(command, *node, "--run", tmp_path / "file" / "run")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "Not a directory" in done.stderr


@pytest.mark.parametrize("command", ["status", "ready"])
def test_without_an_agent_the_exit_code_is_1_and_the_message_says_so(tmp_path: Path, command: str) -> None:
    done = agent(command, "--run", tmp_path)
    assert done.returncode == 1
    assert "no agent runs here" in done.stderr


def test_status_is_a_table_for_people(control: list[dict[str, Any]], tmp_path: Path) -> None:
    done = agent("status", "--run", tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines[0] == "node server1, active, SCHED_RR 50, process starts by a scan"
    assert lines[3] == "web MASTER 254 192.168.122.200/24 192.168.122.101 HigherPriority 244 + apache 10"
    assert lines[6] == "web apache healthy +10 2026-11-24T13:00:00.000000Z running"


def test_each_familys_own_state_is_below_that_of_both() -> None:
    families = [
        {"family": "IPv4", "state": "FAULT", "reason": "SyncGroup", "message": "web/IPv6: no link-local address"},
        {"family": "IPv6", "state": "FAULT", "reason": "LinkDown", "message": "no link-local address"},
    ]
    picture = Picture(vips={"web": WEB | {"entry": WEB["entry"] | {"families": families}}})
    text = status_text(picture)
    rows = [line.split() for line in text.splitlines() if line.startswith("web")]
    assert [row[:3] for row in rows[:3]] == [
        ["web", "MASTER", "254"],
        ["web/IPv4", "FAULT", "SyncGroup"],
        ["web/IPv6", "FAULT", "LinkDown"],
    ]


def test_status_as_json_has_the_raw_entries(control: list[dict[str, Any]], tmp_path: Path) -> None:
    done = agent("status", "--run", tmp_path, "-o", "json")
    assert json.loads(done.stdout)["virtualIPs"] == [{key: WEB[key] for key in ("name", "entry", "detail")}]
    assert json.loads(done.stdout)["statistics"] == {}  # a control of an older version


def test_status_shows_vrrps_counters_and_how_late_its_timer_was(control: list[dict[str, Any]], tmp_path: Path) -> None:
    counted: dict[str, Any] = {
        "routers": {"web": {"sent": 12, "drop_ttl": 1}}, "process": {"wake_ups": 40}, "lateness": {"64": 39, "inf": 1}
    }  # fmt: skip
    control.append({"type": "statistics", **counted})
    assert json.loads(agent("status", "--run", tmp_path, "-o", "json").stdout)["statistics"] == counted
    lines = [" ".join(line.split()) for line in agent("status", "--run", tmp_path, "--counters").stdout.splitlines()]
    assert lines[-6:] == [
        "NAME COUNTER VALUE",
        "web drop_ttl 1",
        "web sent 12",
        "(process) wake_ups 40",
        "(timer late, us below) 64 39",
        "(timer late, us below) inf 1",
    ]


def test_ready_is_ready_when_vrrp_has_answered_or_the_agent_stands_by(
    control: list[dict[str, Any]], tmp_path: Path
) -> None:
    assert agent("ready", "--run", tmp_path).returncode == 0
    control[0] = {"type": "agent", "agent": AGENT["agent"] | {"active": False}}  # type: ignore[operator]
    assert agent("ready", "--run", tmp_path).returncode == 0
    control[0] = {"type": "agent", "agent": AGENT["agent"] | {"ready": False}}  # type: ignore[operator]
    done = agent("ready", "--run", tmp_path)
    assert (done.returncode, done.stderr) == (1, "virtualip-agent: vrrp does not answer\n")


def test_history_shows_the_newest(tmp_path: Path) -> None:
    history_path(tmp_path).write_text(
        "".join(
            json.dumps({"time": f"t{n}", "name": "web", "from": "BACKUP", "to": "MASTER", "priority": 254}) + "\n"
            for n in range(5)
        )
    )
    done = agent("history", "--run", tmp_path, "-n", "2")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["TIME", "t3", "t4"]


def test_history_tells_of_one_virtual_ip_as_it_was_noted(tmp_path: Path) -> None:
    noted = [{"time": f"t{n}", "name": name, "to": "MASTER"} for n, name in enumerate(("web", "db", "web", "web"))]
    history_path(tmp_path).write_text("".join(json.dumps(record) + "\n" for record in noted))
    done = agent("history", "--run", tmp_path, "--name", "web", "-n", "2", "-o", "json")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [noted[2], noted[3]]


def test_the_table_names_what_is_to_be_looked_at() -> None:
    picture = Picture()
    problems = ["bad.yaml: cannot be parsed"]
    for message in (
        {"type": "agent", "agent": {"node": "server1", "ready": False, "problems": problems}},
        {
            **WEB,
            "detail": {"stale": True, "conflict": "the manifest stays", "mismatches": {"10.0.0.2": "interval"}},
        },
        {"type": "vip", "name": "old", "entry": WEB["entry"], "detail": {}},
        {"type": "gone", "name": "old"},
        {"type": "a newer agent's"},
    ):
        assert not picture.apply(message)
    assert picture.apply({"type": "ready"})
    text = status_text(picture)
    assert "node server1, vrrp does not answer" in text
    assert "MASTER (stale)" in text
    assert text.splitlines()[-3:] == [
        "! bad.yaml: cannot be parsed",
        "! web: the manifest stays",
        "! web: 10.0.0.2 does not agree: interval",
    ]


def test_a_node_without_virtual_ips_says_so() -> None:
    assert "no VirtualIP on this node" in status_text(Picture(AGENT["agent"]))  # type: ignore[arg-type]
    assert len(history_text([]).splitlines()) == 1


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("virtualip_agent.cli", ("scapy", "kubernetes", "asyncio", "yaml")),
        ("virtualip_agent.engine", ("scapy", "kubernetes", "asyncio", "yaml")),
        ("virtualip_agent.control.directories", ("scapy", "kubernetes", "asyncio", "yaml")),
        ("virtualip_agent.control.status_view", ("scapy", "kubernetes", "asyncio", "yaml")),
        ("virtualip_agent.control.main", ("kubernetes",)),
    ],
)
def test_nothing_heavy_is_imported_where_it_does_not_belong(module: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, {module}; print([name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "[]"
