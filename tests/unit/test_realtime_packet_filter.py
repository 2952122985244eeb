"""The kernel's own filter, tried on datagram sockets whose payload begins like an IP header."""

import socket

import pytest

from kernel_filter import lets_through
from virtualip_agent.realtime import packet_filter
from virtualip_agent.realtime.packet_filter import Sources


def passes(vrids: set[int] | None, packet: bytes, sources: Sources = packet_filter.ANYBODY) -> bool:
    return lets_through(lambda receiver: packet_filter.attach(receiver, vrids, sources), packet)


def packet(vrid: int, ttl: int = 255, options: int = 0, source: bytes = bytes(4)) -> bytes:
    header = bytearray(20 + options)
    header[0] = 0x40 | (len(header) // 4)
    header[8] = ttl
    header[12:16] = source
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


def host(number: int) -> bytes:
    return bytes([192, 168, number // 256, number % 256])


@pytest.mark.parametrize("many", [1, 2, 128])
def test_each_source_is_in_one_of_the_two_queues_and_no_other(many: int) -> None:
    known = frozenset(host(number) for number in range(1, many + 1))
    vrids = set(range(1, 256))
    for source, is_known in ((host(1), True), (host(many), True), (host(999), False), (bytes(4), False)):
        said = packet(51, source=source)
        assert passes(vrids, said, Sources(known, wanted=True)) is is_known
        assert passes(vrids, said, Sources(known)) is not is_known


def test_a_known_source_with_a_foreign_vrid_or_from_behind_a_router_does_not_wake_us() -> None:
    known = Sources(frozenset({host(1)}), wanted=True)
    assert not passes({51}, packet(52, source=host(1)), known)
    assert not passes({51}, packet(51, ttl=254, source=host(1)), known)


def test_where_nobody_is_known_the_others_are_everybody() -> None:
    assert not passes({51}, packet(51, source=host(1)), Sources(wanted=True))
    assert passes({51}, packet(51, source=host(1)), Sources())


def test_who_hears_every_vrid_hears_no_more_than_that() -> None:
    known = Sources(frozenset({host(1)}), wanted=True)
    assert all(passes(None, packet(vrid)) for vrid in (1, 51, 255))
    assert not passes(None, packet(51, ttl=254))
    assert passes(None, packet(51, source=host(1)), known)
    assert not passes(None, packet(51, source=host(2)), known)


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
        myself = socket.inet_pton(socket.AF_INET6, "::1")
        near = frozenset(myself[:at] + b"\x07" + myself[at + 1 :] for at in (0, 4, 8, 12))  # each differs in one word
        filters: tuple[tuple[set[int] | None, Sources, bool], ...] = (
            ({ours}, Sources(), True),
            ({ours ^ 1}, Sources(), False),
            ({ours}, Sources(near | {myself}, wanted=True), True),
            ({ours}, Sources(near, wanted=True), False),
            ({ours}, Sources(near), True),
            ({ours}, Sources(near | {myself}), False),
            (None, Sources(), True),
            (None, Sources(near), True),
            (None, Sources(near, wanted=True), False),
        )
        for vrids, sources, heard in filters:
            packet_filter.attach(receiver, vrids, sources)
            sender.sendto(b"x", receiver.getsockname())
            try:
                assert receiver.recv(16) == b"x"
                assert heard
            except BlockingIOError:
                assert not heard
