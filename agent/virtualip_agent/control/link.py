"""The client end of the line to vrrp (virtualip_agent.ipc).

Nothing is queued: what is wanted is compared with what vrrp was told, and the difference sent, as far as the socket
takes it. So a vrrp that is slow, away or restarted gets the newest state and never an old one.

A vrrp that is there and does nothing (stopped, deadlocked, in the kernel for good) hangs up as little as a healthy one:
it is asked for a sign of life, and counts as away while it gives none.
"""

import asyncio
import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from virtualip_agent import ipc

log = logging.getLogger(__name__)

RECONNECT_AFTER = 0.1
COUNT_PATIENCE = 1.0
"""Seconds that vrrp's counters are waited for."""
ASK_EVERY = 1.0
"""Seconds between signs of life that vrrp is asked for: some 0.1 ms of its time each."""
MOST_UNANSWERED = 3
"""Looks, `ASK_EVERY` apart, at which an answer is missing until vrrp counts as away. What answers is the loop that
sends advertisements and refreshes addresses: one that is 3 s late has let the shortest lifetime (3 s) pass, and is a
hundred times as late as a real-time process on a busy machine. Looks and not seconds, so that it is not vrrp that is
blamed where control itself, or the whole machine, stood still."""
_NO_ROUTER = ("",)
"""Whose counters are asked for where an answer is all that matters."""

Contributions = Mapping[str, Mapping[str, ipc.Contribution]]


