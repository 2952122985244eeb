"""Our rtnetlink bytes, held against pyroute2's."""

import socket
import struct
from ipaddress import IPv4Address, IPv6Address

import pytest
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

from virtualip_agent import rtnetlink as rt

VIP = IPv4Address("192.168.122.200").packed


def decoded(message: bytes) -> ifaddrmsg:
    parsed = ifaddrmsg(message)
    parsed.decode()
    return parsed


@pytest.mark.parametrize(
    ("exclusive", "flags"),
    [(True, rt.NLM_F_CREATE | rt.NLM_F_EXCL), (False, rt.NLM_F_CREATE | rt.NLM_F_REPLACE)],
)
def test_pyroute2_reads_an_added_address_as_it_was_meant(exclusive: bool, flags: int) -> None:
    message = decoded(rt.new_address(rt.Address(7, VIP, 24), 5, 41, exclusive=exclusive))

    assert message["header"]["type"] == rt.RTM_NEWADDR
    assert message["header"]["flags"] == flags | rt.NLM_F_REQUEST | rt.NLM_F_ACK
    assert message["header"]["sequence_number"] == 41
    assert (message["index"], message["prefixlen"], message["family"]) == (7, 24, 2)
    assert message.get_attr("IFA_LOCAL") == message.get_attr("IFA_ADDRESS") == "192.168.122.200"
    lifetime = message.get_attr("IFA_CACHEINFO")
    assert (lifetime["ifa_valid"], lifetime["ifa_preferred"]) == (5, 0)
    assert message.get_attr("IFA_PROTO") == rt.TAG


def test_pyroute2_reads_a_deleted_address_as_it_was_meant() -> None:
    message = decoded(rt.delete_address(rt.Address(7, VIP, 32), 42))

    assert message["header"]["type"] == rt.RTM_DELADDR
    assert (message["index"], message["prefixlen"]) == (7, 32)
    assert message.get_attr("IFA_LOCAL") == "192.168.122.200"


VIP_V6 = IPv6Address("2001:db8::200").packed
NODAD, NOPREFIXROUTE = 0x02, 0x200


@pytest.mark.parametrize("exclusive", [True, False], ids=["added", "refreshed"])
def test_an_ipv6_address_goes_on_without_duplicate_detection_and_without_a_prefix_route(exclusive: bool) -> None:
    # refreshed as well: the kernel takes the flags of each message for the new ones
    message = decoded(rt.new_address(rt.Address(7, VIP_V6, 128), 5, 41, exclusive=exclusive))

    assert (message["index"], message["prefixlen"], message["family"]) == (7, 128, socket.AF_INET6)
    assert message.get_attr("IFA_LOCAL") == message.get_attr("IFA_ADDRESS") == "2001:db8::200"
    assert message.get_attr("IFA_FLAGS") == NODAD | NOPREFIXROUTE
    lifetime = message.get_attr("IFA_CACHEINFO")
    assert (lifetime["ifa_valid"], lifetime["ifa_preferred"]) == (5, 0)
    assert message.get_attr("IFA_PROTO") == rt.TAG


@pytest.mark.parametrize(
    ("flags", "unusable"),
    [(0x80, ""), (0x40, "tentative"), (0x40 | 0x08, "duplicate"), (0x01, "temporary"), (0x20 | 0x200, "")],
)
def test_an_ipv6_address_says_whether_anything_may_be_sent_from_it(flags: int, unusable: str) -> None:
    message = ifaddrmsg()
    message["family"], message["prefixlen"], message["index"] = socket.AF_INET6, 64, 3
    message["attrs"] = [("IFA_ADDRESS", "2001:db8::200"), ("IFA_FLAGS", flags)]
    message["header"]["type"] = rt.RTM_NEWADDR
    message.encode()

    (read,) = rt.messages(bytes(message.data))

    assert rt.parse_address(read.payload) == rt.Address(3, VIP_V6, 64, unusable=unusable)


def test_forwarding_of_an_interface_is_read_and_that_of_all_of_them_has_no_index() -> None:
    def message(family: int, index: int, forwarding: int) -> bytes:
        return struct.pack("=BxxxHHiHHi", family, 8, 1, index, 8, 2, forwarding)

    assert rt.parse_forwarding(message(socket.AF_INET6, 3, 1)) == (3, True)
    assert rt.parse_forwarding(message(socket.AF_INET6, -1, 0)) == (-1, False)
    assert rt.parse_forwarding(message(socket.AF_INET, 3, 1)) is None
    assert rt.parse_forwarding(message(socket.AF_INET6, 3, 1)[:12]) is None


def test_an_address_written_by_pyroute2_is_read_with_its_tag() -> None:
    message = ifaddrmsg()
    message["family"], message["prefixlen"], message["index"] = 2, 24, 3
    message["attrs"] = [
        ("IFA_ADDRESS", "192.168.122.200"),
        ("IFA_LOCAL", "192.168.122.200"),
        ("IFA_LABEL", "eth0"),
        ("IFA_PROTO", 112),
    ]
    message["header"]["type"] = rt.RTM_NEWADDR
    message.encode()

    (read,) = rt.messages(bytes(message.data))

    assert read.type == rt.RTM_NEWADDR
    assert rt.parse_address(read.payload) == rt.Address(3, VIP, 24, tag=112)


