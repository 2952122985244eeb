"""The demo's web server: a process named `httpd` that answers every request with its node's name."""

import asyncio
import ctypes
import os
import sys

_PR_SET_NAME = 15


async def serve(port: int, name: str) -> None:
    """Serves until it is ended."""
    answer = f"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n{name}\n".encode()

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(respond, "0.0.0.0", port, backlog=1024)
    # only now: the tracker looks for the name, and whoever has it must answer
    ctypes.CDLL(None).prctl(_PR_SET_NAME, b"httpd", 0, 0, 0)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), os.environ.get("NODE_NAME", "?")))
