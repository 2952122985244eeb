"""States out, against a real API server: what `status.nodes` says of this node, and its Lease."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from barecluster import Cluster
from reporter_harness import (
    NAMESPACE,
    Administrator,
    ReporterProcess,
    SpokenControl,
    eventually,
    never,
    reporting,
)
from virtualip_api.names import lease_name

pytestmark = pytest.mark.apiserver


class Scene(NamedTuple):
    api: Administrator
    reporter: ReporterProcess
    control: SpokenControl

    def entry(self, name: str = "web") -> dict[str, Any]:
        """What the status says of this node; {} where nothing."""
        return self.api.entries(name).get(self.reporter.node, {})

    def lease(self) -> dict[str, Any] | None:
        """This node's Lease."""
        return self.api.get("lease", lease_name(self.reporter.node), f"--namespace={NAMESPACE}")

    def renewed(self) -> str:
        """The Lease's renewTime."""
        return str(((self.lease() or {}).get("spec") or {}).get("renewTime", ""))


@pytest.fixture
def scene(own_api_server: Cluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    administrator = Administrator(own_api_server)
    node = f"node-{abs(hash(request.node.name)) % 10**8}"
    with reporting(administrator, node, tmp_path / "agent") as (reporter, control):
        yield Scene(administrator, reporter, control)
    for kind in ("virtualipmember", "virtualip"):
        own_api_server.kubectl("delete", kind, "--all")


def test_what_control_says_is_in_the_status(scene: Scene) -> None:
    scene.api.virtual_ip("web")
    scene.control.set("web", state="MASTER", priority=254, reason="HighestPriority", message="244 + apache 10")
    entry = eventually(scene.entry)
    assert entry == {
        "node": scene.reporter.node,
        "observedGeneration": 1,
        "state": "MASTER",
        "priority": 254,
        "reason": "HighestPriority",
        "message": "244 + apache 10",
    }
    scene.control.withdraw("web")
    eventually(lambda: scene.entry() == {})


def test_the_lease_is_renewed_while_control_answers_and_not_after(scene: Scene) -> None:
    first = eventually(scene.renewed)
    lease = scene.lease()
    assert lease is not None
    assert lease["spec"]["holderIdentity"] == scene.reporter.node
    assert lease["spec"]["leaseDurationSeconds"] == 30
    second = eventually(lambda: scene.renewed() > first and scene.renewed())
    scene.control.close()
    never(lambda: scene.renewed() != second, 12)
    scene.control.open()
    eventually(lambda: scene.renewed() > second)


def test_the_last_states_are_published_after_sigterm(scene: Scene) -> None:
    scene.api.virtual_ip("web")
    scene.control.set("web", state="MASTER")
    eventually(lambda: scene.entry().get("state") == "MASTER")
    scene.reporter.signal(signal.SIGTERM)
    time.sleep(0.3)  # the hand-over
    scene.control.set("web", state="BACKUP", reason="Stopping")
    scene.control.close()
    assert scene.reporter.wait() == 0
    assert scene.entry()["state"] == "BACKUP"
