"""VirtualIPs of both families, and by unicast, from a static manifest to the wire: two engines, one state each."""

import os
import signal
import time
from itertools import pairwise
from pathlib import Path

import pytest

from article import VIP, fast
from bare_vrrp import BareVrrp, router
from client import Prober
from machine import Entry, Machine
from segment import Host, Segment
from virtualip_agent.control.history import read_history
from virtualip_agent.run_directory import history_path

Servers = tuple[Machine, Machine]
VIP6 = "2001:db8::200"
BOTH = [f"{VIP}/24", f"{VIP6}/64"]
OWN = {"server1": ["192.168.122.101", "2001:db8::101"], "server2": ["192.168.122.102", "2001:db8::102"]}
NODES = [{"nodeName": name, "addresses": addresses} for name, addresses in OWN.items()]


@pytest.fixture
def servers(servers: Servers) -> Servers:
    for server in servers:
        server.host.enable_ipv6(f"{OWN[server.host.name][1]}/64")
    return servers


@pytest.fixture
def client(client: Host) -> Host:
    client.enable_ipv6("2001:db8::50/64")
    return client


def start(servers: Servers, text: str) -> None:
    for server in servers:
        server.manifest("web.yaml", text)
        server.start_engine()
    servers[0].wait_state("web", "MASTER")
    servers[1].wait("web", lambda entry: entry["reason"] == "LowerPriority")


def families(entry: Entry) -> dict[str, tuple[str, str]]:
    return {one["family"]: (one["state"], one.get("reason", "")) for one in entry["families"]}


def holds(server: Machine) -> list[bool]:
    return [server.host.has(address) for address in (VIP, VIP6)]


def states_told(server: Machine) -> list[str]:
    return [str(record["to"]) for record in read_history(history_path(server.run_directory))]


def test_one_node_holds_both_and_says_so_once(servers: Servers, client: Host) -> None:
    start(servers, fast(addresses=BOTH))
    one, two = servers
    entry = one.wait_state("web", "MASTER")
    assert families(entry) == {"IPv4": ("MASTER", entry["reason"]), "IPv6": ("MASTER", entry["reason"])}
    assert holds(one) == [True, True]
    assert holds(two) == [False, False]
    assert set(one.detail("web")["addresses"]) == {f"{VIP}/24", f"{VIP6}/128"}
    for address in (VIP, VIP6):
        with Prober(client, address) as prober:
            prober.wait_for_answer()
    told = states_told(one)
    assert told[-1] == "MASTER"
    assert all(before != after for before, after in pairwise(told)), told


def test_a_planned_stop_moves_both_without_a_gap(servers: Servers, client: Host) -> None:
    start(servers, fast(addresses=BOTH))
    one, two = servers
    with Prober(client, VIP) as prober, Prober(client, VIP6) as prober6:
        began = [prober.wait_for_answer(), prober6.wait_for_answer()]
        one.stop_engine()
        two.wait_state("web", "MASTER")
        time.sleep(0.3)
    for which, since in zip((prober, prober6), began, strict=True):
        gap, noise = which.result.longest_gap(since=since).ms, which.result.noise_ms
        print(f"planned stop of both families, adverts 100 ms: gap {gap:.1f} ms (noise {noise:.1f} ms)")
        assert gap <= max(20, noise * 1.5)
    assert holds(one) == [False, False]
    assert states_told(one).count("MASTER") == 1


def test_both_follow_a_dead_node(servers: Servers) -> None:
    start(servers, fast(addresses=BOTH))
    one, two = servers
    one.power_off()
    two.wait_state("web", "MASTER")
    assert holds(two) == [True, True]
    for address in (VIP, VIP6):
        one.host.wait_for_address(address, present=False)


def test_a_vrrp_that_was_killed_adopts_both_without_a_move(servers: Servers, client: Host) -> None:
    start(servers, fast(addresses=BOTH, advertInterval="1s"))
    one, two = servers
    told = states_told(two)
    with Prober(client, VIP) as prober, Prober(client, VIP6) as prober6:
        began = [prober.wait_for_answer(), prober6.wait_for_answer()]
        os.kill(one.pid_of("vrrp"), signal.SIGKILL)
        entry = one.wait("web", lambda entry: (entry["state"], entry["reason"]) == ("MASTER", "Adopted"))
        assert families(entry) == {"IPv4": ("MASTER", "Adopted"), "IPv6": ("MASTER", "Adopted")}
        time.sleep(1)
    for which, since in zip((prober, prober6), began, strict=True):
        assert which.result.longest_gap(since=since).ms < max(50, which.result.noise_ms * 1.5)
    assert states_told(two) == told


def test_what_is_wrong_with_one_family_moves_both_and_they_return(servers: Servers) -> None:
    start(servers, fast(addresses=BOTH))
    one, two = servers
    one.host.sysctl("net.ipv6.conf.eth0.disable_ipv6", "1")
    # the kernel takes the addresses off one by one, and refuses meanwhile to have one back
    one.wait("web", lambda entry: entry["message"].startswith("IPv6: eth0 has no link-local address"))
    two.wait_state("web", "MASTER")
    assert holds(two) == [True, True]
    one.host.wait_for_address(VIP, present=False)
    faults = families(one.wait("web", lambda entry: set(families(entry).values()) >= {("FAULT", "SyncGroup")}))
    assert faults == {"IPv4": ("FAULT", "SyncGroup"), "IPv6": ("FAULT", "LinkDown")}
    one.host.enable_ipv6("2001:db8::101/64")
    one.wait_state("web", "MASTER")
    two.wait_state("web", "BACKUP")
    assert holds(one) == [True, True]
    assert holds(two) == [False, False]
    told = states_told(one)
    assert all(before != after for before, after in pairwise(told)), told


