"""Sync groups: MASTER together or not at all, whatever happens to one of them, and without taking turns."""

import itertools
import random
from dataclasses import replace
from typing import Any

import pytest

from group_lan import GroupLan
from one_router import FAILED, OneRouter, host
from virtual_lan import GROUP as GROUP_ADDRESS
from virtual_lan import advertisement_template
from virtualip_agent.vrrp import effects as fx
from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.group_view import Standing
from virtualip_agent.vrrp.packet import stamp
from virtualip_agent.vrrp.priority import Contribution
from virtualip_agent.vrrp.settings import Settings
from virtualip_agent.vrrp.sync_group import SyncGroups
from virtualip_agent.vrrp.timing import SECOND
from virtualip_agent.vrrp.virtual_router import VirtualRouter

HTTPD = frozenset({"httpd"})
RUNS, STOPPED = Contribution(10), Contribution(0, healthy=False)


def two(lan: GroupLan, **settings: Any) -> tuple[str, str]:
    """server1 with 244 and server2 with 240, in all segments."""
    return lan.machine("server1", 244, **settings), lan.machine("server2", 240, **settings)


def alone_with_httpd(lan: GroupLan, base: int) -> str:
    """server1 and nobody else, MASTER of both segments, where httpd runs."""
    server1 = lan.machine("server1", base, trackers=HTTPD)
    for number in (0, 1):
        lan.segments[number].contribute(lan.node(server1, number), httpd=RUNS)
    lan.run_until(10)
    return server1


def test_they_are_master_together_and_a_dead_node_is_followed_in_all_of_them_at_once() -> None:
    lan = GroupLan(3)
    server1, server2 = two(lan)
    lan.run_until(10)
    assert lan.holder() == server1
    lan.power_off(server1)
    lan.run_until(14)
    assert lan.holder() == server2
    taken = {line.split()[0] for line in lan.transitions(since=10.1)}
    assert len(taken) == 1


def test_fault_of_one_is_fault_of_all_and_the_reason_names_it() -> None:
    lan = GroupLan()
    server1, server2 = two(lan)
    lan.run_until(10)
    lan.segments[0].unplug(lan.node(server1, 0))
    lan.run_until(10.05)
    assert lan.node(server1, 1).core.standing.name == "RESIGNING"
    lan.run_until(14)
    assert lan.holder() == server2
    assert [lan.node(server1, number).state for number in (0, 1)] == ["FAULT", "FAULT"]
    (entry,) = [line for line in lan.segments[1].transcript if "server1 is FAULT" in line]
    assert "SyncGroup" in entry
    # it answers there until the other node does, which waits for the segment where nobody resigned
    assert lan.segments[1].longest_gap(since=10) == 0
    lan.segments[0].plug(lan.node(server1, 0))
    lan.run_until(25)
    assert lan.holder() == server1


def test_a_script_that_fails_on_one_moves_all_as_quickly_as_one() -> None:
    lan = GroupLan()
    server1, server2 = two(lan, trackers=HTTPD)
    for name, number in itertools.product((server1, server2), (0, 1)):
        lan.segments[number].contribute(lan.node(name, number), httpd=RUNS)
    lan.run_until(10)
    lan.segments[1].contribute(lan.node(server1, 1), httpd=FAILED)
    lan.run_until(10.2)
    assert lan.holder() == server2
    assert lan.longest_gap(since=10) == 0


def test_who_takes_a_resignation_back_speaks_with_the_priority_of_that_moment() -> None:
    lan = GroupLan()
    server1 = alone_with_httpd(lan, 244)
    lan.segments[1].contribute(lan.node(server1, 1), httpd=FAILED)
    lan.run_until(10.001)
    lan.segments[1].contribute(lan.node(server1, 1), httpd=Contribution(-60))
    lan.run_until(13)
    for segment in lan.segments:
        said = [line.partition("advertises ")[2] for line in segment.transcript if "advertises" in line]
        after = said[said.index("0 (resigns)") :]
        assert after == ["0 (resigns)", *["194"] * (len(after) - 1)]
        assert len(after) > 3


