"""State in: control's state socket, read for as long as the process lives."""

import json
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from virtualip_agent.run_directory import state_socket_path
from virtualip_agent.state_stream import connect, read_messages

log = logging.getLogger(__name__)

RECONNECT = 0.5
"""Seconds."""


class Listener(Protocol):
    """Who is told what control says."""

    def state(self, name: str, entry: dict[str, object]) -> None: ...
    def gone(self, name: str) -> None: ...
    def snapshot(self, names: set[str], desired: set[str]) -> None: ...


class StateReader:
    """Reads the state socket and tells a publisher. While control is away nothing is said: its last words may still be
    true (vrrp runs on without it), and the Lease, which is not renewed then, says how old they are."""

    def __init__(self, run: Path, listener: Listener, desired: Callable[[], set[str]]) -> None:
        self._path = state_socket_path(run)
        self._listener = listener
        self._desired = desired
        self._connected = threading.Event()

    @property
    def connected(self) -> bool:
        """Whether control's socket is open."""
        return self._connected.is_set()

    def work(self) -> None:
        """The body of the reader's thread."""
        while True:
            try:
                self._read()
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.debug("state socket: %s", error)
            if self._connected.is_set():
                self._connected.clear()
                log.warning("control has closed its socket: nothing new is published until it is back")
            time.sleep(RECONNECT)

    def _read(self) -> None:
        with connect(self._path) as client:
            self._connected.set()
            log.info("connected to control")
            named: set[str] = set()
            for message in read_messages(client):
                match message.get("type"):
                    case "vip":
                        named.add(message["name"])
                        self._listener.state(message["name"], message["entry"])
                    case "gone":
                        named.discard(message["name"])
                        self._listener.gone(message["name"])
                    case "ready":
                        self._listener.snapshot(set(named), self._desired())
                    case _:
                        pass  # `agent`, and what a newer control says


def answers(run: Path, seconds: float = 3.0) -> bool:
    """Whether control accepts a connection and says all it knows within `seconds`: a hung one does not."""
    deadline = time.monotonic() + seconds
    try:
        with connect(state_socket_path(run)) as client:
            rest = b""
            while (left := deadline - time.monotonic()) > 0:
                client.settimeout(left)
                chunk = client.recv(1 << 16)
                if not chunk:
                    return False
                *lines, rest = (rest + chunk).split(b"\n")
                if any(json.loads(line).get("type") == "ready" for line in lines):
                    return True
    except (OSError, ValueError, AttributeError):
        pass
    return False