def test_one_family_cut_between_the_nodes_gives_neither_a_half(servers: Servers, lan: Segment) -> None:
    """The BACKUP hears IPv4 and not IPv6: it respects the MASTER that it hears."""
    start(servers, fast(addresses=BOTH))
    one, two = servers
    lan.cut(one.host, "from", "ip6 nexthdr 112")
    time.sleep(1.5)
    entry = two.entry("web")
    assert entry is not None
    assert entry["state"] == "BACKUP"
    assert holds(one) == [True, True]
    assert holds(two) == [False, False]


def test_a_family_that_is_added_to_a_manifest_joins_the_other(servers: Servers) -> None:
    start(servers, fast(addresses=BOTH[:1]))
    one, two = servers
    for server in servers:
        server.manifest("web.yaml", fast(addresses=BOTH))
    for server in servers:
        server.wait("web", lambda entry: len(entry.get("families", ())) == 2)
    one.wait_state("web", "MASTER")
    two.wait("web", lambda entry: entry["reason"] == "LowerPriority")
    assert holds(one) == [True, True]
    assert holds(two) == [False, False]


def test_unicast_of_both_families_fails_over_and_says_nothing_to_the_group(servers: Servers, lan: Segment) -> None:
    with lan.capture(expression="proto 112 or ip6 proto 112") as capture:
        start(servers, fast(addresses=BOTH, transport="Unicast", nodeAddresses=NODES))
        one, two = servers
        for mine, theirs in zip(OWN["server1"], OWN["server2"], strict=True):
            capture.wait_for(f"{mine} > {theirs}: ", count=3)
        assert set(one.detail("web")["sourceAddress"].split(", ")) == set(OWN["server1"])
        one.stop_engine()
        two.wait_state("web", "MASTER")
        one.start_engine()
        one.wait_state("web", "MASTER")
        two.wait_state("web", "BACKUP")
        one.power_off()
        two.wait_state("web", "MASTER")
        assert holds(two) == [True, True]
        assert not capture.matching("> 224.0.0.18") + capture.matching("> ff02::12")


def test_a_unicast_manifest_that_does_not_name_this_node_is_refused(servers: Servers) -> None:
    """The others would not hear it, and it would hear nobody: two MASTERs."""
    one = servers[0]
    one.manifest("web.yaml", fast(transport="Unicast", nodeAddresses=NODES[1:]))
    one.start_engine()
    entry = one.wait("web", lambda entry: entry["reason"] == "Refused")
    assert "spec.nodeAddresses: in a static manifest transport: Unicast needs" in entry["message"]


def test_it_is_advertised_from_the_address_that_is_named_and_from_nothing_else(servers: Servers, lan: Segment) -> None:
    one = servers[0]
    one.host.run("ip addr add 192.168.122.111/24 dev eth0")
    named = [{"nodeName": "server1", "addresses": ["192.168.122.111"]}]
    with lan.capture(expression="proto 112") as capture:
        one.manifest("web.yaml", fast(nodeAddresses=named))
        one.start_engine()
        one.wait_state("web", "MASTER")
        capture.wait_for("192.168.122.111 > 224.0.0.18", count=3)
        one.host.run("ip addr del 192.168.122.111/24 dev eth0")
        fault = one.wait_state("web", "FAULT")
        assert not capture.matching("192.168.122.101 > ")
    assert fault["reason"] == "NoSource"
    assert fault["message"] == "192.168.122.111, from which it is to advertise, cannot be used on eth0"


def test_with_strict_peers_a_stranger_is_told_of_and_not_obeyed(servers: Servers, lan: Segment, tmp_path: Path) -> None:
    strict = [{"nodeName": name, "addresses": addresses[:1]} for name, addresses in OWN.items()]
    start(servers, fast(strictPeers=True, nodeAddresses=strict))
    one, two = servers
    with BareVrrp(lan.host("192.168.122.103"), tmp_path) as stranger:
        stranger.set(router([f"{VIP}/24"], 250))
        stranger.wait(state="MASTER")
        deadline = time.monotonic() + 10
        while "192.168.122.103" not in one.detail("web")["foreign"]:
            assert time.monotonic() < deadline, one.detail("web")
            time.sleep(0.05)
        assert one.detail("web")["foreign"]["192.168.122.103"] == "is no member (priority 250)"
        assert [server.entry("web")["state"] for server in (one, two)] == ["MASTER", "BACKUP"]  # type: ignore[index]


def test_255_addresses_of_each_family_move_as_one(servers: Servers) -> None:
    many = [f"10.9.0.{n}/32" for n in range(255)] + [
        f"2001:db8:aaaa:bbbb:cccc:dddd:eeee:{n:x}/128" for n in range(1, 256)
    ]
    start(servers, fast(addresses=many))
    one, two = servers
    assert len(one.detail("web")["addresses"]) == 510
    one.stop_engine()
    two.wait("web", lambda entry: entry["state"] == "MASTER")
    held = [info["local"] for family in ("-4", "-6") for info in two.host.address_details(family=family)]
    assert {address.partition("/")[0] for address in many} <= set(held)
    held = [info["local"] for family in ("-4", "-6") for info in one.host.address_details(family=family)]
    assert not {address.partition("/")[0] for address in many} & set(held)
    assert "mismatch" not in two.log()
