"""A thousand trackers on one node: what they cost, and that the advertisements keep their time."""

import os
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from article import fast
from machine import Machine
from segment import Segment
from stolen_time import StolenTime
from tracked import start_web_server

VIPS = 32
PORT = 8080
SECONDS = 20.0
INTERVAL = 0.1

# what goes on on a node meanwhile: files change, an interface flaps, processes of tracked and other names come and go
LIFE = """\
import os, pathlib, subprocess, sys, time
directory = pathlib.Path(sys.argv[1])
for turn in range(10**9):
    (directory / f"file-{turn % 10}").write_text(f"{turn % 7}")
    subprocess.run(["ip", "link", "set", "ens9", "down" if turn % 4 < 2 else "up"])
    subprocess.run([str(directory / f"worker-{turn % 10}"), "0.2"])
    time.sleep(0.02)
"""


def trackers(directory: Path, script: str, vip: int) -> list[dict[str, Any]]:
    """32: ten processes, ten files, four interfaces, four ports, two URLs and two scripts."""
    local = f"http://127.0.0.1:{PORT}/{vip}"
    checks: list[dict[str, Any]] = [
        *({"process": {"name": f"worker-{number}"}} for number in range(10)),
        *({"file": {"path": str(directory / f"file-{number}")}} for number in range(10)),
        *({"interface": {"name": name}} for name in ("eth0", "ens9", "lo", "ens10")),
        *({"tcp": {"host": "127.0.0.1", "port": PORT}} for _ in range(4)),
        *({"http": {"url": local, "interval": "2s"}} for _ in range(2)),
        *({"script": {"command": [script], "interval": "10s", "timeout": "5s"}} for _ in range(2)),
    ]
    return [{"name": f"t{number}", "weight": 1, **check} for number, check in enumerate(checks)]


@pytest.fixture
def public() -> Iterator[Path]:
    """For scripts: root's all the way up, which tmp_path is not for others to enter."""
    directory = Path(tempfile.mkdtemp(prefix="many-", dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def processor_seconds(pid: int) -> float:
    """Of a process and its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def test_a_thousand_trackers_do_not_move_the_advertisements(
    servers: tuple[Machine, Machine], lan: Segment, public: Path
) -> None:
    one, _ = servers
    script = public / "check.sh"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    for number in range(10):
        (public / f"worker-{number}").symlink_to("/bin/sleep")
        (public / f"file-{number}").write_text("1")
    one.host.run("ip -batch -", stdin="link add ens9 type veth peer name far\nlink set far up\nlink set ens9 up\n")
    start_web_server(one, PORT)
    resources = []
    for vip in range(1, VIPS + 1):
        tracked = trackers(public, str(script), vip)
        resources.append(fast(f"vip-{vip}", addresses=[f"192.168.122.{120 + vip}/32"], vrid=vip, trackers=tracked))
    one.manifest("many.yaml", "---\n".join(resources))
    one.start_engine(None, "--script-directories", str(public))
    for vip in range(1, VIPS + 1):
        one.wait_state(f"vip-{vip}", "MASTER", timeout=60)
        one.wait(f"vip-{vip}", lambda entry: len(entry["trackers"]) == 32, timeout=60)

    one.popen([sys.executable, "-S", "-c", LIFE, str(public)])
    pids = {name: one.pid_of(name) for name in ("control", "virtualip_agent.control.spawner", "vrrp")}
    before = {name: processor_seconds(pid) for name, pid in pids.items()}
    with lan.capture(expression="proto 112") as capture, StolenTime() as stolen:
        began = time.monotonic()
        time.sleep(SECONDS)
        elapsed = time.monotonic() - began
        lines = capture.matching("192.168.122.101 >")
    cpu = {name: (processor_seconds(pid) - before[name]) / elapsed * 100 for name, pid in pids.items()}

    sent: dict[str, list[float]] = defaultdict(list)
    for line in lines:
        sent[line.split("vrid ")[1].split(",")[0]].append(float(line.split()[0]))
    assert len(sent) == VIPS
    gaps = sorted(after - before_ for times in sent.values() for before_, after in pairwise(times))
    words = ", ".join(f"{name.rpartition('.')[2]} {percent:.1f} %" for name, percent in cpu.items())
    print(
        f"{VIPS * 32} trackers: {words} of a core; {len(gaps)} gaps, "
        f"p99 {gaps[int(len(gaps) * 0.99)] * 1000:.1f} ms, longest {gaps[-1] * 1000:.1f} ms (stolen {stolen.ms:.1f} ms)"
    )
    assert gaps[-1] < INTERVAL + max(INTERVAL / 2, stolen.ms * 1.5e-3)
    assert cpu["control"] < 50
