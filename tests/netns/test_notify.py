"""S8: what notify commands are told, in which order, and what becomes of those that fail or hang."""

import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from article import fast
from machine import Machine, children
from segment import Host, Segment
from tracked import start_sample, write_ping, write_script
from virtualip_agent.run_directory import notified_path

Servers = tuple[Machine, Machine]

GATEWAY = "192.168.122.50"
NOTIFY = (Path(__file__).parents[2] / "deploy/sample/scripts/notify.sh").read_text()
SAYS = "{} {} has transitioned to the {} state with a priority of {}"


@pytest.fixture
def told(scripts: Path) -> Path:
    """Where the sample's command writes, as nobody."""
    path = scripts / "vrrp.log"
    path.touch()
    path.chmod(0o666)
    return path


def wait_for(condition: Callable[[], bool], what: Callable[[], object], timeout: float = 15.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)


def wait_told(told: Path, lines: Sequence[str], timeout: float = 20.0) -> None:
    """Waits until exactly these lines are there."""
    wait_for(lambda: told.read_text().splitlines() == list(lines), told.read_text, timeout)


def notify(scripts: Path, told: Path, **fields: Any) -> dict[str, Any]:
    return {"command": [write_script(scripts, "notify.sh", NOTIFY), str(told)], **fields}


def start(server: Machine, scripts: Path, **spec: Any) -> None:
    server.manifest("web.yaml", fast(**spec))
    server.start_engine(None, "--script-directories", str(scripts))


def of(name: str, *events: tuple[str, int], kind: str = "INSTANCE") -> list[str]:
    return [SAYS.format(kind, name, state, priority) for state, priority in events]


def test_s8_master_then_fault_when_the_ping_is_dropped_then_master_again(
    servers: Servers, lan: Segment, client: Host, tmp_path: Path, scripts: Path, told: Path
) -> None:
    one, _ = servers
    write_script(scripts, "notify.sh", NOTIFY)
    here = {
        "/etc/virtualip/scripts/ping.sh": write_ping(scripts),
        "192.168.122.1]": f"{GATEWAY}]",
        "/etc/virtualip/scripts/notify.sh": str(scripts / "notify.sh"),
        "/tmp/vrrp.log": str(told),
    }
    start_sample([one], tmp_path, "s8", "--script-directories", str(scripts), **here)
    wait_told(told, of("VI_1", ("BACKUP", 244), ("MASTER", 244)))
    lan.cut(one.host, "from", "icmp type echo-request")
    wait_told(told, of("VI_1", ("BACKUP", 244), ("MASTER", 244), ("FAULT", 244)))
    lan.heal(one.host)
    wait_told(told, of("VI_1", ("BACKUP", 244), ("MASTER", 244), ("FAULT", 244), ("BACKUP", 244), ("MASTER", 244)))
    print("\n".join(line for line in told.read_text().splitlines() if "BACKUP" not in line))


def test_stop_is_told_before_the_agent_is_gone_and_deleted_when_the_vip_is_withdrawn(
    servers: Servers, scripts: Path, told: Path
) -> None:
    one, _ = servers
    start(one, scripts, notify=[notify(scripts, told)])
    begun = of("web", ("BACKUP", 244), ("MASTER", 244))
    wait_told(told, begun)
    one.stop_engine()
    assert told.read_text().splitlines() == begun + of("web", ("STOP", 244))

    told.write_text("")
    one.start_engine(None, "--script-directories", str(scripts))
    wait_told(told, begun)
    (one.directory / "manifests" / "web.yaml").unlink()
    wait_told(told, begun + of("web", ("DELETED", 244)))


def test_s8_a_sync_group_is_told_as_group_by_its_name_whichever_member_is_the_cause(
    servers: Servers, scripts: Path, told: Path, tmp_path: Path
) -> None:
    one, _ = servers
    health = tmp_path / "health"
    health.write_text("0")
    tracker = {"name": "health", "file": {"path": str(health)}, "weight": 0}
    teller = fast("first", addresses=["192.168.122.210/24"], vrid=61, syncGroup="edge", notify=[notify(scripts, told)])
    cause = fast("second", addresses=["192.168.122.211/24"], vrid=62, syncGroup="edge", trackers=[tracker])
    one.manifest("pair.yaml", f"{teller}---\n{cause}")
    one.start_engine(None, "--script-directories", str(scripts))
    events = [("BACKUP", 244), ("MASTER", 244)]
    wait_told(told, of("edge", *events, kind="GROUP"))
    for value, then in (("1", [("FAULT", 244)]), ("0", [("BACKUP", 244), ("MASTER", 244)])):
        health.write_text(value)
        events += then
        wait_told(told, of("edge", *events, kind="GROUP"))
    one.stop_engine()
    assert told.read_text().splitlines() == of("edge", *events, ("STOP", 244), kind="GROUP")


