"""The witness's judgement, the survey's filter and memory: without a network."""

from dataclasses import replace
from ipaddress import ip_address

import msgspec
import pytest

from kernel_filter import lets_through
from virtualip_agent import bpf, ipc
from virtualip_agent.control.witness.answers import judge, solicited_node
from virtualip_agent.control.witness.hearing import Hearing
from virtualip_agent.control.witness.listen import Overheard
from virtualip_agent.control.witness.post import IPAddress, Post, post_of
from virtualip_agent.control.witness.steadiness import Steadiness
from virtualip_agent.control.witness.strangers import MOST, OVER_AFTER, TOLD_AFTER, Strangers
from virtualip_agent.control.witness.survey_filter import program
from virtualip_api.duration import SECOND as NANOSECONDS
from virtualip_api.status import Observation

VIP, OWN, SECOND, THIRD, FOREIGN = (ip_address(f"192.0.2.{number}") for number in (200, 101, 102, 103, 9))
M1, M2, M3, M9 = (f"02:00:00:00:00:{number:02x}" for number in (1, 2, 3, 9))
OWNERS = {M2: SECOND, M3: THIRD}
OTHERS = frozenset({SECOND, THIRD})
POST = Post("web", 51, "eth0", frozenset({VIP}), OWN, OTHERS, OTHERS, False, SECOND, 3)
MASTER = replace(POST, is_master=True, master=None)


def verdict(post: Post, *macs: str, hears: bool | None = False) -> set[tuple[str, str]]:
    """(kind, address) of what follows when these answer."""
    answers = {VIP: frozenset(macs)} if macs else {}
    return {(str(one.kind), one.address) for one in judge(post, answers, OWNERS, lambda _: hears)}


# ---- who answers


def test_the_master_that_is_heard_may_answer_and_nobody_must() -> None:
    assert verdict(POST, M2) == set()
    assert verdict(POST) == set()
    assert verdict(MASTER) == set()


def test_another_member_beside_the_master_is_two_holders_also_where_the_master_does_not_answer() -> None:
    assert verdict(POST, M2, M3) == {("TwoHolders", str(THIRD))}
    assert verdict(POST, M3) == {("TwoHolders", str(THIRD))}


def test_who_is_no_member_is_a_stranger_with_its_hardware_address() -> None:
    assert verdict(POST, M2, M9) == {("Stranger", M9)}
    assert verdict(MASTER, M9) == {("Stranger", M9)}


def test_a_member_that_answers_and_is_not_heard_is_filtered() -> None:
    assert verdict(MASTER, M2, hears=False) == {("AdvertisementsFiltered", str(SECOND))}
    assert verdict(replace(POST, master=None), M3) == {("AdvertisementsFiltered", str(THIRD))}


def test_one_that_is_heard_and_holds_the_address_all_the_same_does_not_hear_us() -> None:
    assert verdict(MASTER, M2, hears=True) == {("TwoHolders", str(SECOND))}


def test_a_master_waits_until_the_counters_tell_which_it_is() -> None:
    assert verdict(MASTER, M2, hears=None) == set()


def test_the_virtual_routers_own_hardware_address_is_the_masters() -> None:
    """RFC 9568, section 7.3."""
    assert verdict(POST, "00:00:5e:00:01:33") == set()
    assert verdict(POST, "00:00:5e:00:01:34") == {("Stranger", "00:00:5e:00:01:34")}


def test_a_static_manifest_knows_no_members_and_says_so() -> None:
    (found,) = judge(replace(POST, members=frozenset()), {VIP: frozenset({M9})}, {M2: SECOND}, lambda _: None)
    assert found.message == f"answers for {VIP} and is not the MASTER that is heard"


def test_an_answer_for_another_address_is_nobodys_business() -> None:
    assert judge(POST, {FOREIGN: frozenset({M9})}, OWNERS, lambda _: None) == frozenset()


