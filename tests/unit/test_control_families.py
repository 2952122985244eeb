"""One VirtualIP of both families: two virtual routers down to vrrp, one state up from it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from virtualip_agent.control.compile import compile_routers
from virtualip_agent.control.families import VirtualIPStates, merge
from virtualip_agent.control.history import History, read_history
from virtualip_agent.control.instance import Instance, Source
from virtualip_agent.ipc import LARGEST_MESSAGE, RouterConfig, RouterState, SetRouter, encode
from virtualip_api.status import FamilyStatus, State
from virtualip_api.virtual_ip import parse_spec

BOTH = ["192.0.2.10/32", "2001:db8::10/64"]


def routers(**changes: Any) -> dict[str, RouterConfig]:
    spec = parse_spec({"addresses": BOTH, "vrid": 51, "interface": "eth0"} | changes.pop("spec", {}))
    instance = Instance("web", Source.DESIRED, spec, 100, members=("192.0.2.102", "2001:db8::102"))
    return compile_routers(replace(instance, **changes))


def state(family: str, word: str, since: float = 1.0, reason: str = "", message: str = "", **more: Any) -> RouterState:
    return RouterState(f"web/{family}", word, 100, reason, message, since, **more)


# ---- down


def test_each_family_is_a_router_of_the_same_vrid_bound_to_the_other() -> None:
    made = routers()
    assert {name: config.addresses for name, config in made.items()} == {
        "web/IPv4": ("192.0.2.10/32",),
        "web/IPv6": ("2001:db8::10/64",),
    }
    assert {(config.vrid, config.group, config.name) for config in made.values()} == {
        (51, "vip:web", "web/IPv4"),
        (51, "vip:web", "web/IPv6"),
    }
    assert {config.members for config in made.values()} == {("192.0.2.102",), ("2001:db8::102",)}


def test_both_are_in_the_virtual_ips_sync_group_where_it_has_one() -> None:
    assert {config.group for config in routers(spec={"syncGroup": "edge"}).values()} == {"edge"}


@pytest.mark.parametrize("addresses", [BOTH[:1], BOTH[1:]], ids=["IPv4", "IPv6"])
def test_one_family_is_one_router_of_the_virtual_ips_name_in_no_group(addresses: list[str]) -> None:
    made = routers(spec={"addresses": addresses})
    assert [(name, config.name, config.group) for name, config in made.items()] == [("web", "web", "")]


def test_by_multicast_the_source_is_free_and_by_unicast_one_that_the_others_know() -> None:
    assert {config.sources for config in routers().values()} == {None}
    known = routers(spec={"transport": "Unicast"}, own_addresses=("192.0.2.101", "2001:db8::101"))
    assert {config.sources for config in known.values()} == {("192.0.2.101",), ("2001:db8::101",)}


def test_a_family_of_which_the_others_know_no_address_has_no_source() -> None:
    made = routers(spec={"transport": "Unicast"}, own_addresses=("192.0.2.101",))
    assert made["web/IPv6"].sources == ()


def test_strict_peers_hear_a_member_by_its_known_address_alone() -> None:
    strict = {"strictPeers": True, "addresses": BOTH[:1]}
    (config,) = routers(spec=strict, own_addresses=("192.0.2.101",)).values()
    assert (config.strict_peers, config.sources) == (True, ("192.0.2.101",))


def test_what_is_named_for_a_node_is_its_source_also_by_multicast() -> None:
    made = routers(own_addresses=("192.0.2.7", "2001:db8::101"), named_addresses=("192.0.2.7",))
    assert (made["web/IPv4"].sources, made["web/IPv6"].sources) == (("192.0.2.7",), None)


def test_as_many_addresses_as_there_may_be_fit_in_a_message_to_vrrp() -> None:
    many = [f"2001:db8:aaaa:bbbb:cccc:dddd:eeee:{number:x}/128" for number in range(1, 256)]
    (config,) = routers(spec={"addresses": many}).values()
    assert len(config.addresses) == len(config.announcements) == 255
    assert len(encode(SetRouter(config))) < LARGEST_MESSAGE / 2


# ---- up


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("MASTER", "MASTER", "MASTER"),
        ("MASTER", "BACKUP", "BACKUP"),
        ("BACKUP", "BACKUP", "BACKUP"),
        ("MASTER", "FAULT", "FAULT"),
        ("BACKUP", "FAULT", "FAULT"),
    ],
)
def test_it_is_master_when_both_are_and_fault_when_either_is(one: str, other: str, together: str) -> None:
    for ipv4, ipv6 in ((one, other), (other, one)):
        assert merge("web", [state("IPv4", ipv4), state("IPv6", ipv6)]).state == together


def test_a_fault_is_told_by_the_family_that_has_it() -> None:
    merged = merge(
        "web",
        [
            state("IPv4", "FAULT", reason="SyncGroup", message="web/IPv6: eth0 has no link-local address"),
            state("IPv6", "FAULT", reason="LinkDown", message="eth0 has no link-local address"),
        ],
    )
    assert (merged.name, merged.reason, merged.message) == ("web", "LinkDown", "IPv6: eth0 has no link-local address")


def test_what_both_say_is_said_once() -> None:
    merged = merge("web", [state(family, "MASTER", message="244 + httpd 10") for family in ("IPv4", "IPv6")])
    assert merged.message == "244 + httpd 10"


def test_addresses_and_sources_are_those_of_both() -> None:
    merged = merge(
        "web",
        [
            state("IPv4", "MASTER", addresses=("192.0.2.10/32",), source="192.0.2.101", takeover=5),
            state("IPv6", "MASTER", addresses=("2001:db8::10/128",), source="fe80::1", takeover=7),
        ],
    )
    assert merged.addresses == ("192.0.2.10/32", "2001:db8::10/128")
    assert merged.source == "192.0.2.101, fe80::1"
    assert merged.takeover == 7


class Said:
    """What vrrp says, one router after the other."""

    def __init__(self) -> None:
        self.routers: dict[str, RouterState] = {}
        self.states = VirtualIPStates(self.routers)
        self.states.expect({"web": ("web/IPv4", "web/IPv6")})

    def say(self, *said: RouterState) -> list[tuple[str, float] | None]:
        """State and since after each of them."""
        found = []
        for one in said:
            self.routers[one.name] = one
            merged = self.states.refresh("web")
            found.append(None if merged is None else (merged.state, merged.since))
        return found


def test_nothing_is_said_before_both_have_spoken() -> None:
    assert Said().say(state("IPv4", "BACKUP"), state("IPv6", "BACKUP")) == [None, ("BACKUP", 1.0)]


def test_the_second_of_two_that_moves_is_no_other_event() -> None:
    """Notify commands and the history tell one event from another by state and time."""
    said = Said()
    said.say(state("IPv4", "BACKUP", 1.0), state("IPv6", "BACKUP", 1.0))
    assert said.say(state("IPv4", "MASTER", 2.0), state("IPv6", "MASTER", 2.1)) == [("BACKUP", 1.0), ("MASTER", 2.1)]
    assert said.say(state("IPv6", "FAULT", 3.0), state("IPv4", "FAULT", 3.1)) == [("FAULT", 3.0), ("FAULT", 3.0)]
    assert said.say(state("IPv6", "BACKUP", 4.0), state("IPv4", "BACKUP", 4.0)) == [("FAULT", 3.0), ("BACKUP", 4.0)]


def test_a_restarted_control_takes_the_same_for_the_event() -> None:
    """It has the routers' last words alone, and must come to the same time."""
    for word, since in (("MASTER", 2.1), ("BACKUP", 2.0), ("FAULT", 2.0)):
        assert Said().say(state("IPv4", word, 2.0), state("IPv6", word, 2.1))[-1] == (word, since)


