"""What routers say on the wire: advertisements, and the announcement of their addresses."""

import logging
import socket
from collections.abc import Callable, Iterable
from time import monotonic_ns

import msgspec

from virtualip_agent import ipc
from virtualip_agent.realtime.choirs import Choir
from virtualip_agent.realtime.router import RunningRouter
from virtualip_agent.realtime.unsent import Unsent
from virtualip_agent.realtime.vrrp_sockets import FrameSender

log = logging.getLogger(__name__)


class Speech:
    """Sends, counts, and remembers what could not be sent. `clock` is what every `now` was read from.

    What was decided may be so old when it comes to be said that another was right to take over: the process was stopped
    in between. Then it is not said, and who is MASTER is heard first, in the next wake-up.
    """

    def __init__(self, frames: FrameSender, clock: Callable[[], int] = monotonic_ns) -> None:
        self._frames = frames
        self.clock = clock
        self._looked_at = self._stopped = 0
        self.unsent = Unsent()
        self._unannounced: dict[str, str] = {}
        """By router why its addresses were not (all) announced the last time."""

    def forget(self, name: str) -> None:
        """The router is another now, or none."""
        self.unsent.forget(name)
        self._unannounced.pop(name, None)

    def amended(self, state: ipc.RouterState) -> ipc.RouterState:
        """What is told of a MASTER, with what it could not send."""
        unsent = self.unsent.message(state.name)
        if not unsent:
            return state
        return msgspec.structs.replace(state, message="; ".join(filter(None, (state.message, unsent))))

    def begin(self, now: int) -> None:
        """What is said from here on was decided `now`."""
        self._looked_at, self._stopped = now, 0

    def go_on(self) -> None:
        """What was done until here took its time, and is no stop."""
        self._looked_at = self.clock()

    def _is_old(self, patience: int) -> bool:
        """Whether the process was stopped for too long since all this was decided. Saying it takes its time too: only
        what lies between two looks can be a stop."""
        now = self.clock()
        since = now - self._looked_at
        if since > self._stopped:
            self._stopped = since
        self._looked_at = now
        return self._stopped > patience

    def announce(self, router: RunningRouter, frames: Iterable[bytes]) -> None:
        """One round of gratuitous ARP or neighbour advertisements. What one address is refused may be granted to the
        next (no buffer); a trouble that lasts is said once."""
        link = router.link
        if link is None or self._is_old(router.patience):
            return
        counter = "garp_sent" if router.family == socket.AF_INET else "na_sent"
        trouble = ""
        for frame in frames:
            try:
                self._frames.send(link.name, frame)
                router.count(counter)
            except OSError as error:
                router.count("send_failed")
                trouble = f"{link.name}: {error.strerror}"
        if trouble and trouble != self._unannounced.get(router.name):
            log.warning("%s: announcing the addresses on %s", router.name, trouble)
        elif not trouble and router.name in self._unannounced:
            log.info("%s: the addresses are announced again", router.name)
        if trouble:
            self._unannounced[router.name] = trouble
        else:
            self._unannounced.pop(router.name, None)

    def advertise(self, advertisements: Iterable[tuple[RunningRouter, int]], now: int) -> None:
        """Each router's with its priority, to the group or to each member."""
        for router, priority in advertisements:
            sender = router.sender
            if sender is None or (priority and self._is_old(router.patience)):
                continue
            for payload, to in router.advertisements(priority):
                try:
                    sender.send(payload, to.address)
                except OSError as error:
                    # one peer that cannot be reached is no reason not to tell the others
                    self._note_failure(router, router.peer_text(to), error, now)
                    continue
                if priority:
                    router.sent += 1
                    if router.unicast:
                        router.sent_to[to.packed] = router.sent_to.get(to.packed, 0) + 1
                else:
                    router.count("sent_priority_0")
                if self.unsent.troubles:
                    self.unsent.sent(router.name, router.peer_text(to), now)

    def sing(self, choir: Choir, now: int) -> list[RunningRouter]:
        """The advertisements of a choir; those of its routers whose one could not be sent."""
        failed: list[RunningRouter] = []
        if self._is_old(choir.patience):
            return failed
        for router, error in choir.sing():
            self._note_failure(router, "", error, now)
            failed.append(router)
        return failed

    def _note_failure(self, router: RunningRouter, to: str, error: OSError, now: int) -> None:
        router.count("send_failed")
        self.unsent.failed(router.name, to, error.strerror or str(error), now)
