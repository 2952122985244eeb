"""Before a take-over of which nobody knows whether the addresses are free, the segment is asked who answers for them.

A node that was off while its VirtualIP was deleted boots with the plan of yesterday, and the address is another
machine's meanwhile.
"""

from typing import Any

from one_router import OneRouter, host
from virtualip_agent.vrrp import effects as fx
from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.priority import OWNER
from virtualip_agent.vrrp.settings import Settings
from virtualip_agent.vrrp.sync_group import SyncGroups
from virtualip_agent.vrrp.timing import MILLISECOND
from virtualip_agent.vrrp.virtual_router import VirtualRouter

PATIENCE = 300 * MILLISECOND
SILENT_AT = 3.609375
"""Master_down_interval at priority 100 and 1 s: RFC 9568, section 6.1."""
STRANGER = "02:00:00:00:00:66 answers for 192.168.122.200 on eth0"


def booted(**settings: Any) -> OneRouter:
    return OneRouter(**{"ask_patience": PATIENCE} | settings)


def asking(**settings: Any) -> OneRouter:
    """A take-over was due, and the answer is waited for."""
    router = booted(**settings)
    router.until(SILENT_AT + 0.1)
    assert (router.state, router.reason, router.core.asks_segment) == ("BACKUP", "AskingSegment", True)
    return router


def test_who_hears_nobody_asks_and_takes_over_at_once_when_nobody_answers() -> None:
    router = asking()
    router.tell(ev.SegmentAnswered(""))
    router.until(SILENT_AT + 0.1)
    assert (router.state, router.reason) == ("MASTER", "NoMaster")
    assert not router.core.asks_segment


def test_without_an_answer_it_waits_no_longer_than_its_patience() -> None:
    router = booted()
    router.until(SILENT_AT + 0.3 - 0.001)
    assert not router.wanted(fx.AddAddresses)
    router.until(SILENT_AT + 0.3)
    assert router.times(fx.AddAddresses) == [SILENT_AT + 0.3]


def test_an_address_that_somebody_answers_for_is_not_taken_and_the_message_says_who() -> None:
    router = asking()
    router.tell(ev.SegmentAnswered(STRANGER))
    router.until(SILENT_AT + 59)
    router.tell(ev.SegmentAnswered(STRANGER))
    assert (router.state, router.reason) == ("FAULT", "AddressInUse")
    assert [effect.message for _, effect in router.log if isinstance(effect, fx.Transitioned)][-1] == STRANGER
    assert not router.wanted(fx.AddAddresses)
    assert router.core.asks_segment


def test_who_answers_for_every_address_keeps_it_away_for_a_minute_and_not_for_ever() -> None:
    """Proxy ARP within the subnet: somebody answers for whatever is asked."""
    router = asking()
    router.tell(ev.SegmentAnswered(STRANGER))
    router.until(SILENT_AT + 60)
    router.tell(ev.SegmentAnswered(STRANGER))
    assert (router.state, router.reason) == ("BACKUP", "Listening")
    router.until(SILENT_AT + 60 + SILENT_AT)
    assert (router.state, router.reason) == ("MASTER", "NoMaster")


def test_when_the_stranger_has_gone_it_listens_and_asks_anew() -> None:
    router = asking()
    router.tell(ev.SegmentAnswered(STRANGER))
    router.until(20)
    router.tell(ev.SegmentAnswered(""))
    assert (router.state, router.reason) == ("BACKUP", "Listening")
    router.until(20 + SILENT_AT)
    assert (router.state, router.reason) == ("BACKUP", "AskingSegment")
    router.tell(ev.SegmentAnswered(""))
    router.until(20 + SILENT_AT)
    assert router.state == "MASTER"


def test_a_late_answer_takes_it_off_again() -> None:
    router = asking()
    router.until(10)
    assert router.core.is_master
    assert router.tell(ev.SegmentAnswered(STRANGER)) == [fx.RemoveAddresses(), fx.SendAdvertisement(0)]
    assert (router.state, router.reason) == ("FAULT", "AddressInUse")


