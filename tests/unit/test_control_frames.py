"""The bytes on the wire, against bytes captured from keepalived 2.2.7 or written down from the RFCs."""

import struct
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, IPv6Interface

import pytest

from virtualip_agent.control.compile import compile_router, lifetime
from virtualip_agent.control.frames import advertisement_payload, gratuitous_arp, neighbour_advertisement
from virtualip_agent.control.instance import Instance, Source
from virtualip_api.virtual_ip import parse_spec


def instance(password: bytes = b"", *, alone: bool = False, **spec: object) -> Instance:
    whole = {"addresses": ["192.168.122.200/24"], "vrid": 51, "version": 2} | spec
    return Instance("web", Source.MANIFEST, parse_spec(whole), 244, password, alone=alone)


def stamped(payload: bytes, priority: int) -> bytes:
    """As vrrp does it: priority into byte 2, the Internet checksum into bytes 6 and 7."""
    payload = payload[:2] + bytes((priority,)) + payload[3:]
    total = sum(struct.unpack(f"!{len(payload) // 2}H", payload))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return payload[:6] + struct.pack("!H", ~total & 0xFFFF) + payload[8:]


def test_the_articles_advertisement_is_the_one_that_keepalived_sends() -> None:
    # version 2, type 1 | vrid 51 | priority | 1 address | authtype 1 | 1 s | checksum | address | "12345" and zeros
    payload = advertisement_payload(instance(b"12345"))
    assert payload.hex(" ") == "21 33 00 01 01 01 00 00 c0 a8 7a c8 31 32 33 34 35 00 00 00"
    # as captured from keepalived 2.2.7; the checksum covers the authentication data too
    assert stamped(payload, 249).hex(" ") == "21 33 f9 01 01 01 0f f2 c0 a8 7a c8 31 32 33 34 35 00 00 00"


def test_s2_without_authentication_the_8_bytes_are_there_and_zero_so_that_the_length_is_20() -> None:
    payload = advertisement_payload(instance())
    assert payload.hex(" ") == "21 33 00 01 00 01 00 00 c0 a8 7a c8 00 00 00 00 00 00 00 00"
    assert len(payload) == 20


def test_a_password_of_8_bytes_fills_the_field() -> None:
    assert advertisement_payload(instance(b"12345678"))[-8:] == b"12345678"


def test_a_version_2_interval_is_in_seconds_and_fills_its_byte() -> None:
    assert advertisement_payload(instance(advertInterval="255s"))[5] == 255


def test_a_version_3_advertisement_has_centiseconds_in_12_bits_and_no_authentication() -> None:
    payload = advertisement_payload(instance(version=3, addresses=["192.168.122.200/24", "10.0.0.1/32"]))
    assert payload.hex(" ") == "31 33 00 02 00 64 00 00 c0 a8 7a c8 0a 00 00 01"


@pytest.mark.parametrize(("interval", "field"), [("10ms", "00 01"), ("100ms", "00 0a"), ("40.95s", "0f ff")])
def test_the_longest_version_3_interval_leaves_the_reserved_bits_alone(interval: str, field: str) -> None:
    assert advertisement_payload(instance(version=3, advertInterval=interval))[4:6].hex(" ") == field


def test_64_addresses_fit_and_keep_the_users_order() -> None:
    addresses = [f"10.0.{64 - n}.1/32" for n in range(64)]
    payload = advertisement_payload(instance(version=3, addresses=addresses))
    assert payload[3] == 64
    assert [str(IPv4Address(payload[at : at + 4])) + "/32" for at in range(8, len(payload), 4)] == addresses


def test_a_gratuitous_arp_is_a_broadcast_request_for_itself_with_both_of_our_addresses_blank() -> None:
    frame = gratuitous_arp(IPv4Address("192.168.122.200"))
    assert frame.hex(" ") == (
        "ff ff ff ff ff ff 00 00 00 00 00 00 08 06 "
        "00 01 08 00 06 04 00 01 00 00 00 00 00 00 c0 a8 7a c8 00 00 00 00 00 00 c0 a8 7a c8"
    )
    assert frame[6:12] == frame[22:28] == bytes(6)


