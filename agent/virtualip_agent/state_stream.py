"""The node's state as control tells it on the state socket: one JSON object a line.

After connecting a client gets one `vip` line for each VirtualIP and then `ready`; from then on a `vip` line for each
change and `gone` for each that was withdrawn. Lines are whole states, never differences, so a reader may skip any but
the last. A client that does not read is cut off, never waited for.

    {"type": "agent", "agent": {"node": "server1", "active": true, "scheduling": "SCHED_RR 50", ...}}
    {"type": "vip", "name": "web", "entry": {... as in status.nodes ...}, "detail": {"source": "Desired", ...}}
    {"type": "gone", "name": "web"}
    {"type": "ready"}

A client may ask for one thing: a line `{"type":"get-statistics"}` is answered with the counters.

    {"type": "statistics", "routers": {"web": {"sent": 10, ...}}, "process": {...}, "lateness": {"64": 9, ...}}
"""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

GET_STATISTICS: Final = b'{"type":"get-statistics"}\n'


def encode_line(message: dict[str, Any]) -> bytes:
    """One line of the stream."""
    try:
        return msgspec.json.encode(message) + b"\n"
    except UnicodeEncodeError:  # the name of a file or a process need not be UTF-8
        return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def connect(path: Path) -> socket.socket:
    """A connected client socket; OSError where no agent listens."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        client.connect(str(path))
    except OSError:
        client.close()
        raise
    return client


def read_messages(client: socket.socket) -> Iterator[dict[str, Any]]:
    """Messages until the other end closes."""
    with client.makefile("rb") as lines:
        for line in lines:
            yield json.loads(line)
