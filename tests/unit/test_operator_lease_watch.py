"""A restored database is noticed by the Leases: nothing is written so often."""

from collections.abc import Iterator
from typing import Any

from virtualip_operator.lease_watch import LeaseWatch
from virtualip_operator.silence import Silence


class FakeApi:
    """Leases of one database; `version` is its newest."""

    def __init__(self) -> None:
        self.version = 100

    def get(self, path: str) -> dict[str, Any]:
        return {"items": [], "metadata": {"resourceVersion": str(self.version)}}

    def watch(self, path: str, version: str, seconds: int, quiet: float) -> Iterator[tuple[str, dict[str, Any]]]:
        self.version += 50
        yield "BOOKMARK", {"metadata": {"resourceVersion": str(self.version)}}


def test_a_list_that_is_older_than_what_was_watched_is_a_restored_database() -> None:
    api = FakeApi()
    leases = LeaseWatch(api, "ns", Silence(0.0), lambda: None)  # type: ignore[arg-type]
    assert not leases._list()
    leases._watch()
    assert not leases._list()
    api.version = 120
    assert leases._list()
    assert not leases._list()
