"""Whether a virtual router may take part, and with what priority: link, trackers, the kernel's word."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.priority import Contribution, effective_priority
from virtualip_agent.vrrp.settings import Settings
from virtualip_agent.vrrp.timing import SECOND

if TYPE_CHECKING:
    from virtualip_agent.vrrp.group_view import GroupView

_RETRY: Final = 5 * SECOND


class Fitness:
    """Everything but the wire that decides on the phase; recomputed whole, never adjusted."""

    def __init__(self, settings: Settings) -> None:
        self.source = b""
        """Packed source address; empty without a link."""
        self.link_down: ev.LinkDown | None = None
        self.refused: ev.AddressesRefused | None = None
        self.claimed = ""
        """Who answers for our addresses on the segment, though no MASTER was heard; empty: nobody."""
        self.retry_at: int | None = None
        """When a refused address is tried again."""
        self.group: GroupView | None = None
        """Of a router that is in a sync group with others."""
        self.effective = effective_priority(settings.base_priority, {}, settings.draining)
        self._contributions: dict[str, Contribution] = {}

    def link_up(self, source: bytes) -> bool:
        """Whether it was down."""
        was_down, self.link_down, self.source = self.link_down is not None, None, source
        return was_down

    def link_lost(self, event: ev.LinkDown) -> None:
        """The interface cannot be used."""
        self.link_down, self.source = event, b""

    def refuse(self, event: ev.AddressesRefused, now: int) -> None:
        """The kernel did not take our addresses. AddressesFree tells when somebody else's is gone; else we try."""
        self.refused = event
        self.retry_at = None if event.reason == "AddressInUse" else now + _RETRY

    def forget_refusal(self) -> None:
        """The addresses may be tried again."""
        self.refused = self.retry_at = None

    @property
    def waits_for_address(self) -> bool:
        """Whether somebody else's address was in the way; whatever else is the matter meanwhile."""
        return self.refused is not None and self.refused.reason == "AddressInUse"

    @property
    def holds_nothing(self) -> bool:
        """Whether there is nothing that a MASTER could hand over: it cannot send, or the addresses are not its own."""
        return self.link_down is not None or self.refused is not None or bool(self.claimed)

    def contribute(self, contributions: Mapping[str, Contribution]) -> None:
        """The whole map of trackers as it is now."""
        self._contributions = dict(contributions)

    def contributions(self, settings: Settings) -> Mapping[str, Contribution]:
        """Those that are known and asked for."""
        return {name: value for name, value in self._contributions.items() if name in settings.trackers}

    def recompute(self, settings: Settings) -> bool:
        """Effective priority from everything that is known; whether it is another one."""
        before = self.effective.priority
        own = effective_priority(settings.base_priority, self.contributions(settings), settings.draining)
        self.effective = own if self.group is None else self.group.effective._replace(failed=own.failed)
        return self.effective.priority != before

    def draining(self, settings: Settings) -> bool:
        """Whether the addresses are to leave this node."""
        return settings.draining or (self.group is not None and self.group.draining)

    def own_fault(self) -> tuple[str, str] | None:
        """Reason and message, or None where nothing is wrong here."""
        if self.link_down is not None:
            return self.link_down.reason, self.link_down.message
        if self.effective.failed:
            return "TrackerFailed", ", ".join(self.effective.failed)
        if self.refused is not None:
            return self.refused.reason, self.refused.message
        if self.claimed:
            return "AddressInUse", self.claimed
        return None

    def fault(self) -> tuple[str, str] | None:
        """The same, or another's of our group."""
        return self.own_fault() or (self.group.fault if self.group is not None else None)

    def ready(self, settings: Settings) -> bool:
        """Whether there is a link and every tracker has reported."""
        return bool(self.source) and settings.trackers <= self._contributions.keys()
