"""S1-S4, S9 and S10 as deploy/sample has them, with the article's own settings: two nodes, VRRPv2, 1 s, PASS."""

import re
import time
from pathlib import Path

from article import VIP
from client import Prober
from machine import Machine
from segment import Host, Process, Segment, kill_group
from tracked import add_interface, start_sample, write_ping
from virtualip_api.status import parse_time

Servers = tuple[Machine, Machine]


TRACK_FILE = "/var/run/my_app"


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
    start_sample(servers, tmp_path, "s1")
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
    assert prober.result.longest_gap(since=began).ms < max(50, prober.result.noise_ms * 1.5)


def test_s2_the_number_in_the_file_times_the_weight_is_added_and_seen_on_the_wire(
    servers: Servers, lan: Segment, tmp_path: Path
) -> None:
    one, _ = servers
    files = [server.directory / "vrrp_track_file" for server in servers]
    for file in files:
        file.write_text("5\n")
    start_sample(servers, tmp_path, "s2", **{TRACK_FILE: "{}"})

    line = advertised(lan, 249)[0]
    print(f"S2: {line.partition(' ')[2]}")
    assert re.search(r"VRRPv2, Advertisement, vrid 51, prio 249, authtype simple, intvl 1s, length 20", line)
    assert one.wait_state("web", "MASTER")["message"] == "244 + app 5"

    files[0].write_text("6\n")
    assert advertised(lan, 250)
    assert one.wait("web", lambda entry: entry["priority"] == 250)["state"] == "MASTER"


def test_s3_with_weight_0_any_value_but_0_is_fault(servers: Servers, tmp_path: Path) -> None:
    one, two = servers
    tracked = tmp_path / "vrrp_track_file"
    tracked.write_text("0")
    start_sample((one, two), tmp_path, "s3", **{TRACK_FILE: str(tmp_path)})
    one.wait_state("web", "MASTER")

    tracked.write_text("1")
    for server in servers:
        entry = server.wait_state("web", "FAULT")
        assert entry["reason"] == "TrackerFailed"
        assert "app" in entry["message"]
        server.host.wait_for_address(VIP, present=False)

    tracked.write_text("0")
    one.wait_state("web", "MASTER")


def test_s4_below_minus_253_is_fault_and_above_it_is_taken_away(servers: Servers, tmp_path: Path) -> None:
    one, two = servers
    tracked = tmp_path / "vrrp_track_file"
    tracked.write_text("-1")
    start_sample((one, two), tmp_path, "s4", **{TRACK_FILE: str(tmp_path)})
    assert one.wait("web", lambda entry: entry["state"] == "MASTER")["message"] == "244 - app 127"
    assert two.wait("web", lambda entry: entry["priority"] == 113)["state"] == "BACKUP"

    tracked.write_text("-2")
    for server in servers:
        assert server.wait_state("web", "FAULT")["reason"] == "TrackerFailed"
    tracked.write_text("-1")
    one.wait_state("web", "MASTER")


def test_s9_contributions_add_up_and_any_failure_of_weight_0_is_fault(
    servers: Servers, lan: Segment, client: Host, tmp_path: Path, scripts: Path
) -> None:
    one, two = servers
    processes = {server.host.name: httpd(server) for server in servers}
    for server in servers:
        (server.directory / "vrrp_track_file").write_text("2")
        add_interface(server.host, "ens9")
    ping = {"/etc/virtualip/scripts/ping.sh": write_ping(scripts), "192.168.122.1]": f"{client.address}]"}
    start_sample(servers, tmp_path, "s9", "--script-directories", str(scripts), **{TRACK_FILE: "{}"}, **ping)

    assert one.wait("web", lambda entry: entry["state"] == "MASTER" and entry["priority"] == 253, 20)["message"] == (
        "244 + apache 3 + app 2 + uplink 4"
    )
    assert two.wait("web", lambda entry: entry["reason"] == "LowerPriority")["priority"] == 249
    advertised(lan, 253)

    kill_group(processes["server1"])
    assert one.wait("web", lambda entry: entry["priority"] == 250)["state"] == "MASTER"
    (one.directory / "vrrp_track_file").write_text("0")
    assert two.wait_state("web", "MASTER")["priority"] == 249
    assert one.wait_state("web", "BACKUP")["message"] == "244 + uplink 4"
    one.host.run("ip link set ens9 down")
    assert one.wait("web", lambda entry: entry["priority"] == 244)["state"] == "BACKUP"

    (one.directory / "vrrp_track_file").write_text("9")  # 253 again, which is not believed while the ping fails
    one.wait_state("web", "MASTER")
    lan.cut(one.host, "from", "icmp type echo-request")
    entry = one.wait_state("web", "FAULT", timeout=20)
    assert (entry["reason"], entry["message"].partition(":")[0]) == ("TrackerFailed", "check")
    two.wait_state("web", "MASTER")
    lan.heal(one.host)
    one.wait_state("web", "MASTER", timeout=20)


def test_s10_the_backup_takes_over_when_the_masters_cable_is_pulled(
    servers: Servers, lan: Segment, client: Host, tmp_path: Path
) -> None:
    one, two = servers
    start_sample(servers, tmp_path, "s10")
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
