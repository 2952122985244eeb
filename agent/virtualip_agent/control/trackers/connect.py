"""A TCP connection to a name or an address. Everything here can be cancelled: whoever asks has a time limit."""

import asyncio
import errno
import ipaddress
import os
import socket
import struct
import threading
from typing import Final

from virtualip_api.duration import SECOND

MOST_LOOKUPS: Final = 8
"""At once. A resolver that hangs holds a thread for as long as it likes (getaddrinfo cannot be interrupted); more names
than this then fail by their time limits, and addresses are not touched by it."""

NEXT_ADDRESS: Final = 0.25
"""Seconds for which an address has not answered when the next one is tried too (RFC 8305 section 8); less where the
time limit is short."""

_TURN: Final = 0.02
"""Seconds between two looks whether it is one's turn."""

Address = tuple[int, tuple[str, int] | tuple[str, int, int, int]]

Found = tuple[list[Address], str]
"""Of a lookup; the text says why there is none."""

_lookups = threading.BoundedSemaphore(MOST_LOOKUPS)
_under_way: dict[tuple[asyncio.AbstractEventLoop, str], asyncio.Future[Found]] = {}
"""One lookup a name: a name whose server does not answer is asked for again and again, and holds one thread."""


class NotConnected(Exception):
    """Why; for the tracker's message."""


def why(error: OSError) -> str:
    """An error without what changes each time: `Connection refused`."""
    number = error.errno
    if number is None or number not in errno.errorcode:
        return error.strerror or type(error).__name__
    return os.strerror(number)


async def connect(host: str, port: int, timeout: int) -> socket.socket:
    """A connected, non-blocking socket to the first address of a name that answers. Whoever asks gives up after
    `timeout` nanoseconds: in the first half of that each address is tried."""
    addresses = await _resolve(host, port)
    if not addresses:
        raise NotConnected(f"{host} has no address")
    if len(addresses) == 1:
        return await _open(*addresses[0])
    return await _open_first(addresses, min(NEXT_ADDRESS, timeout / SECOND / 2 / len(addresses)))


async def _open_first(addresses: list[Address], later: float) -> socket.socket:
    """RFC 8305 section 5: the next address is tried when the one before has failed, or has not answered for so many
    seconds; the first that answers is it. Where all fail the last one says why, whichever failed last."""
    tries: list[asyncio.Task[socket.socket]] = []
    pending: set[asyncio.Task[socket.socket]] = set()
    try:
        while pending or len(tries) < len(addresses):
            if len(tries) < len(addresses):
                tries.append(asyncio.create_task(_open(*addresses[len(tries)])))
                pending.add(tries[-1])
            wait = later if len(tries) < len(addresses) else None
            done, pending = await asyncio.wait(pending, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task.exception() is None:
                    tries.remove(task)
                    return task.result()
        return tries[-1].result()
    finally:
        for task in tries:
            task.cancel()
            task.add_done_callback(_hang_up)


def _hang_up(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _open(family: int, address: tuple[str, int] | tuple[str, int, int, int]) -> socket.socket:
    connecting = None
    try:
        connecting = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        await asyncio.get_running_loop().sock_connect(connecting, address)
        _refuse_oneself(connecting)
    except BaseException as error:
        if connecting is not None:
            connecting.close()
        if isinstance(error, OSError):
            raise NotConnected(why(error)) from None
        raise
    return connecting


def _refuse_oneself(connected: socket.socket) -> None:
    """Where nobody listens on a port of the node's own that clients are given too (ip_local_port_range), a connection
    may be given that very port, and then meets itself: RFC 9293 section 3.5, simultaneous open. Nobody was reached."""
    try:
        oneself = connected.getsockname() == connected.getpeername()
    except OSError:  # hung up on already, by somebody else then
        return
    if oneself:
        # no TIME_WAIT, for which the service itself would find its port in use
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))


async def _resolve(host: str, port: int) -> list[Address]:
    bare = host.partition("%")[0]
    try:
        version = ipaddress.ip_address(bare).version
    except ValueError:
        return await _look_up(host, port)
    if version == 4:
        return [(socket.AF_INET, (host, port))]
    zone = host.partition("%")[2]
    try:
        scope = int(zone) if zone.isdecimal() else socket.if_nametoindex(zone) if zone else 0
    except OSError:
        raise NotConnected(f"there is no interface {zone}") from None
    return [(socket.AF_INET6, (bare, port, 0, scope))]


async def _look_up(host: str, port: int) -> list[Address]:
    """Waits for the lookup of this name that is under way, or for one's turn to begin it."""
    key = (asyncio.get_running_loop(), host)
    while (found := _under_way.get(key)) is None:
        if _lookups.acquire(blocking=False):
            found = _begin_lookup(*key)
            break
        await asyncio.sleep(_TURN)  # a semaphore of threads; and who asks has a time limit
    # who gives up does not take the lookup from the others
    addresses, problem = await asyncio.shield(found)
    if problem:
        raise NotConnected(f"name not resolved: {problem}")
    return [(family, (address[0], port, *address[2:])) for family, address in addresses]


def _begin_lookup(loop: asyncio.AbstractEventLoop, host: str) -> asyncio.Future[Found]:
    """By a thread of its own, a daemon: one that hangs keeps neither the loop nor the end of the process waiting."""
    found: asyncio.Future[Found] = loop.create_future()

    def settle(result: Found) -> None:
        del _under_way[loop, host]
        found.set_result(result)

    def look_up() -> None:
        addresses: list[Address] = []
        problem = ""
        try:
            for family, _, _, _, address in socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM):
                addresses.append((family, address))  # type: ignore[arg-type]
        except Exception as error:  # OSError, UnicodeError; but whatever it is, others wait for a result
            problem = getattr(error, "strerror", None) or str(error) or type(error).__name__
        finally:
            _lookups.release()
        try:
            loop.call_soon_threadsafe(settle, (addresses, problem))
        except RuntimeError:  # the loop has ended meanwhile
            del _under_way[loop, host]

    _under_way[loop, host] = found
    try:
        threading.Thread(target=look_up, name="lookup", daemon=True).start()
    except BaseException as error:
        _lookups.release()
        del _under_way[loop, host]
        raise NotConnected(f"name not resolved: {error}") from None
    return found