def test_whether_a_member_is_heard_is_told_by_counts_three_intervals_apart() -> None:
    hearing = Hearing()
    assert hearing.hears(POST, SECOND) is None
    hearing.count({"web": {"received_from_192.0.2.102": 5}}, 0.0)
    assert hearing.hears(POST, SECOND) is None
    hearing.count({"web": {"received_from_192.0.2.102": 6}}, 1.0)
    assert hearing.hears(POST, SECOND) is True
    assert hearing.hears(POST, THIRD) is None
    hearing.count({"web": {"received_from_192.0.2.102": 6}}, 4.0)
    assert hearing.hears(POST, SECOND) is False
    assert hearing.hears(POST, THIRD) is False
    assert hearing.hears(replace(POST, interval=10.0), THIRD) is None
    assert hearing.hears(replace(POST, name="other"), THIRD) is None
    hearing.count(None, 5.0)
    assert hearing.hears(POST, SECOND) is None


def test_what_is_seen_once_is_not_told_and_what_is_missed_once_is_not_taken_back() -> None:
    seen, nothing = frozenset(judge(POST, {VIP: frozenset({M9})}, OWNERS, lambda _: None)), frozenset[Observation]()
    steady = Steadiness()
    told = []
    for what in (seen, nothing, seen, seen, nothing, nothing, seen, nothing, nothing, nothing):
        steady.round(what)
        told.append(bool(steady.told))
    assert told == [False, False, False, True, True, True, True, True, True, False]


def test_a_post_is_made_of_what_vrrp_runs_and_says() -> None:
    config = ipc.RouterConfig(
        "web/ipv4",
        51,
        3,
        None,
        ("192.0.2.200/24",),
        100,
        NANOSECONDS,
        members=("192.0.2.102", "2001:db8::1"),
        lifetime=5,
    )
    state = ipc.RouterState("web/ipv4", "BACKUP", 100, "", "", 0.0, "eth0", str(OWN), master=str(SECOND))
    post = post_of(config, state)
    assert post == Post(
        "web/ipv4", 51, "eth0", frozenset({VIP}), OWN, frozenset({SECOND}), frozenset({SECOND}), False, SECOND, 5
    )
    assert post is not None
    assert post.virtual_ip == "web"
    assert post_of(config, ipc.RouterState("web", "FAULT", 100, "NoInterface", "", 0.0)) is None


def test_of_ipv6_the_plan_does_not_know_from_where_the_members_advertise() -> None:
    """RFC 9568, section 5.1.2.1: from their link-local addresses; unicast goes between those of the plan."""
    config = ipc.RouterConfig(
        "web/IPv6", 51, 3, None, ("2001:db8::200/64",), 100, NANOSECONDS // 10, members=("192.0.2.102", "2001:db8::102")
    )
    state = ipc.RouterState("web/IPv6", "MASTER", 100, "", "", 0.0, "eth0", "fe80::1")
    post = post_of(config, state)
    unicast = post_of(msgspec.structs.replace(config, transport="Unicast"), state)
    assert post is not None
    assert unicast is not None
    assert post.members == unicast.members == unicast.senders == {ip_address("2001:db8::102")}
    assert post.senders == frozenset()
    # so whoever is heard may be the member that answers
    hearing = Hearing()
    for count in (5, 6):
        hearing.count({"web/IPv6": {"received_from_fe80::2": count}}, count)
    assert hearing.hears(post, ip_address("2001:db8::102")) is True
    assert hearing.hears(unicast, ip_address("2001:db8::102")) is False


def test_of_many_members_the_master_and_three_others_ask() -> None:
    sixteen = [ip_address(f"192.0.2.{number}") for number in range(101, 117)]
    posts = [replace(POST, source=own, members=frozenset(sixteen) - {own}) for own in sixteen]
    assert [post.asks for post in posts] == [True] * 3 + [False] * 13
    assert replace(posts[15], is_master=True).asks
    assert replace(posts[15], members=frozenset()).asks


def test_the_group_where_an_ipv6_address_is_asked_for() -> None:
    """RFC 4291, section 2.7.1, with its own example."""
    asked = ip_address("4037::01:800:200e:8c6c")
    assert asked.version == 6
    assert solicited_node(asked) == ip_address("ff02::1:ff0e:8c6c")


# ---- what is overheard


def passes(packet: bytes, vrids: set[int], known: set[bytes]) -> bool:
    return lets_through(lambda receiver: bpf.attach(receiver, program(4, vrids, known)), packet)


def ipv4(source: IPAddress, vrid: int, ttl: int = 255, options: int = 0) -> bytes:
    header = bytearray(20 + options)
    header[0], header[8], header[12:16] = 0x40 | len(header) // 4, ttl, source.packed
    return bytes(header) + bytes([0x31, vrid, 100, 1, 0, 100, 0, 0])


