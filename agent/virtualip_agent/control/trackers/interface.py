"""An interface that is up and running (keepalived.conf(5), track_interface), and what it is built on as well."""

import asyncio
from typing import TYPE_CHECKING

from virtualip_agent.control.trackers.base import Check, Report
from virtualip_agent.control.trackers.link_watch import RETRY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from virtualip_agent.control.trackers.link_watch import LinkWatch
    from virtualip_agent.rtnetlink import Link
    from virtualip_api.trackers import InterfaceTracker


def result_of(name: str, links: "Mapping[int, Link]") -> Check:
    """Whether the interface of this name, its base, and the base of that can be used. Pure.

    A bond is judged by itself: it is running while one of its members is.
    """
    link = next((link for link in links.values() if link.name == name), None)
    if link is None:
        return Check(False, f"there is no interface {name}")
    seen: set[int] = set()
    while link.index not in seen:
        seen.add(link.index)
        if not link.usable:
            where = "" if link.name == name else f"its base {link.name} is "
            return Check(False, where + ("without carrier" if link.up else "down"))
        if not link.base:
            break
        below = links.get(link.base)
        if below is None:
            return Check(False, f"its base (interface {link.base}) is gone")
        link = below
    return Check(True, "up")


class RunningInterfaceTracker:
    """Reports at each change of the kernel's."""

    def __init__(self, check: "InterfaceTracker", report: Report, links: "LinkWatch") -> None:
        self._check = check
        self._report = report
        self._links = links
        self._subscribed = False
        self._again: asyncio.TimerHandle | None = None
        self._subscribe()

    def _subscribe(self) -> None:
        self._again = None
        try:
            self._links.subscribe(self._changed)
        except OSError as error:
            self._report(Check(False, f"the kernel does not tell: {error.strerror}"))
            self._again = asyncio.get_running_loop().call_later(RETRY, self._subscribe)
            return
        self._subscribed = True
        self._changed()

    def _changed(self) -> None:
        self._report(result_of(self._check.name, self._links.links))

    def close(self) -> None:
        """Stops listening."""
        if self._again is not None:
            self._again.cancel()
        if self._subscribed:
            self._subscribed = False
            self._links.unsubscribe(self._changed)
