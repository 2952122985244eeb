"""Which of two VirtualIPs goes on that want the same VRID or address of a segment (RFC 9568, section 5.2.3)."""

from typing import Any

import pytest

from virtualip_api.virtual_ip import parse_spec
from virtualip_operator.claims import Claim, Claimant, Clash, Contest, ask_of, running_claims

NODES = frozenset({"a", "b", "c"})


def spec(*addresses: str, vrid: int = 51, **fields: object) -> dict[str, Any]:
    return {"addresses": list(addresses) or ["192.0.2.10/32"], "vrid": vrid, **fields}


def claims(told: dict[str, Any], nodes: frozenset[str] = NODES) -> tuple[Claim, ...]:
    return running_claims({"node": node, "spec": told} for node in nodes)


def claimant(
    name: str,
    wanted: dict[str, Any],
    created: int = 1,
    nodes: frozenset[str] = NODES,
    running: dict[str, Any] | None = None,
) -> Claimant:
    """A VirtualIP of the `created`-th second, whose nodes run something else, or nothing yet."""
    return Claimant(
        name,
        f"2026-01-01T00:00:{created:02}Z",
        claims(running, nodes) if running else (),
        ask_of(parse_spec(wanted)),
        lambda: nodes,
    )


def clashes(*claimants: Claimant) -> dict[str, str]:
    """By name of those who do not get what they want: whose it is."""
    contest = Contest(claimants)
    found = {one.name: contest.clash_of(one) for one in claimants}
    return {name: clash.rival for name, clash in found.items() if clash}


def clash(one: dict[str, Any], other: dict[str, Any]) -> Clash | None:
    """Why `other`, the younger one, does not get what it wants."""
    older, younger = claimant("web", one), claimant("db", other, 2)
    return Contest((older, younger)).clash_of(younger)


# What is the same


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (spec("192.0.2.10/32"), spec("192.0.2.11/32"), True),
        (spec("192.0.2.10/32", vrid=51), spec("192.0.2.11/32", vrid=52), False),
        (spec("192.0.2.10/24"), spec("192.0.2.11/25"), True),
        (spec("192.0.2.10/24"), spec("198.51.100.11/24"), False),
        (spec("192.0.2.10/24"), spec("198.51.100.11/32"), True),
        (spec("192.0.2.10/32", interface="eth0"), spec("198.51.100.11/32", interface="eth0"), True),
        (spec("192.0.2.10/24", interface="eth0"), spec("192.0.2.11/24", interface="eth1"), False),
        (spec("192.0.2.10/32", interface="eth0"), spec("192.0.2.11/32"), True),
        (spec("192.0.2.10/32", version=2), spec("192.0.2.11/32", version=3), True),
    ],
    ids=[
        "nothing says that they are apart",
        "two VRIDs",
        "subnets that overlap",
        "subnets that do not",
        "one subnet is not known",
        "the same interface",
        "two interfaces",
        "one interface is not known",
        "whatever the version",
    ],
)
def test_a_vrid_is_one_virtual_routers_on_what_may_be_one_segment(
    one: dict[str, Any], other: dict[str, Any], same: bool
) -> None:
    found = clash(one, other)
    assert (found is not None and found.reason == "VRIDInUse") is same


def test_the_same_address_is_the_same_on_whatever_interface() -> None:
    found = clash(spec("192.0.2.10/24", interface="eth0"), spec("192.0.2.10/32", vrid=52, interface="eth1"))
    assert found == Clash("AddressInUse", "spec.addresses: 192.0.2.10 on a, b, c is VirtualIP web's", "web")


def test_nodes_in_common_are_what_counts() -> None:
    web = claimant("web", spec(), nodes=frozenset({"a", "b"}))
    assert clashes(web, claimant("db", spec(), 2, nodes=frozenset({"c", "d"}))) == {}
    assert clashes(web, claimant("db", spec(), 2, nodes=frozenset({"b", "c"}))) == {"db": "web"}


def test_the_message_says_whose_it_is_where_and_what_to_do() -> None:
    found = clash(spec("192.0.2.10/32"), spec("198.51.100.10/32"))
    assert found is not None
    assert found.message == (
        "spec.vrid: 51 on a, b, c is VirtualIP web's; if they are on different segments, name spec.interface in both"
    )
    found = clash(spec("192.0.2.10/32", interface="eth0"), spec("198.51.100.10/32", interface="eth0"))
    assert found is not None
    assert found.message == "spec.vrid: 51 on a, b, c is VirtualIP web's"


