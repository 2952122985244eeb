"""A node that boots with the plan of yesterday asks the segment before it takes an address."""

import json
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from article import fast
from machine import Machine
from segment import Host, Segment
from virtualip_agent.desired_file import encode
from virtualip_api.member import Peer, member_spec

VIPS = {4: "192.168.122.200", 6: "2001:db8::200"}
PATIENCE = 45.0


def yesterdays_plan(machine: Machine, **spec: Any) -> None:
    """As the reporter left it before the node was off: server2 is a member beside us."""
    peers = tuple(Peer(f"server{n}", (ip_address(f"192.168.122.10{n}"),)) for n in (1, 2))
    plan = member_spec(
        virtual_ip="web", node="server1", generation=1, base_priority=100, rank=0, draining=False, peers=peers,
        spec={"addresses": [f"{VIPS[4]}/24"], "vrid": 51, "interface": "eth0", "advertInterval": "100ms"} | spec,
    )  # fmt: skip
    (machine.directory / "desired/web.json").write_bytes(encode("web", {**plan, "revision": 1}, None))


@pytest.fixture
def server(lan: Segment, tmp_path: Path) -> Any:
    machine = Machine(lan.host("192.168.122.101", "server1"), tmp_path)
    yield machine
    machine.close()


@pytest.fixture
def newcomer(lan: Segment) -> Host:
    """Another machine, to which the address was given; it speaks no VRRP."""
    return lan.host("192.168.122.77", "newcomer")


@pytest.mark.parametrize("family", [4, 6])
def test_an_address_that_is_anothers_meanwhile_is_left_to_it_until_it_has_gone(
    server: Machine, newcomer: Host, family: int
) -> None:
    vip = VIPS[family]
    for host in (server.host, newcomer):
        host.enable_ipv6()
    newcomer.run(f"ip addr add {vip} dev eth0" + (" nodad" if family == 6 else ""))
    yesterdays_plan(server, addresses=[f"{vip}/{24 if family == 4 else 128}"])
    server.start_engine()
    entry = server.wait("web", lambda entry: entry["reason"] == "AddressInUse", PATIENCE)
    assert (entry["state"], entry["message"]) == ("FAULT", f"{newcomer.mac} answers for {vip} on eth0")
    assert not server.host.has(vip)
    newcomer.run(f"ip addr del {vip} dev eth0")
    server.wait_state("web", "MASTER", PATIENCE)
    assert server.host.has(vip)
    states = [(line["to"], line["reason"]) for line in history(server)]
    assert ("MASTER", "NoMaster") in states
    assert states.index(("FAULT", "AddressInUse")) < states.index(("MASTER", "NoMaster"))


def test_a_member_whose_advertisements_do_not_arrive_keeps_it_and_the_message_names_it(
    server: Machine, lan: Segment, tmp_path: Path
) -> None:
    """Protocol 112 filtered: with two holders clients would go now here, now there."""
    other = Machine(lan.host("192.168.122.102", "server2"), tmp_path)
    try:
        other.host.run("nft add table inet f")
        other.host.run("nft add chain inet f out { type filter hook output priority 0 ; }")
        other.host.run("nft add rule inet f out meta l4proto 112 drop")
        other.manifest("web.yaml", fast())
        other.start_engine()
        other.wait_state("web", "MASTER", PATIENCE)
        yesterdays_plan(server)
        server.start_engine()
        entry = server.wait_state("web", "FAULT", PATIENCE)
        assert f"{other.host.mac} (192.168.122.102), whose advertisements do not arrive" in entry["message"]
        other.host.run("nft delete table inet f")
        server.wait(
            "web", lambda entry: entry["state"] in ("BACKUP", "MASTER") and entry["reason"] != "Listening", PATIENCE
        )
    finally:
        other.close()


def history(machine: Machine) -> list[dict[str, Any]]:
    lines = (machine.run_directory / "history.jsonl").read_text().splitlines()
    return [record for line in lines if "reason" in (record := json.loads(line))]