class Link:
    """Keeps vrrp told, and knows what it said last. `on_message` is called after each message; `on_away` when vrrp is
    gone or does not answer, with the time (of the event loop) since which. Where it answers again, its Hello is told
    once more."""

    def __init__(
        self, path: Path, on_message: Callable[[ipc.FromVrrp], None], on_away: Callable[[float], None]
    ) -> None:
        self._path = path
        self._on_message = on_message
        self._on_away = on_away
        self._socket: socket.socket | None = None
        self._writing = False
        self._retry: asyncio.TimerHandle | None = None
        self._routers: Mapping[str, ipc.RouterConfig] = {}
        self._contributions: dict[str, Mapping[str, ipc.Contribution]] = {}
        self._names: frozenset[str] | None = None
        """None: nothing is wanted yet; not to be taken for an empty picture."""
        self.hello: ipc.Hello | None = None
        """vrrp's, while it is there."""
        self.states: dict[str, ipc.RouterState] = {}
        """vrrp's last word of each router; it stays when vrrp goes."""
        self._told_of: set[str] | None = None
        """The routers of which vrrp has said something since its Hello, until its first answer."""
        self._counting = asyncio.Lock()
        self._asking: deque[asyncio.Future[ipc.Statistics] | None] = deque()
        """Who waits for which of vrrp's answers to come, in order; None: nobody, it is a sign of life."""
        self._parts: list[ipc.Statistics] = []
        self._look: asyncio.TimerHandle | None = None
        self._asked_at = 0.0
        self._unanswered = 0
        """Looks at which what was asked then had no answer; 0: nothing is asked for."""
        self._told_routers: dict[str, ipc.RouterConfig] = {}
        self._told_contributions: dict[str, Mapping[str, ipc.Contribution]] = {}
        self._told_names: frozenset[str] | None = None

    @property
    def connected(self) -> bool:
        """Whether there is a vrrp process at the other end."""
        return self._socket is not None

    @property
    def answering(self) -> bool:
        """Whether vrrp has said Hello, and since then what it was asked."""
        return self.hello is not None and self._unanswered <= MOST_UNANSWERED

    def start(self) -> None:
        """Connects, and goes on trying."""
        self._loop = asyncio.get_running_loop()
        self._connect()
        self._look = self._loop.call_later(ASK_EVERY, self._ask_for_a_sign_of_life)

    def want(
        self, routers: Mapping[str, ipc.RouterConfig], contributions: Contributions, names: frozenset[str]
    ) -> None:
        """What vrrp is to run. `names` are all that are not to be withdrawn, those included whose files are bad just
        now."""
        self._routers, self._names, self._contributions = routers, names, dict(contributions)
        self._flush()

    def contribute(self, name: str, contributions: Mapping[str, ipc.Contribution]) -> None:
        """The trackers' part in one router's priority, at once: a failover may hang on it."""
        self._contributions[name] = contributions
        if not self._writing and name in self._told_routers and name in self._routers:
            self._send(self._contribution_difference(name))

    def answer(self, name: str, by: str) -> None:
        """Who answered for a router's addresses, where vrrp asks; lost where vrrp is not there: it asks again."""
        if not self._writing and name in self._told_routers:
            self._send(iter((ipc.SegmentAnswers(name, by),)))

    async def statistics(self, names: Iterable[str] = ()) -> ipc.Statistics | None:
        """vrrp's counters, of these routers or of all; None where it does not answer. Who asks while an answer to
        another is on its way waits for his turn."""
        async with self._counting:
            if self._socket is None or self.hello is None or not self.hello.active:
                return None
            counted: asyncio.Future[ipc.Statistics] = asyncio.get_running_loop().create_future()
            if not self._ask(tuple(names), counted):
                return None
            try:
                async with asyncio.timeout(COUNT_PATIENCE):
                    return await counted
            except TimeoutError:
                return None

    def _ask(self, names: tuple[str, ...], who: "asyncio.Future[ipc.Statistics] | None") -> bool:
        if self._writing:
            return False  # what differs is to be said first
        sent = self._send(iter((ipc.GetStatistics(names),)))
        if sent:
            self._asking.append(who)
        return sent

    def _take_statistics(self, part: ipc.Statistics) -> None:
        self._parts.append(part)
        if part.more:
            return
        routers = {name: counters for one in self._parts for name, counters in one.routers.items()}
        self._parts = []
        self._bury()
        who = self._asking.popleft() if self._asking else None
        if who is not None and not who.done():
            who.set_result(msgspec.structs.replace(part, routers=routers))

    def _bury(self) -> None:
        """After an answer everything that vrrp had to say since its Hello is known: a router of which it said nothing,
        and which is not wanted, was gone when it was to be withdrawn."""
        if self._told_of is None or self._names is None:
            return
        for name in self.states.keys() - self._told_of - self._names:
            del self.states[name]
            self._on_message(ipc.RouterGone(name))
        self._told_of = None

    def _ask_for_a_sign_of_life(self) -> None:
        """Every `ASK_EVERY`. By then whatever has come is read: the event loop does that before its timers."""
        self._look = self._loop.call_later(ASK_EVERY, self._ask_for_a_sign_of_life)
        if self.hello is None or not self.hello.active:
            return  # who stands by is not answered
        if self._unanswered == 0:
            self._asked_at = self._loop.time()
        if not self._asking:
            self._ask(_NO_ROUTER, None)  # where the socket takes no more, vrrp does not read: then at the next look
        self._unanswered += 1
        if self._unanswered == MOST_UNANSWERED + 1:
            log.warning("vrrp (pid %d) does not answer any more: it counts as away until it does", self.hello.pid)
            self._on_away(self._asked_at)

    def _sign_of_life(self) -> None:
        was_away, self._unanswered = not self.answering, 0
        if was_away and self.hello is not None:
            log.info("vrrp answers again")
            self._on_message(self.hello)

    def close(self) -> None:
        """Hangs up; vrrp runs on with what it has."""
        for timer in (self._retry, self._look):
            if timer is not None:
                timer.cancel()
        self._disconnect()

    def _connect(self) -> None:
        self._retry = None
        client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            client.connect(str(self._path))
            client.send(ipc.encode(ipc.Hello(pid=os.getpid())))
        except OSError:
            client.close()
            self._connect_later()
            return
        self._socket = client
        self._loop.add_reader(client, self._receive)

    def _connect_later(self) -> None:
        self._retry = self._loop.call_later(RECONNECT_AFTER, self._connect)

    def _disconnect(self) -> None:
        if self._socket is None:
            return
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()
        self._socket, self._writing = None, False
        self._forget_what_was_told()
        self._asking.clear()
        self._parts = []
        self._unanswered = 0
        self.hello = self._told_of = None

    def _lost(self, reason: str) -> None:
        log.warning("vrrp is away: %s", reason)
        self._disconnect()
        self._connect_later()
        self._on_away(self._loop.time())

    def _forget_what_was_told(self) -> None:
        self._told_routers.clear()
        self._told_contributions.clear()
        self._told_names = None

    def _receive(self) -> None:
        while self._socket is not None:
            try:
                packet = self._socket.recv(ipc.LARGEST_MESSAGE)
            except BlockingIOError:
                return
            except OSError as error:
                self._lost(str(error))
                return
            if not packet:
                self._lost("it hung up")
                return
            try:
                message = ipc.decode_from_vrrp(packet)
            except msgspec.DecodeError as error:
                log.debug("a message that this version does not understand: %s", error)
                continue
            match message:
                case ipc.Hello():
                    self._greeted(message)
                case ipc.RouterState():
                    self.states[message.name] = message
                    if self._told_of is not None:
                        self._told_of.add(message.name)
                case ipc.RouterGone():
                    self.states.pop(message.name, None)
                case ipc.Statistics():
                    self._take_statistics(message)
            if self._unanswered:
                self._sign_of_life()
            self._on_message(message)

    def _greeted(self, hello: ipc.Hello) -> None:
        """vrrp is there, or has begun to listen to us: it gets the whole picture. While another commands, nothing."""
        self.hello = hello
        self._told_of = set() if hello.active else None
        self._forget_what_was_told()
        self._flush()

    def _flush(self) -> None:
        self._send(self._differences())

    def _send(self, messages: Iterator[ipc.ToVrrp]) -> bool:
        """As many as the socket takes; when it takes more, whatever differs then. Whether it took all."""
        if self._socket is None or self.hello is None or not self.hello.active:
            return False
        try:
            for message in messages:
                self._socket.send(ipc.encode(message))
                self._note(message)
        except BlockingIOError:
            if not self._writing:
                self._writing = True
                self._loop.add_writer(self._socket, self._flush)
            return False
        except OSError as error:
            self._lost(str(error))
            return False
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._socket)
        return True

    def _differences(self) -> Iterator[ipc.ToVrrp]:
        """What vrrp still has to be told: changed priorities first."""
        for name in self._told_routers.keys() & self._routers.keys():
            if self._told_routers[name] == self._routers[name]:
                yield from self._contribution_difference(name)
        for name, config in self._routers.items():
            told = self._told_routers.get(name)
            if told == config:
                continue
            if told is not None and told.trackers != config.trackers:
                # Old and new trackers' parts together first, so that at no moment one is declared and not known:
                # a MASTER would advertise a priority without it.
                yield from self._contribution_difference(name, self._told_contributions.get(name, {}))
            yield ipc.SetRouter(config)
            yield from self._contribution_difference(name)
        if self._names is None:
            return
        if self._told_names is None:
            yield ipc.Complete(tuple(sorted(self._names)))
            return
        for name in sorted(self._told_names - self._names):
            yield ipc.RemoveRouter(name)
        self._told_names = self._names

    def _contribution_difference(
        self, name: str, besides: Mapping[str, ipc.Contribution] = MappingProxyType({})
    ) -> Iterator[ipc.ToVrrp]:
        # After a restart of control not every tracker has a result: vrrp keeps what it knows of the others.
        wanted = {**besides, **self._contributions.get(name, {})}
        if self._told_contributions.get(name, {}) != wanted:
            yield ipc.SetContributions(name, wanted)

    def _note(self, message: ipc.ToVrrp) -> None:
        match message:
            case ipc.SetRouter(config=config):
                self._told_routers[config.name] = config
            case ipc.SetContributions(name=name, contributions=contributions):
                self._told_contributions[name] = contributions
            case ipc.RemoveRouter(name=name):
                self._told_routers.pop(name, None)
                self._told_contributions.pop(name, None)
                self._told_names = (self._told_names or frozenset()) - {name}
            case ipc.Complete(names=names):
                self._told_names = frozenset(names)
            case _:
                pass
