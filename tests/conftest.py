"""The order of tests, and who shares a lane where several run at a time (`make test` does so with tests/unit and
tests/simulation).

A group runs in one lane, in order: tests that share a cluster, or stand in one file. The longest begin. Those of the
wire are one group too: a flood takes a core by real-time priority, and keepalived beside it would be late.
"""

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling

_FIRST = ("nodes", "apiserver")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    groups = [_group(item.nodeid) for item in items]
    places = {group: place for place, group in enumerate(_in_order(groups))}
    items.sort(key=lambda item: places[_group(item.nodeid)])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> "LoadScopeScheduling":
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return _group(nodeid)

    return ByGroup(config, log)


def _group(nodeid: str) -> str:
    file = nodeid.split("::")[0]
    if "/wire/" in file:
        return "wire"
    if "/cluster/" not in file:
        return file
    return "nodes" if PurePosixPath(file).name.startswith("test_nodes_") else "apiserver"


def _in_order(groups: Iterable[str]) -> list[str]:
    found = list(dict.fromkeys(groups))
    return [group for group in _FIRST if group in found] + [group for group in found if group not in _FIRST]
