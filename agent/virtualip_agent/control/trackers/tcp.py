"""A port that takes connections."""

from virtualip_agent.control.trackers.base import Report
from virtualip_agent.control.trackers.connect import NotConnected, connect
from virtualip_agent.control.trackers.periodic import Periodic, within
from virtualip_agent.control.trackers.rise_fall import Outcome, RiseFall
from virtualip_api.trackers import TcpTracker


async def try_once(check: TcpTracker) -> Outcome:
    """Connects and hangs up."""
    try:
        connected = await connect(check.host, check.port, check.timeout)
    except NotConnected as error:
        return Outcome(False, str(error))
    connected.close()
    return Outcome(True, "connected")


def start_tcp(check: TcpTracker, report: Report, *, resumed: bool = False) -> Periodic:
    """Tries from now on."""
    counted = RiseFall.start(check.rise, check.fall, resumed=resumed)
    return Periodic(lambda: within(check.timeout, try_once(check)), check.interval, counted, report)