def test_of_many_nodes_a_message_names_three() -> None:
    nodes = frozenset(f"server{number:02}" for number in range(1, 17))
    older, younger = claimant("web", spec(), nodes=nodes), claimant("db", spec(), 2, nodes=nodes)
    found = Contest((older, younger)).clash_of(younger)
    assert found is not None
    assert "on server01, server02, server03 and 13 more is" in found.message


# Who goes on


def test_of_two_new_ones_the_older_goes_on() -> None:
    assert clashes(claimant("web", spec(), 2), claimant("db", spec(), 1)) == {"web": "db"}


def test_of_two_of_the_same_second_the_name_decides() -> None:
    assert clashes(claimant("web", spec()), claimant("db", spec())) == {"web": "db"}


def test_what_runs_goes_on_though_an_older_one_is_edited_to_want_it() -> None:
    older = claimant("web", spec("192.0.2.11/32", vrid=52), 1, running=spec("192.0.2.10/32", vrid=52))
    younger = claimant("db", spec("192.0.2.11/32"), 2, running=spec("192.0.2.11/32"))
    assert clashes(older, younger) == {"web": "db"}


def test_of_two_that_both_run_it_already_the_older_goes_on_and_may_be_edited() -> None:
    older = claimant("web", spec("192.0.2.12/32"), 1, running=spec("192.0.2.10/32"))
    younger = claimant("db", spec("192.0.2.11/32"), 2, running=spec("192.0.2.11/32"))
    assert clashes(older, younger) == {"db": "web"}


def test_two_that_want_to_change_places_are_both_refused() -> None:
    one = claimant("web", spec("192.0.2.11/32", vrid=1), 1, running=spec("192.0.2.10/32", vrid=1))
    other = claimant("db", spec("192.0.2.10/32", vrid=2), 2, running=spec("192.0.2.11/32", vrid=2))
    assert clashes(one, other) == {"web": "db", "db": "web"}
    found = Contest([one, other]).clash_of(one)
    assert found is not None
    assert found.message.endswith("db's, which wants what this one has: give one of them something else in between")


def test_what_an_older_one_cannot_have_itself_is_free() -> None:
    """`web` wants what `proxy` has, and so gets nothing of what it wants; `db` is not to wait for that."""
    proxy = claimant("proxy", spec("192.0.2.10/32"), 3, running=spec("192.0.2.10/32"))
    web = claimant("web", spec("192.0.2.10/32", "192.0.2.11/32", vrid=52), 1)
    db = claimant("db", spec("192.0.2.11/32", vrid=53), 2)
    assert clashes(proxy, web, db) == {"web": "proxy"}
    assert clashes(web, db) == {"db": "web"}


def test_what_runs_of_one_that_is_gone_counts_until_its_members_are_gone_too() -> None:
    gone = Claimant("gone", "", claims(spec()))
    assert clashes(gone, claimant("web", spec())) == {"web": "gone"}


def test_what_cannot_be_followed_wants_nothing() -> None:
    assert clashes(Claimant("wrong", ""), claimant("web", spec())) == {}
    assert clashes(claimant("nobody", spec(), nodes=frozenset()), claimant("web", spec(), 2)) == {}


def test_members_of_an_edit_under_way_all_count() -> None:
    members = [{"node": "a", "spec": spec("192.0.2.11/32")}, {"node": "b", "spec": spec("192.0.2.10/32")}]
    half = Claimant("web", "2026-01-01T00:00:01Z", running_claims(members), ask_of(parse_spec(spec("192.0.2.11/32"))))
    one, other = claimant("db", spec("192.0.2.11/32", vrid=1), 2), claimant("api", spec("192.0.2.10/32", vrid=2), 2)
    assert clashes(half, one, other) == {"db": "web", "api": "web"}


def test_a_member_that_cannot_be_read_claims_nothing() -> None:
    assert running_claims([{"node": "a", "spec": {"addresses": ["toy"], "vrid": 1}}, {"node": "b", "spec": {}}]) == ()


def test_a_hundred_that_all_want_the_same_are_judged_at_once() -> None:
    holder = claimant("holder", spec(), 59, running=spec())
    many = [claimant(f"vip{number}", spec(), 1) for number in range(100)]
    assert clashes(holder, *many) == {one.name: "holder" for one in many}
