"""Asks the segment for vrrp before a first take-over: are the addresses free (vrrp/first_question.py)?

Twice within 0.2 s, as vrrp does not wait much longer; where somebody has answered, every second until nobody does.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Final

from virtualip_agent.control.witness.answers import Answers, virtual_mac
from virtualip_agent.control.witness.ask import asker
from virtualip_agent.control.witness.post import IPAddress, Post, post_of
from virtualip_agent.ipc import RouterConfig, RouterState

log = logging.getLogger(__name__)

PATIENCE: Final = 0.1
"""Seconds that an answer may take; twice."""
AGAIN: Final = 1.0
"""Seconds between two questions for an address that somebody has."""


class FirstLook:
    """`answer(name, by)` tells vrrp who answered for a router's addresses; '' for nobody."""

    def __init__(self, answer: Callable[[str, str], None]) -> None:
        self._answer = answer
        self._configs: Mapping[str, RouterConfig] = {}
        self._waiting: dict[str, RouterState] = {}
        """Those of which vrrp asks."""
        self._soon: set[str] = set()
        """Those not asked for since it does."""
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._rounds: set[asyncio.Task[None]] = set()

    def run(self, configs: Mapping[str, RouterConfig]) -> None:
        """The virtual routers that vrrp is to run."""
        self._configs = configs

    def state(self, state: RouterState) -> None:
        """What vrrp says of one."""
        before = self._waiting.pop(state.name, None)
        self._soon.discard(state.name)
        if not state.asks:
            return
        self._waiting[state.name] = state
        if before is None or before.reason != state.reason:
            self._soon.add(state.name)
            self._wake.set()
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    def gone(self, name: str) -> None:
        """It was withdrawn."""
        self._waiting.pop(name, None)
        self._soon.discard(name)

    def close(self) -> None:
        """Ends it."""
        for task in (self._task, *self._rounds):
            if task is not None:
                task.cancel()

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(AGAIN if self._waiting else None):
                    await self._wake.wait()
            except TimeoutError:
                self._soon |= {name for name, state in self._waiting.items() if state.state == "FAULT"}
            self._wake.clear()
            await asyncio.sleep(0)  # who asks in the same breath is asked for together
            names, self._soon = self._soon, set()
            # not one round after the other: who asks during one would be answered when vrrp waits no more
            asking = asyncio.create_task(self._ask_safely(names))
            self._rounds.add(asking)
            asking.add_done_callback(self._rounds.discard)

    async def _ask_safely(self, names: Iterable[str]) -> None:
        try:
            await self._ask(names)
        except Exception:
            # vrrp does not wait for it
            log.exception("the first look failed; it goes on")

    async def _ask(self, names: Iterable[str]) -> None:
        posts = [
            post
            for name in names
            if name in self._waiting and name in self._configs
            if (post := post_of(self._configs[name], self._waiting[name])) is not None
        ]
        posts.sort(key=_place)
        groups = [list(group) for _, group in groupby(posts, key=_place)]
        await asyncio.gather(*(self._ask_at(group) for group in groups))

    async def _ask_at(self, posts: Sequence[Post]) -> None:
        first = posts[0]
        answers: dict[IPAddress, frozenset[str]] = {}
        try:
            with asker(first.interface, first.version) as opened:
                members = frozenset[IPAddress]().union(*(post.members for post in posts))
                for _ in range(2):
                    left = {address for post in posts for address in post.addresses} - answers.keys()
                    opened.ask(sorted({*left, *(members if answers else ())}), first.source)
                    await asyncio.sleep(PATIENCE)
                    answers |= opened.answers()
        except OSError as error:
            log.debug("%s cannot be asked: %s", first.interface, error)
            return
        for post in posts:
            self._answer(post.name, told(post, answers))


def _place(post: Post) -> tuple[str, int]:
    return post.interface, post.version


def told(post: Post, answers: Answers) -> str:
    """Who answers for a router's addresses, for a person; '' where nobody does."""
    for address in sorted(answers.keys() & post.addresses, key=str):
        hardware = min(answers[address])
        member = next((member for member in sorted(post.members) if hardware in answers.get(member, ())), None)
        if member is not None:
            who = f"{hardware} ({member}), whose advertisements do not arrive,"
        elif hardware == virtual_mac(post):
            who = f"{hardware}, a MASTER whose advertisements do not arrive,"
        else:
            who = hardware
        return f"{who} answers for {address} on {post.interface}"
    return ""
