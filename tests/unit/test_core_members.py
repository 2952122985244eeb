"""Members are known: an edit that has reached half of the nodes must not make two MASTERs."""

from dataclasses import replace
from typing import Any

import pytest

from one_router import OneRouter, host
from virtual_lan import VirtualLan
from virtualip_agent.vrrp import effects as fx
from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.packet import Advertisement, Drop
from virtualip_agent.vrrp.timing import MILLISECOND, SECOND

PASSWORD = b"12345\0\0\0"


@pytest.mark.parametrize(("differs", "text"), [
    ({"authentication": b"54321\0\0\0"}, "password"),
    ({"authentication": b""}, "password"),
    ({"interval": 2.0}, "interval 2s"),
    ({"addresses": frozenset({host(201)})}, "addresses"),
    ({"authentication": b"", "interval": 3.0}, "password, interval 3s"),
])  # fmt: skip
def test_a_members_mismatch_is_reported_and_still_counts_as_life_and_priority(
    differs: dict[str, Any], text: str
) -> None:
    router = OneRouter(version=2, authentication=PASSWORD)
    router.until(1)
    router.hear(200, 102, **differs)
    assert router.core.mismatches == {host(102): text}
    assert router.core.drops == {"mismatch": 1}
    assert router.deadline >= 1 + 3 + 156 / 256
    assert router.core.master == host(102)


def test_with_strict_peers_only_members_are_heard_and_a_foreign_sender_is_told_for_as_long_as_it_speaks() -> None:
    router = OneRouter(strict_peers=True)
    for moment in (1, 2, 3):
        router.until(moment)
        router.hear(200, 250)
    assert router.core.foreign == {host(250): "is no member (priority 200)"}
    assert router.core.drops == {"drop_unknown_sender": 3}
    router.until(4)
    assert (router.state, router.reason) == ("MASTER", "NoMaster")
    router.hear(200, 250)
    assert router.state == "MASTER"
    router.hear(200, 102)
    assert router.state == "BACKUP"
    router.until(20)
    assert router.core.foreign == {}


def test_without_it_a_foreign_sender_is_heard_by_the_rfcs_rules() -> None:
    router = OneRouter()
    router.hear(200, 250)
    assert (router.core.master, router.core.foreign) == (host(250), {})


def test_our_own_address_heard_from_elsewhere_is_an_alarm_and_counts_for_nothing() -> None:
    router = OneRouter()
    router.become_master()
    router.hear(255, 101)
    assert router.state == "MASTER"
    assert router.core.foreign == {host(101): "is our own address"}
    assert router.core.drops == {"drop_own_address": 1}
    router.until(router.now / SECOND + 10)
    assert router.core.foreign == {}


def test_a_flood_of_made_up_senders_is_counted_and_told_of_the_first() -> None:
    router = OneRouter(strict_peers=True)
    for number in range(2, 250):
        if number != 101 and number != 102:
            router.hear(200, number)
    assert len(router.core.foreign) == 8
    assert router.core.drops == {"drop_unknown_sender": 246}
    assert len(router.log) < 20


def test_it_is_gone_when_the_member_agrees_again() -> None:
    router = OneRouter(version=2, authentication=PASSWORD)
    router.hear(200, 102, authentication=b"")
    router.hear(200, 102)
    assert router.core.mismatches == {}


def test_and_when_the_member_is_silent_as_nobody_can_tell_then() -> None:
    router = OneRouter(version=2, authentication=PASSWORD)
    router.become_master()
    router.hear(50, 102, authentication=b"")
    assert router.core.mismatches
    router.until(router.now / SECOND + 5)
    assert router.core.mismatches == {}


def test_and_when_it_is_no_member_any_more() -> None:
    router = OneRouter(version=2, authentication=PASSWORD)
    router.hear(200, 102, authentication=b"")
    router.tell(ev.SettingsChanged(replace(router.core.settings, members=frozenset({host(101)}))))
    assert router.core.mismatches == {}


