"""The state socket: every client gets the whole picture, then each change; one that does not read is cut off."""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from virtualip_agent.control.directories import bind_shared
from virtualip_agent.state_stream import GET_STATISTICS, encode_line

log = logging.getLogger(__name__)

LARGEST_BACKLOG = 1 << 20
"""Bytes that wait for a client besides the picture it is welcomed with, which is of any size: 250 VirtualIPs with a few
trackers each are half of this, with thirty each they are more."""
FAREWELL = 0.5
"""Seconds that clients have, when we go, to read what is left."""


BETWEEN_ANSWERS = 0.5
"""Seconds: counting costs vrrp some milliseconds, and who asks without end is not to cost it more."""
LONGEST_QUESTION = 256
"""Bytes."""


class _Client(asyncio.Protocol):
    def __init__(self, server: "StateServer") -> None:
        self._server = server
        self._question = b""
        self.transport: asyncio.WriteTransport | None = None
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._picture = 0
        """Bytes of the picture that may be waiting still."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self.transport = transport
        self._server.welcome(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.clients.discard(self)
        self.transport = None
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        *lines, self._question = (self._question + data).split(b"\n")
        if len(self._question) > LONGEST_QUESTION and self.transport is not None:
            self.transport.abort()
        if GET_STATISTICS.rstrip(b"\n") in lines:
            self._server.asked(self)

    def welcome(self, picture: bytes) -> None:
        self._picture = len(picture)
        self.send(picture)

    def send(self, lines: bytes) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        self.transport.write(lines)
        # it was written first, so no more of it waits than waits at all
        self._picture = min(self._picture, self.transport.get_write_buffer_size())
        if self.transport.get_write_buffer_size() - self._picture > LARGEST_BACKLOG:
            log.warning("a client of the state socket does not read; it is cut off")
            self.transport.abort()


class StateServer:
    """Holds the newest line of the agent and of each VirtualIP. `statistics` makes the answer to who asks for it."""

    def __init__(self, path: Path, statistics: Callable[[], Awaitable[dict[str, Any]]] | None = None) -> None:
        self._statistics = statistics
        self._answering: asyncio.Task[None] | None = None
        self._asking: set[_Client] = set()
        self._path = path
        self.clients: set[_Client] = set()
        self._agent: dict[str, Any] = {}
        self._vips: dict[str, dict[str, Any]] = {}
        self._server: asyncio.Server | None = None
        self._inode = 0

    async def start(self) -> None:
        """Listens, in the place of whatever socket an agent before us left."""
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        temporary.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            bind_shared(listener, temporary)
            listener.listen(16)
            self._inode = temporary.stat().st_ino
            temporary.rename(self._path)
        except BaseException:
            listener.close()
            temporary.unlink(missing_ok=True)
            raise
        if self._server is not None:
            self._server.close()
        self._server = await asyncio.get_running_loop().create_unix_server(lambda: _Client(self), sock=listener)

    async def reclaim(self) -> None:
        """Listens at the path again where another's socket, or none, is there now: two controls that started before
        their vrrp did each thought to be the one."""
        if not self._is_ours():
            await self.start()

    def _is_ours(self) -> bool:
        with suppress(FileNotFoundError):
            return self._path.stat().st_ino == self._inode
        return False

    def welcome(self, client: _Client) -> None:
        """The whole picture for a new client."""
        self.clients.add(client)
        picture = [self._agent, *(self._vips[name] for name in sorted(self._vips)), {"type": "ready"}]
        client.welcome(b"".join(encode_line(message) for message in picture if message))

    def asked(self, client: _Client) -> None:
        """A client wants the counters: all who wait get one answer."""
        if self._statistics is None:
            return
        self._asking.add(client)
        if self._answering is None or self._answering.done():
            self._answering = asyncio.create_task(self._answer())

    async def _answer(self) -> None:
        assert self._statistics is not None
        while self._asking:
            asking, self._asking = self._asking, set()
            line = encode_line(await self._statistics())
            for client in asking:
                client.send(line)
            await asyncio.sleep(BETWEEN_ANSWERS)

    def tell(self, message: dict[str, Any]) -> bool:
        """Publishes a line where it says anything new; whether it does."""
        match message["type"]:
            case "agent":
                if message == self._agent:
                    return False
                self._agent = message
            case "vip":
                if message == self._vips.get(message["name"]):
                    return False
                self._vips[message["name"]] = message
            case _:
                if self._vips.pop(message["name"], None) is None:
                    return False
        line = encode_line(message)
        for client in tuple(self.clients):
            client.send(line)
        return True

    async def close(self) -> None:
        """Gives the clients what is left, for a short while, and goes."""
        if self._answering is not None:
            self._answering.cancel()
        if self._server is None:
            return
        self._server.close()
        if self._is_ours():  # an agent that stood by may have put its own there by now
            self._path.unlink(missing_ok=True)
        clients = tuple(self.clients)
        for client in clients:
            if client.transport is not None:
                client.transport.close()
        if clients:
            await asyncio.wait([client.closed for client in clients], timeout=FAREWELL)
        for client in clients:
            if client.transport is not None:
                client.transport.abort()
        await self._server.wait_closed()
