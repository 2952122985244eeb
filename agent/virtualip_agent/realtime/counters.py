"""The counters, for who asks: in parts that fit a message."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from virtualip_agent import ipc
from virtualip_agent.realtime.process_statistics import ProcessStatistics
from virtualip_agent.realtime.router import RunningRouter

_ROUTERS_A_MESSAGE: Final = 32
"""Each with a counter for every drop and up to 33 peers: well below ipc.LARGEST_MESSAGE."""


def statistics(
    routers: Sequence[RunningRouter], process: ProcessStatistics, sockets: Mapping[str, int]
) -> Iterator[ipc.Statistics]:
    """Those of these routers, and of the process with its sockets."""
    parts = [routers[at : at + _ROUTERS_A_MESSAGE] for at in range(0, len(routers), _ROUTERS_A_MESSAGE)] or [[]]
    for part in parts:
        yield ipc.Statistics(
            routers={router.name: router.statistics() for router in part},
            process=process.report() | dict(sockets),
            lateness=process.lateness(),
            more=part is not parts[-1],
        )
