"""Whole elections as text that a person can read, compared line by line with tests/unit/golden/*.txt.

After a change that is meant: GOLDEN=write pytest tests/unit/test_core_dialogues.py, and read the difference.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from virtual_lan import VirtualLan
from virtualip_agent.vrrp.priority import Contribution
from virtualip_agent.vrrp.timing import SECOND

GOLDEN = Path(__file__).with_name("golden")
HTTPD = frozenset({"httpd"})
RUNS, STOPPED = Contribution(10), Contribution(0, healthy=False)

Story = Callable[[VirtualLan], None]
_STORIES: dict[str, tuple[VirtualLan, Story]] = {}


def story(lan: VirtualLan) -> Callable[[Story], Story]:
    """A dialogue; its docstring is the head of the file."""

    def keep(function: Story) -> Story:
        _STORIES[function.__name__] = lan, function
        return function

    return keep


@story(VirtualLan(version=2, lifetime=4 * SECOND))
def s1_httpd_stops_and_starts(lan: VirtualLan) -> None:
    """S1: httpd stops on server1 at 10.3 s and runs again at 12.6 s. VRRPv2, 1 s, bases 244 and 240, weight 10."""
    server1 = lan.node("server1", base_priority=244, trackers=HTTPD)
    server2 = lan.node("server2", base_priority=240, trackers=HTTPD)
    lan.contribute(server1, httpd=RUNS)
    lan.contribute(server2, httpd=RUNS)
    lan.run_until(10.3)
    del lan.transcript[:]
    lan.contribute(server1, httpd=STOPPED)
    lan.run_until(12.6)
    lan.contribute(server1, httpd=RUNS)
    lan.run_until(13.5)


@story(VirtualLan(lifetime=4 * SECOND))
def three_boot_at_once_and_the_master_dies(lan: VirtualLan) -> None:
    """Three nodes boot at once; server1 loses its power at 5.2 s and is back at 9 s. VRRPv3, 1 s."""
    nodes = [lan.node(f"server{index}", base_priority=base) for index, base in enumerate((200, 150, 150), 1)]
    lan.edit(nodes[2], rank=1)
    lan.run_until(5.2)
    lan.power_off(nodes[0])
    lan.run_until(9)
    lan.start(nodes[0])
    lan.run_until(13)


@story(VirtualLan(lifetime=4 * SECOND))
def planned_hand_over(lan: VirtualLan) -> None:
    """server1's agent is stopped at 10.3 s, and started again at 12 s: the client never waits."""
    server1 = lan.node("server1", base_priority=244)
    lan.node("server2", base_priority=240)
    lan.run_until(10.3)
    del lan.transcript[:]
    lan.stop(server1)
    lan.run_until(12)
    lan.start(server1)
    lan.run_until(16)
    assert lan.longest_gap(since=9) == 0


@story(VirtualLan(lifetime=4 * SECOND))
def a_partition_heals(lan: VirtualLan) -> None:
    """server1 is cut off at 10.3 s (its carrier stays) and is back at 15.4 s: the lower one steps down."""
    server1 = lan.node("server1", base_priority=244)
    lan.node("server2", base_priority=240)
    lan.run_until(10.3)
    del lan.transcript[:]
    lan.cut(server1)
    lan.run_until(15.4)
    lan.heal()
    lan.run_until(17)


@story(VirtualLan(lifetime=4 * SECOND))
def a_frozen_master_wakes_up(lan: VirtualLan) -> None:
    """server1's process hangs from 10.3 s to 20.3 s: its kernel lets the address go, and waking up it yields."""
    server1 = lan.node("server1", base_priority=244, preempt=False)
    lan.node("server2", base_priority=240)
    lan.run_until(10.3)
    del lan.transcript[:]
    lan.stall(server1)
    lan.run_until(20.3)
    lan.resume(server1)
    lan.run_until(21)


@pytest.mark.parametrize("name", _STORIES)
def test_the_dialogue_is_the_one_that_was_read_and_found_good(name: str) -> None:
    lan, tell = _STORIES[name]
    tell(lan)
    lines = [f"# {tell.__doc__}", *lan.transcript]
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("GOLDEN") == "write":
        path.write_text("\n".join(lines) + "\n")
    expected = path.read_text().splitlines()
    for number, (line, wanted) in enumerate(zip(lines, expected, strict=False), 1):
        assert line == wanted, f"{path.name}:{number}"
    assert len(lines) == len(expected)


def test_every_file_is_somebodys_dialogue() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == _STORIES.keys()