def test_each_familys_own_state_is_beside_the_merged_one() -> None:
    said = Said()
    said.say(state("IPv4", "FAULT", reason="SyncGroup"), state("IPv6", "FAULT", reason="LinkDown", message="x"))
    assert said.states.families("web") == (
        FamilyStatus("IPv4", State.FAULT, "SyncGroup"),
        FamilyStatus("IPv6", State.FAULT, "LinkDown", "x"),
    )


def test_an_only_router_has_no_families_beside_it() -> None:
    states = VirtualIPStates({"web": RouterState("web", "MASTER", 100, "", "", 1.0)})
    states.expect({"web": ("web",)})
    assert states.families("web") == ()
    assert states.all["web"].state == "MASTER"


def test_one_that_is_withdrawn_is_told_as_long_as_a_router_is_left() -> None:
    said = Said()
    said.say(state("IPv4", "MASTER"), state("IPv6", "MASTER"))
    said.states.expect({})
    del said.routers["web/IPv4"]
    assert said.states.refresh("web") is not None
    del said.routers["web/IPv6"]
    assert said.states.refresh("web") is None
    assert said.states.all == {}


def test_one_that_is_withdrawn_ends_with_its_last_router_and_enters_no_other_state_before() -> None:
    """Each half leaves when it hears its own successor: the other is still MASTER then."""
    said = Said()
    said.say(state("IPv4", "MASTER", 5.0), state("IPv6", "MASTER", 5.001))
    said.states.expect({})
    assert said.say(state("IPv6", "BACKUP", 9.0, "Stopped")) == [("BACKUP", 9.0)]
    del said.routers["web/IPv6"]
    left = said.states.refresh("web")
    assert left is not None
    assert (left.state, left.reason, left.since) == ("BACKUP", "Stopped", 9.0)
    assert said.say(state("IPv4", "BACKUP", 9.001, "Stopped")) == [("BACKUP", 9.0)]
    del said.routers["web/IPv4"]
    assert said.states.refresh("web") is None


def test_one_that_is_wanted_again_while_it_leaves_is_known_when_both_have_spoken() -> None:
    said = Said()
    said.say(state("IPv4", "MASTER", 5.0), state("IPv6", "MASTER", 5.001))
    said.states.expect({})
    said.say(state("IPv6", "BACKUP", 9.0, "Stopped"))
    del said.routers["web/IPv6"]
    said.states.expect({"web": ("web/IPv4", "web/IPv6")})
    assert said.say(state("IPv4", "BACKUP", 9.5)) == [None]
    assert said.say(state("IPv6", "BACKUP", 9.6)) == [("BACKUP", 9.5)]


def test_the_history_of_one_that_is_withdrawn_says_once_that_it_stopped(tmp_path: Path) -> None:
    said, told = Said(), History(tmp_path / "history.jsonl")
    for one in (state("IPv4", "MASTER", 5.0), state("IPv6", "MASTER", 5.001)):
        said.say(one)
    told.transition(said.states.all["web"])
    said.states.expect({})
    for family, since in (("IPv6", 9.0), ("IPv4", 9.001)):
        said.say(state(family, "BACKUP", since, "Stopped"))
        told.transition(said.states.all["web"])
        del said.routers[f"web/{family}"]
        if left := said.states.refresh("web"):
            told.transition(left)
    told.gone("web")
    moves = [(record["from"], record["to"]) for record in read_history(tmp_path / "history.jsonl")]
    assert moves == [("STOP", "MASTER"), ("MASTER", "BACKUP"), ("BACKUP", "STOP")]
