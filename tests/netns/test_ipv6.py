"""VRRPv3 over IPv6, in the kernel and on the wire."""

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from scapy.layers.inet6 import ICMPv6ND_RA, ICMPv6NDOptPrefixInfo, IPv6
from scapy.layers.l2 import Ether

from bare_vrrp import BareVrrp, router
from client import Prober
from segment import Host, Segment

VIP = "2001:db8::200"
PREFIX = "2001:db8::/64"
CLIENT = "2001:db8::50"
L = 3

Two = tuple[BareVrrp, BareVrrp]


@pytest.fixture
def hosts(lan: Segment) -> tuple[Host, Host]:
    one, two = lan.host("192.168.122.101", "server1"), lan.host("192.168.122.102", "server2")
    one.enable_ipv6("2001:db8::101/64")
    two.enable_ipv6("2001:db8::102/64")
    return one, two


@pytest.fixture
def two(hosts: tuple[Host, Host], tmp_path: Path) -> Iterator[Two]:
    with ExitStack() as stack:
        yield (
            stack.enter_context(BareVrrp(hosts[0], tmp_path)),
            stack.enter_context(BareVrrp(hosts[1], tmp_path)),
        )


@pytest.fixture
def client6(client: Host) -> Host:
    client.enable_ipv6(f"{CLIENT}/64")
    return client


def start(two: Two, *addresses: str) -> None:
    for one, priority in zip(two, (200, 100), strict=True):
        one.set(router(addresses or [f"{VIP}/64"], priority))
    two[0].wait(state="MASTER")
    two[1].wait(reason="LowerPriority")


def on_link_route(host: Host) -> list[str]:
    return [str(route["dev"]) for route in host.ip("-6", "route", "show", PREFIX)]


def source_address(host: Host) -> str:
    return str(host.ip("-6", "route", "get", CLIENT)[0]["prefsrc"])


def frames(pcap: Path) -> Iterator[bytes]:
    content, at = pcap.read_bytes(), 24
    while at < len(content):
        (length,) = struct.unpack_from("<I", content, at + 8)
        yield content[at + 16 : at + 16 + length]
        at += 16 + length


def test_a_client_resolves_the_address_and_its_cache_moves_with_it(two: Two, client6: Host, lan: Segment) -> None:
    start(two)
    one, other = two
    assert one.states["web"].source == one.host.link_local()
    assert one.states["web"].addresses == (f"{VIP}/128",)
    with Prober(client6, VIP) as prober:
        began = prober.wait_for_answer()
        assert client6.ip("-6", "neigh", "show", VIP)[0]["lladdr"] == one.host.mac
        with lan.capture(expression="icmp6 and ip6[40] == 136 and ip6 dst ff02::1") as capture:
            one.stop()
            assert other.wait(state="MASTER").reason == "MasterResigned"
            capture.wait_for(f"tgt is {VIP}")
        assert client6.ip("-6", "neigh", "show", VIP)[0]["lladdr"] == other.host.mac
        assert not one.host.has(VIP)
    gap, noise = prober.result.longest_gap(since=began).ms, prober.result.noise_ms
    print(f"planned stop over IPv6, adverts 100 ms: gap {gap:.1f} ms (noise {noise:.1f} ms)")
    assert gap <= max(20, noise * 1.5)


def test_the_master_dies_and_the_neighbours_follow(two: Two, client6: Host) -> None:
    start(two)
    with Prober(client6, VIP) as prober:
        began = prober.wait_for_answer()
        two[0].kill()
        assert two[1].wait(state="MASTER").reason == "MasterDown"
        two[0].host.wait_for_address(VIP, present=False)
        time.sleep(0.5)
        last = prober.stop().answers[-1]
    gap = prober.result.longest_gap(since=began).ms
    print(f"kill -9 over IPv6, adverts 100 ms: gap {gap:.1f} ms")
    assert time.monotonic() - last < 0.5
    assert client6.ip("-6", "neigh", "show", VIP)[0]["lladdr"] == two[1].host.mac


@pytest.mark.parametrize("slaac", [False, True], ids=["static", "SLAAC"])
@pytest.mark.parametrize("killed", [False, True], ids=["removed", "expired"])
def test_a_64_beside_the_nodes_own_takes_neither_route_nor_source_with_it(
    lan: Segment, client6: Host, tmp_path: Path, *, killed: bool, slaac: bool
) -> None:
    """It did, as a /64: the kernel deleted the prefix route of both when it expired."""
    host = lan.host("192.168.122.101", "server1")
    if slaac:
        host.sysctl("net.ipv6.conf.default.accept_ra", "1")
        host.enable_ipv6()
        advertise_prefix(client6, host)
    else:
        host.enable_ipv6("2001:db8::101/64")
    before, route = source_address(host), on_link_route(host)
    assert route == ["eth0"]
    with BareVrrp(host, tmp_path) as vrrp:
        vrrp.set(router([f"{VIP}/64"]))
        vrrp.wait(state="MASTER")
        (info,) = [info for info in host.address_details(family="-6") if info["local"] == VIP]
        assert (info["prefixlen"], info["deprecated"], info.get("tentative", False)) == (128, True, False)
        assert info["noprefixroute"]
        assert source_address(host) == before
        if killed:
            vrrp.kill()
        else:
            vrrp.remove()
        host.wait_for_address(VIP, present=False)
    # the kernel's garbage collection of routes comes later than that of addresses
    time.sleep(1)
    assert on_link_route(host) == route
    assert source_address(host) == before
    with Prober(client6, before) as prober:
        prober.wait_for_answer()