def test_a_link_written_by_pyroute2_is_read() -> None:
    message = ifinfmsg()
    message["index"], message["flags"], message["ifi_type"] = 9, 0x1 | 0x40, 1
    message["attrs"] = [("IFLA_ADDRESS", "52:54:00:00:00:65"), ("IFLA_IFNAME", "eth0")]
    message["header"]["type"] = rt.RTM_NEWLINK
    message.encode()

    (read,) = rt.messages(bytes(message.data))
    link = rt.parse_link(read.payload)

    assert link == rt.Link(9, "eth0", bytes.fromhex("525400000065"), up=True, running=True)
    assert link is not None
    assert link.usable


def link_message(kind: str, *more: tuple[str, object], family: int = 0, flags: int = 0x1) -> bytes:
    message = ifinfmsg()
    message["family"], message["index"], message["flags"] = family, 9, flags
    info = {"attrs": [("IFLA_INFO_KIND", kind)]}
    message["attrs"] = [("IFLA_IFNAME", "ens9.7"), ("IFLA_LINK", 4), ("IFLA_LINKINFO", info), *more]
    message["header"]["type"] = rt.RTM_NEWLINK
    message.encode()
    (read,) = rt.messages(bytes(message.data))
    return read.payload


@pytest.mark.parametrize(("kind", "base"), [("vlan", 4), ("macvlan", 4), ("veth", 0), ("bond", 0)])
def test_the_base_of_a_vlan_or_macvlan_is_known_and_a_veths_peer_is_none(kind: str, base: int) -> None:
    link = rt.parse_link(link_message(kind))
    assert link is not None
    assert link.base == base


@pytest.mark.parametrize(
    ("flags", "usable"),
    [
        # as `ip -d link` prints a bond's: BROADCAST,MULTICAST,MASTER,UP,LOWER_UP while a member of it has carrier
        (0x1 | 0x2 | 0x40 | 0x400 | 0x1000 | 0x10000, True),
        # NO-CARRIER,BROADCAST,MULTICAST,MASTER,UP when the last one has lost it
        (0x1 | 0x2 | 0x400 | 0x1000, False),
        (0x2 | 0x400 | 0x1000, False),
    ],
)
def test_a_bond_is_usable_while_the_kernel_says_that_one_of_its_members_is(flags: int, usable: bool) -> None:
    link = rt.parse_link(link_message("bond", ("IFLA_OPERSTATE", "UP" if usable else "DOWN"), flags=flags))
    assert link is not None
    assert (link.usable, link.base) == (usable, 0)


def test_a_base_in_another_namespace_is_none_of_ours() -> None:
    link = rt.parse_link(link_message("macvlan", ("IFLA_LINK_NETNSID", 0)))
    assert link is not None
    assert link.base == 0


def test_a_message_about_a_bridges_port_is_not_about_the_interface() -> None:
    assert rt.parse_link(link_message("veth", family=7)) is None


def test_several_messages_of_one_datagram_are_told_apart() -> None:
    batch = rt.delete_address(rt.Address(1, VIP, 32), 1) + rt.delete_address(rt.Address(2, VIP, 32), 2)

    assert [message.sequence for message in rt.messages(batch)] == [1, 2]


@pytest.mark.parametrize("cut", [1, 15, 17])
def test_a_truncated_datagram_does_not_run_away(cut: int) -> None:
    list(rt.messages(rt.delete_address(rt.Address(1, VIP, 32), 1)[:cut]))


def test_a_message_that_claims_no_length_ends_the_reading() -> None:
    assert list(rt.messages(bytes(64))) == []


@pytest.mark.parametrize(
    ("preferred", "valid", "ours"),
    [(0, 3, True), (0, 4200, True), (0, 4201, False), (0, 0xFFFFFFFF, False), (3, 3, False), (0, 0, False)],
)
def test_an_address_of_a_kernel_without_tags_is_known_by_its_lifetime(preferred: int, valid: int, ours: bool) -> None:
    message = ifaddrmsg()
    message["family"], message["prefixlen"], message["index"] = 2, 24, 3
    lifetimes = {"ifa_preferred": preferred, "ifa_valid": valid, "cstamp": 0, "tstamp": 0}
    message["attrs"] = [("IFA_LOCAL", "192.168.122.200"), ("IFA_CACHEINFO", lifetimes)]
    message["header"]["type"] = rt.RTM_NEWADDR
    message.encode()

    (read,) = rt.messages(bytes(message.data))

    assert rt.ends_by_itself(read.payload) is ours


def test_a_lifetime_that_is_not_told_is_not_ours() -> None:
    assert not rt.ends_by_itself(struct.pack("=BBBBI", 2, 24, 0, 0, 3))
