"""Hours of faults in seconds; `make simulate HOURS=1000` is the same for longer. See tests/support/simulator."""

import pytest

from simulator.__main__ import Tally, explain, simulate
from simulator.episode import Episode, draw
from simulator.play import play
from simulator.shrink import shrink

THREE_MASTERS_MEET = """
version=3 interval=1000000000 preempt=1 fast_preempt=1 preempt_delay=7000000000 lifetime=5 noise_seed=882508582
node 254 0
node 254 1
node 255 0
351.420942 cut 2 89
360.420942 stall_deaf 1 595
401.220942302 end 0 0
"""

A_SHORTENED_INTERVAL = """
version=2 interval=1000000000 preempt=1 fast_preempt=1 preempt_delay=0 lifetime=5 noise_seed=893953820
node 100 0
node 255 0
1648.511198 cut 1 381
1658.111198 interval 1 770
1670.301398165 end 0 0
"""

AN_ANSWER_PUT_OFF = """
version=3 interval=10000000 preempt=1 fast_preempt=1 preempt_delay=70000000 lifetime=30 noise_seed=728915487
node 100 0
node 254 0
node 100 1
1.391993 noise 0 866
1.404993 deafen 0 265
3.462057895 end 0 0
"""

A_GROUP_THAT_OVERSLEPT = """
version=2 interval=1000000000 preempt=1 fast_preempt=1 preempt_delay=0 lifetime=5 noise_seed=4 segments=2
node 1 0
node 1 1
91.325824 stall 0 257 1
91.625824 cut 1 735
102.675824176 end 0 0
"""

A_DRAINING_GROUP_THAT_IS_ADOPTED_IN_PART = """
version=3 interval=1000000000 preempt=0 fast_preempt=0 preempt_delay=7000000000 lifetime=5 noise_seed=1 segments=2
node 1 0
node 100 0
16.430825 tracker 1 303 1
210.282739 drain 0 793 1
2019.205754 withdraw 0 169
2037.075854 restart 0 470 1
2042.07194775 end 0 0
"""

AN_INTERVAL_OF_ITS_OWN = """
version=2 interval=1000000000 preempt=1 fast_preempt=1 preempt_delay=0 lifetime=30 noise_seed=836927278
node 244 0
node 254 0
2504.18196 power_off 1 930
2506.20196 start 1 706
2507.30196 interval 1 875
2511.808083248 end 0 0
"""


@pytest.mark.parametrize("first", [1, 20_001])
def test_ten_hours_of_faults_and_after_each_repair_one_master_the_right_one(first: int) -> None:
    tally = Tally()
    failed = simulate(10, first, tally)
    print(tally)
    assert failed is None, explain(failed[0], failed[1])
    assert sum(tally.faults.values()) > 300
    assert tally.repairs > 100
    assert tally.grouped_hours > 2


@pytest.mark.parametrize("episode", [
    pytest.param(THREE_MASTERS_MEET, id="of three masters that meet the winner tells last"),
    pytest.param(A_SHORTENED_INTERVAL, id="who says less than its old interval ago has not overslept its new one"),
    pytest.param(AN_ANSWER_PUT_OFF, id="an answer that was put off is said when it is due, not when it was asked for"),
    pytest.param(A_GROUP_THAT_OVERSLEPT, id="who overslept yields in every segment"),
    pytest.param(A_DRAINING_GROUP_THAT_IS_ADOPTED_IN_PART, id="a group of which one is elected resigns in no segment"),
    pytest.param(AN_INTERVAL_OF_ITS_OWN, id="an edit lengthens the waiting of who would preempt whom it hears"),
])  # fmt: skip
def test_what_a_long_run_found_once(episode: str) -> None:
    assert play(Episode.parse(episode)).foul == ""


def test_an_episode_is_repeatable_from_its_number_and_from_its_text() -> None:
    assert {draw(seed).segments for seed in (3, 5, 8, 25)} == {1, 2, 3}
    for seed in (3, 5, 8, 25):
        first, again = draw(seed), draw(seed)
        assert Episode.parse(str(first)) == first == again
        assert play(first, transcript=True).transcript == play(again, transcript=True).transcript


def test_a_sync_group_s_episode_is_cut_down_to_what_it_needs_to_fail() -> None:
    episode = draw(25)
    culprits = {event for event in episode.events if event.verb in ("tracker", "plug") and event.segment}
    assert 1 < len(culprits) < len(episode.events) / 4

    def fails(candidate: Episode) -> bool:
        return candidate.segments == 3 and culprits <= set(candidate.events)

    assert set(shrink(episode, fails).events[:-1]) == culprits


def test_a_failing_episode_is_cut_down_to_what_it_needs_to_fail() -> None:
    episode = draw(4)
    culprits = {event for event in episode.events if event.verb in ("cut", "restart")}
    assert 1 < len(culprits) < len(episode.events) / 4

    def fails(candidate: Episode) -> bool:
        return culprits <= set(candidate.events)

    assert set(shrink(episode, fails).events[:-1]) == culprits