def advertise_prefix(router_host: Host, host: Host) -> None:
    """A router advertisement, and waits for the address that comes of it (RFC 4862)."""
    source = router_host.link_local()
    packet = Ether(src=router_host.mac, dst="33:33:00:00:00:01") / IPv6(src=source, dst="ff02::1", hlim=255)
    frame = bytes(packet / ICMPv6ND_RA(routerlifetime=0) / ICMPv6NDOptPrefixInfo(prefix="2001:db8::", prefixlen=64))
    with router_host.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        deadline = time.monotonic() + 10
        while not any(info.get("dynamic") for info in host.address_details(family="-6")):
            assert time.monotonic() < deadline
            raw.sendto(frame, ("eth0", 0))
            time.sleep(0.1)


NOT_YET = "eth0 has no link-local address to send from: "


def test_a_link_local_address_that_is_tentative_is_waited_for(lan: Segment, tmp_path: Path) -> None:
    """RFC 4862, section 5.4: nothing may be sent from it until it is known to be nobody else's."""
    host = lan.host("192.168.122.101", "server1")
    host.sysctl("net.ipv6.conf.eth0.dad_transmits", "5")
    host.enable_ipv6(detect_duplicates=True)
    with BareVrrp(host, tmp_path) as vrrp:
        vrrp.set(router([f"{VIP}/64"]))
        fault = vrrp.wait(state="FAULT")
        assert (fault.reason, fault.message) == ("LinkDown", f"{NOT_YET}{host.link_local()} is tentative")
        assert vrrp.wait(state="MASTER").source == host.link_local()


def test_a_link_local_address_that_somebody_else_has_is_not_sent_from(hosts: tuple[Host, Host], tmp_path: Path) -> None:
    host, other = hosts
    other.run("ip addr add fe80::7/64 dev eth0")
    host.sysctl("net.ipv6.conf.eth0.disable_ipv6", "1")
    with BareVrrp(host, tmp_path) as vrrp:
        vrrp.set(router([f"{VIP}/64"]))
        assert vrrp.wait(state="FAULT").message == f"{NOT_YET}it has none yet, or IPv6 is disabled on it"
        host.sysctl("net.ipv6.conf.eth0.addr_gen_mode", "1")
        host.enable_ipv6("fe80::7/64", detect_duplicates=True)
        duplicate = f"{NOT_YET}fe80::7 is duplicate"
        deadline = time.monotonic() + 10
        while vrrp.states["web"].message != duplicate:
            vrrp.statistics()
            assert time.monotonic() < deadline, vrrp.states
            time.sleep(0.02)


def test_an_address_removed_by_hand_is_back_at_once(two: Two, client6: Host) -> None:
    start(two)
    one = two[0]
    removed = time.monotonic()
    one.host.run(f"ip addr del {VIP}/128 dev eth0")
    assert one.host.wait_for_address(VIP) - removed < 0.2
    assert one.statistics()["put_back"] == 1


def test_what_was_left_is_adopted_without_a_move(two: Two, client6: Host, tmp_path: Path) -> None:
    start(two)
    one, other = two
    for config in (router([f"{VIP}/64"], 200, advertInterval="1s"), router([f"{VIP}/64"], 100, advertInterval="1s")):
        (one if config.base_priority == 200 else other).set(config)
    time.sleep(1)
    with Prober(client6, VIP) as prober:
        began = prober.wait_for_answer()
        one.kill()
        with BareVrrp(one.host, tmp_path) as again:
            again.set(router([f"{VIP}/64"], 200, advertInterval="1s"))
            assert again.wait(state="MASTER", reason="Adopted")
            other.statistics()
            assert other.states["web"].state == "BACKUP"
    assert prober.result.longest_gap(since=began).ms < max(50, prober.result.noise_ms * 1.5)


@pytest.mark.parametrize("forwarding", ["0", "1"])
def test_the_router_flag_is_as_the_interface_forwards(
    lan: Segment, hosts: tuple[Host, Host], tmp_path: Path, forwarding: str
) -> None:
    """RFC 9568, section 6.4.2; and it follows an edit of the sysctl while the process runs."""
    host = hosts[0]
    with BareVrrp(host, tmp_path) as vrrp:
        vrrp.set(router([f"{VIP}/64"]))
        vrrp.wait(state="MASTER")
        host.sysctl("net.ipv6.conf.eth0.forwarding", forwarding)
        time.sleep(0.1)
        with lan.capture(expression="icmp6 and ip6[40] == 136 and ip6 dst ff02::1") as capture:
            host.run(f"ip addr del {VIP}/128 dev eth0")
            capture.wait_for(f"tgt is {VIP}")
            (frame, *_) = frames(capture.pcap)
    router_flag, solicited, override = (bool(frame[58] & bit) for bit in (0x80, 0x40, 0x20))
    assert (router_flag, solicited, override) == (forwarding == "1", False, True)


