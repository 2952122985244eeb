"""Witness and survey, each told apart by its real cause: a rogue host, two holders, a filter, keepalived with our VRID.

Nothing here is decided by what is seen: the VIP stays where VRRP has put it.
"""

import ipaddress
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from machine import Machine, cpu_seconds
from peers import Keepalived, Setup
from segment import Host, Segment
from virtualip_agent.control.history import read_history
from virtualip_agent.control.witness.ask import asker
from virtualip_agent.control.witness.listen import Heed, Listener
from virtualip_agent.desired_file import encode
from virtualip_agent.run_directory import history_path
from virtualip_api.member import Peer, member_spec

VIP = "192.168.122.200"
PATIENCE = 45.0
"""Seconds: a lifetime, two rounds of questions, and a busy machine."""

Servers = tuple[Machine, Machine]
Seen = dict[str, str]
"""Kind -> address."""


def start(servers: Servers, **spec: Any) -> None:
    """Both as the operator plans them: each knows the other."""
    peers = tuple(
        Peer(server.host.name, (server.host.address, f"2001:db8::10{number}"))  # type: ignore[arg-type]
        for number, server in enumerate(servers, 1)
    )
    whole = {"addresses": [f"{VIP}/32"], "vrid": 51, "interface": "eth0", "advertInterval": "100ms"} | spec
    for rank, server in enumerate(servers):
        plan = member_spec(
            virtual_ip="web", node=server.host.name, generation=1, base_priority=(244, 240)[rank], rank=rank,
            draining=False, peers=peers, spec=whole,
        )  # fmt: skip
        (server.directory / "desired/web.json").write_bytes(encode("web", plan | {"revision": 1}, None))
        server.start_engine()
    servers[0].wait_state("web", "MASTER")
    servers[1].wait("web", lambda entry: entry["reason"] == "LowerPriority")


def sees(server: Machine, condition: Callable[[Seen], bool], timeout: float = PATIENCE) -> list[dict[str, str]]:
    """Waits for what a server says it sees."""

    def met(entry: dict[str, Any]) -> bool:
        return condition({one["kind"]: one["address"] for one in entry.get("observations", ())})

    found: list[dict[str, str]] = server.wait("web", met, timeout).get("observations", [])
    return found


