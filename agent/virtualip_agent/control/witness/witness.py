"""Asks the segment every few seconds who answers for the addresses, listens for other VRRP, and tells what is new.

The MASTER asks too: two nodes that do not hear each other are both MASTER. What is seen while a take-over is going on
does not count: a dead agent's kernel may answer for a lifetime.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from ipaddress import ip_address
from itertools import groupby
from typing import TYPE_CHECKING, Final

from virtualip_agent.control.witness.answers import judge
from virtualip_agent.control.witness.hearing import Counters, Hearing
from virtualip_agent.control.witness.post import IPAddress, Post, post_of
from virtualip_agent.control.witness.questions import Owners, other_addresses, question
from virtualip_agent.control.witness.steadiness import Steadiness
from virtualip_agent.control.witness.strangers import MOST
from virtualip_agent.control.witness.survey import Survey
from virtualip_agent.ipc import RouterConfig, RouterState
from virtualip_api.status import MOST_OBSERVATIONS, Observation, ObservationKind

if TYPE_CHECKING:
    from virtualip_agent.control.witness.strangers import ForeignRouter

log = logging.getLogger(__name__)

LOOK: Final = 1.0
"""Seconds between two looks at what was overheard."""
ASK: Final = 5.0
"""Seconds between two rounds of questions."""
MOST_ASKED: Final = 100
"""Addresses a round: with more, each is asked for less often, as the segment hears every question."""
_SETTLED: Final = 2.0
"""Seconds after a lifetime, which the kernel may exceed by 1.5."""


class Witness:
    """`on_change(name)` is called with a VirtualIP of which something else is seen, and with '' where something else
    than a VirtualIP is. `count` asks vrrp for the counters of these routers."""

    def __init__(
        self, on_change: Callable[[str], None], count: Callable[[frozenset[str]], Awaitable[Counters | None]]
    ) -> None:
        self._on_change = on_change
        self._count = count
        self._configs: Mapping[str, RouterConfig] = {}
        self._states: dict[str, RouterState] = {}
        self._changed_at: dict[str, float] = {}
        self._made: dict[str, tuple[RouterConfig, RouterState, Post | None]] = {}
        self._owners = Owners()
        self._hearing = Hearing()
        self._suspects: frozenset[str] = frozenset()
        """Routers of which it matters whether a member is heard: vrrp's counters tell."""
        self._survey = Survey()
        self._steady: dict[str, Steadiness] = {}
        self._asked: list[str] = []
        """The names in the order in which they are asked for, who was asked last at the end."""
        self._news: set[str] = set()
        self._identified: dict[tuple[str, int], dict[IPAddress, bool]] = {}
        """By interface and family: senders that the plan does not have, and whether they are members all the same."""
        self._told: dict[str, tuple[Observation, ...]] = {}
        self.foreign: tuple[ForeignRouter, ...] = ()
        """The VRIDs of others on our segments."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to ask and to listen."""
        self._task = asyncio.create_task(self._run())

    def run(self, configs: Mapping[str, RouterConfig]) -> None:
        """The virtual routers that vrrp is to run."""
        self._configs = configs

    def state(self, state: RouterState) -> None:
        """What vrrp says of one."""
        before = self._states.get(state.name)
        if before is None or (before.state, before.master) != (state.state, state.master):
            self._changed_at[state.name] = asyncio.get_running_loop().time()
        self._states[state.name] = state

    def gone(self, name: str) -> None:
        """It was withdrawn."""
        for known in (self._states, self._changed_at, self._steady):
            known.pop(name, None)

    def observations(self, virtual_ip: str) -> tuple[Observation, ...]:
        """What is seen of a VirtualIP now."""
        return self._told.get(virtual_ip, ())

    def close(self) -> None:
        """Ends it."""
        if self._task is not None:
            self._task.cancel()
        self._survey.close()

    # ---- the rounds

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        ask_at = loop.time() + LOOK
        while True:
            await asyncio.sleep(LOOK)
            try:
                posts = self._posts()
                self._survey.look(posts, loop.time())
                if loop.time() >= ask_at:
                    ask_at = loop.time() + ASK
                    await self._ask(posts)
                self._tell(self._posts())
            except Exception:
                # what is seen is worth less than the trackers of the same process
                log.exception("the witness failed; it goes on")

    def _posts(self) -> dict[str, Post]:
        """Made anew only where something is new: this is looked at each second."""
        for name, config in self._configs.items():
            state = self._states.get(name)
            known = self._made.get(name)
            if state is not None and (known is None or known[0] is not config or known[1] is not state):
                self._made[name] = (config, state, post_of(config, state))
        for name in self._made.keys() - (self._configs.keys() & self._states.keys()):
            del self._made[name]
        return {name: post for name, (_, _, post) in self._made.items() if post is not None}

    async def _ask(self, posts: Mapping[str, Post]) -> None:
        loop = asyncio.get_running_loop()
        self._suspects &= posts.keys()
        suspected = self._suspects
        if suspected:
            self._hearing.count(await self._count(suspected), loop.time())
        else:
            self._hearing.forget()
        asking = {name: post for name, post in posts.items() if post.asks}
        for name in self._steady.keys() - asking.keys():
            del self._steady[name]  # what was seen as MASTER is now others' to see
        chosen = self._chosen(asking)
        chosen.sort(key=_place)
        for _, group in groupby(chosen, key=_place):
            here = list(group)
            answers = await question(here, self._owners)
            await self._identify(here)
            for post in here:
                if answers is None or not self._settled(post):
                    continue
                self._suspects -= {post.name}
                seen = judge(post, answers, self._owners.at(post), self._hears(post))
                if self._steady.setdefault(post.name, Steadiness()).round(seen):
                    self._news.add(post.virtual_ip)
        if self._suspects - suspected:
            self._hearing.count(await self._count(self._suspects), loop.time())

    async def _identify(self, posts: Sequence[Post]) -> None:
        """A member may advertise from another address than the plan has: it is no foreign router."""
        place = _place(posts[0])
        senders = {
            ip_address(one.address)
            for post in posts
            for one in self._survey.strangers.at(post)
            if one.kind is ObservationKind.FOREIGN_ROUTER
        }
        known = self._identified.setdefault(place, {})
        unknown = {sender for sender in senders if not known.get(sender)}
        members = await other_addresses(posts, unknown) if unknown else None
        if members is not None:
            known |= {address: address in members for address in unknown}
            for address in list(known)[:-MOST]:
                del known[address]

    def _certain(self, post: Post, one: Observation) -> bool:
        """Whether it is known of a foreign router that it is one."""
        known = self._identified.get(_place(post), {})
        return one.kind is not ObservationKind.FOREIGN_ROUTER or known.get(ip_address(one.address)) is False

    def _hears(self, post: Post) -> Callable[[IPAddress], bool | None]:
        def hears(member: IPAddress) -> bool | None:
            self._suspects |= {post.name}
            return self._hearing.hears(post, member)

        return hears

    def _chosen(self, posts: Mapping[str, Post]) -> list[Post]:
        """Whose turn it is."""
        self._asked = [name for name in self._asked if name in posts]
        self._asked += sorted(posts.keys() - set(self._asked))
        chosen: list[Post] = []
        room = MOST_ASKED
        for name in tuple(self._asked):
            room -= len(posts[name].addresses)
            if room < 0 and chosen:
                break
            chosen.append(posts[name])
            self._asked.remove(name)
            self._asked.append(name)
        return chosen

    def _settled(self, post: Post) -> bool:
        since = asyncio.get_running_loop().time() - self._changed_at.get(post.name, 0.0)
        return since > post.lifetime + _SETTLED

    def _tell(self, posts: Mapping[str, Post]) -> None:
        found: dict[str, set[Observation]] = {}
        for post in posts.values():
            steady = self._steady.get(post.name)
            seen = found.setdefault(post.virtual_ip, set())
            seen |= {one for one in self._survey.strangers.at(post) if self._certain(post, one)}
            seen |= _own_address(self._states[post.name])
            if steady is not None:
                seen |= steady.told
        told = {name: tuple(sorted(seen)[:MOST_OBSERVATIONS]) for name, seen in found.items() if seen}
        before, self._told = self._told, told
        self._news |= {name for name in before.keys() | told.keys() if before.get(name) != told.get(name)}
        for name in sorted(self._news):
            self._on_change(name)
        self._news.clear()
        others = self._survey.strangers.others(posts.values())
        if others != self.foreign:
            self.foreign = others
            self._on_change("")


def _place(post: Post) -> tuple[str, int]:
    return post.interface, post.version


def _own_address(state: RouterState) -> set[Observation]:
    """vrrp itself hears our own address from elsewhere."""
    why: Sequence[str] = [text for address, text in state.foreign.items() if address == state.source]
    return {
        Observation(ObservationKind.FOREIGN_ROUTER, state.source, f"advertises the VRID, and {text}") for text in why
    }
