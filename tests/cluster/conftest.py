"""What tests in this folder share: an API server of their own, with everything of deploy/ applied."""

import os
import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from barecluster import Cluster, ClusterError
from barecluster.binaries import are_built
from barecluster.helm import helm
from barecluster.layout import session_prefix
from house import ClusterClient, House, own_house, unavailable
from reporter_harness import Administrator, Scene, reporting

REPOSITORY = Path(__file__).parents[2]
LANE = os.environ.get("PYTEST_XDIST_WORKER", "")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What the operator and the agents said of it stands beneath a failure on nodes."""
    report = yield
    arguments = getattr(item, "funcargs", {}).values()
    if report.when == "call" and report.failed:
        for house in {id(one): one for one in arguments if isinstance(one, House)}.values():
            report.sections += house.last_words(call.start)
    return report


@pytest.fixture(scope="session")
def own_api_server() -> Iterator[Cluster]:
    """etcd and an API server of this session alone, so that a test may kill it and delete CRDs; no controllers, no
    nodes: what a pod would do the test does."""
    if os.environ.get("KUBECONFIG") and not os.environ.get("KUBEBUILDER_ASSETS") and not are_built():
        pytest.skip("wants an API server of its own: KUBEBUILDER_ASSETS=... beside KUBECONFIG, or make test-programs")
    cluster = Cluster(session_prefix(f"api{LANE}"))
    cluster.down()
    cluster.up(api_only=True)
    try:
        cluster.kubectl("apply", "--server-side", "-k", REPOSITORY / "deploy/overlays/local")
        yield cluster
    finally:
        cluster.down()


@pytest.fixture
def scene(own_api_server: Cluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """A reporter of a node that only this test has."""
    node = f"node-{abs(hash(request.node.name)) % 10**8}"
    with reporting(Administrator(own_api_server), node, tmp_path / "agent") as one:
        yield one
    for kind in ("virtualipmember", "virtualip"):
        own_api_server.kubectl("delete", kind, "--all")


@pytest.fixture(scope="session")
def house() -> Iterator[House]:
    """virtualip installed on nodes: ours, or those of KUBECONFIG (which keep it)."""
    if reason := unavailable():
        pytest.skip(reason)
    if kubeconfig := os.environ.get("KUBECONFIG"):
        users = House(Path(kubeconfig), None)
        users.install()
        yield users
        return
    ours = own_house(session_prefix(f"test{LANE}"))
    assert ours.own is not None
    try:
        ours.install()
        yield ours
    finally:
        ours.own.down()


@pytest.fixture(scope="session")
def helm_program() -> Path:
    """helm: our own build, or with KUBECONFIG the user's."""
    if os.environ.get("KUBECONFIG"):
        if found := shutil.which("helm"):
            return Path(found)
        pytest.skip("helm is not installed")
    try:
        return helm()
    except ClusterError as error:
        pytest.skip(str(error))


@pytest.fixture
def own_house_only(house: House) -> House:
    """For tests that cut power, links or the API server."""
    if house.own is None:
        pytest.skip("cuts power, links or the API server: only on our own cluster")
    return house


@pytest.fixture
def cluster_client(own_house_only: House) -> Iterator[ClusterClient]:
    assert own_house_only.own is not None
    client = ClusterClient(own_house_only.own)
    yield client
    client.close()
