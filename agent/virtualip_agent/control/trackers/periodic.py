"""Asking again and again, for every tracker that has to: never two tries at once, results counted by `RiseFall`."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from virtualip_agent.control.trackers.base import Report
from virtualip_agent.control.trackers.rise_fall import Outcome, RiseFall
from virtualip_api.duration import SECOND, format_duration

log = logging.getLogger(__name__)

Try = Callable[[], Awaitable[Outcome]]


class Periodic:
    """A tracker that tries every `interval`; a try that takes longer delays the next."""

    def __init__(self, attempt: Try, interval: int, counted: RiseFall, report: Report) -> None:
        self._attempt = attempt
        self._interval = interval / SECOND
        self._counted = counted
        self._report = report
        if counted.shown is not None:
            report(counted.shown)
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        # the first at once: the instance waits for it; the second somewhere within the interval, so that many trackers
        # that began together do not go on together
        due = loop.time() - random.uniform(0, self._interval)
        while True:
            try:
                outcome = await self._attempt()
            except Exception as error:
                log.exception("a try failed in a way nobody thought of")
                outcome = Outcome(False, f"internal error, {type(error).__name__}")
            self._counted = self._counted.after(outcome)
            if self._counted.shown is not None:
                self._report(self._counted.shown)
            due = max(due + self._interval, loop.time())
            await asyncio.sleep(due - loop.time())

    def close(self) -> None:
        """No try and no report any more."""
        self._task.cancel()


async def within(timeout: int, attempt: Awaitable[Outcome]) -> Outcome:
    """The outcome, or a failure when it takes longer than `timeout` nanoseconds in all."""
    try:
        async with asyncio.timeout(timeout / SECOND):
            return await attempt
    except TimeoutError:
        return Outcome(False, f"no answer within {format_duration(timeout)}")