def test_what_passed_a_router_is_dropped_and_counted(two: Two) -> None:
    """RFC 9568, section 5.1.2.3: hop limit 255."""
    start(two)
    one, other = two
    with other.host.socket(socket.AF_INET6, socket.SOCK_RAW, 112) as raw:
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 254)
        index = other.host.ip("link", "show", "dev", "eth0")[0]["ifindex"]
        raw.sendto(bytes([0x31, 51, 250, 0, 0, 10, 0, 0]), ("ff02::12", 0, 0, index))
        raw.sendto(bytes([0x31, 51, 250, 0, 0, 10, 0, 0]), ("ff02::12", 0, 0, index))
    assert one.wait_for_count("process_drop_ttl", at_least=2) == 2
    assert one.states["web"].state == "MASTER"


def test_ipv4_and_ipv6_share_a_vrid_and_are_two_virtual_routers(two: Two) -> None:
    one = two[0]
    one.set(router([f"{VIP}/64"], name="web/IPv6"))
    one.set(router(["192.168.122.200/24"], name="web/IPv4"))
    one.wait("web/IPv6", "MASTER")
    one.wait("web/IPv4", "MASTER")
    assert one.host.has(VIP)
    assert one.host.has("192.168.122.200")


def test_a_link_local_address_may_be_a_virtual_one_on_each_interface(lan: Segment, tmp_path: Path) -> None:
    host = lan.host("192.168.122.101", "server1", interfaces=["eth1"])
    for interface in ("eth0", "eth1"):
        host.enable_ipv6(interface=interface)
    with BareVrrp(host, tmp_path) as vrrp:
        for interface in ("eth0", "eth1"):
            vrrp.set(router(["fe80::1/64"], name=interface, interface=interface))
        for interface in ("eth0", "eth1"):
            vrrp.wait(interface, "MASTER")
            assert host.has("fe80::1", interface)
        vrrp.remove("eth0")
        vrrp.wait_gone("eth0")
        assert not host.has("fe80::1")
        assert host.has("fe80::1", "eth1")


def test_without_a_name_it_is_the_interface_whose_prefix_holds_the_address(two: Two) -> None:
    one = two[0]
    one.set(router(["fe80::200/64", f"{VIP}/64"], interface=None))
    assert one.wait(state="MASTER").interface == "eth0"
    one.set(router(["fe80::200/64"], name="local", vrid=52, interface=None))
    assert one.wait("local", "FAULT").message == "fe80::200 is link-local: the interface must be named"


def test_an_interface_that_is_made_anew_is_used_again(two: Two, lan: Segment) -> None:
    """A driver reload, a bond that is re-created: the same name, another index."""
    start(two)
    one, other = two
    index = one.host.ip("link", "show", "dev", "eth0")[0]["ifindex"]
    one.host.run("ip link del eth0")
    one.wait(state="FAULT")
    other.wait(state="MASTER")
    lan.plug_anew(one.host)
    one.host.enable_ipv6("2001:db8::101/64")
    assert one.host.ip("link", "show", "dev", "eth0")[0]["ifindex"] != index
    one.wait(state="MASTER")
    other.wait(reason="LowerPriority")
    assert [vrrp.host.has(VIP) for vrrp in two] == [True, False]


def test_90_addresses_are_one_packet_and_all_answer(two: Two, client6: Host, lan: Segment) -> None:
    """As many as 1500 bytes hold."""
    vips = [f"2001:db8::1:{number:x}" for number in range(1, 91)]
    with lan.capture(expression="ip6 proto 112 or ip6 proto 44") as capture:
        start(two, *(f"{vip}/64" for vip in vips))
        line = capture.wait_for("VRRPv3")[0]
    assert "frag" not in line
    for vip in (vips[0], vips[-1]):
        with Prober(client6, vip) as prober:
            prober.wait_for_answer()
    assert len(two[0].wait(state="MASTER").addresses) == 90
    assert not two[1].statistics().get("mismatch", 0)


def test_of_255_addresses_as_many_as_fit_are_advertised_and_all_are_held(two: Two, client6: Host, lan: Segment) -> None:
    """Where fragments are dropped a BACKUP would hear nothing."""
    vips = [f"2001:db8::1:{number:x}" for number in range(1, 256)]
    with lan.capture(expression="ip6 proto 112 or ip6 proto 44") as capture:
        start(two, *(f"{vip}/64" for vip in vips))
        line = capture.wait_for("VRRPv3")[0]
    assert line.endswith("length 1448")
    assert "frag" not in line
    for vip in (vips[0], vips[-1]):
        with Prober(client6, vip) as prober:
            prober.wait_for_answer()
    assert len(two[0].wait(state="MASTER").addresses) == 255
    assert not two[1].statistics().get("mismatch", 0)
    two[0].stop()
    assert len(two[1].wait(state="MASTER").addresses) == 255
