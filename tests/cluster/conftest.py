"""What tests in this folder share: an API server of their own, with everything of deploy/ applied."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from barecluster import Cluster

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def own_api_server() -> Iterator[Cluster]:
    """etcd and an API server of this session alone, so that a test may kill it and delete CRDs; no controllers, no
    nodes: what a pod would do the test does."""
    cluster = Cluster(f"api{os.environ.get('PYTEST_XDIST_WORKER', '')}")
    cluster.down()
    cluster.up(api_only=True)
    try:
        cluster.kubectl("apply", "--server-side", "-k", REPOSITORY / "deploy/overlays/local")
        yield cluster
    finally:
        cluster.down()
