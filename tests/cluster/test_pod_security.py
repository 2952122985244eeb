"""Pod Security, as the API server judges it: the agent needs the label of its namespace; the operator needs none."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from barecluster import Cluster, ClusterError
from manifests import agent_pod, documents, one

pytestmark = pytest.mark.apiserver


@pytest.fixture(params=["baseline", "restricted"], scope="module")
def strict(own_api_server: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace that enforces a level, with our accounts."""
    name = f"is-{request.param}"
    labels = {"pod-security.kubernetes.io/enforce": request.param}
    apply(own_api_server, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    for account in ("virtualip-agent", "virtualip-operator"):
        metadata = {"name": account, "namespace": name}
        apply(own_api_server, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    yield name
    own_api_server.kubectl("delete", "namespace", name, "--wait=false")


def apply(cluster: Cluster, resource: dict[str, Any], *words: str) -> None:
    cluster.kubectl("apply", "--server-side", *words, "-f", "-", stdin=json.dumps(resource))


def admit(cluster: Cluster, namespace: str, pod: dict[str, Any]) -> None:
    """ClusterError where the API server would not take the pod."""
    metadata = {"name": "tried", "namespace": namespace}
    resource = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod}
    apply(cluster, resource, "--dry-run=server")


def test_the_agent_is_refused_where_its_namespaces_label_is_not(own_api_server: Cluster, strict: str) -> None:
    with pytest.raises(ClusterError, match="violates PodSecurity") as refusal:
        admit(own_api_server, strict, agent_pod())
    for reason in ("hostNetwork=true", "hostPID=true", "NET_ADMIN"):
        assert reason in str(refusal.value)


def test_the_agent_is_admitted_to_its_namespace(own_api_server: Cluster) -> None:
    admit(own_api_server, documents("namespace.yaml")[0]["metadata"]["name"], agent_pod())


def test_the_operator_is_admitted_anywhere(own_api_server: Cluster, strict: str) -> None:
    deployment = one("operator.yaml", "Deployment", "virtualip-operator")
    admit(own_api_server, strict, deployment["spec"]["template"]["spec"])
