"""Transport Unicast: each advertisement to each member, none to the group."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bare_vrrp import BareVrrp, router
from segment import Host, Segment
from virtualip_agent import ipc

VIPS = {4: "192.168.122.200/24", 6: "2001:db8::200/64"}
OWN = {
    4: ("192.168.122.101", "192.168.122.102", "192.168.122.103"),
    6: ("2001:db8::101", "2001:db8::102", "2001:db8::103"),
}

Three = tuple[BareVrrp, BareVrrp, BareVrrp]

families = pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])


def unicast(family: int, number: int, priority: int, peers: tuple[int, ...], **change: Any) -> ipc.RouterConfig:
    """The router of one of the hosts, with these of the others as its peers."""
    members = tuple(OWN[family][peer] for peer in peers if peer != number)
    return router([VIPS[family]], priority, change={"transport": "Unicast", "members": members} | change)


@pytest.fixture
def hosts(lan: Segment) -> list[Host]:
    found = [lan.host(address) for address in OWN[4]]
    for host, address in zip(found, OWN[6], strict=True):
        host.enable_ipv6(f"{address}/64")
    return found


@pytest.fixture
def three(hosts: list[Host], tmp_path: Path) -> Iterator[Three]:
    with ExitStack() as stack:
        one, two, other = (stack.enter_context(BareVrrp(host, tmp_path)) for host in hosts)
        yield one, two, other


@families
def test_each_member_is_told_and_the_group_is_not(three: Three, lan: Segment, family: int) -> None:
    with lan.capture(expression="proto 112 or ip6 proto 112") as capture:
        for number, (vrrp, priority) in enumerate(zip(three, (200, 150, 100), strict=True)):
            vrrp.set(unicast(family, number, priority, (0, 1, 2)))
        one, two, last = three
        assert one.wait(state="MASTER").source == OWN[family][0]
        for backup in (two, last):
            backup.wait(reason="LowerPriority")
        for peer in OWN[family][1:]:
            capture.wait_for(f"{OWN[family][0]} > {peer}: ", count=3)
        one.kill()
        assert two.wait(state="MASTER").reason == "MasterDown"
        last.wait(state="BACKUP")
        assert not capture.matching("224.0.0.18")
        assert not capture.matching("ff02::12")


@families
def test_a_sender_that_is_no_member_is_dropped_and_counted(three: Three, family: int) -> None:
    one, two, stranger = three
    one.set(unicast(family, 0, 150, (0, 1)))
    two.set(unicast(family, 1, 100, (0, 1)))
    one.wait(state="MASTER")
    stranger.set(unicast(family, 2, 250, (0, 1)))
    assert one.wait_for_count("drop_unknown_sender")
    assert two.wait_for_count("drop_unknown_sender")
    assert one.states["web"].state == "MASTER"
    assert two.states["web"].state == "BACKUP"

    one.set(unicast(family, 0, 150, (0, 1, 2)))
    assert one.wait(state="BACKUP").master == OWN[family][2]


@families
def test_without_members_it_is_fault_and_nothing_is_sent(three: Three, lan: Segment, family: int) -> None:
    one, two, _ = three
    with lan.capture(expression="proto 112 or ip6 proto 112") as capture:
        one.set(unicast(family, 0, 200, ()))
        nothing = one.wait(state="FAULT")
        assert nothing.reason == "NoPeers"
        assert f"no other member has an IPv{family} address" in nothing.message
        time.sleep(0.5)
        assert not capture.lines
        # and it takes part as soon as there is somebody
        one.set(unicast(family, 0, 200, (0, 1)))
        two.set(unicast(family, 1, 100, (0, 1)))
        one.wait(state="MASTER")
        two.wait(reason="LowerPriority")
        one.set(unicast(family, 0, 200, ()))
        one.wait(state="FAULT", reason="NoPeers")
        two.wait(state="MASTER")
        assert not one.host.has(VIPS[family].partition("/")[0])


@families
def test_members_of_the_other_family_are_no_peers(three: Three, family: int) -> None:
    three[0].set(router([VIPS[family]], change={"transport": "Unicast", "members": (OWN[10 - family][1],)}))
    assert three[0].wait(state="FAULT").reason == "NoPeers"


@families
def test_what_goes_to_the_group_is_not_for_unicast_nor_the_other_way_round(three: Three, family: int) -> None:
    """As keepalived has it: each hears its own kind, though VRID and interface are the same."""
    one, two, _ = three
    one.set(unicast(family, 0, 150, (0, 1)))
    two.set(router([VIPS[family]], 200))
    assert two.wait(state="MASTER")
    assert one.wait_for_count("drop_destination")
    assert one.wait(state="MASTER")
    assert two.wait_for_count("drop_destination")
    assert two.states["web"].state == "MASTER"


@families
def test_it_runs_beside_a_multicast_router_on_the_same_interface(three: Three, family: int) -> None:
    one, two, _ = three
    other = f"{VIPS[family].replace('200', '201')}"
    for number, (vrrp, priority) in enumerate(((one, 200), (two, 100))):
        vrrp.set(unicast(family, number, priority, (0, 1)))
        vrrp.set(router([other], 300 - priority, name="multicast", vrid=52))
    one.wait("web", "MASTER")
    two.wait("multicast", "MASTER")
    two.wait("web", reason="LowerPriority")
    one.wait("multicast", "BACKUP")


@families
def test_what_passed_a_router_is_not_heard(three: Three, family: int) -> None:
    one, two, _ = three
    one.set(unicast(family, 0, 150, (0, 1)))
    one.wait(state="MASTER")
    kind, level, option = (
        (socket.AF_INET, socket.IPPROTO_IP, socket.IP_TTL)
        if family == 4
        else (socket.AF_INET6, socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS)
    )
    config = unicast(family, 1, 250, (0, 1))
    two.set(config)
    one.wait(state="BACKUP")
    heard = one.statistics()[f"received_from_{OWN[family][1]}"]
    two.kill()
    with two.host.socket(kind, socket.SOCK_RAW, 112) as raw:
        raw.setsockopt(level, option, 254)
        for _ in range(3):
            raw.sendto(config.advertisement, (OWN[family][0], 0))
    one.wait(state="MASTER")
    assert one.statistics()[f"received_from_{OWN[family][1]}"] < heard + 40
    assert not one.statistics().get("drop_checksum", 0), "the kernel or the hop limit should have kept them out"


@families
def test_the_source_is_on_the_subnet_of_the_peers(three: Three, family: int) -> None:
    """Not on that of the address: the peers know us by where they can answer."""
    one = three[0]
    vip = {4: "10.0.0.200/24", 6: "2001:db8:1::200/64"}[family]
    one.host.run(f"ip addr add {vip.replace('200', '1')} dev eth0")
    one.set(router([vip], change={"transport": "Unicast", "members": (OWN[family][1],)}))
    assert one.wait(state="MASTER").source == OWN[family][0]
    one.set(router([vip], name="multicast", vrid=52))
    expected = {4: "10.0.0.1", 6: one.host.link_local()}[family]
    assert one.wait("multicast", "MASTER").source == expected


def test_link_local_members_are_reached_from_the_link_local_address(three: Three) -> None:
    one, two, _ = three
    for vrrp, peer, priority in ((one, two, 200), (two, one, 100)):
        members = (peer.host.link_local(),)
        vrrp.set(router([VIPS[6]], priority, change={"transport": "Unicast", "members": members}))
    assert one.wait(state="MASTER").source == one.host.link_local()
    two.wait(reason="LowerPriority")


@families
def test_an_interface_that_is_made_anew_is_used_again(three: Three, lan: Segment, family: int) -> None:
    one, two, _ = three
    one.set(unicast(family, 0, 200, (0, 1)))
    two.set(unicast(family, 1, 100, (0, 1)))
    one.wait(state="MASTER")
    one.host.run("ip link del eth0")
    one.wait(state="FAULT")
    two.wait(state="MASTER")
    lan.plug_anew(one.host)
    one.host.enable_ipv6(f"{OWN[6][0]}/64")
    one.wait(state="MASTER")
    two.wait(reason="LowerPriority")


@families
def test_one_that_the_others_do_not_know_yet_is_silent_and_then_joins(three: Three, lan: Segment, family: int) -> None:
    one, two, _ = three
    one.set(unicast(family, 0, 100, (0, 1)))
    one.wait(state="MASTER")
    with lan.capture(expression=f"src host {OWN[family][1]} and (proto 112 or ip6 proto 112)") as capture:
        two.set(unicast(family, 1, 200, (0, 1), unknown_to=("server1", "server3")))
        fault = two.wait(state="FAULT")
        assert fault.reason == "NotYetKnown"
        assert fault.message.startswith("server1, server3 have not taken the plan")
        time.sleep(1)
        assert not capture.lines
        two.set(unicast(family, 1, 200, (0, 1)))
        two.wait(state="MASTER")
        one.wait(state="BACKUP")
