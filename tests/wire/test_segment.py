"""The LAN of namespaces that other tests stand on does what it says."""

import socket
import struct
import time

import pytest

from client import ArpObserver, Prober
from segment import CommandFailed, Host, Segment, unavailable

pytestmark = [pytest.mark.netns, pytest.mark.skipif(bool(unavailable()), reason=unavailable())]

VIP = "192.168.122.200"


def garp(host: Host) -> None:
    mac = bytes.fromhex(host.mac.replace(":", ""))
    address = socket.inet_aton(VIP)
    frame = b"\xff" * 6 + mac + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    with host.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind(("eth0", 0))
        raw.send(frame + mac + address + bytes(6) + address)


def take(host: Host) -> None:
    host.run(f"ip addr add {VIP}/32 dev eth0")
    garp(host)


def test_a_client_sees_how_long_the_address_was_away() -> None:
    with Segment() as lan:
        a, b = lan.host("192.168.122.101"), lan.host("192.168.122.102")
        client = lan.host("192.168.122.9", "client")
        take(a)
        with Prober(client, VIP) as prober, lan.capture(expression="arp") as capture:
            prober.wait_for_answer()
            lan.cut(a)
            moved = time.monotonic()
            b.wait_for_address(VIP, present=False)
            time.sleep(0.25)  # the length of the fault, which is to be measured
            take(b)
            capture.wait_for(f"who-has {VIP} tell {VIP}")
        gap = prober.result.longest_gap(since=moved)
        assert 230 < gap.ms < 600
        assert abs(gap.begin - moved) < 0.1
        assert prober.result.gaps(200.0) == [gap]


def test_arp_tells_everybody_who_answers_for_the_address() -> None:
    with Segment() as lan:
        a, b = lan.host("192.168.122.101"), lan.host("192.168.122.102")
        with ArpObserver(lan.host("192.168.122.9", "client"), VIP) as observer:
            assert observer.ask() == set()
            take(a)
            assert observer.ask() == {a.mac}
            take(b)
            assert observer.ask() == {a.mac, b.mac}


def test_a_cut_keeps_the_carrier_and_an_unplugged_cable_does_not() -> None:
    with Segment() as lan:
        a = lan.host("192.168.122.101", interfaces=["ens9"])
        with ArpObserver(lan.host("192.168.122.9", "client"), "192.168.122.101") as observer:
            lan.cut(a)
            assert observer.ask() == set()
            assert "LOWER_UP" in a.run("ip link show eth0")
            lan.heal(a)
            assert observer.ask() == {a.mac}
            lan.cut(a, "from", "arp operation reply")
            assert observer.ask() == set()
            lan.heal()
            lan.unplug(a)
            assert "NO-CARRIER" in a.run("ip link show eth0")
            lan.plug(a)
            assert a.ip("link", "show", "dev", "ens9")[0]["operstate"] == "UP"


def test_nothing_is_left_when_a_test_fails() -> None:
    lan = Segment()
    host = lan.host("192.168.122.101")
    process = host.popen("sleep 100")
    with pytest.raises(CommandFailed, match="exit code 1"), lan:
        host.run("false")
    assert process.poll() is not None
    assert lan.bridge._holder.poll() is not None
