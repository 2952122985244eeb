"""Beside keepalived and FRR on one segment: each side as MASTER, moves both ways, and nobody complains of the other."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import peers
from article import manifest
from machine import Machine
from peers import VIP, Frr, Keepalived, Peer, Setup
from segment import Host, Segment, unavailable
from virtualip_agent.control.status_view import pictures

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "-"),
    pytest.mark.skipif(bool(peers.missing()), reason=f"not installed: {peers.missing()}"),
]

OURS, THEIRS = "192.168.122.101", "192.168.122.102"
V6 = {OURS: "2001:db8::101", THEIRS: "2001:db8::102"}
LINK_LOCAL = {OURS: "fe80::101", THEIRS: "fe80::ffff:0:0:102"}
"""In the same order; that of FRR's macvlan (by the virtual MAC, fe80::200:5eff:fe00:233) is between them."""
VIP6 = "2001:db8::200"
PASSWORD = "12345"

IPV6: dict[str, Any] = {"version": 3, "interval": 100, "address": VIP6}
FRR_IPV6 = IPV6 | {"preempt": True}
SLOW_TO_SPEAK = (FRR_IPV6,)
"""FRR's macvlan comes up only when it is MASTER: who hands over hears nothing in time, and leaves the address to its
lifetime."""

Meeting = tuple[Segment, Machine, Peer]
Meet = Callable[..., Meeting]

WAYS = [
    pytest.param(Keepalived, {"version": 2, "password": PASSWORD}, id="keepalived-v2-PASS"),
    pytest.param(Keepalived, {"version": 2}, id="keepalived-v2"),
    pytest.param(Keepalived, {"version": 3, "interval": 100}, id="keepalived-v3"),
    pytest.param(Frr, {"version": 2}, id="frr-v2"),
    pytest.param(Frr, {"version": 3, "interval": 100}, id="frr-v3"),
    pytest.param(Keepalived, IPV6, id="keepalived-v3-IPv6"),
    pytest.param(Frr, FRR_IPV6, id="frr-v3-IPv6"),
    pytest.param(Keepalived, {"version": 2, "unicast": True}, id="keepalived-v2-unicast"),
    pytest.param(Keepalived, {"version": 3, "interval": 100, "unicast": True}, id="keepalived-v3-unicast"),
    pytest.param(Keepalived, IPV6 | {"unicast": True}, id="keepalived-v3-unicast-IPv6"),
]


@pytest.fixture
def meet(tmp_path: Path) -> Iterator[Meet]:
    """Makes our node and the peer on a LAN; neither is started."""
    made: list[Any] = []

    def make(kind: type[Peer], way: dict[str, Any], ours: int, theirs: int, *, swapped: bool = False) -> Meeting:
        lan = Segment()
        made.append(lan)
        own, other = (THEIRS, OURS) if swapped else (OURS, THEIRS)
        here, there = lan.host(own, "ours"), lan.host(other, "theirs")
        address = held(way)
        if ":" in address:
            give_ipv6(here, there)
            own, other = V6[own], V6[other]
        machine = Machine(here, tmp_path)
        made.append(machine)
        settings = {key: value for key, value in way.items() if key not in ("unicast", "checksum")}
        unicast: dict[str, Any] = {"source": other, "others": (own,)} if way.get("unicast") else {}
        peer = kind(there, tmp_path, Setup(priority=theirs, **settings, **unicast))
        made.append(peer)
        password = tmp_path / "password"
        password.write_text(f"{PASSWORD}\n")
        nodes = [{"nodeName": "ours", "addresses": [own]}, {"nodeName": "theirs", "addresses": [other]}]
        machine.manifest(
            "web.yaml",
            manifest(
                version=way["version"],
                addresses=[f"{address}/{64 if ':' in address else 24}"],
                advertInterval=f"{way.get('interval', 1000)}ms",
                nodePriorities=None,
                priority=ours,
                password_file=str(password) if way.get("password") else None,
                checksum=way.get("checksum"),
                **({"transport": "Unicast", "nodeAddresses": nodes} if unicast else {}),
            ),
        )
        return lan, machine, peer

    yield make
    for one in reversed(made):
        one.close()


def give_ipv6(*hosts: Host) -> None:
    """Global and link-local addresses, ordered as those of IPv4 are."""
    for host in hosts:
        host.enable_ipv6(f"{V6[host.address]}/64")
        host.run("ip -6 addr flush dev eth0 scope link")
        host.run(f"ip addr add {LINK_LOCAL[host.address]}/64 dev eth0")


def held(way: dict[str, Any]) -> str:
    """The address that moves."""
    return str(way.get("address", VIP))


def agree(ours: Machine, peer: Peer) -> None:
    """Neither has found fault with the other."""
    assert peer.complaints() == []
    assert ours.detail("web")["mismatches"] == {}
    assert not re.search(r" vrrp (WARNING|ERROR)", ours.log()), ours.log()


