"""Tells the state socket what is true of each VirtualIP, whenever that may have changed."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from virtualip_agent.control.declarations import Declarations
from virtualip_agent.control.families import VirtualIPStates, virtual_ip_of
from virtualip_agent.control.lasting import Lasting
from virtualip_agent.control.link import Link
from virtualip_agent.control.state import AFTER_EXPIRY, Situation, agent_line, gone_line, vip_line
from virtualip_agent.control.state_server import StateServer
from virtualip_agent.control.trackers.board import TrackerBoard
from virtualip_api.advice import advice

if TYPE_CHECKING:
    from virtualip_agent import ipc
    from virtualip_agent.control.instance import Instance
    from virtualip_agent.control.witness.witness import Witness

TOGETHER: Final = 0.01
"""Seconds: a tracker's result and the priority that vrrp makes of it are told as one, and so is what one cause changes
of many VirtualIPs, after vrrp has been told of all of them."""


class Publisher:
    """Puts together what the others know. Saying the same twice is the server's to notice."""

    def __init__(
        self,
        node: str,
        link: Link,
        states: VirtualIPStates,
        declarations: Declarations,
        board: TrackerBoard,
        server: StateServer,
        process_starts: Callable[[], str],
        notify_failure: Callable[[str], str],
        witness: "Witness",
        problems: Callable[[], Iterable[str]],
    ) -> None:
        self._node = node
        self._link = link
        self._states = states
        self._declarations = declarations
        self._board = board
        self._server = server
        self._process_starts = process_starts
        self._notify_failure = notify_failure
        self._witness = witness
        self._problems = problems
        self._lifetimes: dict[str, int] = {}
        self._soon: set[str] = set()
        self._telling: asyncio.TimerHandle | None = None
        self._advised: dict[str, tuple[Instance, tuple[str, ...]]] = {}
        """What is to be said of an instance for as long as it is the same one."""
        self._names: frozenset[str] = frozenset()
        self._since: dict[str, tuple[object, float]] = {}
        self._away_since: float | None = None
        self._expiries: list[asyncio.TimerHandle] = []
        self._disagreement = Lasting(self.one)

    def everything(self, configs: Mapping[str, "ipc.RouterConfig"] | None = None) -> None:
        """Every VirtualIP, then the agent. `configs` are what vrrp runs from now on."""
        if configs is not None:
            self._lifetimes = {virtual_ip_of(name): config.lifetime for name, config in configs.items()}
        named = {problem.name for problem in self._declarations.problems if problem.name}
        names = frozenset(self._declarations.selection.instances) | named | self._states.all.keys()
        for name in sorted(self._names | names):
            self.one(name)
        self._names = names
        self.agent()

    def agent(self) -> None:
        """What is so of the agent as a whole."""
        hello = self._link.hello
        self._server.tell(
            agent_line(
                {
                    "node": self._node,
                    "active": hello is None or hello.active,
                    "scheduling": hello.scheduling if hello else "",
                    "ready": self._link.answering,
                    "processStarts": self._process_starts(),
                    "otherRouters": [asdict(other) for other in self._witness.foreign],
                    "problems": [*map(str, self._declarations.problems), *self._problems()],
                }
            )
        )

    def one(self, name: str) -> None:
        """One VirtualIP."""
        situation = self._situation(name)
        if situation is None:
            self._since.pop(name, None)
            self._advised.pop(name, None)
            self._disagreement.forget(name)
            self._server.tell(gone_line(name))
        else:
            self._server.tell(vip_line(situation))

    def soon(self, name: str) -> None:
        """The same, with all that changes within TOGETHER."""
        if self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(TOGETHER, self._now)
        self._soon.add(name)

    def _now(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
        names, self._soon, self._telling = self._soon, set(), None
        for name in sorted(names):
            self.one(name)

    def vrrp_here(self) -> None:
        """What vrrp said is fresh again."""
        self._away_since = None
        self._cancel_expiries()
        self.everything()

    def vrrp_away(self, since: float) -> None:
        """What vrrp said grows stale, and L after `since` (by the event loop) the kernel has dropped the addresses."""
        if self._away_since is None:  # else it is killed after it hung: its last refresh was no later for that
            self._away_since = since
            for name, lifetime in self._lifetimes.items():
                # A little later than the moment itself, so that it has passed by the clock that is then asked.
                at = since + lifetime + AFTER_EXPIRY + 0.1
                self._expiries.append(asyncio.get_running_loop().call_at(at, self.one, name))
        self.everything()

    def _situation(self, name: str) -> Situation | None:
        selection = self._declarations.selection
        instance = selection.instances.get(name)
        router = self._states.get(name)
        problems = [str(problem) for problem in self._declarations.problems if problem.name == name]
        if instance is None and router is None and not problems:
            return None
        expired = self._expired(name)
        kind = (instance is None, router is None, expired)
        if self._since.get(name, ((), 0.0))[0] != kind:
            self._since[name] = (kind, time.time())
        return Situation(
            node=self._node,
            name=name,
            instance=instance,
            router=router,
            families=self._states.families(name),
            trackers=self._board.statuses(name),
            conflict=selection.conflicts.get(name, ""),
            problems=problems,
            advice=self._advice(instance) if instance is not None else (),
            stale=self._away_since is not None,
            expired=expired,
            since=self._since[name][1],
            notify_failure=self._notify_failure(name),
            observations=self._witness.observations(name),
            disagrees=self._disagreement.lasts(name, so=router is not None and bool(router.mismatches)),
        )

    def _advice(self, instance: "Instance") -> tuple[str, ...]:
        known = self._advised.get(instance.name)
        if known is None or known[0] is not instance:
            known = instance, tuple(map(str, advice(instance.spec, {instance.base_priority})))
            self._advised[instance.name] = known
        return known[1]

    def _expired(self, name: str) -> bool:
        if self._away_since is None or name not in self._lifetimes:
            return False
        return asyncio.get_running_loop().time() - self._away_since > self._lifetimes[name] + AFTER_EXPIRY

    def _cancel_expiries(self) -> None:
        for timer in self._expiries:
            timer.cancel()
        self._expiries.clear()

    def close(self) -> None:
        """What is still to be told is; then no timer says anything any more."""
        self._now()
        self._cancel_expiries()
        self._disagreement.close()
