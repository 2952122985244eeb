"""A tracker that tries again and again, as a test sees it: every report, and waits for what it says."""

import asyncio
from collections.abc import Callable

from virtualip_agent.control.trackers.base import Check, Report, Result, RunningTracker


class Tried:
    """`async with Tried(lambda report: start_tcp(check, report)) as tried`."""

    def __init__(self, start: Callable[[Report], RunningTracker]) -> None:
        self.results: list[Result] = []
        self._start = start
        self._changed = asyncio.Event()
        self.reports = 0

    def _report(self, result: Result) -> None:
        self.reports += 1
        if not self.results or self.results[-1] != result:
            self.results.append(result)
        self._changed.set()

    async def __aenter__(self) -> "Tried":
        self.tracker = self._start(self._report)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.tracker.close()
        await asyncio.sleep(0)

    async def until(self, condition: Callable[["Tried"], bool], within: float = 15.0) -> Result:
        """Waits until the condition holds after a report; the last result."""
        try:
            async with asyncio.timeout(within):
                while not (self.results and condition(self)):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"after {within} s: {self.results}") from None
        return self.results[-1]

    async def first(self) -> Result:
        """The first result."""
        return await self.until(lambda tried: True)

    async def becomes(self, passed: bool) -> str:
        """The message once it has passed, or has not."""
        result = await self.until(lambda tried: tried.results[-1].passed == passed)  # type: ignore[union-attr]
        assert isinstance(result, Check)
        return result.message

    async def more_reports(self, count: int) -> None:
        """Waits for further tries, whatever they give."""
        wanted = self.reports + count
        await self.until(lambda tried: tried.reports >= wanted)
