"""Whether enough processes of a name run (keepalived.conf(5), vrrp_track_process)."""

import asyncio

from virtualip_agent.control.trackers.base import Check, Report
from virtualip_agent.control.trackers.process_table import Pattern, ProcessTable
from virtualip_api.duration import SECOND
from virtualip_api.trackers import ProcessTracker


def result_of(check: ProcessTracker, count: int) -> Check:
    """Whether `count` processes are enough and not too many. Pure.

    While they are, the message does not name the number: workers come and go, and each new text would be written to
    the API.
    """
    if count < check.quorum:
        return Check(False, f"{count} {'process' if count == 1 else 'processes'}, {check.quorum} wanted")
    if check.quorum_max and count > check.quorum_max:
        return Check(False, f"more than {check.quorum_max} processes")
    return Check(True, "running" if check.quorum == 1 else f"at least {check.quorum} running")


class RunningProcessTracker:
    """Reports whether the quorum is met; a change counts when it has lasted `delay` or `terminateDelay`."""

    def __init__(self, check: ProcessTracker, report: Report, table: ProcessTable) -> None:
        self._check = check
        self._report = report
        self._table = table
        self._pattern = Pattern.of(check)
        self._timer: asyncio.TimerHandle | None = None
        self._count = table.subscribe(self._pattern, self._counted)
        self._reported = result_of(check, self._count)
        report(self._reported)  # what is found at the start has been so for long: no delay

    def _counted(self, count: int) -> None:
        self._count = count
        result = result_of(self._check, count)
        if self._timer is not None:
            if result.passed != self._reported.passed:
                return  # the change under way goes on; what it will be is asked when it counts
            self._timer.cancel()
            self._timer = None
        delay = self._check.delay if result.passed else self._check.terminate_delay
        if result.passed == self._reported.passed or not delay:
            self._settle(result)
        else:
            self._timer = asyncio.get_running_loop().call_later(delay / SECOND, self._lasted)

    def _lasted(self) -> None:
        self._timer = None
        self._settle(result_of(self._check, self._count))

    def _settle(self, result: Check) -> None:
        if result != self._reported:
            self._reported = result
            self._report(result)

    def close(self) -> None:
        """Stops listening."""
        if self._timer is not None:
            self._timer.cancel()
        self._table.unsubscribe(self._pattern, self._counted)
