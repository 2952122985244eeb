"""Which interface and which source address a virtual router uses."""

import random
from ipaddress import IPv4Interface, IPv6Interface, ip_address

from virtualip_agent.realtime.interfaces import Interfaces, key_of
from virtualip_agent.rtnetlink import TAG, Address, Link

VIP = (IPv4Interface("192.168.122.200/24"),)


def packed(text: str) -> bytes:
    return ip_address(text).packed


def node(*addresses: tuple[int, str, int, int]) -> Interfaces:
    interfaces = Interfaces()
    for index, name in ((1, "lo"), (2, "eth0"), (3, "eth1")):
        interfaces.links[index] = Link(index, name, b"\x52\x54\0\0\0\1", up=True, running=True)
    for index, ip, prefix_length, tag in addresses:
        interfaces.put(Address(index, packed(ip), prefix_length, tag))
    return interfaces


def test_without_a_name_it_is_the_interface_whose_subnet_holds_the_address() -> None:
    interfaces = node((2, "10.0.0.1", 24, 0), (3, "192.168.122.101", 24, 0))

    link, problem = interfaces.find(None, VIP)

    assert link is not None
    assert link.name == "eth1"
    assert problem == ""


def test_of_several_subnets_the_longest_prefix_counts_then_who_can_be_used_and_never_the_order() -> None:
    both = [(2, "10.0.0.5", 8, 0), (3, "10.1.0.5", 16, 0)]
    for addresses in (both, both[::-1]):
        assert found(node(*addresses), "10.1.0.200") == 3
    same = [(2, "10.1.0.6", 16, 0), (3, "10.1.0.5", 16, 0)]
    for addresses in (same, same[::-1]):
        assert found(node(*addresses), "10.1.0.200") == 2
        interfaces = node(*addresses)
        interfaces.links[2] = Link(2, "eth0", b"", up=True, running=False)
        assert found(interfaces, "10.1.0.200") == 3


def found(interfaces: Interfaces, vip: str) -> int:
    link, _ = interfaces.find(None, (IPv4Interface(vip),))
    return link.index if link is not None else 0


def test_an_address_of_ours_usurps_a_subnet_where_it_comes_before_the_nodes_own() -> None:
    ours, own = (2, "192.168.122.200", 24, TAG), (2, "192.168.122.101", 24, 0)
    second = (2, "192.168.122.201", 24, TAG)
    for addresses, usurpers in [
        ((own, ours), []),
        ((ours, second, own), ["192.168.122.200", "192.168.122.201"]),
        ((ours, own, second), ["192.168.122.200"]),
        ((ours,), []),  # nothing of the node's own is there to speak from
        ((ours, (2, "192.168.122.101", 25, 0)), []),
        ((ours, (3, "192.168.122.101", 24, 0)), []),
        (((2, "192.168.122.200", 32, TAG), own), []),
    ]:
        assert [str(ip_address(found.ip)) for found in node(*addresses).usurpers(2)] == usurpers, addresses


def test_a_subnet_that_no_interface_has_is_an_error_that_lists_what_there_is() -> None:
    link, problem = node((2, "10.0.0.1", 24, 0)).find(None, VIP)

    assert link is None
    assert problem == "no interface has a subnet with 192.168.122.200 in it; there are eth0 10.0.0.1/24"


def test_an_interface_that_does_not_exist_is_an_error_that_lists_those_that_do() -> None:
    link, problem = node((3, "10.0.0.1", 24, 0), (1, "127.0.0.1", 8, 0)).find("ens9", VIP)

    assert link is None
    assert problem == "there is no interface ens9; there are eth1 10.0.0.1/24, eth0, lo"


