"""What the publisher makes of control's words over restarts and outages: what does the API show in the end?"""

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from virtualip_agent.reporter.api import ApiError
from virtualip_agent.reporter.entry import VIRTUAL_IPS_PATH, Remark
from virtualip_agent.reporter.looks import LOOKS_A_ROUND
from virtualip_agent.reporter.publisher import Publisher
from virtualip_agent.reporter.state_reader import StateReader, answers
from virtualip_agent.run_directory import state_socket_path
from virtualip_agent.state_stream import encode_line

NODE = "server1"


class FakeApi:
    """The status of some VirtualIPs; server-side apply by one manager."""

    def __init__(self, *names: str) -> None:
        self.shown: dict[str, dict[str, Any] | None] = dict.fromkeys(names)
        self.fails: int | None = None
        """HTTP status of every answer; 0: nobody answers."""
        self.failed = threading.Event()
        self.reads = 0

    def apply(self, path: str, body: Mapping[str, Any], manager: str) -> dict[str, Any]:
        if self.fails is not None:
            self.failed.set()
            raise ApiError(self.fails, "as the test wants")
        name = path.removeprefix(f"{VIRTUAL_IPS_PATH}/").removesuffix("/status")
        if name not in self.shown:
            raise ApiError(404, "NotFound", absent_name=name)
        nodes = body["status"]["nodes"]
        self.shown[name] = nodes[0] if nodes else None
        return {}

    def get(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        self.reads += 1
        name = path.removeprefix(f"{VIRTUAL_IPS_PATH}/")
        if name not in self.shown:
            raise ApiError(404, "NotFound", absent_name=name)
        entry = self.shown[name]
        return {"status": {"nodes": [entry] if entry else []}}

    def states(self) -> dict[str, str | None]:
        return {name: str(entry["state"]) if entry else None for name, entry in self.shown.items()}


def entry(state: str = "BACKUP") -> dict[str, Any]:
    return {"node": NODE, "state": state, "priority": 100}


def eventually(question: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not question():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def publisher(api: FakeApi, *published: str) -> Publisher:
    made = Publisher(api, NODE, published)  # type: ignore[arg-type]
    threading.Thread(target=made.work, daemon=True).start()
    return made


def test_states_arrive_and_go() -> None:
    api = FakeApi("web")
    told = publisher(api)
    told.state("web", entry("MASTER"))
    told.state("absent", entry("MASTER"))
    eventually(lambda: api.states() == {"web": "MASTER"} and told.idle())
    told.gone("web")
    eventually(lambda: api.states() == {"web": None} and told.idle())
    assert told.published() == {"absent"}


def test_a_remark_is_shown_without_a_state_and_goes_with_its_cause() -> None:
    api = FakeApi("web")
    told = publisher(api)
    told.remark("web", Remark("SecretMissing", "not found"))
    eventually(lambda: api.states() == {"web": "FAULT"})
    told.remark("web", None)
    eventually(lambda: api.states() == {"web": None})


def test_what_control_does_not_name_is_gone_unless_its_file_lies_there() -> None:
    api = FakeApi("db", "old", "web")
    api.shown["old"] = entry("MASTER")
    told = publisher(api, "old")
    for name in ("db", "web"):
        told.state(name, entry())
    told.snapshot({"db", "web"}, {"db", "web"})
    eventually(lambda: api.states() == {"db": "BACKUP", "old": None, "web": "BACKUP"})
    told.snapshot({"db"}, {"db", "web"})  # control was restarted and has not read web's file yet
    told.snapshot(set(), {"web"})
    eventually(lambda: api.states() == {"db": None, "old": None, "web": "BACKUP"})


@pytest.mark.parametrize("status", [0, 403, 503])
def test_after_a_failure_the_last_state_arrives(status: int) -> None:
    api = FakeApi("web")
    told = publisher(api)
    told.state("web", entry("MASTER"))
    eventually(told.idle)
    api.fails = status
    told.state("web", entry("FAULT"))
    told.state("web", entry("BACKUP"))
    assert api.failed.wait(10)
    api.fails = None
    eventually(lambda: api.states() == {"web": "BACKUP"})


def test_lost_entries_are_found_in_turn() -> None:
    names = [f"vip-{number:02}" for number in range(LOOKS_A_ROUND * 2)]
    api = FakeApi(*names)
    told = publisher(api)
    for name in names:
        told.state(name, entry("MASTER"))
    eventually(told.idle)
    time.sleep(0.25)
    api.shown = dict.fromkeys(names)
    told.check()
    assert api.reads == LOOKS_A_ROUND
    told.check()
    eventually(lambda: set(api.states().values()) == {"MASTER"})


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(state_socket_path(tmp_path)))
        made.listen()
        yield made


def serve(listener: socket.socket, *messages: dict[str, Any], close: bool = True) -> socket.socket:
    client, _ = listener.accept()
    for message in messages:
        client.sendall(encode_line(message))
    if close:
        client.close()
    return client


@pytest.mark.parametrize(
    ("messages", "close", "expected"),
    [
        ([{"type": "vip", "name": "web", "entry": {}}, {"type": "ready"}], False, True),
        ([{"type": "vip", "name": "web", "entry": {}}], False, False),
        ([{"type": "agent"}], True, False),
        ([], False, False),
    ],
)
def test_what_counts_as_an_answer(
    listener: socket.socket, tmp_path: Path, messages: list[dict[str, Any]], close: bool, expected: bool
) -> None:
    clients: list[socket.socket] = []
    server = threading.Thread(target=lambda: clients.append(serve(listener, *messages, close=close)))
    server.start()
    assert answers(tmp_path, 0.3) is expected
    server.join()
    clients[0].close()


def test_nobody_there_is_no_answer(tmp_path: Path) -> None:
    assert not answers(tmp_path)


def test_the_reader_comes_back_and_says_what_is_gone(listener: socket.socket, tmp_path: Path) -> None:
    api = FakeApi("db", "web")
    told = publisher(api)
    reader = StateReader(tmp_path, told, lambda: {"db"})
    threading.Thread(target=reader.work, daemon=True).start()
    vips = [{"type": "vip", "name": name, "entry": entry(), "detail": {}} for name in ("db", "web")]
    client = serve(listener, {"type": "agent", "agent": {}}, *vips, {"type": "ready"}, close=False)
    eventually(lambda: api.states() == {"db": "BACKUP", "web": "BACKUP"})
    client.close()
    serve(listener, {"type": "news from a newer control"}, {"type": "ready"}, close=False).close()
    eventually(lambda: api.states() == {"db": "BACKUP", "web": None})
