"""`make test` runs in two lanes: most tests wait for timers, kubelets and neighbours, not for the processor."""

from pathlib import Path

import pytest

_HERE = Path(__file__).parent
_FIRST = ("nodes", "apiserver")  # the longest; what else there is goes beside them as a lane is free


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A group runs in one lane, in order: tests that share a cluster, or stand in one file."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))
    groups = [_group(item) for item in items]
    order = {group: place for place, group in enumerate([*_FIRST, *dict.fromkeys(groups)])}
    items[:] = [item for _, item in sorted(zip(groups, items, strict=True), key=lambda pair: order[pair[0]])]


def _group(item: pytest.Item) -> str:
    place = item.path.relative_to(_HERE)
    if place.parts[0] != "cluster":
        return str(place.with_suffix(""))
    return "nodes" if item.get_closest_marker("nodes") else "apiserver"