def test_an_error_lists_subnets_and_not_each_address_of_a_node() -> None:
    interfaces = node((2, "10.0.0.1", 24, 0), (1, "127.0.0.1", 8, 0), (3, "10.96.0.1", 32, 0))
    for index in range(10, 120):  # a pod's each
        interfaces.links[index] = Link(index, f"veth{index}", b"\x52\x54\0\0\0\1", up=True, running=True)

    assert interfaces.find(None, VIP)[1].endswith("; there are eth0 10.0.0.1/24")
    assert interfaces.find("ens9", VIP)[1].endswith(
        "; there are eth0 10.0.0.1/24, eth1, lo, veth10, veth100, veth101, veth102, veth103, 105 more"
    )


def test_a_vip_is_never_taken_for_the_nodes_own_subnet() -> None:
    link, _ = node((2, "192.168.122.200", 24, TAG)).find(None, VIP)

    assert link is None


def test_the_source_is_the_address_in_the_vips_subnet() -> None:
    interfaces = node((2, "10.0.0.1", 24, 0), (2, "192.168.122.101", 24, 0))

    assert interfaces.source(2, VIP) == packed("192.168.122.101")


def test_the_source_is_never_a_vip_neither_this_nor_another_of_ours() -> None:
    interfaces = node((2, "192.168.122.200", 24, 0), (2, "192.168.122.201", 24, TAG), (2, "192.168.122.101", 24, 0))

    assert interfaces.source(2, VIP) == packed("192.168.122.101")


def test_an_interface_without_an_own_address_has_no_source() -> None:
    assert node((2, "192.168.122.200", 24, TAG)).source(2, VIP) is None


def test_a_subnet_whose_only_address_would_be_the_vip_has_no_primary() -> None:
    assert not node((2, "10.0.0.1", 24, 0)).subnet_has_primary(2, VIP[0])
    assert node((2, "192.168.122.101", 24, 0)).subnet_has_primary(2, VIP[0])
    # another prefix is another subnet: the VIP would be the primary of its own
    assert not node((2, "192.168.122.101", 25, 0)).subnet_has_primary(2, VIP[0])


def test_an_address_that_we_added_is_ours_though_the_kernel_keeps_no_tag() -> None:
    interfaces = node((2, "192.168.122.200", 24, 0))
    (address,) = interfaces.holders(packed("192.168.122.200"))

    assert not interfaces.is_ours(address)
    interfaces.ours.add(key_of(address))
    assert interfaces.is_ours(address)


def test_the_same_ip_with_another_prefix_beside_ours_is_somebody_elses() -> None:
    interfaces = node((2, "192.168.122.200", 24, TAG), (2, "192.168.122.200", 32, 0))

    ours = interfaces.ours_on(2, packed("192.168.122.200"))
    assert ours is not None
    assert ours.prefix_length == 24
    assert len(interfaces.holders(packed("192.168.122.200"))) == 2
    assert interfaces.drop(ours)
    assert interfaces.ours_on(2, ours.ip) is None
    assert [address.prefix_length for address in interfaces.holders(ours.ip)] == [32]


VIP_V6 = (IPv6Interface("2001:db8::200/64"),)


def test_over_ipv6_the_source_is_the_link_local_address() -> None:
    """RFC 9568, section 5.1.2.1. Of several the same one after each boot, whatever the kernel's order."""
    interfaces = node(
        (2, "2001:db8::101", 64, 0), (2, "fe80::9", 64, 0), (2, "fe80::5", 64, 0), (2, "fe80::1", 128, TAG)
    )
    assert interfaces.source(2, VIP_V6) == packed("fe80::5")
    assert interfaces.source(2, (*VIP_V6, IPv6Interface("fe80::5/64"))) == packed("fe80::9")


def test_a_tentative_address_is_no_source_and_is_told() -> None:
    interfaces = node()
    interfaces.put(Address(2, packed("fe80::9"), 64, unusable="tentative"))
    assert interfaces.source(2, VIP_V6) is None
    assert interfaces.unusable_source(2, VIP_V6) == "fe80::9 is tentative"