def test_a_list_of_which_only_a_part_fits_into_a_packet_is_compared_with_that_part() -> None:
    named = frozenset({host(200)})
    router = OneRouter(addresses=frozenset({host(200), host(201)}), advertised=named)
    router.hear(200, 102, addresses=named)
    assert router.core.mismatches == {}
    router.hear(200, 102, addresses=frozenset({host(201)}))
    assert router.core.mismatches == {host(102): "addresses"}


def test_a_strangers_mismatch_is_counted_and_not_a_members_matter() -> None:
    router = OneRouter(version=2)
    router.hear(200, 9, interval=2)
    assert router.core.mismatches == {}


@pytest.mark.parametrize(("version", "change"), [
    (2, {"authentication": b"54321\0\0\0"}),
    (2, {"advert_interval": 5 * SECOND}),
    (3, {"advert_interval": 5 * SECOND}),
    (3, {"advert_interval": 100 * MILLISECOND}),
    (3, {"addresses": frozenset({host(200), host(201)})}),
    (3, {"preempt": False}),
])  # fmt: skip
@pytest.mark.parametrize("first", [0, 1, 2])
@pytest.mark.parametrize("moment", [0.05, 0.5, 0.95])
def test_an_edit_reaches_the_nodes_one_after_the_other_and_there_is_one_master_all_the_while(
    version: int, change: dict[str, Any], first: int, moment: float
) -> None:
    lan = VirtualLan(version=version)
    nodes = [lan.node(f"server{index}", base_priority=base) for index, base in enumerate((244, 240, 100), 1)]
    lan.run_until(10 + moment)
    for turn in range(3):
        lan.edit(nodes[(first + turn) % 3], **change)
        lan.run(20)
        assert lan.masters() == ["server1"]
    assert lan.holders() == ["server1"]
    assert lan.longest_gap(since=9) == 0
    assert not any("server2 puts" in line or "server3 puts" in line for line in lan.transcript)


@pytest.mark.parametrize("version", [2, 3])
def test_nor_when_the_interval_is_shortened_and_the_backup_hears_of_it_first(version: int) -> None:
    lan = VirtualLan(version=version, advert_interval=5 * SECOND)
    server1, server2 = lan.node("server1", base_priority=244), lan.node("server2", base_priority=240)
    lan.run_until(30.5)
    lan.edit(server2, advert_interval=SECOND)
    lan.run(60)
    assert not any("server2 puts" in line for line in lan.transcript)
    lan.edit(server1, advert_interval=SECOND)
    lan.run(5)
    lan.power_off(server1)
    lan.run(3.1)
    assert lan.masters() == ["server2"]


def test_one_lost_packet_after_the_interval_was_lengthened_is_no_silence() -> None:
    lan = VirtualLan()
    server1 = lan.node("server1", base_priority=244)
    lan.node("server2", base_priority=240)
    lan.run_until(10.5)
    lan.lose = {sum("advertises" in line for line in lan.transcript)}
    lan.edit(server1, advert_interval=20 * SECOND)
    lan.run(60)
    assert lan.masters() == ["server1"]
    assert not any("server2 puts" in line for line in lan.transcript)


@pytest.mark.parametrize("version", [2, 3])
def test_a_master_whose_interval_was_shortened_has_not_overslept_and_stays(version: int) -> None:
    """A lower one that stood up meanwhile is heard just after the edit."""
    router = OneRouter(version=version, base_priority=200, advert_interval=5 * SECOND)
    router.become_master()
    router.until(router.now / SECOND + 4.5)
    router.edit(advert_interval=SECOND)
    router.until(router.now / SECOND + 0.1)
    assert router.hear(100) == [fx.SendGratuitousArp(), fx.SendAdvertisement(200)]
    assert router.state == "MASTER"


def test_what_is_dropped_says_nothing_of_what_differs() -> None:
    """Found by fuzzing: a member's advertisement of another version made the difference in its others forgotten."""
    router = OneRouter()
    router.hear(200, addresses=frozenset({host(201)}))
    router.tell(ev.Heard(Advertisement(2, 51, 200, SECOND, router.core.settings.addresses), host(102)))
    assert router.core.drops[Drop.VERSION] == 1
    assert router.core.mismatches == {host(102): "addresses"}
