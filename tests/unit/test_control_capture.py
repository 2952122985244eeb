"""The decoder of `virtualip-agent capture`, and its filter, on frames by scapy."""

import socket

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.layers.vrrp import VRRP, VRRPv3

from virtualip_agent import bpf
from virtualip_agent.control.capture import FILTER, describe

V2 = Ether() / IP(src="192.0.2.1", dst="224.0.0.18", ttl=255, proto=112) / VRRP(
    version=2, vrid=51, priority=249, authtype=1, adv=1, addrlist=["192.0.2.200"], auth1=0x73656372, auth2=0x65740000
)  # fmt: skip
V3 = Ether() / IP(src="192.0.2.1", dst="224.0.0.18", ttl=255, proto=112) / VRRPv3(
    version=3, vrid=52, priority=0, adv=10, addrlist=["192.0.2.200", "192.0.2.201"]
)  # fmt: skip
V6 = Ether() / IPv6(src="fe80::1", dst="ff02::12", hlim=64, nh=112) / VRRPv3(
    version=3, vrid=53, priority=100, adv=100, addrlist=["fe80::200"]
)  # fmt: skip


def text(frame: bytes) -> str:
    seen = describe(frame)
    assert seen is not None
    return seen.text


def test_version_2_as_tcpdump_has_it_and_without_its_password() -> None:
    words = "192.0.2.1 > 224.0.0.18: VRRPv2 vrid 51 prio 249 authtype simple intvl 1s addrs 192.0.2.200"
    assert text(bytes(V2)) == words


def test_version_3_of_both_families_and_what_is_not_heard() -> None:
    words = "VRRPv3 vrid 52 prio 0 (resigns) intvl 100ms addrs 192.0.2.200,192.0.2.201"
    assert text(bytes(V3)) == f"192.0.2.1 > 224.0.0.18: {words}"
    words = "VRRPv3 vrid 53 prio 100 intvl 1s addrs fe80::200"
    assert text(bytes(V6)) == f"fe80::1 > ff02::12: {words} (dropped: ttl 64)"
    broken = bytearray(bytes(V3))
    broken[-1] ^= 1
    assert text(bytes(broken)).endswith("(dropped: checksum)")


@pytest.mark.parametrize(("frame", "passed"), [
    (V2, True), (V3, True), (V6, True), (Ether() / IP() / UDP(), False), (Ether() / IPv6() / UDP(), False),
    (Ether() / ARP(), False),
])  # fmt: skip
def test_nothing_but_vrrp_passes_the_filter(frame: Ether, passed: bool) -> None:
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with sender, receiver:
        bpf.attach(receiver, FILTER)
        receiver.setblocking(False)
        try:
            sender.send(bytes(frame))
            received = bool(receiver.recv(2048))
        except (BlockingIOError, PermissionError):
            received = False
    assert received is passed
