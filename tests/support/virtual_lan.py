"""A LAN on a virtual clock: virtual routers, the frames between them, and kernels that hold the address or do not.

    lan = VirtualLan()
    server1, server2 = lan.node("server1", base_priority=244), lan.node("server2", base_priority=240)
    lan.run(5.0)
    lan.cut(server1)
    lan.run(4.0)
    assert lan.holders() == ["server1", "server2"] and lan.served_by == "server2"

Seconds in the verbs, nanoseconds inside. Nothing sleeps and nothing is random but what a caller makes so.
"""

import heapq
import itertools
import random
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from virtualip_agent.vrrp import effects as fx
from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.packet import Drop, parse, stamp
from virtualip_agent.vrrp.priority import Contribution
from virtualip_agent.vrrp.settings import Settings
from virtualip_agent.vrrp.timing import MILLISECOND, SECOND
from virtualip_agent.vrrp.virtual_router import VirtualRouter

if TYPE_CHECKING:
    from virtualip_agent.vrrp.packet import Advertisement

VIP: Final = bytes([192, 168, 122, 200])
GROUP: Final = bytes([224, 0, 0, 18])
_REFRESH: Final = SECOND
_FOREVER: Final = 1 << 62


def advertisement_template(settings: Settings) -> bytes:
    """An advertisement with priority and checksum zero, written here from the RFCs' pictures alone."""
    addresses = b"".join(sorted(settings.addresses))
    count = len(settings.addresses)
    if settings.version == 2:
        kind = 1 if settings.authentication else 0
        head = struct.pack(
            "!BBBBBBH", 0x21, settings.vrid, 0, count, kind, settings.advert_interval // SECOND & 0xFF, 0
        )
        return head + addresses + settings.authentication.ljust(8, b"\0")
    return struct.pack("!BBBBHH", 0x31, settings.vrid, 0, count, settings.advert_interval // 10_000_000, 0) + addresses


@dataclass
class FakeKernel:
    """Applies what the core wants, as a kernel would: addresses expire unless they are refreshed."""

    expires: int | None = None
    """None: the address is not there."""
    refusal: tuple[str, str] | None = None
    """What adding the address is answered with."""

    @property
    def holds(self) -> bool:
        """Whether the address is on the interface: whether this node answers for it."""
        return self.expires is not None


@dataclass(eq=False)
class Node:
    """One machine. `router` is None while the agent does not run."""

    name: str
    source: bytes
    settings: Settings
    router: VirtualRouter | None = None
    kernel: FakeKernel = field(default_factory=FakeKernel)
    contributions: dict[str, Contribution] = field(default_factory=dict)
    stalled: bool = False
    link: bool = True
    waiting: list[tuple[bytes, bytes]] = field(default_factory=list)
    """(payload, source) that arrived while it was stalled."""
    refresh_at: int = _FOREVER
    released: bool = False
    asleep_since: int | None = None
    """Suspended: neither process nor kernel run, and its clock stands still."""
    deaf: bool = False
    """What arrives while it is stalled is lost instead of queued: a virtual machine that was stopped."""
    behind: int = 0
    """How much less than the LAN's this machine's CLOCK_MONOTONIC shows: it stood still for so long."""
    stamped: tuple[Settings, dict[int, bytes]] | None = None

    @property
    def runs(self) -> bool:
        """Whether its agent can do anything now."""
        return self.router is not None and not self.stalled and self.asleep_since is None

    @property
    def deadline(self) -> int:
        """When its timer is due, on the LAN's clock."""
        if self.router is None or self.router.deadline is None:
            return _FOREVER
        return self.router.deadline + self.behind

    @property
    def core(self) -> VirtualRouter:
        """Of an agent that runs."""
        assert self.router is not None, f"{self.name}'s agent does not run"
        return self.router

    @property
    def state(self) -> str:
        """MASTER, BACKUP, FAULT, or '' without an agent."""
        return str(self.router.state) if self.router is not None else ""

    @property
    def holds(self) -> bool:
        """Is the address on this server?"""
        return self.kernel.holds


@dataclass(frozen=True)
class Move:
    """The address answered for a client until `begin`, and again from `end`."""

    begin: int
    end: int
    to: str

    @property
    def gap(self) -> float:
        """Seconds."""
        return (self.end - self.begin) / SECOND


class Observer(Protocol):
    """Is shown everything that a core is told and what it wants done."""

    def handled(
        self, node: Node, event: ev.Event, effects: Sequence[fx.Effect], was_master: bool, master: bytes
    ) -> None:
        """After one event; `was_master` and `master` are the core's own words from before it."""

    def settled(self, node: Node, event: ev.Event) -> None:
        """After what the event meant for the others of its sync group, too."""

    def carried_out(self, node: Node) -> None:
        """After what one wake-up wanted was done."""


class VirtualLan:
    """N virtual routers of one VRID, and a client that believes the last gratuitous ARP it heard."""

    def __init__(self, delay: float = 0.0001, **defaults: Any) -> None:
        self.now = 0
        self.delay = round(delay * SECOND)
        self.nodes: list[Node] = []
        self.transcript: list[str] = []
        self.moves: list[Move] = []
        self.arp = ""
        """Whom the client asks: the last gratuitous ARP that reached it."""
        self._defaults: dict[str, Any] = {"vrid": 51, "version": 3, "addresses": frozenset({VIP})} | defaults
        self._frames: list[tuple[int, int, Node, bytes, bytes]] = []
        self._order = itertools.count()
        self._cuts: set[tuple[str, str]] = set()
        self._served = False
        self._unserved_since = 0
        self.lose: set[int] = set()
        """Which of the frames still to be sent are lost, counted from 0."""
        self._sent = itertools.count()
        self.loss = self.duplication = self.jitter = 0.0
        """Parts of all frames, and seconds."""
        self.random = random.Random(0)
        self.observer: Observer | None = None
        self.sent = 0
        """Advertisements, by all nodes."""
        self.silent = False
        """Keep no transcript: for runs of many hours."""
        self._read: dict[tuple[bytes, bytes], Advertisement | Drop] = {}

    # ---- making

    def node(self, name: str, *, start: bool = True, **settings: Any) -> Node:
        """A machine whose agent runs from now."""
        source = bytes([192, 168, 122, 101 + len(self.nodes)])
        node = Node(name, source, Settings(**self._defaults | settings))
        self.nodes.append(node)
        self._tell_members()
        if start:
            self.start(node)
        return node

    def _tell_members(self) -> None:
        members = frozenset(node.source for node in self.nodes)
        for node in self.nodes:
            node.settings = replace(node.settings, members=members)
            if node.router is not None:
                self.tell(node, ev.SettingsChanged(node.settings))

    def start(self, node: Node) -> None:
        """The agent starts; what its predecessor left on the interface is adopted."""
        node.router, node.released, node.stalled = self._make_router(node), False, False
        node.asleep_since = None
        node.waiting.clear()
        if node.contributions:
            self.tell(node, ev.ContributionsChanged(node.contributions))
        if node.link:
            self.tell(node, ev.LinkUp(node.source, adopted=node.kernel.holds))
        else:
            self.tell(node, ev.LinkDown("LinkDown", "eth0 is down"))

    def _make_router(self, node: Node) -> VirtualRouter:
        return VirtualRouter(node.settings)

    # ---- what can happen

    def tell(self, node: Node, event: ev.Event) -> None:
        """One event, and everything it wants done."""
        if node.runs:
            self._carry_out(node, self._handle(node, event))

    def _handle(self, node: Node, event: ev.Event) -> Sequence[fx.Effect]:
        core = node.core
        was_master, master = core.is_master, core.master
        effects = core.handle(event, self.now - node.behind)
        if self.observer is not None:
            self.observer.handled(node, event, effects, was_master, master)
            self.observer.settled(node, event)
        return effects

    def contribute(self, node: Node, **contributions: Contribution) -> None:
        """New words from trackers."""
        node.contributions = {**node.contributions, **contributions}
        self.tell(node, ev.ContributionsChanged(node.contributions))

    def edit(self, node: Node, **changes: Any) -> None:
        """An edit reaches one node."""
        node.settings = replace(node.settings, **changes)
        self.tell(node, ev.SettingsChanged(node.settings))

    def kill(self, node: Node) -> None:
        """kill -9: the kernel keeps the address for its lifetime."""
        node.router, node.stalled, node.asleep_since = None, False, None
        node.refresh_at = _FOREVER

    def restart(self, node: Node) -> None:
        """kill -9, and a new process at once."""
        self.kill(node)
        self.start(node)

    def power_off(self, node: Node) -> None:
        """Agent and kernel are gone."""
        self.kill(node)
        node.kernel.expires = None
        self._look_at_client()

    def stall(self, node: Node, *, deaf: bool = False) -> None:
        """The process does not get to run; its kernel does."""
        node.stalled, node.deaf = True, deaf

    def resume(self, node: Node) -> None:
        """It runs again: in one wake-up the queue first, then addresses, then the timer, as realtime/engine.py does;
        and only then is anything carried out."""
        node.stalled = False
        waiting, node.waiting = node.waiting, []
        if not node.runs:
            return
        effects: list[fx.Effect] = []
        for payload, source in waiting:
            heard = self._decode(payload, source)
            if heard is not None:
                effects += self._handle(node, heard)
        if node.core.is_master and not node.holds:
            effects += self._handle(node, ev.AddressesRemoved())
        if node.deadline <= self.now:
            effects += self._handle(node, ev.TimerExpired())
        self._carry_out(node, effects)

    def sleep(self, node: Node) -> None:
        """The machine is suspended: neither process nor kernel run, and what is sent to it is lost."""
        node.asleep_since = self.now
        self._look_at_client()

    def wake(self, node: Node) -> None:
        """It goes on as if nothing had been: its clock, and with it the address's lifetime, stood still."""
        assert node.asleep_since is not None
        slept = self.now - node.asleep_since
        node.asleep_since = None
        node.behind += slept
        node.refresh_at += slept
        if node.kernel.expires is not None:
            node.kernel.expires += slept
        self._look_at_client()

    def stop(self, node: Node, *, withdrawn: bool = False) -> None:
        """SIGTERM to the agent, or the VIP withdrawn."""
        self.tell(node, ev.Stop(withdrawn))

    def unplug(self, node: Node) -> None:
        """The carrier goes."""
        node.link = False
        self._look_at_client()
        self.tell(node, ev.LinkDown("LinkDown", "eth0 is down"))

    def plug(self, node: Node) -> None:
        """The carrier comes back."""
        node.link = True
        self.tell(node, ev.LinkUp(node.source, adopted=node.kernel.holds))
        self._look_at_client()

    def take_address_away(self, node: Node) -> None:
        """Somebody removes it behind our back."""
        node.kernel.expires = None
        self._look_at_client()
        self.tell(node, ev.AddressesRemoved())

    def cut(self, *nodes: Node) -> None:
        """These nodes hear nobody else, nor the client, nor the other way; their carrier stays."""
        inside = {node.name for node in nodes}
        outside = {node.name for node in self.nodes} - inside | {"client"}
        self._cuts |= {pair for a in inside for b in outside for pair in ((a, b), (b, a))}
        self._look_at_client()

    def deafen(self, node: Node, other: Node) -> None:
        """What `other` sends does not reach `node`; the other way does."""
        self._cuts.add((other.name, node.name))

    def heal(self) -> None:
        """The network is whole."""
        self._cuts.clear()
        self._look_at_client()

    # ---- time

    def run(self, seconds: float) -> None:
        """Lets time pass."""
        self.run_until((self.now + round(seconds * SECOND)) / SECOND)

    def run_until(self, seconds: float) -> None:
        """Until this moment of the virtual clock."""
        end = round(seconds * SECOND)
        while (moment := self._next()) <= end:
            self.now = max(self.now, moment)
            self._step()
        self.now = end

    def _next(self) -> int:
        moments = [self._frames[0][0]] if self._frames else []
        for node in self.nodes:
            if node.asleep_since is not None:
                continue
            if node.kernel.expires is not None:
                moments.append(node.kernel.expires)
            if node.runs:
                moments.append(node.refresh_at)
                moments.append(node.deadline)
        return min(moments, default=_FOREVER)

    def _step(self) -> None:
        if self._frames and self._frames[0][0] <= self.now:
            _, _, node, payload, source = heapq.heappop(self._frames)
            if node.stalled:
                if not node.deaf:
                    node.waiting.append((payload, source))
            elif node.runs:
                self._hear(node, payload, source)
            return
        for node in self.nodes:
            if node.asleep_since is not None:
                continue
            runs = node.runs
            if runs and node.refresh_at <= self.now:
                node.refresh_at = self.now + _REFRESH
                if node.core.is_master and node.holds:
                    node.kernel.expires = self.now + node.settings.lifetime
            elif node.kernel.expires is not None and node.kernel.expires <= self.now:
                node.kernel.expires = None
                self._say(node, "the kernel lets the address expire")
                self._look_at_client()
                if runs and node.core.is_master:
                    self.tell(node, ev.AddressesRemoved())
            elif runs and node.deadline <= self.now:
                before = (node.deadline, self.sent)  # what is done may not be all that is due now
                self.tell(node, ev.TimerExpired())
                assert node.router is None or (node.deadline, self.sent) != before, (
                    f"{node.name}: a timer that stays due"
                )

    # ---- what the routers do

    def _carry_out(self, node: Node, effects: Sequence[fx.Effect]) -> None:
        if not effects:
            return
        if not self._change_addresses(node, effects):
            assert node.kernel.refusal is not None
            self.tell(node, ev.AddressesRefused(*node.kernel.refusal))
            return
        self._speak(node, effects)
        if self.observer is not None:
            self.observer.carried_out(node)

    def _change_addresses(self, node: Node, effects: Iterable[fx.Effect]) -> bool:
        """The last word of a wake-up counts, as in realtime/engine.py. False: the kernel refused."""
        words = [effect for effect in effects if isinstance(effect, fx.AddAddresses | fx.RemoveAddresses)]
        if not words:
            return True
        if isinstance(words[-1], fx.RemoveAddresses):
            if node.holds:
                self._say(node, "takes the address off")
            node.kernel.expires = None
        elif node.kernel.refusal is not None:
            return False
        else:
            if not node.holds:
                self._say(node, "puts the address on")
            node.kernel.expires = self.now + node.settings.lifetime
            node.refresh_at = self.now + _REFRESH
        return True

    def _speak(self, node: Node, effects: Iterable[fx.Effect]) -> None:
        """Everything that follows the addresses."""
        effects = list(effects)
        for effect in effects:
            # not for one that took over and yielded within this wake-up: realtime/engine.py does the same
            if isinstance(effect, fx.SendGratuitousArp) and node.router is not None and node.core.is_master:
                self._say(node, "gratuitous ARP")
                if self._reach(node.name, "client"):
                    self.arp = node.name
        self._look_at_client()
        for effect in effects:
            if isinstance(effect, fx.SendAdvertisement):
                self._send(node, effect.priority)
        for effect in effects:
            if isinstance(effect, fx.Transitioned):
                verb = "is" if effect.entered else "is still"
                self._say(node, f"{verb} {effect.state} {node.core.priority}, {effect.reason}")
        if any(isinstance(effect, fx.Released) for effect in effects):
            self._say(node, "is released")
            node.router, node.released, node.refresh_at = None, True, _FOREVER

    def _send(self, node: Node, priority: int) -> None:
        self._say(node, f"advertises {priority}" + (" (resigns)" if not priority else ""))
        if node.stamped is None or node.stamped[0] is not node.settings:
            node.stamped = (node.settings, {})
        payload = node.stamped[1].get(priority)
        if payload is None:
            payload = stamp(advertisement_template(node.settings), priority, node.source, GROUP)
            node.stamped[1][priority] = payload
        self.sent += 1
        self.inject(payload, node.source, node)

    def inject(self, payload: bytes, source: bytes, sender: Node | None = None) -> None:
        """A frame on the wire: to everybody but its sender."""
        if next(self._sent) in self.lose or (sender is not None and not sender.link):
            return
        for other in self.nodes:
            if other is not sender and self._reach(sender.name if sender else "client", other.name):
                for _ in range(self._copies()):
                    late = round(self.random.random() * self.jitter * SECOND) if self.jitter else 0
                    arrival = self.now + self.delay + late
                    heapq.heappush(self._frames, (arrival, next(self._order), other, payload, source))

    def _copies(self) -> int:
        if self.loss and self.random.random() < self.loss:
            return 0
        return 2 if self.duplication and self.random.random() < self.duplication else 1

    def _hear(self, node: Node, payload: bytes, source: bytes) -> None:
        heard = self._decode(payload, source)
        if heard is not None and node.link:
            self.tell(node, heard)

    def _decode(self, payload: bytes, source: bytes) -> ev.Heard | None:
        advertisement = self._read.get((payload, source))
        if advertisement is None:
            advertisement = self._read[payload, source] = parse(payload, source, GROUP)
        return None if isinstance(advertisement, Drop) else ev.Heard(advertisement, source)

    def _reach(self, sender: str, receiver: str) -> bool:
        return (sender, receiver) not in self._cuts

    def _say(self, node: Node, text: str) -> None:
        if self.silent:
            return
        self.transcript.append(f"{self.now / SECOND:9.4f} {node.name} {text}")

    # ---- questions

    def masters(self) -> list[str]:
        """Who believes to be MASTER."""
        return [node.name for node in self.nodes if node.router is not None and node.core.is_master]

    def holders(self) -> list[str]:
        """Whose kernel has the address."""
        return [node.name for node in self.nodes if node.holds]

    @property
    def served_by(self) -> str:
        """Who answers the client; '' if nobody does."""
        return self.arp if self._is_served() else ""

    def longest_gap(self, since: float = 0.0) -> float:
        """The longest time, in seconds, that the client got no answer, since a moment."""
        begin = round(since * SECOND)
        gaps = [(move.end - max(move.begin, begin)) for move in self.moves if move.end > begin]
        if not self._served:
            gaps.append(self.now - max(begin, self._unserved_since))
        return max(gaps, default=0) / SECOND

    def _is_served(self) -> bool:
        return any(
            node.name == self.arp
            and node.holds
            and node.link
            and node.asleep_since is None
            and self._reach(node.name, "client")
            for node in self.nodes
        )

    def _look_at_client(self) -> None:
        served = self._is_served()
        if served and not self._served:
            self.moves.append(Move(self._unserved_since, self.now, self.arp))
        elif self._served and not served:
            self._unserved_since = self.now
        self._served = served


def milliseconds(nanoseconds: int) -> float:
    """For assertions that a person reads."""
    return nanoseconds / MILLISECOND