def over_ipv6(*addresses: str) -> Instance:
    whole = instance(version=3)
    return replace(whole, spec=replace(whole.spec, addresses=tuple(IPv6Interface(address) for address in addresses)))


def test_an_ipv6_advertisement_has_16_bytes_an_address() -> None:
    payload = advertisement_payload(over_ipv6("2001:db8::200/64"))
    assert payload.hex(" ") == "31 33 00 01 00 64 00 00 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 02 00"


def test_a_link_local_address_is_the_first_in_the_advertisement_and_the_rest_keep_their_order() -> None:
    """RFC 9568, section 5.2.9."""
    payload = advertisement_payload(over_ipv6("2001:db8::2/64", "2001:db8::1/64", "fe80::200/64"))
    listed = [str(IPv6Address(payload[at : at + 16])) for at in range(8, len(payload), 16)]
    assert listed == ["fe80::200", "2001:db8::2", "2001:db8::1"]


def test_a_neighbour_advertisement_is_to_all_nodes_with_override_and_our_part_of_it_blank() -> None:
    """RFC 4861, sections 4.4 and 7.2.6."""
    frame = neighbour_advertisement(IPv6Address("2001:db8::200"))
    vip, all_nodes = "20 01 0d b8 00 00 00 00 00 00 00 00 00 00 02 00", "ff 02" + " 00" * 13 + " 01"
    assert frame.hex(" ") == (
        "33 33 00 00 00 01 00 00 00 00 00 00 86 dd "
        f"60 00 00 00 00 20 3a ff {vip} {all_nodes} "
        # type 136, override alone | target | target link-layer address
        f"88 00 00 00 20 00 00 00 {vip} 02 01 00 00 00 00 00 00"
    )
    assert compile_router(over_ipv6("2001:db8::200/64")).announcements == (frame,)


@pytest.mark.parametrize(
    ("version", "interval", "seconds"),
    [(2, "1s", 5), (2, "10s", 32), (3, "1s", 5), (3, "100ms", 3), (3, "10ms", 3), (3, "40.95s", 165)],
)
def test_a_dead_nodes_addresses_outlast_the_slowest_take_over_and_a_missed_refresh(
    version: int, interval: str, seconds: int
) -> None:
    assert lifetime(instance(version=version, advertInterval=interval)) == seconds


def test_adverts_that_may_be_missed_outlast_it_too() -> None:
    # 10 x 1 s + 255/256 s, and a refresh
    assert lifetime(instance(version=3, advertInterval="1s", downTimerAdverts=10)) == 12
    assert compile_router(instance(downTimerAdverts=10)).down_timer_adverts == 10


def test_where_the_plan_knows_nobody_else_the_addresses_outlast_a_stall() -> None:
    assert lifetime(instance(alone=True)) == 30


def test_a_compiled_router_carries_everything_that_vrrp_needs() -> None:
    tracker = {"name": "apache", "process": {"name": "httpd"}, "weight": 10}
    config = compile_router(instance(b"12345", interface="eth0", trackers=[tracker], preempt=False))
    assert (config.vrid, config.version, config.base_priority, config.lifetime) == (51, 2, 244, 5)
    assert config.addresses == ("192.168.122.200/24",)
    assert config.authentication == b"12345\0\0\0"
    assert config.trackers == ("apache",)
    assert not config.preempt
    assert config.announcements == (gratuitous_arp(IPv4Address("192.168.122.200")),)


def test_no_password_is_no_authentication() -> None:
    assert compile_router(instance()).authentication == b""


def test_of_ipv6_as_many_addresses_are_named_as_fit_into_1500_bytes_link_local_ones_first() -> None:
    many = [f"2001:db8::{number:x}/64" for number in range(1, 255)]
    config = compile_router(over_ipv6(*many, "fe80::200/64"))
    assert len(config.advertisement) + 40 <= 1500 < len(config.advertisement) + 16 + 40
    assert config.advertisement[3] == len(config.advertised) == 90
    assert config.advertised[:2] == ("fe80::200", "2001:db8::1")


def test_of_ipv4_all_are_named() -> None:
    many = [f"10.0.0.{number}/32" for number in range(255)]
    config = compile_router(instance(version=3, addresses=many))
    assert config.advertisement[3] == len(config.advertised) == 255
