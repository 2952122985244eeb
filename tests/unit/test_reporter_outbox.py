"""What is told to the API and when, by a clock that the tests own: nobody waits."""

from collections.abc import Mapping

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from virtualip_agent.reporter.outbox import BURST, FIRST_PAUSE, GATHERING, LONGEST_PAUSE, SPACING, Job, Outbox

BACKUP = {"state": "BACKUP", "priority": 100}
MASTER = {"state": "MASTER", "priority": 100}
FAULT = {"state": "FAULT", "priority": 0}


def outbox() -> Outbox:
    """One whose pauses are exact."""
    return Outbox(jitter=lambda: 0.5)


def told_once(entry: Mapping[str, object]) -> Outbox:
    """One that has told the API this entry at 0."""
    box = outbox()
    box.want("web", entry, 0)
    job = box.take(0)
    assert job
    box.done(job)
    return box


def test_a_state_takes_along_what_was_heard_just_before_it_and_is_told_at_once() -> None:
    """An edit is heard of as a generation, a priority and a state: one write, which waits for no other."""
    box, now = told_once(BACKUP), SPACING
    box.want("web", {**BACKUP, "observedGeneration": 2}, now)
    assert box.take(now) is None
    box.want("web", {**BACKUP, "observedGeneration": 2, "priority": 244}, now + 1)
    assert box.take(now + 1) is None
    moved = {**MASTER, "observedGeneration": 2, "priority": 244}
    box.want("web", moved, now + 2)
    assert box.take(now + 2) == Job("web", moved)