def test_a_weight_counts_for_the_whole_group() -> None:
    lan = GroupLan()
    server1, server2 = two(lan)
    lan.segments[1].edit(lan.node(server1, 1), trackers=HTTPD)
    lan.segments[1].edit(lan.node(server2, 1), trackers=HTTPD)
    for name in (server1, server2):
        lan.segments[1].contribute(lan.node(name, 1), httpd=RUNS)
    lan.run_until(10.5)
    assert lan.holder() == server1
    assert [lan.node(server1, number).core.priority for number in (0, 1)] == [254, 254]
    lan.segments[1].contribute(lan.node(server1, 1), httpd=STOPPED)
    lan.run_until(10.8)
    assert lan.holder() == server2
    assert [lan.node(server1, number).core.priority for number in (0, 1)] == [244, 244]
    assert lan.longest_gap(since=10) == 0


def test_they_speak_with_the_lowest_base_and_say_how_it_came_about() -> None:
    lan = GroupLan()
    server1 = lan.machine("server1", 244, 100, trackers=HTTPD)
    for number in (0, 1):
        lan.segments[number].contribute(lan.node(server1, number), httpd=RUNS)
    lan.run_until(5)
    # each of two VirtualIPs has a tracker of its own, and both count
    effective = lan.node(server1, 0).core.fitness.effective
    assert (effective.priority, effective.message) == (120, "100 + vip0/httpd 10 + vip1/httpd 10")


def test_the_two_families_of_one_virtual_ip_count_their_trackers_once() -> None:
    groups, cores = SyncGroups(), {}
    for family in ("IPv4", "IPv6"):
        settings = Settings(51, 3, frozenset({family.encode()}), 244, group="vip:web", trackers=HTTPD)
        cores[family] = VirtualRouter(settings)
        groups.add(f"web/{family}", cores[family])
        groups.handle(f"web/{family}", ev.LinkUp(host(101)), 0)
        groups.handle(f"web/{family}", ev.ContributionsChanged({"httpd": RUNS}), 0)
    assert [core.fitness.effective.message for core in cores.values()] == ["244 + httpd 10"] * 2
    outcome = groups.handle("web/IPv6", ev.LinkDown("NoInterface", "eth0 has no link-local address"), 0)
    told = [effect for _, effects in outcome for effect in effects if isinstance(effect, fx.Transitioned)]
    assert [(one.state, one.reason, one.message) for one in told] == [
        ("FAULT", "NoInterface", "eth0 has no link-local address"),
        ("FAULT", "SyncGroup", "web/IPv6: eth0 has no link-local address"),
    ]


def test_who_follows_another_and_is_in_fault_itself_by_then_is_not_fetched_back() -> None:
    lan = GroupLan()
    server1 = alone_with_httpd(lan, 100)
    stranger = lan.stranger("keepalived", 0, 200)
    lan.run_until(14)
    assert lan.node(server1, 1).core.standing is Standing.FOLLOWING
    lan.segments[1].contribute(lan.node(server1, 1), httpd=FAILED)
    lan.segments[0].power_off(stranger)
    lan.run_until(20)
    assert lan.masters() == [[], []]
    assert [lan.node(server1, number).state for number in (0, 1)] == ["FAULT", "FAULT"]


def test_two_nodes_that_prefer_one_anothers_halves_agree_and_stay() -> None:
    lan = GroupLan()
    lan.machine("server1", 244, 240)
    lan.machine("server2", 240, 244)
    lan.run_until(15)
    holder = lan.holder()
    assert holder
    before = len(lan.transitions())
    lan.run_until(600)
    assert (lan.holder(), len(lan.transitions())) == (holder, before)


@pytest.mark.parametrize("sources", [((101, 102), (102, 101)), ((102, 101), (101, 102))])
def test_equal_priorities_and_addresses_in_opposite_order_end_with_one_node_after_a_partition(
    sources: tuple[tuple[int, int], tuple[int, int]],
) -> None:
    lan = GroupLan()
    lan.machine("server1", 100, sources=sources[0])
    lan.machine("server2", 100, sources=sources[1])
    lan.run_until(10)
    for segment in lan.segments:
        segment.cut(segment.nodes[0])
    lan.run_until(20)
    assert lan.masters() == [["server1", "server2"], ["server1", "server2"]]
    for segment in lan.segments:
        segment.heal()
    lan.run_until(22.5)
    holder = lan.holder()
    # that of the greater address in the first segment
    assert holder == ("server1" if sources[0][0] > sources[1][0] else "server2")
    assert lan.longest_gap(since=20) == 0
    assert len(lan.transitions(since=20)) == 2