@pytest.mark.parametrize("vrids", [{51}, set(range(1, 256)) - {77}])
def test_the_members_talk_is_kept_out_and_everything_else_comes_through(vrids: set[int]) -> None:
    known = {address.packed for address in (OWN, SECOND, THIRD)}
    for member in (OWN, SECOND, THIRD):
        assert not passes(ipv4(member, 51), vrids, known)
        assert not passes(ipv4(member, 51, options=4), vrids, known)
    assert passes(ipv4(SECOND, 77), vrids, known)
    assert passes(ipv4(FOREIGN, 51), vrids, known)
    assert passes(ipv4(SECOND, 51, ttl=64), vrids, known)
    assert passes(ipv4(SECOND, 51), vrids, set())


def overheard(
    source: IPAddress, vrid: int = 51, ttl: int = 255, addresses: frozenset[IPAddress] = frozenset({VIP})
) -> Overheard:
    return Overheard(source, ttl, vrid, 100, addresses)


def test_who_uses_our_vrid_is_told_when_it_has_gone_on_and_forgotten_when_it_is_over() -> None:
    strangers = Strangers()
    strangers.heard("eth0", overheard(FOREIGN, addresses=frozenset({FOREIGN})), 0.0)
    assert strangers.at(POST) == frozenset()
    strangers.heard("eth0", overheard(FOREIGN, addresses=frozenset({FOREIGN})), TOLD_AFTER)
    (found,) = strangers.at(POST)
    assert (str(found.kind), found.address) == ("ForeignRouter", str(FOREIGN))
    assert found.message == f"advertises VRID 51 for {FOREIGN} and is no member"
    assert strangers.others([POST]) == ()
    assert strangers.at(replace(POST, interface="eth1")) == frozenset()
    strangers.forget(TOLD_AFTER + OVER_AFTER + 1)
    assert strangers.at(POST) == frozenset()


def test_another_vrid_is_no_virtual_ips_matter_and_listed() -> None:
    strangers = Strangers()
    for now in (0.0, 40.0):
        strangers.heard("eth0", overheard(FOREIGN, vrid=77), now)
    assert strangers.at(POST) == frozenset()
    (other,) = strangers.others([POST])
    assert (other.interface, other.vrid, other.address, other.addresses) == ("eth0", 77, str(FOREIGN), str(VIP))


def test_a_members_wrong_ttl_is_told_and_what_it_says_rightly_is_not() -> None:
    strangers = Strangers()
    for now in (0.0, 5.0):
        strangers.heard("eth0", overheard(SECOND, ttl=64), now)
        strangers.heard("eth0", overheard(THIRD), now)
    assert [(str(one.kind), one.address) for one in strangers.at(POST)] == [("WrongTTL", str(SECOND))]


def test_beside_a_static_manifest_only_other_addresses_make_a_foreign_router() -> None:
    strangers = Strangers()
    for now in (0.0, 5.0):
        strangers.heard("eth0", overheard(SECOND), now)
        strangers.heard("eth0", overheard(FOREIGN, addresses=frozenset({FOREIGN})), now)
    found = strangers.at(replace(POST, members=frozenset(), senders=frozenset()))
    assert [one.address for one in found] == [str(FOREIGN)]


def test_who_says_now_this_now_that_changes_what_is_told_of_it_seldom() -> None:
    strangers = Strangers()
    told = []
    for number in range(1200):
        addresses = frozenset({ip_address(0x0A000000 + number)})
        strangers.heard("eth0", overheard(FOREIGN, ttl=number % 256, addresses=addresses), number / 10)
        told += [one.message for one in strangers.at(POST)]
    assert len(set(told)) <= 4


def test_a_flood_of_made_up_senders_is_bounded_and_leaves_room_for_who_goes_on() -> None:
    strangers = Strangers()
    for number in range(10_000):
        strangers.heard("eth0", overheard(ip_address(0x0A000000 + number)), number / 1000)
        if not number % 500:
            strangers.heard("eth0", overheard(FOREIGN), number / 1000)
    assert len(strangers) <= MOST
    assert str(FOREIGN) in {one.address for one in strangers.at(POST)}
