"""A client of a web server: a new TCP connection and an HTTP request each time, without waiting for the one before.

The program of a `client.Prober` whose address is HOST:PORT. It prints what client.py does: when the first answer came,
and at the end all answers.
"""

import asyncio
import itertools
import json
import signal
import sys
import time

from client import be_punctual

_GIVE_UP = 0.5  # s: what takes longer is no answer, however late the kernel sends its SYN again


async def _request(host: str, port: int, answers: list[float]) -> None:
    try:
        async with asyncio.timeout(_GIVE_UP):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(b"GET / HTTP/1.0\r\n\r\n")
                answer = await reader.read()
            finally:
                writer.transport.abort()
    except (OSError, TimeoutError):
        return
    if answer:
        answers.append(time.monotonic())
        if len(answers) == 1:
            print(answers[0], flush=True)


async def _ask(host: str, port: int, interval: float) -> None:
    be_punctual()
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    answers: list[float] = []
    asked: list[float] = []
    async with asyncio.TaskGroup() as requests:
        while not stopping.is_set():
            asked.append(time.monotonic())
            requests.create_task(_request(host, port, answers))
            await asyncio.sleep(interval)
        ended = time.monotonic()
    noise = max((later - earlier for earlier, later in itertools.pairwise(asked)), default=0.0)
    found = {"answers": sorted(answers), "sent": len(asked), "ended": ended, "noise_ms": noise * 1000}
    print(json.dumps(found))


if __name__ == "__main__":
    name, _, number = sys.argv[1].rpartition(":")
    asyncio.run(_ask(name, int(number), float(sys.argv[2])))
