"""Many addresses at once: the kernel answers only what fails and the last, and each has its own result."""

import errno
import json
import sys

from segment import Segment

BATCH = """
import json, sys
from virtualip_agent.realtime.route_socket import Change, RouteSocket
from virtualip_agent.rtnetlink import Address

routes = RouteSocket()
addresses = [Address(1, bytes([10, 0, 0, last]), 32) for last in range(1, 6)]
changes = [Change(address, add=True, exclusive=True, lifetime=60) for address in addresses]
for at in json.loads(sys.argv[1]):
    changes[at] = changes[at]._replace(address=Address(999, changes[at].address.ip, 32))
added = routes.change(changes)
again = routes.change(changes)
removed = routes.change([Change(change.address, add=False) for change in changes])
print(json.dumps([added, again, removed]))
"""


def results(lan: Segment, *refused: int) -> list[list[int]]:
    """Of five additions, the same again and their removals, where these are on an interface that is not there."""
    host = lan.host("192.168.122.101")
    found: list[list[int]] = json.loads(host.run([sys.executable, "-c", BATCH, json.dumps(refused)]))
    return found


def test_of_a_batch_in_which_nothing_fails_everything_is_done(lan: Segment) -> None:
    assert results(lan) == [[0] * 5, [errno.EEXIST] * 5, [0] * 5]


def test_what_fails_within_a_batch_or_at_its_end_is_told_of_that_one(lan: Segment) -> None:
    no, there = errno.ENODEV, errno.EEXIST
    assert results(lan, 2) == [[0, 0, no, 0, 0], [there, there, no, there, there], [0, 0, no, 0, 0]]
    assert results(lan, 0, 4) == [[no, 0, 0, 0, no], [no, there, there, there, no], [no, 0, 0, 0, no]]
