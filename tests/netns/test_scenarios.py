"""S1-S4 and S10 with the article's own settings: two nodes, VRRPv2, 1 s, PASS."""

import re
import time
from pathlib import Path

from article import VIP, manifest
from client import Prober
from machine import Machine
from segment import Host, Process, Segment, kill_group
from virtualip_api.status import parse_time

Servers = tuple[Machine, Machine]


def start(servers: Servers, tmp_path: Path, trackers: list[dict[str, object]]) -> None:
    password = tmp_path / "password"
    password.write_text("12345\n")
    for server in servers:
        server.manifest("web.yaml", manifest(password_file=str(password), trackers=trackers))
        server.start_engine()


def httpd(server: Machine) -> Process:
    """A process whose comm is httpd."""
    link = server.directory / "httpd"
    if not link.exists():
        link.symlink_to("/bin/sleep")
    return server.popen([str(link), "1000"])


def advertised(lan: Segment, priority: int, count: int = 1) -> list[str]:
    """Waits for advertisements of a priority; as tcpdump prints them."""
    with lan.capture(expression="proto 112") as capture:
        return capture.wait_for(f"prio {priority},", count=count)


def test_s1_the_vip_is_where_httpd_runs_and_returns_when_it_is_started_again(
    servers: Servers, lan: Segment, client: Host, tmp_path: Path
) -> None:
    one, two = servers
    processes = {server.host.name: httpd(server) for server in servers}
    start(servers, tmp_path, [{"name": "apache", "process": {"name": "httpd"}, "weight": 10}])
    assert one.wait_state("web", "MASTER")["priority"] == 254
    two.wait("web", lambda entry: entry["priority"] == 250)
    assert one.host.has(VIP)
    assert not two.host.has(VIP)
    two.wait("web", lambda entry: entry["reason"] == "LowerPriority")
    # a BACKUP that has just come up listens for a master_down_interval before it may preempt; server2 may have come up
    # up to two intervals after server1
    advertised(lan, 254, count=3)

    with Prober(client, VIP) as prober:
        began = prober.wait_for_answer()
        killed = time.time()
        kill_group(processes["server1"])
        entry = two.wait_state("web", "MASTER")
        assert entry["reason"] == "HigherPriority"
        moved = parse_time(entry["lastTransitionTime"]) - killed
        print(f"S1: httpd killed -> the other server has the VIP: {moved * 1000:.0f} ms")
        assert moved < 0.3
        assert one.wait_state("web", "BACKUP")["priority"] == 244
        one.host.wait_for_address(VIP, present=False)
        assert two.host.has(VIP)

        httpd(one)
        assert one.wait_state("web", "MASTER")["message"] == "244 + apache 10"
        two.host.wait_for_address(VIP, present=False)
        assert one.host.has(VIP)
    # the node itself answered all the time: only the service was gone
    assert prober.result.longest_gap(since=began).ms < 50


def test_s2_the_number_in_the_file_times_the_weight_is_added_and_seen_on_the_wire(
    servers: Servers, lan: Segment, tmp_path: Path
) -> None:
    one, _ = servers
    files = []
    for server in servers:
        tracked = server.directory / "vrrp_track_file"
        tracked.write_text("5\n")
        files.append(tracked)
        password = tmp_path / "password"
        password.write_text("12345\n")
        trackers = [{"name": "app", "file": {"path": str(tracked)}, "weight": 1}]
        server.manifest("web.yaml", manifest(password_file=str(password), trackers=trackers))
        server.start_engine()

    line = advertised(lan, 249)[0]
    assert re.search(r"VRRPv2, Advertisement, vrid 51, prio 249, authtype simple, intvl 1s, length 20", line)
    assert one.wait_state("web", "MASTER")["message"] == "244 + app 5"

    files[0].write_text("6\n")
    assert advertised(lan, 250)
    assert one.wait("web", lambda entry: entry["priority"] == 250)["state"] == "MASTER"


def test_s3_with_weight_0_any_value_but_0_is_fault(servers: Servers, tmp_path: Path) -> None:
    one, two = servers
    tracked = tmp_path / "file"
    tracked.write_text("0")
    start((one, two), tmp_path, [{"name": "app", "file": {"path": str(tracked)}, "weight": 0}])
    one.wait_state("web", "MASTER")

    tracked.write_text("1")
    for server in servers:
        entry = server.wait_state("web", "FAULT")
        assert entry["reason"] == "TrackerFailed"
        assert "app" in entry["message"]
        server.host.wait_for_address(VIP, present=False)

    tracked.write_text("0")
    one.wait_state("web", "MASTER")


def test_s4_below_minus_253_is_fault_and_minus_253_is_not(servers: Servers, tmp_path: Path) -> None:
    one, two = servers
    tracked = tmp_path / "file"
    tracked.write_text("-253")
    start((one, two), tmp_path, [{"name": "app", "file": {"path": str(tracked)}, "weight": 1}])
    for server in servers:  # which of the two is MASTER the tie decides
        assert server.wait("web", lambda entry: entry["priority"] == 1)["state"] != "FAULT"

    tracked.write_text("-254")
    for server in servers:
        assert server.wait_state("web", "FAULT")["reason"] == "TrackerFailed"


def test_s10_the_backup_takes_over_when_the_masters_cable_is_pulled(
    servers: Servers, lan: Segment, client: Host, tmp_path: Path
) -> None:
    one, two = servers
    start(servers, tmp_path, [])
    one.wait_state("web", "MASTER")
    two.wait("web", lambda entry: entry["reason"] == "LowerPriority")

    with Prober(client, VIP) as prober:
        began = prober.wait_for_answer()
        lan.unplug(one.host)
        assert two.wait_state("web", "MASTER")["reason"] == "MasterDown"
        assert one.wait_state("web", "FAULT")["reason"] == "LinkDown"
        assert not one.host.has(VIP)
        lan.plug(one.host)
        one.wait_state("web", "MASTER")
        two.wait_state("web", "BACKUP")
    # master_down_interval of priority 240: 3 s + 16/256 s, less the age of the last advertisement
    gap = prober.result.longest_gap(since=began).ms
    print(f"S10: cable pulled, adverts 1 s: gap {gap:.0f} ms")
    assert 2000 < gap < 3200
