"""The short cuts of the steady state say what the whole state machine says."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from one_router import VIP, OneRouter, host
from virtualip_agent.vrrp import effects as fx
from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.packet import Advertisement
from virtualip_agent.vrrp.priority import Contribution
from virtualip_agent.vrrp.settings import Garp
from virtualip_agent.vrrp.timing import MILLISECOND, SECOND

FOREIGN = frozenset({bytes([10, 0, 0, 1])})


def said(priority: int, source: int, interval: int = SECOND, addresses: frozenset[bytes] = VIP) -> ev.Heard:
    """An advertisement, as an object that is the same each time it is said."""
    return ev.Heard(Advertisement(3, 51, priority, interval, addresses), host(source))


ADVERTISEMENTS = (
    *(said(priority, source) for priority in (0, 50, 100, 150) for source in (90, 101, 102, 103)),
    said(150, 102, interval=3 * SECOND),
    said(150, 102, addresses=FOREIGN),
    said(150, 103, addresses=FOREIGN),
)
OTHERS: tuple[ev.Event, ...] = (
    ev.ContributionsChanged({"t": Contribution(100)}),
    ev.ContributionsChanged({"t": Contribution(-40, healthy=False)}),
    ev.ContributionsChanged({"t": Contribution(0, fault=True, healthy=False)}),
    ev.AddressesRemoved(),
    ev.LinkDown("LinkDown", "eth0 is down"),
    ev.LinkUp(host(101)),
    ev.Stop(),
)
STEPS = st.lists(
    st.tuples(
        st.one_of(st.sampled_from(ADVERTISEMENTS), st.sampled_from(ADVERTISEMENTS), st.sampled_from(OTHERS), st.none()),
        st.sampled_from((0, 10, 900, 1000, 4000)),
        st.integers(1, 6),
    ),
    max_size=20,
)


class WithoutShortCuts(OneRouter):
    """Everything goes through the whole state machine."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.core.handle = self.core._handle  # type: ignore[method-assign]


@settings(max_examples=400, deadline=None)
@given(
    steps=STEPS,
    preempt=st.booleans(),
    delay=st.sampled_from((0, 5 * SECOND)),
    refresh=st.sampled_from((0, 3 * SECOND, 3_300 * MILLISECOND)),
)
def test_the_same_is_said_and_the_same_deadline_kept_with_and_without_short_cuts(
    steps: list[tuple[ev.Event | None, int, int]], preempt: bool, delay: int, refresh: int
) -> None:
    options: dict[str, Any] = {
        "preempt": preempt,
        "preempt_delay": delay,
        "trackers": frozenset({"t"}),
        "garp": Garp(refresh=refresh),
    }
    short, whole = OneRouter(**options), WithoutShortCuts(**options)
    for router in (short, whole):
        router.contribute(t=Contribution(0))
    for event, milliseconds, times in steps:
        for _ in range(times):
            for router in (short, whole):
                router.until((router.now + milliseconds * 1_000_000) / SECOND)
                if event is not None:
                    router.tell(event)
            assert short.core.deadline == whole.core.deadline
    assert short.log == whole.log
    assert short.core.drops == whole.core.drops
    assert short.core.mismatches == whole.core.mismatches


def test_a_repeated_advertisement_and_a_masters_interval_take_the_short_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    backup, master = OneRouter(), OneRouter()
    master.until(40.0)
    again = said(150, 102)
    backup.tell(again)
    backup.tell(again)
    for router in (backup, master):
        monkeypatch.setattr(router.core, "_handle", None)

    backup.now += SECOND // 2
    assert backup.tell(again) == []
    assert backup.core.deadline == backup.now + 3 * SECOND + 156 * SECOND // 256
    assert master.core.deadline is not None
    master.now = master.core.deadline
    assert master.tell(ev.TimerExpired()) == [fx.SendAdvertisement(100)]
