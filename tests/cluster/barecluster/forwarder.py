"""Carries TCP connections from a port of the machine to the API server inside its namespace.

    nsenter --net=... python -m barecluster.forwarder FD ADDRESS PORT

The listening socket is inherited as file descriptor FD and belongs to the namespace it was made in; the sockets made
here belong to the namespace we run in. So nothing has to be configured in either, and all is gone with the process.
"""

import asyncio
import contextlib
import socket
import sys

_CHUNK = 1 << 16


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()
    if writer.can_write_eof():  # one direction may end before the other
        writer.write_eof()


async def _carry(address: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        try:
            far_reader, far_writer = await asyncio.open_connection(address, port)
            try:
                await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
            finally:
                far_writer.transport.abort()
        finally:
            writer.transport.abort()


async def _main(descriptor: int, address: str, port: int) -> None:
    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _carry(address, port, reader, writer)

    server = await asyncio.start_server(carry, sock=socket.socket(fileno=descriptor))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
