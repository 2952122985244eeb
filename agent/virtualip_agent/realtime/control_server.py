"""The vrrp end of the socket to control. Only the first client commands; others wait until it is gone."""

import contextlib
import logging
import os
import socket
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec

from virtualip_agent import ipc

log = logging.getLogger(__name__)

_BUFFER: Final = 4 << 20
_MOST_CLIENTS: Final = 8
_CREDENTIALS: Final = struct.Struct("3i")
_SO_SNDBUFFORCE: Final = 32


def _is_ours(client: socket.socket) -> bool:
    """Whether root, or whoever runs this process (in tests), is at the other end."""
    data = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return _CREDENTIALS.unpack(data)[1] in (0, os.geteuid())


class ControlServer:
    """Nothing here waits: a control that does not read is cut off, and gets the whole picture when it returns."""

    def __init__(
        self,
        path: Path,
        scheduling: str,
        register: Callable[[socket.socket], None],
        decided: Callable[[], Iterable[str]],
    ) -> None:
        self._scheduling = scheduling
        self._register = register
        self._decided = decided
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        self.listener = socket.socket(
            socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        # Who may command here may take every VIP off. Both ends are root's; the group of the run directory, to which
        # the reporter belongs, is let in neither by the mode nor, whatever that is, by its credentials.
        mask = os.umask(0o177)
        try:
            self.listener.bind(str(path))
        finally:
            os.umask(mask)
        self.listener.listen(_MOST_CLIENTS)
        self._clients: list[socket.socket] = []

    @property
    def connected(self) -> bool:
        """Whether a control commands."""
        return bool(self._clients)

    def accept(self) -> bool:
        """Takes in whoever connects; True where a new client commands now."""
        first = not self._clients
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:  # none waits, or there is no descriptor left: the next wake-up tries again
                break
            if len(self._clients) >= _MOST_CLIENTS or not _is_ours(client):
                client.close()
                continue
            client.setblocking(False)
            with contextlib.suppress(PermissionError):
                client.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER)
            self._clients.append(client)
            self._register(client)
            self._greet(client)
        return first and bool(self._clients)

    def _greet(self, client: socket.socket) -> None:
        hello = ipc.Hello(
            pid=os.getpid(),
            scheduling=self._scheduling,
            active=client is self._clients[0],
            decided=tuple(self._decided()),
        )
        self._send_to(client, ipc.encode(hello))

    def read(self, client: socket.socket) -> tuple[list[ipc.ToVrrp], bool]:
        """The messages of a client that commands; and True where another one commands from now on."""
        found: list[ipc.ToVrrp] = []
        while client in self._clients:
            try:
                packet = client.recv(ipc.LARGEST_MESSAGE)
            except BlockingIOError:
                break
            except OSError:
                packet = b""
            if not packet:
                return found, self._drop(client)
            try:
                message = ipc.decode_to_vrrp(packet)
            except msgspec.DecodeError as error:
                # one version apart: what is not understood is ignored
                log.warning("control sent what is not understood: %s", error)
                continue
            if client is self._clients[0]:
                found.append(message)
        return found, False

    def send(self, message: ipc.FromVrrp) -> None:
        """To the client that commands."""
        if self._clients:
            self._send_to(self._clients[0], ipc.encode(message))

    def _send_to(self, client: socket.socket, packet: bytes) -> None:
        try:
            client.send(packet)
        except OSError as error:
            log.warning("control does not read (%s): cut off", error)
            # its end is seen by read() as any other
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def _drop(self, client: socket.socket) -> bool:
        commanded = client is self._clients[0]
        self._clients.remove(client)
        client.close()
        if commanded and self._clients:
            self._greet(self._clients[0])
            return True
        return False

    def close(self) -> None:
        """Closes every connection."""
        for client in self._clients:
            client.close()
        self.listener.close()
