"""barecluster: the forwarder carries bytes both ways, and each direction ends by itself."""

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import barecluster


@pytest.fixture
def far() -> Iterator[socket.socket]:
    """Where the forwarder connects to."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        yield listener


@pytest.fixture
def near(far: socket.socket) -> Iterator[int]:
    """The port that the forwarder listens on."""
    address, port = far.getsockname()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-m", "barecluster.forwarder", str(listener.fileno()), address, str(port)]
        with subprocess.Popen(
            command, pass_fds=[listener.fileno()], cwd=Path(barecluster.__file__).parents[1]
        ) as process:
            near_port: int = listener.getsockname()[1]
            listener.close()
            yield near_port
            process.kill()


def test_bytes_go_both_ways_and_one_direction_may_end_first(near: int, far: socket.socket) -> None:
    sent = bytes(range(256)) * 4096
    with socket.create_connection(("127.0.0.1", near), timeout=10) as here:
        there, _ = far.accept()
        with there:
            sender = threading.Thread(target=_send, args=[here, sent])
            sender.start()
            assert _read(there) == sent
            sender.join()
            _send(there, b"answer")
            assert _read(here) == b"answer"


def test_when_nobody_listens_there_the_connection_ends_at_once(near: int, far: socket.socket) -> None:
    far.close()
    here = socket.create_connection(("127.0.0.1", near), timeout=10)
    with here, contextlib.suppress(ConnectionResetError):
        assert here.recv(1) == b""


def _send(connection: socket.socket, content: bytes) -> None:
    connection.sendall(content)
    connection.shutdown(socket.SHUT_WR)


def _read(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(1 << 16), b""))