def test_a_fail_over_never_waits_whoever_answers() -> None:
    router = booted()
    router.hear(200)
    router.until(SILENT_AT)
    assert router.state == "MASTER"
    assert router.reason == "MasterDown"
    router.tell(ev.SegmentAnswered(STRANGER))
    assert router.state == "MASTER"


def test_a_resignation_is_of_a_master_too_which_answers_until_we_are_heard() -> None:
    router = booted()
    router.until(1)
    router.hear(0)
    router.until(2)
    assert (router.state, router.reason) == ("MASTER", "MasterResigned")


def test_a_master_that_is_heard_while_it_asks_was_the_one_who_answered() -> None:
    router = asking()
    router.hear(200)
    router.tell(ev.SegmentAnswered(STRANGER))
    assert (router.state, router.reason) == ("BACKUP", "LowerPriority")


def test_a_master_that_is_heard_ends_the_fault_and_its_death_is_a_fail_over() -> None:
    router = asking()
    router.tell(ev.SegmentAnswered(STRANGER))
    router.hear(200)
    assert router.state == "BACKUP"
    heard_at = router.now / 1e9
    router.until(heard_at + SILENT_AT)
    assert router.state == "MASTER"


def test_even_a_resignation_ends_the_fault() -> None:
    router = asking()
    router.tell(ev.SegmentAnswered(STRANGER))
    router.hear(0)
    router.until(20)
    assert router.state == "MASTER"


def test_what_an_earlier_process_of_ours_left_is_adopted_unasked() -> None:
    router = booted(adopted=True)
    router.until(3)
    assert (router.state, router.reason) == ("MASTER", "Adopted")


def test_the_owner_asks_too_but_waits_for_nothing_else() -> None:
    router = booted(base_priority=OWNER)
    assert (router.state, router.reason) == ("BACKUP", "AskingSegment")
    router.until(0.1)
    router.tell(ev.SegmentAnswered(""))
    assert (router.state, router.reason) == ("MASTER", "Owner")
    impatient = booted(base_priority=OWNER)
    impatient.until(0.3)
    assert impatient.state == "MASTER"


def test_after_the_link_came_back_it_is_asked_anew_unless_that_was_settled() -> None:
    router = booted()
    router.tell(ev.LinkDown("LinkDown", "eth0 is down"))
    router.until(10)
    router.tell(ev.LinkUp(host(101)))
    router.until(10 + SILENT_AT)
    assert router.reason == "AskingSegment"
    router.tell(ev.SegmentAnswered(""))
    router.until(20)
    router.tell(ev.LinkDown("LinkDown", "eth0 is down"))
    router.tell(ev.LinkUp(host(101)))
    router.until(20 + SILENT_AT)
    assert router.state == "MASTER"


def test_a_group_takes_over_when_nobody_answers_for_any_of_it_and_not_before() -> None:
    groups = SyncGroups()
    cores = {}
    for number, name in enumerate(("one", "two")):
        settings = Settings(51 + number, 3, frozenset({host(200 + number)}), 100, group="edge", ask_patience=PATIENCE)
        cores[name] = VirtualRouter(settings)
        groups.add(name, cores[name])
    for name in cores:
        groups.handle(name, ev.LinkUp(host(101)), 0)
        groups.handle(name, ev.SettingsChanged(cores[name].settings), 0)
    now = round(SILENT_AT * 1e9)
    for name in cores:
        groups.handle(name, ev.TimerExpired(), now)
    assert [core.asks_segment for core in cores.values()] == [True, True]
    groups.handle("one", ev.SegmentAnswered(""), now)
    assert [core.is_master for core in cores.values()] == [False, False]
    groups.handle("two", ev.SegmentAnswered(""), now)
    assert [core.is_master for core in cores.values()] == [True, True]


def test_an_answer_that_comes_without_a_link_is_none_and_it_is_asked_anew() -> None:
    router = asking()
    router.tell(ev.LinkDown("LinkDown", "eth0 is without carrier"))
    router.tell(ev.SegmentAnswered(""))
    router.until(10)
    router.tell(ev.LinkUp(host(101)))
    router.until(router.deadline)
    assert (router.state, router.reason) == ("BACKUP", "AskingSegment")
