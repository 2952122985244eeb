"""A script whose exit code says whether all is well (keepalived.conf(5), vrrp_script)."""

import asyncio
from dataclasses import dataclass

from virtualip_agent.control.spawner_client import Running, Spawner, answered
from virtualip_agent.control.trackers.base import Origin, Report
from virtualip_agent.control.trackers.periodic import Periodic
from virtualip_agent.control.trackers.rise_fall import Outcome, RiseFall
from virtualip_api.duration import SECOND
from virtualip_api.trackers import ScriptTracker


@dataclass(slots=True)
class _Runs:
    """The runs of one tracker: never two at once."""

    check: ScriptTracker
    spawner: Spawner
    environment: dict[str, str]
    last: Running | None = None

    async def __call__(self) -> Outcome:
        timeout = self.check.timeout / SECOND
        if self.last is not None:
            try:
                async with asyncio.timeout(timeout):
                    await self.last.ended.wait()
            except TimeoutError:
                return Outcome(False, "the run before has not ended")
        check = self.check
        self.last = await self.spawner.start(check.command, check.user, check.capabilities, self.environment, timeout)
        # the spawner keeps the time; but where it hangs itself, in a file system that does, it says nothing
        return await answered(self.last, timeout)

    def stop(self) -> None:
        if self.last is not None:
            self.spawner.stop(self.last)


class RunningScriptTracker:
    """Runs it from now on."""

    def __init__(self, check: ScriptTracker, report: Report, spawner: Spawner, origin: Origin) -> None:
        names = {"VIRTUALIP_NAME": origin.virtual_ip, "VIRTUALIP_TRACKER": origin.tracker}
        self._runs = _Runs(check, spawner, dict(check.env) | names)
        counted = RiseFall.start(check.rise, check.fall, resumed=origin.resumed)
        if check.init_fail and not origin.resumed:
            counted = RiseFall.failed(check.rise, check.fall, "not run yet")
        self._periodic = Periodic(self._runs, check.interval, counted, report)

    def close(self) -> None:
        """Ends what runs."""
        self._periodic.close()
        self._runs.stop()