@pytest.mark.parametrize("priorities", [(244, 240), (100, 100), (240, 244)])
@pytest.mark.parametrize("cut", [0, 1])
def test_where_one_segment_is_cut_and_the_other_is_not_nobody_takes_turns(
    priorities: tuple[int, int], cut: int
) -> None:
    lan = GroupLan()
    lan.machine("server1", priorities[0], sources=(101, 102))
    lan.machine("server2", priorities[1], sources=(102, 101))
    lan.run_until(15)
    holder = lan.holder()
    lan.segments[cut].cut(lan.node(holder, cut))
    lan.run_until(300)
    # who hears a MASTER that it must respect in one segment leaves the other alone
    assert (lan.holder(), lan.transitions(since=15)) == (holder, [])
    lan.segments[cut].heal()
    lan.run_until(330)
    assert lan.holder() == holder


@pytest.mark.parametrize("cut", [0, 1])
def test_two_masters_on_a_whole_segment_end_though_the_other_one_is_still_cut(cut: int) -> None:
    lan = GroupLan()
    lan.machine("server1", 100, sources=(101, 102))
    lan.machine("server2", 100, sources=(102, 101))
    for segment in lan.segments:
        segment.cut(segment.nodes[0])
    lan.run_until(20)
    lan.segments[1 - cut].heal()
    lan.run_until(40)
    holder = lan.holder()
    assert holder
    before = len(lan.transitions())
    lan.run_until(300)
    assert (lan.holder(), len(lan.transitions())) == (holder, before)


def test_who_overslept_yields_to_its_equal_at_once_though_the_other_segment_which_decides_ties_is_cut() -> None:
    """Found by simulation: it was MASTER beside the other for another three intervals."""
    lan = GroupLan()
    server1, server2 = lan.machine("server1", 100), lan.machine("server2", 100, rank=1)
    lan.run_until(10)
    assert lan.holder() == server1
    lan.segments[0].cut(lan.node(server1, 0))
    lan.stall(server1)
    lan.run(6)
    lan.resume(server1)
    lan.run(0.01)
    assert lan.masters()[1] == [server2]
    lan.segments[0].heal()
    lan.run(3)
    assert lan.holder() == server2


def test_an_equal_that_dies_before_the_first_segment_has_decided_does_not_keep_the_neighbours_of_the_other() -> None:
    """Found by simulation: nobody told them again, and they went on asking the dead one."""
    lan = GroupLan()
    server1 = lan.machine("server1", 100, sources=(102, 101))
    server2 = lan.machine("server2", 100, sources=(101, 102), rank=1)
    lan.run_until(60)  # the rounds of gratuitous ARP after its take-over are over
    assert lan.holder() == server1
    for segment in lan.segments:
        segment.deafen(lan.node(server2, segment), lan.node(server1, segment))
    while lan.segments[1].arp == server1:
        lan.run_until(lan.segments[0].next() / SECOND)  # until it takes both over, as it hears nothing
    lan.power_off(server2)
    assert [segment.arp for segment in lan.segments] == [server2, server2]
    lan.run(4)
    assert [segment.served_by for segment in lan.segments] == [server1, server1]


def test_a_foreign_router_that_outranks_us_in_one_segment_has_the_group_stay_away_from_the_other() -> None:
    # keepalived without a sync group, say: it is MASTER of one VIP, and nobody may take turns about the other
    lan = GroupLan()
    lan.machine("server1", 100)
    stranger = lan.stranger("keepalived", 0, 200)
    lan.run_until(600)
    assert lan.masters() == [["keepalived"], []]
    assert len(lan.transitions(since=20)) == 0
    lan.segments[0].power_off(stranger)
    lan.run_until(604)
    assert lan.masters() == [["server1"], ["server1"]]


def test_an_agent_that_stops_hands_all_of_them_over_without_a_gap() -> None:
    lan = GroupLan()
    server1, server2 = two(lan)
    lan.run_until(10)
    lan.stop(server1)
    lan.run_until(10.2)
    assert lan.holder() == server2
    assert lan.longest_gap(since=10) == 0


def test_an_agent_that_is_restarted_goes_on_with_all_of_them() -> None:
    lan = GroupLan()
    server1, _ = two(lan)
    lan.run_until(10)
    lan.restart(server1)
    lan.run_until(20)
    assert lan.holder() == server1
    assert lan.longest_gap(since=10) == 0


