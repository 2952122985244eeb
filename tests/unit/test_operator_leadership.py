"""One of several replicas leads: the rule of the Lease, with a clock of our own."""

import copy
from typing import TYPE_CHECKING, Any, cast

import pytest

from virtualip_operator.api import ApiError
from virtualip_operator.leadership import DURATION, LEASE, STEP_DOWN, Leadership

if TYPE_CHECKING:
    from virtualip_operator.api import Api


class LeaseStore:
    """An API server that keeps one Lease, and can be away."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.away = False

    def get(self, path: str) -> dict[str, Any]:
        self._answer()
        assert path.endswith(f"/leases/{LEASE}")
        if self.lease is None:
            raise ApiError(404, "not found")
        return copy.deepcopy(self.lease)

    def create(self, _path: str, body: dict[str, Any]) -> dict[str, Any]:
        self._answer()
        if self.lease is not None:
            raise ApiError(409, "exists")
        return self._store(body)

    def replace(self, _path: str, body: dict[str, Any]) -> dict[str, Any]:
        self._answer()
        if body["metadata"]["resourceVersion"] != str(self.version):
            raise ApiError(409, "changed")
        return self._store(body)

    @property
    def holder(self) -> str:
        assert self.lease is not None
        return str(self.lease["spec"]["holderIdentity"])

    def _store(self, body: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        self.lease = copy.deepcopy(body)
        self.lease["metadata"]["resourceVersion"] = str(self.version)
        return copy.deepcopy(self.lease)

    def _answer(self) -> None:
        if self.away:
            raise ApiError(0, "nobody answers")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store() -> LeaseStore:
    return LeaseStore()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def replica(store: LeaseStore, clock: Clock, name: str, gained: list[str] | None = None) -> Leadership:
    """`gained` has its name each time it begins to lead, and `-name` each time it ends."""
    noted = [] if gained is None else gained
    began, ended = lambda: noted.append(name), lambda: noted.append(f"-{name}")
    return Leadership(cast("Api", store), "virtualip-system", name, began, ended, clock)


def test_the_first_replica_leads_and_the_second_stands_by(store: LeaseStore, clock: Clock) -> None:
    gained: list[str] = []
    one, two = replica(store, clock, "one", gained), replica(store, clock, "two", gained)
    for _ in range(20):
        one.look()
        two.look()
        clock.now += 1

    assert one.leading
    assert not two.leading
    assert gained == ["one"]


def test_a_leader_that_dies_is_replaced_after_the_duration_and_not_before(store: LeaseStore, clock: Clock) -> None:
    one, two = replica(store, clock, "one"), replica(store, clock, "two")
    one.look()
    two.look()
    led = []
    for pause in (DURATION - 0.1, 0.2):
        clock.now += pause
        two.look()
        led.append(two.leading)

    assert led == [False, True]
    assert not one.leading


def test_a_leader_without_api_stops_before_another_may_begin(store: LeaseStore, clock: Clock) -> None:
    one = replica(store, clock, "one")
    one.look()
    store.away = True
    while one.leading:
        clock.now += 0.1
        one.look()

    assert clock.now - 1000 == pytest.approx(STEP_DOWN, abs=0.2)
    assert STEP_DOWN < DURATION


def test_the_api_coming_back_gives_the_leadership_back(store: LeaseStore, clock: Clock) -> None:
    gained: list[str] = []
    one = replica(store, clock, "one", gained)
    one.look()
    store.away = True
    clock.now += 60
    one.look()
    led_without_api = one.leading

    store.away = False
    one.look()
    assert (led_without_api, one.leading) == (False, True)
    assert gained == ["one", "-one", "one"]


def test_a_renewal_that_takes_long_gives_it_anew_since_work_was_let_lie_meanwhile(
    store: LeaseStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    gained: list[str] = []
    one = replica(store, clock, "one", gained)
    one.look()
    clock.now += STEP_DOWN - 0.1
    began_leading = one.leading
    replace = store.replace

    def slow(path: str, body: dict[str, Any]) -> dict[str, Any]:
        clock.now += 0.2
        assert not one.leading
        return replace(path, body)

    monkeypatch.setattr(store, "replace", slow)
    one.look()
    assert (began_leading, one.leading) == (True, True)
    assert gained == ["one", "one"]


def test_a_planned_end_hands_over_at_once(store: LeaseStore, clock: Clock) -> None:
    one, two = replica(store, clock, "one"), replica(store, clock, "two")
    one.look()
    two.look()
    one.resign()
    two.look()

    assert two.leading
    assert not one.leading


def test_of_two_that_try_at_the_same_moment_one_wins(store: LeaseStore, clock: Clock) -> None:
    one, two = replica(store, clock, "one"), replica(store, clock, "two")
    one.look()
    clock.now += 2 * DURATION
    three = replica(store, clock, "three")
    two.look()
    three.look()
    clock.now += 2 * DURATION
    two.look()
    three.look()

    assert [contender.leading for contender in (two, three)].count(True) == 1
    assert store.holder in ("two", "three")


def test_a_lease_that_was_deleted_is_made_anew(store: LeaseStore, clock: Clock) -> None:
    one = replica(store, clock, "one")
    one.look()
    store.lease = None
    clock.now += 1
    one.look()

    assert one.leading
    assert store.holder == "one"


def test_who_has_resigned_does_not_take_it_again(store: LeaseStore, clock: Clock) -> None:
    one = replica(store, clock, "one")
    one.look()
    one.resign()
    one.look()
    assert (store.holder, one.leading) == ("", False)
