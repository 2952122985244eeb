"""When an absent Member takes its VIP away: every combination of evidence, then random histories."""

from itertools import product

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from virtualip_agent.reporter.withdrawal import (
    GRACE,
    Held,
    Owner,
    Probe,
    Store,
    Verdict,
    deleted,
    distrust,
    is_older,
    missing,
    seen,
    verdict,
)

T0 = 1_000_000_000_000
GONE = Probe(Owner.GONE, Store.SAME)
STANDS = Probe(Owner.PRESENT, Store.SAME)

EVIDENCE = [
    Held("u", trusted=True, absences=absences, missed_at=T0, deleted=was_deleted, meant=meant)
    for absences, was_deleted, meant in product((0, 1, 2, 3), (False, True), (False, True))
    if (absences or not was_deleted) and (was_deleted or not meant)
]


@pytest.mark.parametrize("held", EVIDENCE)
@pytest.mark.parametrize("probe", [Probe(owner, store) for owner, store in product(Owner, Store)])
def test_the_verdict_on_every_combination(held: Held, probe: Probe) -> None:
    known = probe.owner is not Owner.UNKNOWN and probe.store is Store.SAME
    enough = held.absences > 1 or (held.deleted and (held.meant or probe.owner is Owner.GONE))
    if held.absences and probe.store is Store.CHANGED:
        expected = Verdict.KEEP
    elif held.absences and known and enough:
        expected = Verdict.WITHDRAW
    else:
        expected = Verdict.WAIT
    assert verdict(held, probe)[0] is expected


def test_a_deletion_with_its_virtual_ip_withdraws_at_once() -> None:
    held = deleted(seen("u"), "u", T0)
    assert verdict(held, GONE)[0] is Verdict.WITHDRAW


def test_a_deletion_alone_waits_for_a_list_after_the_grace_time() -> None:
    held = deleted(seen("u"), "u", T0)
    assert verdict(held, STANDS)[0] is Verdict.WAIT
    held = missing(held, T0 + GRACE - 1)
    assert verdict(held, STANDS)[0] is Verdict.WAIT
    held = missing(held, T0 + GRACE)
    assert verdict(held, STANDS)[0] is Verdict.WITHDRAW


def test_a_deletion_that_the_operator_has_marked_withdraws_at_once() -> None:
    held = deleted(seen("u"), "u", T0, meant=True)
    assert verdict(held, STANDS) == (Verdict.WITHDRAW, "its VirtualIP no longer selects this node")


def test_a_member_made_again_ends_the_wait() -> None:
    held = deleted(seen("u"), "u", T0)
    assert seen("v") == Held("v", trusted=True)
    assert verdict(missing(seen("v"), T0 + GRACE), STANDS)[0] is Verdict.WAIT
    assert held.absences == 1


def test_one_list_without_it_is_not_enough_nor_two_in_a_moment() -> None:
    held = missing(seen("u"), T0)
    assert verdict(held, GONE)[0] is Verdict.WAIT
    assert missing(held, T0 + GRACE - 1) == held
    assert verdict(missing(held, T0 + GRACE), GONE)[0] is Verdict.WITHDRAW


@pytest.mark.parametrize("uid", ["", "another"])
def test_the_deletion_of_another_member_is_nothing(uid: str) -> None:
    assert deleted(seen("u"), uid, T0) == seen("u")


def test_a_file_of_unknown_origin_is_not_withdrawn_for_being_absent() -> None:
    held = Held()
    for lists in range(5):
        held = missing(held, T0 + lists * GRACE)
    assert held == Held()
    assert deleted(held, "", T0) == held


def test_a_replaced_database_says_nothing_until_the_member_is_seen_there() -> None:
    held = distrust(missing(seen("u"), T0))
    assert missing(missing(held, T0 + GRACE), T0 + 2 * GRACE) == held
    held = seen("u")
    assert missing(held, T0).absences == 1


def test_a_deletion_in_a_living_watch_is_believed_also_after_a_replaced_database() -> None:
    held = deleted(distrust(seen("u")), "u", T0)
    assert verdict(held, GONE)[0] is Verdict.WITHDRAW


@pytest.mark.parametrize(
    ("version", "last", "older"),
    [
        ("5", "", False),
        ("5", "5", False),
        ("6", "5", False),
        ("4", "5", True),
        ("10", "9", False),
        ("", "5", True),
        ("abc", "5", True),
        ("-6", "5", True),
    ],
)
def test_what_an_older_list_is(version: str, last: str, older: bool) -> None:
    assert is_older(version, last) is older


class Histories(RuleBasedStateMachine):
    """Whatever happens in whatever order: a VIP goes only on evidence gathered since its Member was last seen."""

    def __init__(self) -> None:
        super().__init__()
        self.now = T0
        self.held = Held()
        self.uid = "u"
        self.lists: list[int] = []
        self.watched = self.meant = False
        self.trusted = False

    @rule(seconds=st.integers(0, 15))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds * 1_000_000_000

    @rule(uid=st.sampled_from("uv"))
    def the_member_is_seen(self, uid: str) -> None:
        self.uid, self.lists, self.watched, self.meant, self.trusted = uid, [], False, False, True
        self.held = seen(uid)

    @rule(uid=st.sampled_from("uv"), meant=st.booleans())
    def a_deletion_is_watched(self, uid: str, meant: bool) -> None:
        if self.held.uid and uid == self.uid:
            self.watched, self.meant, self.lists, self.trusted = True, meant, [self.now], True
        self.held = deleted(self.held, uid, self.now, meant=meant)

    @rule()
    def a_list_lacks_it(self) -> None:
        if self.trusted and (not self.lists or self.now - self.lists[-1] >= GRACE):
            self.lists.append(self.now)
        self.held = missing(self.held, self.now)

    @rule()
    def the_database_is_replaced(self) -> None:
        self.lists, self.watched, self.meant, self.trusted = [], False, False, False
        self.held = distrust(self.held)

    @invariant()
    def the_verdict_follows_from_what_was_seen(self) -> None:
        for owner, store in product(Owner, Store):
            result, why = verdict(self.held, Probe(owner, store))
            assert why
            if result is Verdict.WITHDRAW:
                assert store is Store.SAME
                assert owner is not Owner.UNKNOWN
                assert (self.watched and (self.meant or owner is Owner.GONE)) or len(self.lists) > 1
            elif store is Store.SAME and owner is not Owner.UNKNOWN:
                assert len(self.lists) < 2
                assert not self.meant


TestHistories = Histories.TestCase
