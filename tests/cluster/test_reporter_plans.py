"""Plans in, against a real API server: which files lie in the desired directory, whatever becomes of the API."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from barecluster import Cluster
from reporter_harness import Administrator, ReporterProcess, SpokenControl, eventually, never, reporting
from virtualip_api.names import member_name

pytestmark = pytest.mark.apiserver


class Scene(NamedTuple):
    api: Administrator
    reporter: ReporterProcess
    control: SpokenControl


@pytest.fixture
def scene(own_api_server: Cluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    administrator = Administrator(own_api_server)
    node = f"node-{abs(hash(request.node.name)) % 10**8}"
    with reporting(administrator, node, tmp_path / "agent") as (reporter, control):
        yield Scene(administrator, reporter, control)
    for kind in ("virtualipmember", "virtualip"):
        own_api_server.kubectl("delete", kind, "--all")


def test_a_member_becomes_a_file_and_its_change_too(scene: Scene) -> None:
    scene.api.virtual_ip("web")
    scene.api.member("web", scene.reporter.node)
    eventually(lambda: scene.reporter.files() == {"web.json"})
    scene.api.member("web", scene.reporter.node, revision=2, priority=7)
    eventually(lambda: scene.reporter.file("web")["member"]["revision"] == 2)


def test_a_deleted_virtual_ip_is_withdrawn_at_once(scene: Scene) -> None:
    scene.api.virtual_ip("web")
    scene.api.member("web", scene.reporter.node)
    eventually(lambda: scene.reporter.files() == {"web.json"})
    scene.api.delete("virtualip", "web")
    assert scene.reporter.files() == {"web.json"}  # the Member is what counts
    scene.api.delete("virtualipmember", member_name("web", scene.reporter.node))
    eventually(lambda: scene.reporter.files() == set(), 3)


def test_members_deleted_by_hand_and_made_again_move_nothing(scene: Scene) -> None:
    scene.api.virtual_ip("web")
    scene.api.member("web", scene.reporter.node)
    eventually(lambda: scene.reporter.files() == {"web.json"})
    scene.api.delete("virtualipmember", member_name("web", scene.reporter.node))
    eventually(lambda: scene.reporter.logged("it may be made again"))
    scene.api.member("web", scene.reporter.node)
    never(lambda: scene.reporter.files() != {"web.json"}, 13)
