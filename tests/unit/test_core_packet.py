"""The codec: every reason to drop an advertisement, and both checksums of version 3."""

import struct
from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtual_lan import GROUP, advertisement_template
from virtualip_agent.vrrp.packet import Advertisement, Drop, checksum, parse, pseudo_header, stamp
from virtualip_agent.vrrp.settings import Settings
from virtualip_agent.vrrp.timing import SECOND

SOURCE = bytes([192, 168, 122, 101])
VIP = bytes([192, 168, 122, 200])
PASSWORD = b"12345\0\0\0"
SOURCE_V6 = IPv6Address("fe80::1").packed
GROUP_V6 = IPv6Address("ff02::12").packed
VIP_V6 = IPv6Address("2001:db8::200").packed


def settings(version: int, **changes: object) -> Settings:
    values: dict[str, object] = {"vrid": 51, "addresses": frozenset({VIP}), "base_priority": 100} | changes
    return Settings(version=version, **values)  # type: ignore[arg-type]


def payload(version: int, priority: int = 100, **changes: object) -> bytes:
    return stamp(advertisement_template(settings(version, **changes)), priority, SOURCE, GROUP)


def summed(broken: bytes) -> bytes:
    """With the checksum of a v2 message put right again."""
    body = bytearray(broken)
    body[6:8] = b"\0\0"
    body[6:8] = checksum(bytes(body)).to_bytes(2, "big")
    return bytes(body)


def changed(whole: bytes, offset: int, value: int) -> bytes:
    return summed(whole[:offset] + bytes([value]) + whole[offset + 1 :])


def read(data: bytes) -> Advertisement | Drop:
    return parse(data, SOURCE, GROUP)


def test_version_2_with_a_password_is_read_as_it_was_written() -> None:
    assert read(payload(2, 249, authentication=PASSWORD)) == Advertisement(
        2, 51, 249, SECOND, frozenset({VIP}), PASSWORD
    )


def test_version_3_is_read_as_it_was_written() -> None:
    interval = 40_950_000_000
    assert read(payload(3, 254, advert_interval=interval)) == Advertisement(3, 51, 254, interval, frozenset({VIP}))


def test_version_3_is_accepted_with_and_without_the_pseudo_header_in_its_checksum() -> None:
    with_it = payload(3)
    without = summed(with_it)
    assert with_it != without
    assert not checksum(without)
    assert not checksum(pseudo_header(SOURCE, GROUP, len(with_it)) + with_it)
    one, other = read(with_it), read(without)
    assert isinstance(one, Advertisement)
    assert isinstance(other, Advertisement)
    # which form it was is known, so that it can be counted
    assert (one.bare_checksum, other) == (False, one._replace(bare_checksum=True))


def test_which_form_is_sent_is_a_setting_for_version_3_over_ipv4_alone() -> None:
    for version in (2, 3):
        template = advertisement_template(settings(version))
        assert not checksum(stamp(template, 100, SOURCE, GROUP, bare=True))
    template = advertisement_template(settings(3, addresses=frozenset({VIP_V6})))
    assert stamp(template, 100, SOURCE_V6, GROUP_V6, bare=True) == stamp(template, 100, SOURCE_V6, GROUP_V6)


def test_version_2_never_sums_the_pseudo_header() -> None:
    body = bytearray(payload(2))
    body[6:8] = b"\0\0"
    body[6:8] = checksum(pseudo_header(SOURCE, GROUP, len(body)) + bytes(body)).to_bytes(2, "big")
    assert read(bytes(body)) is Drop.CHECKSUM


def test_the_reserved_nibble_before_the_interval_is_ignored() -> None:
    whole = payload(3)
    for nibble in range(16):
        advertisement = read(changed(whole, 4, nibble << 4))
        assert isinstance(advertisement, Advertisement)
        assert advertisement.interval == SECOND


