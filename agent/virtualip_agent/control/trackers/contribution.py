"""What a tracker's result is worth: the one place that knows weight, reverse and FAULT. Pure.

The rules are keepalived's (keepalived.conf(5), track_script, track_process, track_file):

    weight 0   a failure is FAULT, adding nothing; reversed: success is FAULT
    weight w   > 0: adds w while healthy; < 0: takes |w| away while unhealthy; reversed: the sign flipped
    number     value x weight, reversed: x -1; at most 253, below -253: FAULT; weight 0: any value but 0 is FAULT
               (reversed: 0 is)
"""

from typing import assert_never

from virtualip_agent.control.trackers.base import Check, Number, Result, Unusable
from virtualip_agent.ipc import Contribution
from virtualip_api.trackers import Tracker

HIGHEST = 253
"""More could not lift a priority any further: the lowest base is 1, the highest advertised 254."""


def contribution(tracker: Tracker, result: Result) -> Contribution:
    """The tracker's part in the effective priority. `healthy` is whether that is its better part."""
    match result:
        case Unusable():
            return Contribution(fault=True, healthy=False)
        case Check(passed=passed):
            return _of_check(tracker.weight, tracker.reverse, passed)
        case Number(value=value):
            return _of_number(tracker.weight, tracker.reverse, value)
        case _:
            assert_never(result)


def _of_check(weight: int, reverse: bool, passed: bool) -> Contribution:
    healthy = passed != reverse
    if weight == 0:
        return Contribution(fault=not healthy, healthy=healthy)
    counts = passed if weight > 0 else not passed
    return Contribution(value=(-weight if reverse else weight) if counts else 0, healthy=healthy)


def _of_number(weight: int, reverse: bool, value: int) -> Contribution:
    if weight == 0:
        healthy = (value == 0) != reverse
        return Contribution(fault=not healthy, healthy=healthy)
    worth = value * (-weight if reverse else weight)
    if worth < -HIGHEST:
        return Contribution(fault=True, healthy=False)
    return Contribution(value=min(worth, HIGHEST))
