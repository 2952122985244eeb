"""The Lease: what is written, and what its state tells of the database."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from virtualip_agent.reporter.api import ApiError
from virtualip_agent.reporter.lease import Lease
from virtualip_agent.reporter.withdrawal import Store

COLLECTION = "/apis/coordination.k8s.io/v1/namespaces/ns/leases"
EARLY, LATE = "2020-01-01T00:00:00.000000Z", "2099-01-01T00:00:00.000000Z"


class FakeApi:
    """One Lease in an API server that knows preconditions."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.away = False
        self.writes = 0
        self._version = 0

    def put(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Writes it, as anybody may."""
        self._version += 1
        self.lease = {"metadata": {"resourceVersion": str(self._version)}, "spec": dict(spec)}
        return self.lease

    def _answers(self) -> None:
        if self.away:
            raise ApiError(0, "away")

    def get(self, path: str) -> dict[str, Any]:
        self._answers()
        assert path == f"{COLLECTION}/virtualip-server1"
        if self.lease is None:
            raise ApiError(404, "NotFound", absent_name="virtualip-server1")
        return self.lease

    def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self._answers()
        assert path == COLLECTION
        assert body["metadata"] == {"name": "virtualip-server1"}
        if self.lease is not None:
            raise ApiError(409, "AlreadyExists")
        self.writes += 1
        return self.put(body["spec"])

    def merge(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self._answers()
        if self.lease is None:
            raise ApiError(404, "NotFound", absent_name="virtualip-server1")
        if body["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict")
        self.writes += 1
        return self.put({**self.lease["spec"], **body["spec"]})


class Scene:
    def __init__(self, written: str = "") -> None:
        self.api = FakeApi()
        self.replaced = 0
        self.lease = Lease(self.api, "ns", "server1", written, self._note)  # type: ignore[arg-type]

    def _note(self) -> None:
        self.replaced += 1


def test_it_is_created_and_renewed_by_one_write_each() -> None:
    scene = Scene()
    scene.lease.renew()
    first = scene.lease.written
    scene.lease.renew()
    assert scene.api.writes == 2
    assert scene.api.lease is not None
    assert scene.api.lease["spec"] == {
        "holderIdentity": "server1",
        "leaseDurationSeconds": 30,
        "renewTime": scene.lease.written,
    }
    assert scene.lease.written >= first
    assert scene.lease.store() is Store.SAME
    assert scene.replaced == 0


def restore_an_old_one(api: FakeApi) -> None:
    api.put({"renewTime": EARLY})


def remove_it(api: FakeApi) -> None:
    api.lease = None


@pytest.mark.parametrize("damage", [restore_an_old_one, remove_it])
@pytest.mark.parametrize("restarted", [False, True])
def test_an_older_or_absent_one_means_another_database(damage: Callable[[FakeApi], None], restarted: bool) -> None:
    scene = Scene()
    scene.lease.renew()
    if restarted:
        api = scene.api
        scene = Scene(scene.lease.written)
        scene.api = api
        scene.lease._api = api  # type: ignore[assignment]
    damage(scene.api)
    scene.lease.renew()
    assert scene.replaced == 1
    scene.lease.renew()
    assert scene.replaced == 1
    assert scene.lease.store() is Store.SAME


@pytest.mark.parametrize("damage", [restore_an_old_one, remove_it])
def test_it_may_be_asked_before_the_renewal(damage: Callable[[FakeApi], None]) -> None:
    scene = Scene()
    scene.lease.renew()
    damage(scene.api)
    assert scene.lease.store() is Store.CHANGED
    assert scene.replaced == 1


def test_an_api_that_is_away_tells_nothing() -> None:
    scene = Scene()
    scene.lease.renew()
    scene.api.away = True
    assert scene.lease.store() is Store.UNKNOWN
    with pytest.raises(ApiError):
        scene.lease.renew()
    assert scene.replaced == 0


def test_somebody_elses_touch_is_no_other_database() -> None:
    scene = Scene()
    scene.lease.renew()
    assert scene.api.lease is not None
    scene.api.put({**scene.api.lease["spec"], "leaseTransitions": 7})
    scene.lease.renew()
    assert scene.replaced == 0
    scene.api.put({**scene.api.lease["spec"], "renewTime": LATE})
    assert scene.lease.store() is Store.SAME
