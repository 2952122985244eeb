"""When the state socket is told. What it is told of is a table here."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from virtualip_agent.control.publisher import Publisher
from virtualip_agent.ipc import RouterState
from virtualip_agent.state_stream import encode_line


class Server:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, int]] = []
        self.changed = asyncio.Event()

    def tell(self, message: dict[str, Any]) -> None:
        self.told.append((message["name"], message["entry"]["priority"]))
        self.changed.set()


class Table:
    """Two VirtualIPs of which vrrp has said something."""

    def __init__(self) -> None:
        self.states = {name: self.state(name, 100) for name in ("db", "web")}
        self.server = Server()
        selection = SimpleNamespace(instances={}, conflicts={})
        self.publisher = Publisher(
            "server1",
            SimpleNamespace(hello=None, answering=True),  # type: ignore[arg-type]
            SimpleNamespace(get=self.states.get, families=lambda _: (), all=self.states),  # type: ignore[arg-type]
            SimpleNamespace(selection=selection, problems=()),  # type: ignore[arg-type]
            SimpleNamespace(statuses=lambda _: ()),  # type: ignore[arg-type]
            self.server,  # type: ignore[arg-type]
            process_starts=str,
            notify_failure=lambda _: "",
            witness=SimpleNamespace(observations=lambda _: ()),  # type: ignore[arg-type]
            problems=tuple,
        )

    def state(self, name: str, priority: int) -> RouterState:
        return RouterState(name=name, state="MASTER", priority=priority, reason="NoMaster", message="", since=1.0)


@pytest.fixture
async def table() -> Table:
    return Table()


async def test_a_trackers_result_and_the_priority_that_it_leads_to_are_told_as_one(table: Table) -> None:
    table.publisher.soon("web")  # the result
    table.states["web"] = table.state("web", 110)
    table.publisher.soon("web")  # vrrp's answer
    table.publisher.soon("db")
    assert table.server.told == []
    await table.server.changed.wait()
    assert table.server.told == [("db", 100), ("web", 110)]


async def test_what_changes_later_is_told_again(table: Table) -> None:
    for priority in (110, 120):
        table.server.changed.clear()
        table.states["web"] = table.state("web", priority)
        table.publisher.soon("web")
        await table.server.changed.wait()
    assert table.server.told == [("web", 110), ("web", 120)]


async def test_what_is_to_be_told_soon_is_told_before_it_ends(table: Table) -> None:
    table.publisher.soon("web")
    table.publisher.close()
    assert table.server.told == [("web", 100)]


@pytest.mark.parametrize("text", ["é", "a\u2028b", "\udcff"], ids=["letter", "separator", "no UTF-8"])
def test_whatever_a_file_or_a_process_is_called_its_line_is_one_line_and_can_be_read(text: str) -> None:
    """Names on a node are bytes (os.fsdecode)."""
    message = {"type": "vip", "name": "web", "entry": {"message": text}}
    line = encode_line(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line) == message