def test_a_command_is_run_only_on_its_occasions(servers: Servers, scripts: Path, told: Path) -> None:
    one, _ = servers
    start(one, scripts, notify=[notify(scripts, told, when=["MASTER", "STOP"])])
    wait_told(told, of("web", ("MASTER", 244)))
    one.stop_engine()
    assert told.read_text().splitlines() == of("web", ("MASTER", 244), ("STOP", 244))


def test_a_control_that_is_restarted_tells_nothing_twice_and_what_it_missed(
    servers: Servers, lan: Segment, scripts: Path, told: Path
) -> None:
    one, _ = servers
    start(one, scripts, notify=[notify(scripts, told)])
    begun = of("web", ("BACKUP", 244), ("MASTER", 244))
    wait_told(told, begun)
    # and the command has ended: one that control is killed in the middle of is told again
    notified = notified_path(one.run_directory)
    wait_for(lambda: json.loads(notified.read_text())["web"][0] == "MASTER", notified.read_text)
    control = one.pid_of("control")
    os.kill(control, signal.SIGKILL)
    wait_for(lambda: one.find("control") not in ([], [control]), lambda: one.log())
    one.wait_state("web", "MASTER")

    os.kill(one.pid_of("control"), signal.SIGSTOP)
    stopped = one.pid_of("control")
    lan.unplug(one.host)
    wait_for(lambda: not one.host.has("192.168.122.200"), lambda: one.log())
    os.kill(stopped, signal.SIGKILL)
    wait_told(told, begun + of("web", ("FAULT", 244)))


def test_commands_run_as_nobody_with_no_capability_and_only_what_root_put_there(
    servers: Servers, scripts: Path, told: Path
) -> None:
    one, _ = servers
    who = write_script(
        scripts, "who.sh", f"#!/bin/sh\necho $(id -un) $(grep -c 'Cap.*0000000000000000' /proc/self/status) >> {told}\n"
    )
    start(one, scripts, notify=[{"command": [who], "when": ["MASTER"]}])
    # CapInh, CapPrm, CapEff and CapAmb are empty; the bounding set is not ours to empty
    wait_told(told, ["nobody 4"])
    (scripts / "who.sh").chmod(0o777)
    one.manifest("web.yaml", fast(notify=[{"command": [who]}], priority=1, nodePriorities=None))
    os.kill(one.pid_of("vrrp"), signal.SIGKILL)  # it comes back, and is BACKUP first
    entry = one.wait("web", lambda entry: bool(entry.get("notifyFailure")))
    assert "can be written by others than root" in entry["notifyFailure"]


def test_a_command_that_hangs_is_ended_and_reported_and_the_newest_state_is_told(
    servers: Servers, lan: Segment, scripts: Path, told: Path
) -> None:
    one, _ = servers
    hang = write_script(scripts, "hang.sh", "#!/bin/sh\ntrap '' TERM\nsleep 1000 & wait; wait\n")
    entries = [{"command": [hang], "when": ["MASTER"], "timeout": "300ms"}, notify(scripts, told)]
    start(one, scripts, notify=entries)
    entry = one.wait("web", lambda entry: bool(entry.get("notifyFailure")))
    assert entry["notifyFailure"] == f"{hang} (MASTER): timed out after 0.3s"
    wait_told(told, of("web", ("BACKUP", 244), ("MASTER", 244)))
    lan.unplug(one.host)
    wait_told(told, of("web", ("BACKUP", 244), ("MASTER", 244), ("FAULT", 244)))
    spawner = one.pid_of("virtualip_agent.control.spawner")
    wait_for(lambda: children(spawner) == [], lambda: children(spawner))