@pytest.mark.parametrize(("kind", "way"), WAYS)
def test_the_peer_follows_us(meet: Meet, kind: type[Peer], way: dict[str, Any]) -> None:
    _, ours, peer = meet(kind, way, ours=200, theirs=100)
    peer.start()
    peer.wait(master=True)
    ours.start_engine()
    assert ours.wait_state("web", "MASTER")["reason"] == "HigherPriority"
    peer.wait(master=False)

    agree(ours, peer)
    ours.stop_engine()  # priority 0: RFC 9568, section 6.4.3
    peer.wait(master=True, timeout=2.0)
    if way in SLOW_TO_SPEAK:
        ours.host.wait_for_address(held(way), present=False)
    else:
        assert not ours.host.has(held(way))

    ours.start_engine()
    ours.wait_state("web", "MASTER")
    peer.wait(master=False)
    agree(ours, peer)

    ours.power_off()
    peer.wait(master=True)
    assert peer.complaints() == []


@pytest.mark.parametrize(("kind", "way"), WAYS)
def test_we_follow_the_peer(meet: Meet, kind: type[Peer], way: dict[str, Any]) -> None:
    _, ours, peer = meet(kind, way, ours=100, theirs=200)
    ours.start_engine()
    ours.wait_state("web", "MASTER")
    peer.start()
    peer.wait(master=True)
    ours.wait_state("web", "BACKUP")
    ours.host.wait_for_address(held(way), present=False)
    agree(ours, peer)

    peer.stop()
    assert ours.wait_state("web", "MASTER")["reason"] == "MasterResigned"

    peer.start()
    peer.wait(master=True)
    ours.wait_state("web", "BACKUP")
    agree(ours, peer)

    peer.kill()
    assert ours.wait_state("web", "MASTER")["reason"] == "MasterDown"


@pytest.mark.parametrize("swapped", [False, True], ids=["they-are-higher", "we-are-higher"])
@pytest.mark.parametrize(("kind", "way"), WAYS)
def test_two_masters_of_equal_priority_are_settled_by_the_higher_address(
    meet: Meet, kind: type[Peer], way: dict[str, Any], swapped: bool
) -> None:
    """RFC 9568, section 6.4.3; after a partition, as equal priorities otherwise never move."""
    lan, ours, peer = meet(kind, way, ours=150, theirs=150, swapped=swapped)
    lan.cut(ours.host)
    peer.start()
    ours.start_engine()
    ours.wait_state("web", "MASTER")
    peer.wait(master=True)
    lan.heal()
    peer.wait(master=not swapped)
    ours.wait_state("web", "MASTER" if swapped else "BACKUP")
    agree(ours, peer)


RFC_CHECKSUM: dict[str, Any] = {"version": 3, "interval": 100, "checksum": "RFC9568"}


@pytest.mark.parametrize("kind", [Keepalived, Frr])
def test_peers_drop_what_is_summed_as_rfc_9568_has_it_and_two_would_be_master(meet: Meet, kind: type[Peer]) -> None:
    """So that nobody chooses `checksum: RFC9568` beside them: keepalived 2.2.7 and FRR 8.4.4 sum the pseudo-header."""
    _, ours, peer = meet(kind, RFC_CHECKSUM, ours=200, theirs=100)
    peer.start()
    peer.wait(master=True)
    ours.start_engine()
    assert ours.wait_state("web", "MASTER")["reason"] == "HigherPriority"
    with pytest.raises(AssertionError, match="still MASTER"):
        peer.wait(master=False, timeout=2.0)
    ours.wait_state("web", "MASTER")
    # FRR says nothing of it; that nothing but the checksum is in its way, test_the_peer_follows_us tells
    assert kind is Frr or any("Invalid VRRPv3 checksum" in line for line in peer.complaints())


@pytest.mark.parametrize("kind", [Keepalived, Frr])
def test_whichever_checksum_we_send_we_follow_a_peer_by_its_own(meet: Meet, kind: type[Peer]) -> None:
    _, ours, peer = meet(kind, RFC_CHECKSUM, ours=100, theirs=200)
    ours.start_engine()
    ours.wait_state("web", "MASTER")
    peer.start()
    peer.wait(master=True)
    ours.wait_state("web", "BACKUP")
    ours.host.wait_for_address(VIP, present=False)
    picture = next(pictures(ours.run_directory, statistics=True))
    counters = picture.statistics["routers"]["web"]
    assert counters["received_pseudo_header_checksum"] > 0
    assert counters["received_rfc9568_checksum"] == 0


def test_a_peer_that_does_not_like_what_we_say_is_heard_to_complain(meet: Meet) -> None:
    """So that the silence above means something."""
    _, ours, peer = meet(Keepalived, {"version": 2, "password": PASSWORD}, ours=200, theirs=100)
    (ours.directory.parent / "password").write_text("other\n")
    ours.start_engine()
    ours.wait_state("web", "MASTER")
    peer.start()
    deadline = time.monotonic() + 10
    while not peer.complaints():
        assert time.monotonic() < deadline, peer.log()
        time.sleep(0.05)
