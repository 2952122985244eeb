"""The state socket, with real clients."""

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from virtualip_agent.control.state_server import LARGEST_BACKLOG, StateServer


def vip(name: str, **entry: object) -> dict[str, Any]:
    return {"type": "vip", "name": name, "entry": {"state": "BACKUP", **entry}, "detail": {}}


AGENT = {"type": "agent", "agent": {"node": "server1"}}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[StateServer]:
    one = StateServer(tmp_path / "state.sock")
    await one.start()
    yield one
    await one.close()


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def connect(cls, directory: Path) -> "Client":
        return cls(*await asyncio.open_unix_connection(directory / "state.sock", limit=1 << 24))

    async def line(self) -> dict[str, Any] | None:
        async with asyncio.timeout(10):
            text = await self._reader.readline()
        return json.loads(text) if text else None

    async def lines(self, count: int) -> list[dict[str, Any] | None]:
        return [await self.line() for _ in range(count)]

    async def ask(self, question: bytes) -> None:
        self._writer.write(question)
        await self._writer.drain()

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


async def test_a_client_gets_the_whole_picture_then_ready_then_changes(server: StateServer, tmp_path: Path) -> None:
    server.tell(AGENT)
    server.tell(vip("web"))
    server.tell(vip("api"))
    client = await Client.connect(tmp_path)
    assert await client.lines(4) == [AGENT, vip("api"), vip("web"), {"type": "ready"}]
    server.tell(vip("web", state="MASTER"))
    server.tell({"type": "gone", "name": "api"})
    assert await client.lines(2) == [vip("web", state="MASTER"), {"type": "gone", "name": "api"}]
    await client.close()


async def test_nothing_is_said_twice(server: StateServer, tmp_path: Path) -> None:
    client = await Client.connect(tmp_path)
    assert await client.line() == {"type": "ready"}
    assert server.tell(vip("web"))
    assert not server.tell(vip("web"))
    assert not server.tell({"type": "gone", "name": "api"})
    server.tell(vip("web", state="FAULT"))
    assert await client.lines(2) == [vip("web"), vip("web", state="FAULT")]
    await client.close()


async def test_a_client_that_goes_does_not_disturb_the_others(server: StateServer, tmp_path: Path) -> None:
    clients = [await Client.connect(tmp_path) for _ in range(20)]
    for client in clients:
        await client.line()
    for client in clients[::2]:
        await client.close()
    server.tell(vip("web"))
    for client in clients[1::2]:
        assert await client.line() == vip("web")
        await client.close()


async def test_a_client_that_does_not_read_is_cut_off_and_the_others_are_not(
    server: StateServer, tmp_path: Path
) -> None:
    deaf, other = await Client.connect(tmp_path), await Client.connect(tmp_path)
    await deaf.line()
    await other.line()
    deaf._reader._transport.pause_reading()  # type: ignore[attr-defined]
    text = "x" * 10_000
    number = 0
    while len(server.clients) == 2:
        number += 1
        server.tell(vip("web", message=text, priority=number))
        assert await other.line() == vip("web", message=text, priority=number)
        assert number < 10 * LARGEST_BACKLOG // len(text)
    server.tell(vip("web"))
    assert await other.line() == vip("web")
    await other.close()
    await deaf.close()


async def test_a_picture_larger_than_any_backlog_is_told_and_who_does_not_read_it_is_cut_off(
    server: StateServer, tmp_path: Path
) -> None:
    text = "x" * 10_000
    count = 3 * LARGEST_BACKLOG // len(text)
    for number in range(count):
        server.tell(vip(f"vip-{number}", message=text))
    deaf, other = await Client.connect(tmp_path), await Client.connect(tmp_path)
    deaf._reader._transport.pause_reading()  # type: ignore[attr-defined]
    assert sum(line == {"type": "ready"} for line in await other.lines(count + 1)) == 1
    told = 0
    while len(server.clients) == 2:
        told += 1
        server.tell(vip("vip-0", message=text, priority=told))
        assert await other.line() == vip("vip-0", message=text, priority=told)
        assert told < 2 * LARGEST_BACKLOG // len(text)
    assert told > LARGEST_BACKLOG // len(text) // 2
    await other.close()
    await deaf.close()


async def test_the_socket_of_an_agent_that_died_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "state.sock").write_text("left behind")
    server = StateServer(tmp_path / "state.sock")
    await server.start()
    mode = (tmp_path / "state.sock").stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o660
    client = await Client.connect(tmp_path)
    assert await client.line() == {"type": "ready"}
    await client.close()
    await server.close()
    assert os.listdir(tmp_path) == []


async def test_at_the_end_a_client_still_gets_the_last_word(server: StateServer, tmp_path: Path) -> None:
    client = await Client.connect(tmp_path)
    await client.line()
    server.tell(vip("web", reason="Stopped"))
    await asyncio.gather(server.close(), asyncio.sleep(0))
    assert await client.lines(2) == [vip("web", reason="Stopped"), None]
    await client.close()


async def test_a_client_may_ask_for_the_counters_and_others_are_not_told(tmp_path: Path) -> None:
    asked = 0

    async def statistics() -> dict[str, Any]:
        nonlocal asked
        asked += 1
        return {"type": "statistics", "routers": {"web": {"sent": asked}}}

    server = StateServer(tmp_path / "state.sock", statistics)
    await server.start()
    one, two, other = [await Client.connect(tmp_path) for _ in range(3)]
    for client in (one, two, other):
        assert await client.line() == {"type": "ready"}
    for client in (one, two):
        await client.ask(b'{"type":"some-question-of-a-newer-version"}\n{"type":"get-sta')
        await client.ask(b'tistics"}\n')
    for client in (one, two):
        answer = await client.line()
        assert answer is not None
        assert answer["type"] == "statistics"
    server.tell(vip("web"))
    assert await other.line() == vip("web")
    assert asked <= 2
    for client in (one, two, other):
        await client.close()
    await server.close()


async def test_a_client_that_talks_without_end_is_cut_off(server: StateServer, tmp_path: Path) -> None:
    client = await Client.connect(tmp_path)
    assert await client.line() == {"type": "ready"}

    async def talk() -> None:
        while True:
            await client.ask(b"x" * 10_000)
            await asyncio.sleep(0)

    with pytest.raises(ConnectionError):
        await talk()
