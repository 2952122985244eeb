"""One virtual router with an injected clock: what it is told, and everything it wanted done, with the moment."""

from dataclasses import replace
from typing import Any, Final

from virtualip_agent.vrrp import effects as fx
from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.packet import Advertisement
from virtualip_agent.vrrp.priority import Contribution
from virtualip_agent.vrrp.settings import Settings
from virtualip_agent.vrrp.timing import SECOND
from virtualip_agent.vrrp.virtual_router import VirtualRouter

VIP: Final = frozenset({bytes([192, 168, 122, 200])})
FAILED: Final = Contribution(0, fault=True, healthy=False)


def host(number: int) -> bytes:
    """A source address on the segment; our own is host(101)."""
    return bytes([192, 168, 122, number])


class OneRouter:
    """Seconds in, seconds out. A member 192.168.122.102 is planned beside us."""

    def __init__(self, *, link: bool = True, adopted: bool = False, **settings: Any) -> None:
        defaults: dict[str, Any] = {
            "vrid": 51,
            "version": 3,
            "addresses": VIP,
            "base_priority": 100,
            "members": frozenset({host(101), host(102)}),
        }
        self.core = VirtualRouter(Settings(**defaults | settings))
        self.now = 0
        self.log: list[tuple[float, fx.Effect]] = []
        if link:
            self.tell(ev.LinkUp(host(101), adopted))

    # ---- verbs

    def tell(self, event: ev.Event) -> list[fx.Effect]:
        """One event now; its effects, without what is merely told."""
        effects = self.core.handle(event, self.now)
        self.log += [(self.now / SECOND, effect) for effect in effects]
        return [effect for effect in effects if not isinstance(effect, fx.Transitioned)]

    def hear(
        self,
        priority: int,
        source: int = 102,
        *,
        interval: float | None = None,
        addresses: frozenset[bytes] | None = None,
        authentication: bytes | None = None,
    ) -> list[fx.Effect]:
        """An advertisement from 192.168.122.<source>, with our own settings unless it says otherwise."""
        ours = self.core.settings
        advertisement = Advertisement(
            version=ours.version,
            vrid=ours.vrid,
            priority=priority,
            interval=ours.advert_interval if interval is None else round(interval * SECOND),
            addresses=ours.addresses if addresses is None else addresses,
            authentication=ours.authentication if authentication is None else authentication,
        )
        return self.tell(ev.Heard(advertisement, host(source)))

    def contribute(self, **contributions: Contribution) -> list[fx.Effect]:
        """The whole map of trackers."""
        return self.tell(ev.ContributionsChanged(contributions))

    def edit(self, **changes: Any) -> list[fx.Effect]:
        """An edit of the spec."""
        return self.tell(ev.SettingsChanged(replace(self.core.settings, **changes)))

    def until(self, seconds: float) -> None:
        """Lets the clock run, timers included."""
        end = round(seconds * SECOND)
        while self.core.deadline is not None and self.core.deadline <= end:
            before = (self.now, self.core.deadline, len(self.log))
            self.now = max(self.now, self.core.deadline)
            self.tell(ev.TimerExpired())
            assert before != (self.now, self.core.deadline, len(self.log)), "a timer that stays due"
        self.now = end

    def sleep(self, seconds: float) -> None:
        """The clock runs and the process does not."""
        self.now = round(seconds * SECOND)

    def become_master(self) -> None:
        """Hears nobody until it takes over; its log is empty then."""
        assert self.core.deadline is not None
        self.until(self.core.deadline / SECOND)
        assert self.core.is_master
        self.log.clear()

    # ---- questions

    @property
    def deadline(self) -> float:
        """When its timer is due."""
        assert self.core.deadline is not None
        return self.core.deadline / SECOND

    @property
    def state(self) -> str:
        """MASTER, BACKUP or FAULT."""
        return str(self.core.state)

    @property
    def reason(self) -> str:
        """As last told."""
        return next(effect.reason for _, effect in reversed(self.log) if isinstance(effect, fx.Transitioned))

    def times(self, *kinds: type[fx.Effect]) -> list[float]:
        """When effects of these kinds were wanted."""
        return [moment for moment, effect in self.log if isinstance(effect, kinds)]

    def sent(self) -> list[tuple[float, int]]:
        """(when, priority) of every advertisement."""
        return [(moment, effect.priority) for moment, effect in self.log if isinstance(effect, fx.SendAdvertisement)]

    def wanted(self, kind: type[fx.Effect]) -> bool:
        """Whether such an effect was wanted at all."""
        return bool(self.times(kind))