def test_the_other_family_decides_nothing() -> None:
    interfaces = node((2, "fe80::9", 64, 0), (2, "192.168.122.101", 24, 0))
    assert interfaces.source(2, VIP) == packed("192.168.122.101")
    assert interfaces.source(2, VIP_V6) == packed("fe80::9")


def test_without_a_name_it_is_the_interface_whose_prefix_holds_the_first_address_that_is_not_link_local() -> None:
    interfaces = node((2, "fe80::2", 64, 0), (3, "fe80::3", 64, 0), (3, "2001:db8::101", 64, 0))
    link, _ = interfaces.find(None, (IPv6Interface("fe80::200/64"), *VIP_V6))
    assert link is not None
    assert link.name == "eth1"
    assert interfaces.find(None, (IPv6Interface("fe80::200/64"),))[1] == (
        "fe80::200 is link-local: the interface must be named"
    )
    assert interfaces.find(None, (IPv6Interface("2001:db8:1::1/64"),))[1] == (
        "no interface has a subnet with 2001:db8:1::1 in it; there are eth1 2001:db8::101/64"
    )


def test_to_peers_the_source_is_on_their_subnet() -> None:
    interfaces = node(
        (2, "10.0.0.1", 24, 0), (2, "192.168.122.101", 24, 0), (2, "fe80::9", 64, 0), (2, "2001:db8::101", 64, 0)
    )
    vip = (IPv4Interface("10.0.0.200/24"),)
    assert interfaces.source(2, vip, (packed("192.168.122.102"),)) == packed("192.168.122.101")
    assert interfaces.source(2, VIP_V6, (packed("2001:db8::102"),)) == packed("2001:db8::101")
    assert interfaces.source(2, VIP_V6, (packed("fe80::2"),)) == packed("fe80::9")


def test_to_peers_elsewhere_the_source_is_at_least_of_their_scope() -> None:
    interfaces = node((2, "fe80::9", 64, 0), (2, "2001:db8::101", 128, 0))
    assert interfaces.source(2, VIP_V6, (packed("2001:db8:7::102"),)) == packed("2001:db8::101")
    assert node((2, "fe80::9", 64, 0)).source(2, VIP_V6, (packed("2001:db8::102"),)) is None


def test_of_addresses_that_the_others_know_one_is_the_source_or_none() -> None:
    interfaces = node((2, "192.168.122.101", 24, 0), (2, "192.168.122.111", 24, 0))

    assert interfaces.source(2, VIP, among=[packed("192.168.122.111")]) == packed("192.168.122.111")
    assert interfaces.source(2, VIP, among=[packed("192.168.122.112")]) is None


def test_the_tables_by_interface_by_subnet_and_by_address_agree_whatever_comes_and_goes() -> None:
    chosen = random.Random(1)
    interfaces = node()
    for _ in range(2000):
        ip, index = f"192.168.{chosen.randrange(3)}.{chosen.randrange(4)}", chosen.choice((1, 2, 3))
        address = Address(index, packed(ip), chosen.choice((24, 32)), chosen.choice((0, TAG)))
        if chosen.random() < 0.5:
            interfaces.put(address)
        else:
            interfaces.drop(address)
        there = list(interfaces.addresses.values())
        for index in (1, 2, 3):
            on_it = [one for one in there if one.index == index]
            assert sorted(interfaces.on_interface(index), key=key_of) == sorted(on_it, key=key_of)
        assert {key_of(one) for one in interfaces._subnets.values()} == {
            key_of(one) for one in there if one.prefix_length < 32
        }


def test_the_first_address_of_an_interface_stays_its_first_when_it_is_told_again() -> None:
    interfaces = node((2, "192.168.122.101", 24, 0), (2, "192.168.122.102", 24, 0))
    interfaces.put(Address(2, packed("192.168.122.101"), 24, 0, unusable=""))
    assert [one.ip for one in interfaces.on_interface(2)] == [packed("192.168.122.101"), packed("192.168.122.102")]