def command(server: Machine, *words: str) -> str:
    """What `virtualip-agent` prints."""
    done = subprocess.run(
        [sys.executable, "-m", "virtualip_agent.cli", *words, "--run", str(server.run_directory)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def seen_in_history(server: Machine) -> list[tuple[str, str, str]]:
    """(what, kind, address) of what was noted of the segment."""
    records = read_history(history_path(server.run_directory))
    return [(record["to"], record["kind"], record["address"]) for record in records if "kind" in record]


@pytest.fixture
def rogue(lan: Segment) -> Host:
    return lan.host("192.168.122.66", "rogue")


def test_a_rogue_host_that_answers_for_the_vip_is_a_stranger_and_is_noted_over_a_restart(
    servers: Servers, rogue: Host
) -> None:
    start(servers)
    rogue.run(f"ip addr add {VIP}/32 dev eth0")
    for server in servers:
        (observation,) = sees(server, lambda seen: "Stranger" in seen)
        assert observation == {
            "kind": "Stranger",
            "address": rogue.mac,
            "message": f"answers for {VIP} and is no member",
        }
    assert servers[0].host.has(VIP)
    assert f"! web: {rogue.mac} answers for {VIP} and is no member" in command(servers[1], "status")

    backup = servers[1]
    backup.stop_engine()
    backup.start_engine()
    sees(backup, lambda seen: "Stranger" in seen)
    rogue.run(f"ip addr del {VIP}/32 dev eth0")
    sees(backup, lambda seen: not seen)
    assert seen_in_history(backup) == [("seen", "Stranger", rogue.mac), ("over", "Stranger", rogue.mac)]
    assert f"{rogue.mac} answers for {VIP}" in command(backup, "history")


def test_the_vip_on_a_member_whose_agent_is_gone_is_told_by_the_master(servers: Servers) -> None:
    start(servers)
    one, two = servers
    # as a hand that pasted the wrong line, or an agent's predecessor, may have left it: its agent is gone
    two.stop_engine()
    two.host.run(f"ip addr add {VIP}/32 dev eth0")
    (observation,) = sees(one, bool)
    assert (observation["kind"], observation["address"]) == ("AdvertisementsFiltered", two.host.address)


def test_of_three_the_third_sees_two_holders(servers: Servers, lan: Segment, tmp_path: Path) -> None:
    one, two = servers
    third = Machine(lan.host("192.168.122.103", "server3"), tmp_path)
    try:
        peers = tuple(Peer(m.host.name, (m.host.address,)) for m in (one, two, third))  # type: ignore[arg-type]
        spec = {"addresses": [f"{VIP}/32"], "vrid": 51, "interface": "eth0", "advertInterval": "100ms"}
        for rank, server in enumerate((one, two, third)):
            plan = member_spec(
                virtual_ip="web", node=server.host.name, generation=1, base_priority=244 - 4 * rank, rank=rank,
                draining=False, peers=peers, spec=spec,
            )  # fmt: skip
            (server.directory / "desired/web.json").write_bytes(encode("web", plan | {"revision": 1}, None))
            server.start_engine()
        third.wait("web", lambda entry: entry["reason"] == "LowerPriority")
        two.stop_engine()
        two.host.run(f"ip addr add {VIP}/32 dev eth0")
        (observation,) = sees(third, bool)
        assert observation == {
            "kind": "TwoHolders",
            "address": two.host.address,
            "message": f"holds {VIP} beside the MASTER {one.host.address}, which answers too",
        }
    finally:
        third.close()


def test_protocol_112_dropped_between_two_nodes_is_told_from_both(servers: Servers, lan: Segment) -> None:
    start(servers)
    lan.cut(servers[1].host, match="ip protocol 112")
    servers[1].wait_state("web", "MASTER")
    for server, other in (servers, servers[::-1]):
        (observation,) = sees(server, bool)
        assert (observation["kind"], observation["address"]) == ("AdvertisementsFiltered", other.host.address)
    lan.heal()
    servers[1].wait_state("web", "BACKUP")
    for server in servers:
        sees(server, lambda seen: not seen)


def test_dropped_one_way_the_master_that_is_not_heard_sees_two_holders(servers: Servers, lan: Segment) -> None:
    """server2 does not hear server1, which hears it: server2's advertisements arrive, and still both hold the VIP."""
    start(servers)
    lan.cut(servers[1].host, "to", match="ip protocol 112")
    servers[1].wait_state("web", "MASTER")
    (observation,) = sees(servers[0], bool)
    assert (observation["kind"], observation["address"]) == ("TwoHolders", servers[1].host.address)
    (observation,) = sees(servers[1], bool)
    assert observation["kind"] == "AdvertisementsFiltered"


def test_keepalived_with_our_vrid_is_a_foreign_router(servers: Servers, rogue: Host, tmp_path: Path) -> None:
    start(servers)
    keepalived = Keepalived(rogue, tmp_path, Setup(version=3, priority=250, interval=100, address="192.168.122.77"))
    keepalived.start()
    try:
        (observation,) = sees(servers[1], lambda seen: "ForeignRouter" in seen)
        assert observation["address"] == rogue.address
        assert observation["message"] == "advertises VRID 51 for 192.168.122.77 and is no member"
    finally:
        keepalived.close()


def test_a_foreign_vrid_and_a_member_behind_a_router_are_told_too(servers: Servers, rogue: Host) -> None:
    start(servers)
    with (
        speaking(rogue, vrid=77, ttl=255, address="10.0.0.9"),
        speaking(rogue, vrid=51, ttl=64, address="10.0.0.9"),
    ):
        (observation,) = sees(servers[1], bool)
        assert observation == {
            "kind": "ForeignRouter",
            "address": rogue.address,
            "message": "advertises VRID 51 with TTL 64 instead of 255 for 10.0.0.9 and is no member",
        }
        assert f"! eth0: VRID 77 is used by {rogue.address} for 10.0.0.9" in command(servers[1], "status")
        assert ("seen", "VRID 77", rogue.address) in seen_in_history(servers[1])


def test_a_member_that_advertises_from_another_address_than_the_plan_has_is_no_foreign_router(
    servers: Servers, rogue: Host
) -> None:
    """A node with addresses of two subnets on one interface: the plan has the one that Kubernetes knows it by."""
    for number, server in enumerate(servers, 1):
        server.host.run(f"ip addr add 10.9.0.{number}/24 dev eth0")
    start(servers, addresses=["10.9.0.200/32"])
    with speaking(rogue, vrid=51, ttl=255, address="10.0.0.9"):
        # both are heard for long by now: the one that is foreign is told, the one that is a member is not
        assert [one["address"] for one in sees(servers[1], bool)] == [rogue.address]
        assert servers[1].detail("web")["master"] == "10.9.0.1"


def test_capture_shows_what_is_on_the_wire_and_what_is_not_heard_of_it(servers: Servers, rogue: Host) -> None:
    start(servers, version=2, advertInterval="1s")
    program = [sys.executable, "-m", "virtualip_agent.cli", "capture", "-i", "eth0"]
    with speaking(rogue, vrid=77, ttl=64, address="10.0.0.9"):
        foreign = servers[1].host.run([*program, "--vrid", "77", "-n", "1"])
        ours = servers[0].host.run([*program, "--vrid", "51", "-n", "1"])
    assert "192.168.122.66 > 224.0.0.18: VRRPv2 vrid 77 prio 50" in foreign
    assert foreign.endswith("(dropped: ttl 64)\n")
    text = f"eth0 192.168.122.101 > 224.0.0.18: VRRPv2 vrid 51 prio 244 authtype none intvl 1s addrs {VIP}\n"
    assert ours.endswith(text)


def test_of_ipv6_a_stranger_is_told_too_and_the_members_are_none(servers: Servers, rogue: Host) -> None:
    for number, server in enumerate(servers, 1):
        server.host.enable_ipv6(f"2001:db8::10{number}/64")
    rogue.enable_ipv6()
    start(servers, addresses=[f"{VIP}/32", "2001:db8::200/64"])
    rogue.run("ip addr add 2001:db8::200/128 dev eth0 nodad")
    for server in servers:
        (observation,) = sees(server, bool)
        assert observation == {
            "kind": "Stranger",
            "address": rogue.mac,
            "message": "answers for 2001:db8::200 and is no member",
        }
    servers[0].wait_state("web", "MASTER")


class speaking:
    """A host sends VRRPv2 advertisements by hand, ten a second."""

    def __init__(self, host: Host, *, vrid: int, ttl: int, address: str) -> None:
        program = (
            "import socket,time\n"
            "s=socket.socket(socket.AF_INET,socket.SOCK_RAW,112)\n"
            f"s.setsockopt(0,socket.IP_MULTICAST_TTL,{ttl})\n"
            f"s.setsockopt(0,socket.IP_MULTICAST_IF,socket.inet_aton('{host.address}'))\n"
            f"p=bytes([0x21,{vrid},50,1,0,1,0,0])+socket.inet_aton('{address}')+bytes(8)\n"
            "while 1:\n s.sendto(p,('224.0.0.18',0))\n time.sleep(0.1)\n"
        )
        self._process = host.popen([sys.executable, "-c", program])

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()


def test_a_flood_of_made_up_routers_costs_little_and_is_bounded(servers: Servers, rogue: Host) -> None:
    start(servers)
    program = (
        "import socket,struct,time,os\n"
        "s=socket.socket(socket.AF_INET,socket.SOCK_RAW,socket.IPPROTO_RAW)\n"
        f"s.setsockopt(0,socket.IP_MULTICAST_IF,socket.inet_aton('{rogue.address}'))\n"
        "end=time.monotonic()+8\n"
        "n=0\n"
        "while time.monotonic()<end:\n"
        " n+=1\n"
        " h=bytes([0x45,0,0,0,0,0,0,0,255,112,0,0])+struct.pack('!I',0xc0a87a00+n%4000)+bytes([224,0,0,18])\n"
        " s.sendto(h+bytes([0x31,n%255+1,9,1,0,100,0,0,10,0,0,1]),('224.0.0.18',0))\n"
    )
    before = cpu_seconds(servers[1].pid_of("control"))
    flood = rogue.popen([sys.executable, "-c", program])
    assert flood.wait(timeout=30) == 0
    spent = cpu_seconds(servers[1].pid_of("control")) - before
    print(f"control took {spent:.2f} CPU seconds in a flood of 8 s")
    assert spent < 1.0
    entry = servers[1].entry("web")
    assert entry is not None
    assert entry["state"] == "BACKUP"
    assert len(entry.get("observations", ())) <= 8
    agent = json.loads(command(servers[1], "status", "-o", "json"))["agent"]
    assert len(agent["otherRouters"]) <= 64


@pytest.mark.parametrize("version", [4, 6])
def test_who_has_an_address_is_asked_by_arp_and_by_neighbour_solicitation(lan: Segment, version: int) -> None:
    asking, holder, other = lan.host("192.168.122.101"), lan.host("192.168.122.102"), lan.host("192.168.122.103")
    wanted = VIP if version == 4 else "2001:db8::200"
    for host in (asking, holder, other):
        host.enable_ipv6()
    wait_for_addresses(asking)
    for host in (holder, other):
        host.run(f"ip addr add {wanted}/{32 if version == 4 else 128} dev eth0" + (" nodad" if version == 6 else ""))
    source = asking.address if version == 4 else asking.link_local()
    with asking.entered(), asker("eth0", version) as opened:
        opened.ask([ipaddress.ip_address(wanted)], ipaddress.ip_address(source))
        deadline = time.monotonic() + 5
        found: frozenset[str] = frozenset()
        while len(found) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
            found |= opened.answers().get(ipaddress.ip_address(wanted), frozenset())
    assert found == {holder.mac, other.mac}


@pytest.mark.parametrize("version", [4, 6])
def test_the_survey_hears_all_vrrp_but_the_members_own_talk(lan: Segment, version: int) -> None:
    watching, member, foreign = lan.host("192.168.122.101"), lan.host("192.168.122.102"), lan.host("192.168.122.66")
    for host in (watching, member, foreign):
        host.enable_ipv6()
    hosts = (member, foreign)
    wait_for_addresses(watching, *hosts)
    sources = {host: host.address if version == 4 else host.link_local() for host in hosts}
    known = frozenset({ipaddress.ip_address(sources[member]).packed})
    with watching.entered():
        listener = Listener("eth0", version)
    listener.heed(Heed(frozenset({51, 52}), known))
    for host in hosts:
        for vrid in (51, 52, 77):
            for ttl in (255, 64):
                host.run([sys.executable, "-c", one_message(version, sources[host], vrid, ttl)])
    time.sleep(0.2)
    heard = {(str(one.source), one.vrid, one.ttl) for one in listener.overheard()}
    listener.close()
    everything = {(sources[host], vrid, ttl) for host in hosts for vrid in (51, 52, 77) for ttl in (255, 64)}
    assert everything - heard == {(sources[member], 51, 255), (sources[member], 52, 255)}


def wait_for_addresses(*hosts: Host) -> None:
    for host in hosts:
        while "tentative" in host.run("ip -6 addr show dev eth0"):
            time.sleep(0.1)


def one_message(version: int, source: str, vrid: int, ttl: int) -> str:
    """A program that sends one advertisement."""
    if version == 4:
        return (
            "import socket\n"
            "s=socket.socket(socket.AF_INET,socket.SOCK_RAW,112)\n"
            f"s.setsockopt(0,socket.IP_MULTICAST_TTL,{ttl})\n"
            f"s.setsockopt(0,socket.IP_MULTICAST_IF,socket.inet_aton('{source}'))\n"
            f"s.sendto(bytes([0x31,{vrid},9,1,0,100,0,0,10,0,0,1]),('224.0.0.18',0))\n"
        )
    return (
        "import socket\n"
        "s=socket.socket(socket.AF_INET6,socket.SOCK_RAW,112)\n"
        "i=socket.if_nametoindex('eth0')\n"
        f"s.setsockopt(socket.IPPROTO_IPV6,socket.IPV6_MULTICAST_HOPS,{ttl})\n"
        f"s.sendto(bytes([0x31,{vrid},9,1,0,100,0,0]+[254,128]+[0]*14),('ff02::12',0,0,i))\n"
    )
