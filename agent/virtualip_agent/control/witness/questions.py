"""One round of questions to the segment: for the addresses of some posts, and who they are that answered."""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from virtualip_agent.control.witness.answers import virtual_mac
from virtualip_agent.control.witness.ask import asker
from virtualip_agent.control.witness.post import IPAddress, Post

log = logging.getLogger(__name__)

PATIENCE: Final = 0.3
"""Seconds that an answer may take."""


class Owners:
    """Hardware addresses of the members and of the MASTERs that are heard, by interface and family."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], dict[str, IPAddress]] = {}

    def at(self, post: Post) -> Mapping[str, IPAddress]:
        """Hardware address -> whose."""
        return self._known.get((post.interface, post.version), {})

    def learn(self, posts: Sequence[Post], answers: Mapping[IPAddress, frozenset[str]]) -> None:
        """What was answered for the members' own addresses: nothing older counts."""
        post = posts[0]
        self._known[post.interface, post.version] = {
            hardware: address
            for address in (*_members(posts), *_masters(posts))  # of a member with two the MASTER's counts
            for hardware in answers.get(address, ())
        }  # fmt: skip

    def strange(self, post: Post, answers: Mapping[IPAddress, frozenset[str]]) -> bool:
        """Whether somebody answered for its addresses of whom is not known who it is."""
        known = self.at(post).keys() | {virtual_mac(post)}
        return any(answers.get(address, frozenset()) - known for address in post.addresses)


def _members(posts: Iterable[Post]) -> set[IPAddress]:
    return {member for post in posts for member in post.members}


def _masters(posts: Iterable[Post]) -> set[IPAddress]:
    return {post.master for post in posts if post.master is not None}


async def question(posts: Sequence[Post], owners: Owners) -> Mapping[IPAddress, frozenset[str]] | None:
    """Asks for the addresses of posts of one interface and family; None where it could not be asked.

    Who answers and is not known is told from the members by asking for their own addresses too."""
    first = posts[0]
    try:
        with asker(first.interface, first.version) as opened:
            opened.ask(sorted(address for post in posts for address in post.addresses), first.source)
            await asyncio.sleep(PATIENCE)
            answers = opened.answers()
            if any(owners.strange(post, answers) for post in posts):
                opened.ask(sorted(_members(posts) | _masters(posts)), first.source)
                await asyncio.sleep(PATIENCE)
                owners.learn(posts, opened.answers())
    except OSError as error:
        log.debug("%s cannot be asked: %s", first.interface, error)
        return None
    return answers


async def other_addresses(posts: Sequence[Post], senders: Iterable[IPAddress]) -> frozenset[IPAddress] | None:
    """Which of these are members all the same, by an address that the plan does not have: the hardware is a member's.
    None where it could not be asked."""
    first, members = posts[0], _members(posts)
    try:
        with asker(first.interface, first.version) as opened:
            opened.ask(sorted({*senders, *members}), first.source)
            await asyncio.sleep(PATIENCE)
            answers = opened.answers()
    except OSError as error:
        log.debug("%s cannot be asked: %s", first.interface, error)
        return None
    theirs = frozenset[str]().union(*(answers.get(member, frozenset()) for member in members))
    return frozenset(sender for sender in senders if answers.get(sender, frozenset()) & theirs)
