"""Two servers of the article on a LAN, and a client."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from machine import Machine
from segment import Host, Segment, unavailable

NAMES = {"server1": "192.168.122.101", "server2": "192.168.122.102"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    reason = unavailable()
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.netns)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture
def lan() -> Iterator[Segment]:
    with Segment() as segment:
        yield segment


@pytest.fixture
def servers(lan: Segment, tmp_path: Path) -> Iterator[tuple[Machine, Machine]]:
    machines = [Machine(lan.host(address, name), tmp_path) for name, address in NAMES.items()]
    yield machines[0], machines[1]
    for machine in machines:
        machine.close()


@pytest.fixture
def client(lan: Segment) -> Host:
    return lan.host("192.168.122.50", "client")


@pytest.fixture
def scripts() -> Iterator[Path]:
    """Where scripts may be: root's all the way up, which tmp_path is not for others to enter."""
    directory = Path(tempfile.mkdtemp(prefix="scripts-", dir="/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)
