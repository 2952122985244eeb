"""S5-S7 with the article's own settings, and what trackers must not do to the wire. Two nodes."""

from pathlib import Path
from typing import Any

from article import VIP, manifest
from machine import Machine
from segment import Host, Segment

Servers = tuple[Machine, Machine]


def start(servers: Servers, tmp_path: Path, *trackers: dict[str, Any]) -> None:
    password = tmp_path / "password"
    password.write_text("12345\n")
    for server in servers:
        server.manifest("web.yaml", manifest(password_file=str(password), trackers=list(trackers)))
        server.start_engine()


def add_interface(host: Host, name: str) -> None:
    """One with carrier, connected to nothing else."""
    far = f"{name}far"
    host.run("ip -batch -", stdin=f"link add {name} type veth peer name {far}\nlink set {far} up\nlink set {name} up\n")


def test_s5_the_interface_goes_down_and_the_vip_to_the_other_server(
    servers: Servers, lan: Segment, tmp_path: Path
) -> None:
    one, two = servers
    for server in servers:
        add_interface(server.host, "ens9")
    start(servers, tmp_path, {"name": "uplink", "interface": {"name": "ens9"}, "weight": 5})
    assert one.wait_state("web", "MASTER")["message"] == "244 + uplink 5"
    two.wait("web", lambda entry: entry["priority"] == 245 and entry["reason"] == "LowerPriority")
    with lan.capture(expression="proto 112") as capture:
        capture.wait_for("prio 249,")
        one.host.run("ip link set ens9 down")
        assert capture.wait_for("prio 244,")
        assert two.wait_state("web", "MASTER")["reason"] == "HigherPriority"
        entry = one.wait_state("web", "BACKUP")
        assert (entry["priority"], entry["trackers"][0]["message"]) == (244, "down")
        one.host.wait_for_address(VIP, present=False)
        assert two.host.has(VIP)
        one.host.run("ip link set ens9 up")
        one.wait_state("web", "MASTER")
        two.host.wait_for_address(VIP, present=False)


def test_an_interface_that_is_not_there_yet_is_waited_for_in_fault(servers: Servers, tmp_path: Path) -> None:
    one, two = servers
    add_interface(two.host, "ens9")
    start(servers, tmp_path, {"name": "uplink", "interface": {"name": "ens9"}})
    two.wait_state("web", "MASTER")
    entry = one.wait_state("web", "FAULT")
    assert entry["trackers"][0]["message"] == "there is no interface ens9"
    add_interface(one.host, "ens9")
    one.wait_state("web", "MASTER")
