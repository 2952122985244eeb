"""MASTERs that advertise in the same slot and have nothing else to do: for hours they say again what they said an
interval ago. A choir does it for all of them, with one timer and one system call; a router is told what was said in its
name when it leaves, and it leaves when anything else happens to it.

At 255 virtual routers most of what an advertisement cost was asking each of them (docs/performance.md).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from virtualip_agent.realtime.batch import Batch

if TYPE_CHECKING:
    from virtualip_agent.realtime.router import RunningRouter
    from virtualip_agent.realtime.timers import Deadlines
    from virtualip_agent.realtime.vrrp_sockets import Sender, SocketAddress


@dataclass(slots=True)
class _Voice:
    """One router's part."""

    router: "RunningRouter"
    priority: int
    turns: int
    """Of the choir, before it joined."""
    counted: int
    """How much of what the choir has said is counted, or was not said by this one."""


class Choir:
    """Routers with the same interval. Times are those of the timers, nanoseconds."""

    def __init__(self, name: str, interval: int, moment: int) -> None:
        self.name = name
        self.moment = moment
        """When its next turn is."""
        self._interval = interval
        self._voices: dict[str, _Voice] = {}
        self._turns = self._said = self._turn_at = 0
        self._rehearsed = False
        self._alone_until = self._patience = 0
        self._batches: list[tuple[Sender, list[_Voice], Batch]] = []

    def __len__(self) -> int:
        return len(self._voices)

    def add(self, router: "RunningRouter") -> None:
        """It has just advertised, and is to again at the choir's moment."""
        self._voices[router.name] = _Voice(router, router.core.priority, self._turns, self._said)
        self._rehearsed = False

    def count(self, name: str) -> None:
        """What was said in its name counts as sent."""
        voice = self._voices[name]
        voice.router.sent += self._said - voice.counted
        voice.counted = self._said

    def remove(self, name: str) -> int:
        """It sings no longer, and knows what was said in its name; its priority."""
        self.count(name)
        voice = self._voices.pop(name)
        self._rehearsed = False
        if self._turns != voice.turns:
            voice.router.core.spoke(self._turn_at, self.moment)
        return voice.priority

    @property
    def patience(self) -> int:
        """RunningRouter.patience of the least patient."""
        self._rehearse()
        return self._patience

    @property
    def routers(self) -> list["RunningRouter"]:
        """All of them."""
        return [voice.router for voice in self._voices.values()]

    def is_late(self, now: int) -> bool:
        """Whether it is late by an interval or more: its routers may have more to do than to advertise."""
        return now >= self.moment + self._interval

    def take_turn(self, now: int) -> None:
        """An interval is over, for all."""
        self._turns, self._turn_at = self._turns + 1, now
        self.moment += self._interval

    def departing(self) -> list["RunningRouter"]:
        """Those that have something else to do before the next turn."""
        if self.moment < self._alone_until:
            return []
        return [voice.router for voice in self._voices.values() if self.moment >= voice.router.core.speaks_until]

    def sing(self) -> Iterator[tuple["RunningRouter", OSError]]:
        """Says it; whose advertisement the kernel did not take, and why."""
        self._rehearse()
        self._said += 1
        for sender, voices, batch in self._batches:
            for index, error in sender.send_all(batch):
                voices[index].counted += 1
                yield voices[index].router, error

    def _rehearse(self) -> None:
        """Works out what is the same until somebody joins or leaves."""
        if self._rehearsed:
            return
        voices = self._voices.values()
        self._alone_until = min((voice.router.core.speaks_until for voice in voices), default=0)
        self._patience = min((voice.router.patience for voice in voices), default=0)
        senders: dict[Sender, list[_Voice]] = {}
        for voice in voices:
            assert voice.router.sender is not None
            senders.setdefault(voice.router.sender, []).append(voice)
        self._batches = [(sender, some, Batch([*_messages(some)])) for sender, some in senders.items()]
        self._rehearsed = True


def _messages(voices: Iterable[_Voice]) -> Iterator[tuple[bytes, "SocketAddress"]]:
    for voice in voices:
        ((payload, to),) = voice.router.advertisements(voice.priority)
        yield payload, to.address


class Choirs:
    """By slot and interval. `deadlines` has their moments, under their names."""

    def __init__(self, deadlines: "Deadlines") -> None:
        self._deadlines = deadlines
        self._choirs: dict[str, Choir] = {}
        self._of: dict[str, Choir] = {}
        """By router."""
        self._unsaid: list[Choir] = []

    @property
    def unsaid(self) -> bool:
        """Whether a choir has its turn in this wake-up."""
        return bool(self._unsaid)

    def join(self, routers: Iterable["RunningRouter"]) -> None:
        """They have advertised; those to which nothing else is to happen do so with others from now on."""
        for router in routers:
            moment = router.core.deadline
            if moment is None or moment >= router.core.speaks_until:
                continue
            if router.config.group or router.unicast:
                continue  # who is told things by others of its group; and who counts what each peer is sent
            choir = self._at(moment, router.config.advert_interval)
            if choir is not None:
                choir.add(router)
                self._of[router.name] = choir
                self._deadlines.forget(router.name)

    def _at(self, moment: int, interval: int) -> Choir | None:
        """The choir whose next turn is then; None where that of the same slot has another."""
        name = f" choir {interval} {moment % interval}"  # no router's name begins with a blank
        choir = self._choirs.get(name)
        if choir is None:
            choir = self._choirs[name] = Choir(name, interval, moment)
            self._deadlines.arm(name, moment)
        return choir if choir.moment == moment else None

    def count(self, routers: Iterable["RunningRouter"]) -> None:
        """Somebody wants to see what they have sent."""
        for router in routers:
            if router.name in self._of:
                self._of[router.name].count(router.name)

    def leave(self, name: str) -> int:
        """Something else happens to the router: the caller arms its timer. The priority with which it is still to
        advertise in this wake-up; 0: it is not."""
        choir = self._of.pop(name, None)
        if choir is None:
            return 0
        priority = choir.remove(name)
        if not choir:
            del self._choirs[choir.name]
            self._deadlines.forget(choir.name)
        return priority if choir in self._unsaid else 0

    def turn(self, name: str, now: int) -> list["RunningRouter"]:
        """The moment of the choir of this name, if there is one, has come: it is to sing. Those that left it, too late
        for that."""
        choir = self._choirs.get(name)
        if choir is None:
            return []
        if choir.is_late(now):
            late = choir.routers
            for router in late:
                self.leave(router.name)
            return late
        choir.take_turn(now)
        self._unsaid.append(choir)
        self._deadlines.arm(name, choir.moment)
        return []

    def take_unsaid(self) -> list[Choir]:
        """Those that are to sing now."""
        unsaid, self._unsaid = self._unsaid, []
        return unsaid
