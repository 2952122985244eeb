"""A client of the VIP: a new HTTP request every 2 ms, and a JSON line for whatever it noticed.

    {"at": 1795384984.42, "by": "server2", "before": "server1", "gap_ms": 23.8}

Lines come when another server answers, or when nobody did for more than 20 ms. `gap_ms` is the time between two
answers that followed each other. Only the standard library: it runs in a network namespace or in a pod.
"""

import asyncio
import json
import sys
import time

_EVERY = 0.002
_GIVE_UP = 0.3
_WORTH_TELLING = 0.020
_REQUEST = b"GET / HTTP/1.0\r\n\r\n"


class Probe:
    """Remembers the last answer and who gave it."""

    def __init__(self, address: str, port: int) -> None:
        self._address = address
        self._port = port
        self._last = 0.0
        self._by = ""

    async def ask(self) -> None:
        """One request; a failure is silence."""
        try:
            async with asyncio.timeout(_GIVE_UP):
                reader, writer = await asyncio.open_connection(self._address, self._port)
                try:
                    writer.write(_REQUEST)
                    answer = await reader.read()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return
        if answer:
            self._answered(answer.decode(errors="replace").split()[-1])

    def _answered(self, by: str) -> None:
        now = time.time()
        gap = now - self._last if self._last else 0.0
        if by != self._by or gap > _WORTH_TELLING:
            line = {"at": now, "by": by, "before": self._by, "gap_ms": round(gap * 1000, 1)}
            print(json.dumps(line), flush=True)
        self._last, self._by = now, by

    async def run(self) -> None:
        """Asks until it is ended."""
        asking: set[asyncio.Task[None]] = set()
        while True:
            task = asyncio.create_task(self.ask())
            asking.add(task)
            task.add_done_callback(asking.discard)
            await asyncio.sleep(_EVERY)


if __name__ == "__main__":
    asyncio.run(Probe(sys.argv[1], int(sys.argv[2])).run())