def test_what_is_no_state_is_told_a_twentieth_of_a_second_after_its_first_change() -> None:
    box, now = told_once(BACKUP), SPACING
    for later in range(0, GATHERING, GATHERING // 10):  # more of it puts nothing off
        box.want("web", {**BACKUP, "priority": later}, now + later)
    assert box.next_at() == now + GATHERING
    assert box.take(now + GATHERING - 1) is None
    assert box.take(now + GATHERING) == Job("web", box.entries()["web"])


def test_what_follows_a_state_during_its_write_gathers_anew_and_a_state_that_waits_is_put_off_by_nothing() -> None:
    box, now = told_once(BACKUP), SPACING
    box.want("web", MASTER, now)
    job = box.take(now)
    assert job
    box.want("web", {**MASTER, "priority": 7}, now + 1)
    box.want("web", {**FAULT, "priority": 7}, now + 2)
    box.want("web", {**FAULT, "priority": 8}, now + 3)
    box.done(job)
    assert box.take(now + 4) == Job("web", {**FAULT, "priority": 8})


def test_states_that_follow_each_other_are_each_told_at_once() -> None:
    """The entry that says MASTER must not wait for the one before it."""
    box = outbox()
    for now, entry in ((1000, BACKUP), (1002, FAULT), (1004, MASTER)):
        box.want("web", entry, now)
        job = box.take(now)
        assert job == Job("web", entry)
        assert box.take(now + 1) is None  # one write at a time
        box.done(job)


def test_a_tracker_that_flaps_is_told_five_times_a_second_and_its_last_state_always() -> None:
    box = outbox()
    told = []
    for now in range(0, 10 * SPACING, SPACING // 20):
        box.want("web", {**BACKUP, "priority": now}, now)
        if job := box.take(now):
            told.append(job.entry)
            box.done(job)
    assert len(told) == 10 + BURST - 1
    last = box.entries()["web"]
    due = box.next_at()
    assert due is not None
    assert box.take(due) == Job("web", last)
    assert due < 11 * SPACING


def test_one_that_is_never_answered_keeps_no_other_from_being_told() -> None:
    """A MASTER's entry with a field that the CRD of an older version does not know, say."""
    box = outbox()
    box.want("a", MASTER, 0)
    told: dict[str, int] = {}
    asked = 0
    for now in range(0, 60 * 5 * SPACING, SPACING // 20):
        if now == SPACING:
            for name in "bcd":
                box.want(name, BACKUP, now)
        job = box.take(now)
        if job is not None and job.name == "a":
            asked += 1
            box.failed(job, now)
        elif job is not None:
            told[job.name] = now
            box.done(job)
    assert told.keys() == set("bcd")
    assert max(told.values()) <= SPACING + 2 * FIRST_PAUSE
    assert 60 * 5 * SPACING // LONGEST_PAUSE <= asked < 30


def test_what_the_api_has_is_not_told_again() -> None:
    box = told_once(BACKUP)
    box.want("web", dict(BACKUP), SPACING)
    assert box.take(10 * SPACING) is None
    assert box.next_at() is None
    assert box.idle()


def test_a_change_back_during_a_write_is_told_too() -> None:
    box = outbox()
    box.want("web", BACKUP, 0)
    job = box.take(0)
    assert job
    box.want("web", MASTER, 0)
    box.want("web", BACKUP, 0)
    box.done(job)
    assert box.take(SPACING) == Job("web", BACKUP)


def test_an_outage_holds_everything_back_and_then_tells_what_is_true() -> None:
    box = outbox()
    box.want("web", BACKUP, 0)
    box.want("db", BACKUP, 0)
    job = box.take(0)
    assert job
    box.failed(job, 0)
    assert box.take(FIRST_PAUSE - 1) is None
    box.want("web", MASTER, FIRST_PAUSE - 1)
    now, pauses = FIRST_PAUSE, []
    for _ in range(8):
        job = box.take(now)
        assert job == Job("web", MASTER)
        box.failed(job, now)
        following = box.next_at()
        assert following is not None
        pauses.append(following - now)
        now = following
    assert pauses[0] == 2 * FIRST_PAUSE
    assert pauses[-1] == LONGEST_PAUSE
    job = box.take(now)
    assert job == Job("web", MASTER)
    box.done(job)
    assert box.take(now) == Job("db", BACKUP)


def test_masters_go_first() -> None:
    box = outbox()
    for name in "abc":
        box.want(name, BACKUP, 0)
    box.want("d", MASTER, 0)
    jobs = [box.take(0) for _ in range(5)]
    assert [job.name for job in jobs if job] == ["d", "a", "b", "c"]


def test_a_refusal_holds_back_this_one_only() -> None:
    box = outbox()
    box.want("web", MASTER, 0)
    box.want("db", BACKUP, 0)
    job = box.take(0)
    assert job
    box.refused(job, 0)
    assert box.take(0) == Job("db", BACKUP)
    assert not box.idle()
    assert box.take(FIRST_PAUSE) == Job("web", MASTER)


def test_an_entry_is_taken_away_once_and_forgotten() -> None:
    box = told_once(BACKUP)
    box.want("web", None, SPACING)
    job = box.take(SPACING)
    assert job == Job("web", None)
    box.done(job)
    assert box.entries() == {}
    assert box.take(10 * SPACING) is None


def test_nothing_is_told_of_what_never_was() -> None:
    box = outbox()
    box.want("web", None, 0)
    assert box.take(0) is None


def test_what_may_be_lost_is_told_again() -> None:
    box = told_once(BACKUP)
    assert box.told_of("web", SPACING - 1) is None  # the API's caches may not show it yet
    assert box.told_of("web", SPACING) == BACKUP
    box.retell(["web"])
    assert box.told_of("web", SPACING) is None
    assert box.take(SPACING) == Job("web", BACKUP)
    box.retell(["left over"])
    assert box.take(SPACING) == Job("left over", None)


class Ordered(RuleBasedStateMachine):
    """With any mixture of changes, successes and failures, the API ends with the last entry, and never too many."""

    def __init__(self) -> None:
        super().__init__()
        self.box = outbox()
        self.now = 0
        self.wanted: dict[str, dict[str, object] | None] = {}
        self.api: dict[str, object] = {}
        self.under_way: list[Job] = []
        self.begun: dict[str, list[int]] = {}

    @rule(name=st.sampled_from("ab"), state=st.sampled_from(["MASTER", "BACKUP", None]), priority=st.integers(1, 3))
    def change(self, name: str, state: str | None, priority: int) -> None:
        entry = None if state is None else {"state": state, "priority": priority}
        self.wanted[name] = entry
        self.box.want(name, entry, self.now)

    @rule(milliseconds=st.integers(0, 400))
    def wait(self, milliseconds: int) -> None:
        self.now += milliseconds * 1_000_000

    @rule()
    def send(self) -> None:
        if job := self.box.take(self.now):
            assert job.name not in [other.name for other in self.under_way]
            self.under_way.append(job)
            self.begun.setdefault(job.name, []).append(self.now)

    @rule(outcome=st.sampled_from(["done", "failed", "refused"]))
    def answer(self, outcome: str) -> None:
        if not self.under_way:
            return
        job = self.under_way.pop(0)
        if outcome == "done":
            self.api[job.name] = job.entry
            self.box.done(job)
        elif outcome == "failed":
            self.box.failed(job, self.now)
        else:
            self.box.refused(job, self.now)

    @invariant()
    def idle_means_that_the_api_has_it(self) -> None:
        if self.box.idle():
            for name, entry in self.wanted.items():
                assert self.api.get(name) == entry

    @invariant()
    def something_is_always_scheduled(self) -> None:
        assert self.box.idle() or self.under_way or self.box.next_at() is not None

    def teardown(self) -> None:
        for _ in range(20):
            while self.under_way:
                self.answer("done")
            if self.box.idle():
                break
            self.now = max(self.now, self.box.next_at() or 0)
            self.send()
        assert self.box.idle()
        self.idle_means_that_the_api_has_it()


TestOrdered = Ordered.TestCase
