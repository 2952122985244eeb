"""Who is read and for how long: a flood on a segment must not keep the timers waiting."""

import select
from time import monotonic_ns
from typing import Final

from virtualip_agent.realtime.engine import Engine
from virtualip_agent.realtime.timers import Chore
from virtualip_agent.realtime.vrrp_sockets import Receiver
from virtualip_agent.vrrp.timing import MILLISECOND

_SHARE: Final = 4 * MILLISECOND
"""How long an interface is read before the timers get their turn."""
_REST: Final = 1 * MILLISECOND
"""For how long it is left alone after that. Who never lets go of the CPU has it taken away by the kernel, real-time
priority or not: 50 ms of each second are the others' (sched_rt_runtime_us, since Linux 6.12 the fair server)."""
_SLEPT: Final = 10 * MILLISECOND
"""Later than this, and not by its own work, a process reads all that it missed before it acts."""
_NO_HURRY: Final = 1 << 62
_MOST_EVENTS: Final = 256


class Readers:
    """The receivers, by file descriptor, as they are registered with epoll."""

    def __init__(self, epoll: select.epoll) -> None:
        self._epoll = epoll
        self._receivers: dict[int, Receiver] = {}
        self._resting: list[Receiver] = []
        self._rested_at = 0

    def register(self, receiver: Receiver) -> None:
        """It is read from now on."""
        self._receivers[receiver.fileno()] = receiver
        self._epoll.register(receiver, select.EPOLLIN)

    def unregister(self, receiver: Receiver) -> None:
        """It is about to be closed."""
        del self._receivers[receiver.fileno()]
        self._epoll.unregister(receiver)
        if receiver in self._resting:
            self._resting.remove(receiver)

    def get(self, descriptor: int) -> Receiver | None:
        """Whose descriptor it is; None where it is something else's."""
        return self._receivers.get(descriptor)

    def wait(self, engine: Engine, done: int) -> tuple[list[tuple[int, int]], int, bool]:
        """Waits for something to happen, after the last was `done`: what is ready, when that is, and whether the
        process `slept`."""
        ready = self._epoll.poll(maxevents=_MOST_EVENTS)
        now = monotonic_ns()
        late = slept(engine, now, done)
        if self._end_rest(now) or late:
            # It may have slept with this answer in hand, or while a receiver was left alone: who spoke since then is to
            # be heard before a timer acts.
            ready = self._epoll.poll(0, _MOST_EVENTS)
        return ready, now, late

    def read(self, receiver: Receiver, engine: Engine, *, slept: bool) -> None:
        """Something has arrived."""
        began = monotonic_ns()
        # heard now: by the moment of the wake-up, after which we may have slept, it could be a silence that is over
        engine.receive(receiver, began, _NO_HURRY if slept else began + _SHARE)
        if monotonic_ns() - began > _SHARE:
            self._epoll.modify(receiver, 0)
            self._resting.append(receiver)
            self._rested_at = began + _SHARE + _REST

    def arm(self, engine: Engine) -> None:
        """After the timers: those that are left alone have one, which may have come before the last of them."""
        if self._resting:
            engine.deadlines.arm(Chore.READ_AGAIN, self._rested_at)

    def _end_rest(self, now: int) -> bool:
        """Those that were left alone are read again, when the time has come."""
        if not self._resting or now < self._rested_at:
            return False
        for receiver in self._resting:
            self._epoll.modify(receiver, select.EPOLLIN)
        self._resting.clear()
        return True


def slept(engine: Engine, now: int, done: int) -> bool:
    """Whether the process woke late for what was due, though it had been `done` with its work before."""
    first = engine.deadlines.first
    return first is not None and now - max(first, done) > _SLEPT