@pytest.mark.parametrize(("data", "reason"), [
    (b"", Drop.LENGTH),
    (payload(3)[:7], Drop.LENGTH),
    (payload(3)[:-1], Drop.LENGTH),
    (payload(2)[:12], Drop.LENGTH),  # the address without the authentication data
    (changed(payload(3), 3, 2), Drop.LENGTH),  # says two addresses, has one
    (changed(payload(2), 3, 255), Drop.LENGTH),
    (changed(payload(2), 0, 0x11), Drop.VERSION),
    (changed(payload(2), 0, 0x41), Drop.VERSION),
    (changed(payload(2), 0, 0x22), Drop.TYPE),
    (changed(payload(3), 0, 0x30), Drop.TYPE),
    (changed(payload(2), 1, 0), Drop.VRID),
    (changed(payload(3), 3, 0), Drop.NO_ADDRESSES),
    (changed(payload(2), 4, 2), Drop.AUTHENTICATION),  # IP Authentication Header: obsolete
    (changed(payload(2), 5, 0), Drop.ZERO_INTERVAL),
    (summed(payload(3)[:4] + b"\xf0\0" + payload(3)[6:]), Drop.ZERO_INTERVAL),
    (payload(3)[:-1] + b"\0", Drop.CHECKSUM),
    (payload(2)[:2] + b"\xff" + payload(2)[3:], Drop.CHECKSUM),
])  # fmt: skip
def test_what_is_wrong_is_dropped_with_its_reason(data: bytes, reason: Drop) -> None:
    assert read(data) is reason


def test_each_reason_is_a_counter_of_its_own() -> None:
    assert len({str(reason) for reason in Drop}) == len(Drop)
    assert all(reason.startswith("drop_") for reason in Drop)


def test_several_addresses_are_a_set() -> None:
    addresses = frozenset(bytes([192, 168, 122, number]) for number in (200, 201, 202))
    for version in (2, 3):
        advertisement = read(payload(version, addresses=addresses))
        assert isinstance(advertisement, Advertisement)
        assert advertisement.addresses == addresses


def payload_v6(priority: int = 100, **changes: object) -> bytes:
    template = advertisement_template(settings(3, **({"addresses": frozenset({VIP_V6})} | changes)))
    return stamp(template, priority, SOURCE_V6, GROUP_V6)


def test_over_ipv6_the_addresses_are_of_16_bytes() -> None:
    addresses = frozenset(IPv6Address(f"2001:db8::{number}").packed for number in range(1, 91))
    for wanted in (frozenset({VIP_V6}), addresses):
        read = parse(payload_v6(addresses=wanted), SOURCE_V6, GROUP_V6)
        assert read == Advertisement(3, 51, 100, SECOND, wanted)


def test_over_ipv6_the_pseudo_header_is_always_summed() -> None:
    """RFC 9568, section 5.2.8; RFC 8200, section 8.1."""
    whole = payload_v6()
    assert parse(summed(whole), SOURCE_V6, GROUP_V6) is Drop.CHECKSUM
    assert parse(whole, VIP_V6, GROUP_V6) is Drop.CHECKSUM
    assert parse(whole, SOURCE_V6, VIP_V6) is Drop.CHECKSUM


def test_there_is_no_version_2_over_ipv6() -> None:
    """RFC 3768, section 1."""
    assert parse(payload(2, addresses=frozenset({VIP_V6})), SOURCE_V6, GROUP_V6) is Drop.VERSION


def test_over_ipv6_a_list_that_is_cut_short_is_dropped() -> None:
    assert parse(payload_v6()[:-1], SOURCE_V6, GROUP_V6) is Drop.LENGTH
    assert parse(payload(3), SOURCE_V6, GROUP_V6) is Drop.LENGTH


@given(st.binary(max_size=64))
def test_no_bytes_whatever_make_it_fail(data: bytes) -> None:
    read(data)
    if data:
        read(bytes([0x31]) + data[1:])
        read(bytes([0x21]) + data[1:])
        parse(bytes([0x31]) + data[1:], SOURCE_V6, GROUP_V6)


@given(
    version=st.sampled_from([2, 3]), priority=st.integers(0, 255), vrid=st.integers(1, 255), steps=st.integers(1, 255)
)
def test_what_is_stamped_is_read_back(version: int, priority: int, vrid: int, steps: int) -> None:
    interval = steps * (SECOND if version == 2 else SECOND // 100)
    advertisement = read(payload(version, priority, vrid=vrid, advert_interval=interval))
    assert advertisement == Advertisement(version, vrid, priority, interval, frozenset({VIP}))


@given(st.binary(min_size=2, max_size=80).filter(lambda data: len(data) % 2 == 0))
def test_the_checksum_is_rfc_1071s(data: bytes) -> None:
    """Against the definition: the one's complement of the one's complement sum."""
    total = 0
    for (word,) in struct.iter_unpack("!H", data):
        total += word
        total = total % 0x10000 + total // 0x10000
    assert checksum(data) == total ^ 0xFFFF
