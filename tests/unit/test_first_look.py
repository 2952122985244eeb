"""Control's part in the first question: it answers while vrrp still waits."""

import asyncio
from collections.abc import Iterable
from typing import Any, Self

import pytest

from virtualip_agent import ipc
from virtualip_agent.control.compile import ASK_PATIENCE
from virtualip_agent.control.witness import first_look
from virtualip_agent.control.witness.first_look import FirstLook

STRANGER = "02:00:00:00:00:99"


class Segment:
    """Somebody answers for whatever is asked."""

    def __init__(self, *_: Any) -> None:
        self.asked: set[Any] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def ask(self, addresses: Iterable[Any], _source: Any) -> None:
        self.asked |= set(addresses)

    def answers(self) -> dict[Any, frozenset[str]]:
        return {address: frozenset({STRANGER}) for address in self.asked}


async def test_who_asks_during_anothers_round_is_answered_as_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_look, "asker", Segment)
    loop, asked, waited = asyncio.get_running_loop(), dict[str, float](), dict[str, float]()
    names, answered = [f"vip{number}" for number in range(6)], asyncio.Event()

    def answer(name: str, _by: str) -> None:
        waited.setdefault(name, loop.time() - asked[name])
        if len(waited) == len(names):
            answered.set()

    look = FirstLook(answer)
    look.run(
        {
            name: ipc.RouterConfig(
                name=name, vrid=number, version=3, interface="eth0", addresses=(f"10.0.0.{number}/32",),
                base_priority=100, advert_interval=10**8,
            )
            for number, name in enumerate(names, 1)
        }
    )  # fmt: skip
    for name in names:
        asked[name] = loop.time()
        look.state(
            ipc.RouterState(
                name, "BACKUP", 100, "AskingSegment", "", 0.0, interface="eth0", source="10.0.0.200", asks=True
            )
        )
        await asyncio.sleep(first_look.PATIENCE / 2)
    async with asyncio.timeout(5):
        await answered.wait()
    look.close()
    assert max(waited.values()) < ASK_PATIENCE / 1e9
