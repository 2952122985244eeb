"""The kernel's own filter, tried on datagram sockets whose payload begins like an IP header."""

import socket

import pytest

from kernel_filter import lets_through
from virtualip_agent.realtime import packet_filter


def passes(vrids: set[int], packet: bytes) -> bool:
    return lets_through(lambda receiver: packet_filter.attach(receiver, vrids), packet)


def packet(vrid: int, ttl: int = 255, options: int = 0) -> bytes:
    header = bytearray(20 + options)
    header[0] = 0x40 | (len(header) // 4)
    header[8] = ttl
    return bytes(header) + bytes([0x21, vrid, 100, 1, 0, 1, 0, 0])


def test_one_of_our_vrids_passes() -> None:
    assert passes({51, 52}, packet(52))


def test_a_foreign_vrid_does_not_wake_us() -> None:
    assert not passes({51, 52}, packet(53))


@pytest.mark.parametrize("ttl", [254, 64, 1])
def test_what_passed_a_router_does_not_wake_us(ttl: int) -> None:
    """RFC 9568, section 5.1.1.3."""
    assert not passes({51}, packet(51, ttl=ttl))


def test_ip_options_do_not_move_the_vrid() -> None:
    assert passes({51}, packet(51, options=4))
    assert not passes({51}, packet(53, options=8))


def test_all_255_vrids_fit() -> None:
    everything = set(range(1, 256))

    assert all(passes(everything, packet(vrid)) for vrid in (1, 128, 255))


def test_a_sender_hears_nothing() -> None:
    assert not passes(set(), packet(51))


def test_over_ipv6_the_filter_begins_at_the_vrrp_header() -> None:
    receiver = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sender = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with receiver, sender:
        # a datagram socket's begins at the UDP header, whose second byte is the lower one of the source port
        receiver.bind(("::1", 0))
        sender.bind(("::1", 0))
        ours = sender.getsockname()[1] & 0xFF
        receiver.setblocking(False)
        for vrids, heard in (({ours}, True), ({ours ^ 1}, False)):
            packet_filter.attach(receiver, vrids)
            sender.sendto(b"x", receiver.getsockname())
            try:
                assert receiver.recv(16) == b"x"
                assert heard
            except BlockingIOError:
                assert not heard
