"""Requests to the API server from one event loop, by whoever's credentials. (aiohttp comes with kopf.)"""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text}")
        self.status = status


class Api:
    """One connection pool for all; `token` says who asks ('' for the administrator, by certificate)."""

    def __init__(self, url: str, trust: ssl.SSLContext) -> None:
        connector = aiohttp.TCPConnector(limit=0, ssl=trust)
        self._session = aiohttp.ClientSession(url, connector=connector, timeout=aiohttp.ClientTimeout(total=None))

    async def close(self) -> None:
        """Ends every connection."""
        await self._session.close()

    async def get(self, path: str, token: str = "", *, accept: str = "", **query: str) -> dict[str, Any]:
        """The object there; Refused."""
        return await self._ask("GET", path, token, query, accept=accept)

    async def create(self, path: str, body: Mapping[str, Any], token: str = "") -> dict[str, Any]:
        """Creates it; Refused."""
        return await self._ask("POST", path, token, {}, body, "application/json")

    async def merge(self, path: str, body: Mapping[str, Any], token: str) -> dict[str, Any]:
        """A merge patch; Refused."""
        return await self._ask("PATCH", path, token, {}, body, MERGE)

    async def apply(self, path: str, body: Mapping[str, Any], token: str, manager: str) -> dict[str, Any]:
        """A forced server-side apply; Refused."""
        return await self._ask("PATCH", path, token, {"fieldManager": manager, "force": "true"}, body, APPLY)

    async def watch(self, path: str, token: str = "", **query: str) -> AsyncIterator[dict[str, Any]]:
        """Events, until the server ends the watch."""
        parameters = {**query, "watch": "true", "allowWatchBookmarks": "true"}
        async with self._session.get(path, params=parameters, headers=_headers(token), read_bufsize=1 << 20) as answer:
            if answer.status >= 300:
                raise Refused(answer.status, await answer.text())
            async for line in answer.content:
                yield json.loads(line)

    async def text(self, path: str) -> str:
        """A page that is no object."""
        async with self._session.get(path) as answer:
            return await answer.text()

    async def _ask(
        self,
        method: str,
        path: str,
        token: str,
        query: Mapping[str, str],
        body: Mapping[str, Any] | None = None,
        kind: str = "",
        accept: str = "",
    ) -> dict[str, Any]:
        headers = _headers(token)
        if kind:
            headers["Content-Type"] = kind
        if accept:
            headers["Accept"] = accept
        data = None if body is None else json.dumps(body)
        async with self._session.request(method, path, params=query, headers=headers, data=data) as answer:
            if answer.status >= 300:
                raise Refused(answer.status, (await answer.text())[:300])
            found: dict[str, Any] = await answer.json()
            return found


def _headers(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


async def all_of(tasks: list[Any], at_once: int = 20) -> list[Any]:
    """The results of coroutines, so many at a time."""
    gate = asyncio.Semaphore(at_once)

    async def one(task: Any) -> Any:
        async with gate:
            return await task

    return list(await asyncio.gather(*(one(task) for task in tasks)))