def test_one_that_comes_to_a_group_that_is_master_is_master_with_it() -> None:
    lan = GroupLan()
    server1, server2 = two(lan, group="")
    lan.run_until(10)
    for name, number in itertools.product((server2, server1), (0, 1)):
        lan.segments[number].edit(lan.node(name, number), group="edge")
    lan.run_until(10.1)
    assert lan.holder() == server1
    lan.segments[1].stop(lan.node(server1, 1), withdrawn=True)
    lan.run_until(20)
    assert lan.masters()[0] == ["server1"]  # one that is withdrawn takes nobody along


def test_an_edit_that_binds_what_two_nodes_share_ends_with_one_node() -> None:
    lan = GroupLan()
    lan.machine("server1", 244, 240, group="")
    lan.machine("server2", 240, 244, group="")
    lan.run_until(10)
    assert lan.masters() == [["server1"], ["server2"]]
    for name, number in itertools.product(("server1", "server2"), (0, 1)):
        lan.segments[number].edit(lan.node(name, number), group="edge")
        lan.run(0.02)
    lan.run_until(20)
    holder = lan.holder()
    assert holder


def test_the_slowest_of_them_decides_when_all_take_over() -> None:
    lan = GroupLan()
    server1, server2 = two(lan)
    for name in (server1, server2):
        lan.segments[0].edit(lan.node(name, 0), advert_interval=SECOND // 10)
    lan.run_until(10)
    assert lan.holder() == server1
    lan.power_off(server1)
    lan.run_until(10.9)
    assert lan.masters() == [[], []]
    lan.run_until(14)
    assert lan.holder() == server2


def test_an_address_that_the_kernel_refuses_is_fault_of_all() -> None:
    lan = GroupLan()
    server1 = lan.machine("server1", 244)
    lan.node(server1, 1).kernel.refusal = ("AddressInUse", "10.1.0.200 is on eth1 already and not ours")
    lan.run_until(10)
    assert [lan.node(server1, number).state for number in (0, 1)] == ["FAULT", "FAULT"]
    assert not lan.node(server1, 0).holds


def test_addresses_that_were_refused_on_all_segments_are_tried_again_on_all() -> None:
    """Found by simulation: each waited in FAULT for the other for ever."""
    lan = GroupLan()
    server1 = lan.machine("server1", 244)
    for number in (0, 1):
        lan.node(server1, number).kernel.refusal = ("KernelRefused", "no")
    lan.run_until(4)
    assert [lan.node(server1, number).state for number in (0, 1)] == ["FAULT", "FAULT"]
    for number in (0, 1):
        lan.node(server1, number).kernel.refusal = None
    lan.run_until(13)
    assert lan.holder() == server1


def test_one_that_waits_for_its_first_tracker_results_keeps_the_others_from_taking_over() -> None:
    lan = GroupLan()
    server1 = lan.machine("server1", 244)
    lan.power_off(server1)
    waiting = lan.node(server1, 1)
    waiting.settings = replace(waiting.settings, trackers=HTTPD)
    lan.start(server1)
    lan.run_until(20)
    assert lan.masters() == [[], []]
    lan.segments[1].contribute(waiting, httpd=RUNS)
    lan.run_until(24)
    assert lan.holder() == server1


def test_one_that_still_resigns_keeps_another_that_has_left_from_taking_over_alone() -> None:
    """Found by simulation: the successor came and went on one segment only."""
    lan = GroupLan()
    server1 = lan.machine("server1", 100, preempt=False)
    lan.run_until(10)
    first = lan.segments[0]
    first.edit(lan.node(server1, 0), draining=True)
    stranger = bytes([10, 0, 0, 99])
    for priority in (254, 0):
        template = advertisement_template(lan.node(server1, 0).settings)
        first.inject(stamp(template, priority, stranger, GROUP_ADDRESS), stranger)
    lan.run(1.02)
    assert [lan.node(server1, number).core.standing for number in (0, 1)] == [Standing.BACKUP, Standing.RESIGNING]
    lan.run(0.1)  # nobody came
    assert lan.holder() == server1


def test_a_group_of_one_is_no_group() -> None:
    grouped, alone = OneRouter(group="edge"), OneRouter()
    for router in (grouped, alone):
        router.until(5)
    assert grouped.log == alone.log


@pytest.mark.parametrize("priorities", [(244, 240, 100), (100, 100, 100), (200, 100, 200)])
@pytest.mark.parametrize("seed", range(8))
def test_after_whatever_happened_one_node_holds_all(priorities: tuple[int, ...], seed: int) -> None:
    lan = GroupLan()
    sources = [(101, 103), (102, 102), (103, 101)]
    machines = [lan.machine(f"server{n + 1}", priorities[n], sources=sources[n], rank=n) for n in range(3)]
    lan.seed(seed, loss=0.2, jitter=0.02, duplication=0.05)
    chance = random.Random(seed)
    for _ in range(12):
        name, segment = chance.choice(machines), chance.choice(lan.segments)
        node = lan.node(name, segment)
        what = chance.choice(["unplug", "cut", "restart", "deafen", "nothing"])
        if what == "unplug" and node.link:
            segment.unplug(node)
        elif what == "cut":
            segment.cut(node)
        elif what == "restart":
            lan.restart(name)
        elif what == "deafen":
            segment.deafen(node, lan.node(chance.choice([other for other in machines if other != name]), segment))
        lan.run(chance.uniform(0.1, 6))
    lan.seed(seed, loss=0, duplication=0)
    for segment in lan.segments:
        segment.heal()
        for node in segment.nodes:
            if not node.link:
                segment.plug(node)
    lan.run(30)
    holder = lan.holder()
    assert holder, lan.masters()
    if priorities == (244, 240, 100):
        assert holder == "server1"
    before = lan.now
    lan.run(120)
    assert lan.transitions(since=before) == []


def test_one_that_is_damped_keeps_the_group_where_it_is_and_a_dead_master_is_followed_all_the_same() -> None:
    lan = GroupLan(2)
    server1, server2 = two(lan, trackers=HTTPD)

    def contribute(server: str, contribution: Contribution) -> None:
        for segment in lan.segments:
            segment.contribute(lan.node(server, segment), httpd=contribution)

    runs = Contribution(5)  # one for each of the two: 254 beside 250
    contribute(server1, runs)
    contribute(server2, runs)
    lan.run_until(10)
    holders = []
    for _ in range(6):
        for contribution in (STOPPED, runs):
            contribute(server1, contribution)
            lan.run(2)
            holders.append(lan.holder())
    assert holders == [server2, server1] * 2 + [server2] * 8
    lan.power_off(server2)
    lan.run(4)
    assert lan.holder() == server1


def wake_up_to_a_lower_one(lan: GroupLan, sleeper: str, other: str, segment: int) -> None:
    """All were stopped: after 6 s one goes on, and finds an advertisement of priority 1 in one segment's queue."""
    lan.run(6)
    member = lan.node(other, segment)
    lower = stamp(advertisement_template(member.settings), 1, member.source, GROUP_ADDRESS)
    lan.segments[segment].inject(lower, member.source, member)
    lan.run(0.01)
    lan.resume(sleeper)


def test_a_group_that_did_not_run_reads_every_segment_s_queue_before_it_takes_over_any_of_them() -> None:
    """Found by simulation: what was heard first in one segment made it MASTER of those that were not read yet."""
    lan = GroupLan()
    server1, server2 = lan.machine("server1", 244), lan.machine("server2", 100)
    lan.run_until(10)
    assert lan.holder() == server1
    for name in (server1, server2):
        lan.stall(name)
    wake_up_to_a_lower_one(lan, server2, server1, 0)
    assert lan.masters() == [[server1], [server1]]


def test_a_router_that_waited_for_its_group_when_it_was_stopped_listens_anew_with_it() -> None:
    """Found by simulation: it had no timer any more by which it could know that it did not run."""
    lan = GroupLan()
    server1, server2 = lan.machine("server1", 244), lan.machine("server2", 100)
    lan.run_until(10)
    lan.segments[0].cut(lan.node(server1, 0))
    lan.run(5)
    assert lan.masters() == [[server1], [server1]]  # server2 would take over the first, and hears server1 in the second
    for name in (server1, server2):
        lan.stall(name)
    lan.segments[0].heal()
    wake_up_to_a_lower_one(lan, server2, server1, 1)
    assert lan.masters() == [[server1], [server1]]
    lan.run(2)
    assert lan.masters() == [[server1, server2], [server1, server2]]
