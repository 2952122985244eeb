"""What an agent's token may do, and that it may do nothing else: RBAC and the two admission policies of deploy/base."""

import json
import subprocess
from collections import defaultdict
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from barecluster import Cluster
from reporter_harness import NAMESPACE, Administrator, eventually
from virtualip_agent.reporter.api import MERGE, Api, ApiError
from virtualip_agent.reporter.entry import VIRTUAL_IPS_PATH, apply_body, status_path
from virtualip_agent.reporter.plan_watch import MEMBERS_PATH
from virtualip_api.names import field_manager, lease_name

pytestmark = pytest.mark.apiserver

ME, OTHER = "alpha", "beta"
LEADER_LEASE = "operator-leader"
AGENT, OPERATOR = "virtualip-agent", "virtualip-operator"
SAMPLE = Path(__file__).parents[2] / "deploy/sample/s6.yaml"
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
CONDITION = {
    "type": "Ready",
    "status": "True",
    "reason": "Told",
    "message": "",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}
MOVE = {"to": OTHER, "time": "2026-01-01T00:00:00Z", "reason": "HigherPriority"}
OPERATORS_STATUS: dict[str, Any] = {
    "observedGeneration": 1,
    "addresses": "192.0.2.10/32",
    "master": OTHER,
    "priority": 100,
    "summary": "beta=MASTER/100",
    "lastMove": "-> beta",
    "lastMoves": [MOVE],
    "silentNodes": ["gamma"],
    "conditions": [CONDITION],
}
OTHERS_STATUS: dict[str, Any] = {
    "observedGeneration": 2,
    "addresses": "",
    "master": ME,
    "priority": 254,
    "summary": "alpha=MASTER/254",
    "lastMove": "-> alpha",
    "lastMoves": [],
    "silentNodes": [OTHER],
    "conditions": [{**CONDITION, "status": "False"}],
}


def entry(node: str, **changes: object) -> dict[str, Any]:
    return {"node": node, "state": "BACKUP", "priority": 100, **changes}


def lease_body(name: str, holder: str) -> dict[str, Any]:
    spec = {"holderIdentity": holder, "leaseDurationSeconds": 30, "renewTime": "2026-01-01T00:00:00.000000Z"}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}, "spec": spec}


@pytest.fixture(scope="module")
def administrator(own_api_server: Cluster) -> Administrator:
    return Administrator(own_api_server)


@pytest.fixture(scope="module")
def tokens(administrator: Administrator, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Kubeconfigs with what is stolen: an agent's token, as it is in the pod of a node."""
    directory = tmp_path_factory.mktemp("tokens")
    tokens = {node: administrator.agent_kubeconfig(node, directory / node) for node in (ME, OTHER)}
    return {**tokens, "unbound": administrator.agent_kubeconfig("unbound", directory / "unbound", bound=False)}


@pytest.fixture(scope="module")
def agents(administrator: Administrator, tokens: Mapping[str, Path]) -> Mapping[str, Api]:
    apis = {name: Api(path) for name, path in tokens.items()}
    # A policy takes a moment until it holds.
    administrator.virtual_ip("probe")
    body = apply_body("probe", entry(OTHER))
    eventually(lambda: refused(lambda: apis[ME].apply(status_path("probe"), body, "probe")))
    eventually(lambda: refused(lambda: apis[ME].create(LEASES, lease_body("virtualip-probe", ME))))
    administrator.delete("virtualip", "probe")
    eventually(lambda: answers(lambda: apis[ME].get(MEMBERS_PATH)))
    return apis


@pytest.fixture
def web(administrator: Administrator, agents: Mapping[str, Api]) -> Administrator:
    """A VirtualIP whose status has entries of both nodes and all that an operator writes."""
    administrator.delete("virtualip", "web")
    administrator.virtual_ip("web")
    for node in (ME, OTHER):
        agents[node].apply(status_path("web"), apply_body("web", entry(node)), field_manager(node))
    patch = json.dumps({"status": OPERATORS_STATUS})
    administrator.cluster.kubectl("patch", "virtualip", "web", "--subresource=status", "--type=merge", "-p", patch)
    return administrator


def merge(api: Api, body: Mapping[str, Any], manager: str) -> None:
    """A merge patch of web's status."""
    api._request("PATCH", status_path("web"), {"fieldManager": manager}, body, MERGE)


def refused(action: Any) -> bool:
    """Whether the API server refuses it, as one does who understood."""
    try:
        action()
    except ApiError as error:
        return error.status in (403, 422)
    return False


def answers(action: Any) -> bool:
    """Whether the API server does it; a new CRD's storage needs a moment."""
    try:
        action()
    except ApiError:
        return False
    return True


def status_of(administrator: Administrator) -> dict[str, Any]:
    found = administrator.get("virtualip", "web")
    assert found is not None
    status: dict[str, Any] = found["status"]
    return status


def test_an_agent_writes_its_own_entry_and_takes_it_away(web: Administrator, agents: Mapping[str, Api]) -> None:
    before = status_of(web)
    agents[ME].apply(status_path("web"), apply_body("web", entry(ME, state="MASTER", message="x")), field_manager(ME))
    assert web.entries("web") == {ME: entry(ME, state="MASTER", message="x"), OTHER: entry(OTHER)}
    agents[ME].apply(status_path("web"), apply_body("web", None), field_manager(ME))
    assert web.entries("web") == {OTHER: entry(OTHER)}
    assert {**status_of(web), "nodes": []} == {**before, "nodes": []}


def test_the_first_entry_of_a_new_status_may_be_written(web: Administrator, agents: Mapping[str, Api]) -> None:
    web.cluster.kubectl("patch", "virtualip", "web", "--subresource=status", "--type=merge", "-p", '{"status":null}')
    agents[ME].apply(status_path("web"), apply_body("web", entry(ME)), field_manager(ME))
    assert web.entries("web") == {ME: entry(ME)}


@pytest.mark.parametrize("manager", [field_manager(ME), field_manager(OTHER)])
@pytest.mark.parametrize(
    "nodes",
    [
        [entry(OTHER, state="MASTER")],
        [entry(ME), entry(OTHER, priority=1)],
        [entry("gamma")],
    ],
    ids=["another's", "both", "nobody's"],
)
def test_no_other_nodes_entry(web: Administrator, agents: Mapping[str, Api], nodes: list[Any], manager: str) -> None:
    before = status_of(web)
    body = {**apply_body("web", None), "status": {"nodes": nodes}}
    assert refused(lambda: agents[ME].apply(status_path("web"), body, manager))
    assert status_of(web) == before


def test_no_other_nodes_entry_is_taken_away(web: Administrator, agents: Mapping[str, Api]) -> None:
    before = status_of(web)
    assert refused(lambda: agents[ME].apply(status_path("web"), apply_body("web", None), field_manager(OTHER)))
    for manager in (field_manager(ME), field_manager(OTHER)):
        assert refused(lambda manager=manager: merge(agents[ME], {"status": {"nodes": []}}, manager))
        assert refused(lambda manager=manager: merge(agents[ME], {"status": None}, manager))
    assert status_of(web) == before


@pytest.mark.parametrize("manager", [field_manager(OTHER), OPERATOR, "kubectl"])
def test_it_writes_in_nobody_elses_name(web: Administrator, agents: Mapping[str, Api], manager: str) -> None:
    """By server-side apply values alone say too little: who owns an entry could be made to let it fall."""
    found = web.get("virtualip", "web")
    assert found is not None
    nodes = [entry(OTHER), entry(ME, message="another")]
    body = {**apply_body("web", None), "status": {"nodes": nodes}}
    assert refused(lambda: agents[ME].apply(status_path("web"), body, manager))
    assert refused(lambda: merge(agents[ME], {"status": {"nodes": nodes}}, manager))
    assert web.get("virtualip", "web") == found
    assert not refused(lambda: merge(agents[ME], {"status": {"nodes": nodes}}, field_manager(ME)))


def test_a_node_whose_name_is_too_long_for_a_field_manager_writes_by_its_hash(
    web: Administrator, tmp_path: Path
) -> None:
    name = "n" * 113
    agent = Api(web.agent_kubeconfig(name, tmp_path / "long"))
    body = apply_body("web", entry(name))
    for manager in (field_manager(ME), "kubectl"):
        assert refused(lambda manager=manager: agent.apply(status_path("web"), body, manager))
    agent.apply(status_path("web"), body, field_manager(name))
    assert web.entries("web")[name] == entry(name)


@pytest.mark.parametrize("field", sorted(OTHERS_STATUS))
def test_nothing_that_is_the_operators(web: Administrator, agents: Mapping[str, Api], field: str) -> None:
    before = status_of(web)
    assert refused(lambda: merge(agents[ME], {"status": {field: OTHERS_STATUS[field]}}, field_manager(ME)))
    assert refused(lambda: merge(agents[ME], {"status": {field: None}}, field_manager(ME)))
    assert status_of(web) == before


def test_spec_and_metadata_sent_with_a_status_change_nothing(web: Administrator, agents: Mapping[str, Api]) -> None:
    before = web.get("virtualip", "web")
    assert before is not None
    body = {"metadata": {"labels": {"a": "b"}, "annotations": {"a": "b"}, "finalizers": ["a/b"]}, "spec": {"vrid": 7}}
    merge(agents[ME], body, field_manager(ME))
    after = web.get("virtualip", "web")
    assert after is not None
    assert after["spec"] == before["spec"]
    assert {key: after["metadata"].get(key) for key in ("labels", "annotations", "finalizers")} == dict.fromkeys(
        ("labels", "annotations", "finalizers")
    )


def test_a_token_that_names_no_node_writes_nothing(web: Administrator, agents: Mapping[str, Api]) -> None:
    body = apply_body("web", entry(ME))
    assert refused(lambda: agents["unbound"].apply(status_path("web"), body, field_manager(ME)))
    assert refused(lambda: agents["unbound"].create(LEASES, lease_body(lease_name(ME), ME)))
    assert refused(lambda: agents["unbound"].create(LEASES, lease_body("virtualip-", "")))


def test_its_own_lease_and_no_other(web: Administrator, agents: Mapping[str, Api]) -> None:
    agents[OTHER].create(LEASES, lease_body(lease_name(OTHER), OTHER))
    agents[ME].create(LEASES, lease_body(lease_name(ME), ME))
    agents[ME].merge(f"{LEASES}/{lease_name(ME)}", {"spec": {"renewTime": "2026-01-01T00:00:01.000000Z"}})
    assert refused(lambda: agents[ME].merge(f"{LEASES}/{lease_name(ME)}", {"spec": {"holderIdentity": OTHER}}))
    assert refused(lambda: agents[ME].merge(f"{LEASES}/{lease_name(OTHER)}", {"spec": {"leaseDurationSeconds": 9}}))
    assert refused(lambda: agents[ME].create(LEASES, lease_body("virtualip-gamma", ME)))
    kept = {"metadata": {"finalizers": ["example.com/never"]}}
    assert refused(lambda: agents[ME].merge(f"{LEASES}/{lease_name(ME)}", kept))
    elsewhere = LEASES.replace(NAMESPACE, "kube-system")
    assert refused(lambda: agents[ME].create(elsewhere, lease_body(lease_name(ME), ME)))
    assert refused(lambda: agents[ME].get(elsewhere))


def test_the_operators_leader_cannot_be_displaced(web: Administrator, agents: Mapping[str, Api]) -> None:
    web.apply({**lease_body(LEADER_LEASE, "operator-1"), "metadata": {"name": LEADER_LEASE, "namespace": NAMESPACE}})
    assert refused(lambda: agents[ME].merge(f"{LEASES}/{LEADER_LEASE}", {"spec": {"holderIdentity": ME}}))
    assert refused(lambda: agents[ME].merge(f"{LEASES}/{LEADER_LEASE}", {"spec": {"renewTime": None}}))
    web.delete("lease", LEADER_LEASE, f"--namespace={NAMESPACE}")
    assert refused(lambda: agents[ME].create(LEASES, lease_body(LEADER_LEASE, ME)))


def test_what_a_reporter_reads_it_may_read(web: Administrator, agents: Mapping[str, Api]) -> None:
    web.secret("vrrp", password="12345")
    agents[ME].get(MEMBERS_PATH, {"labelSelector": f"virtualip.dev/node={ME}"})
    agents[ME].get(f"{VIRTUAL_IPS_PATH}/web")
    agents[ME].get(f"/api/v1/namespaces/{NAMESPACE}/secrets/vrrp")
    for plural in ("virtualips", "virtualipmembers"):
        agents[ME].get(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.virtualip.dev")


@pytest.mark.parametrize(
    "path",
    [
        VIRTUAL_IPS_PATH,
        "/api/v1/nodes",
        "/api/v1/namespaces/kube-system/secrets/any",
        f"/api/v1/namespaces/{NAMESPACE}/secrets",
        f"/api/v1/namespaces/{NAMESPACE}/configmaps",
        f"/api/v1/namespaces/{NAMESPACE}/pods",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    ],
)
def test_it_reads_nothing_else(agents: Mapping[str, Api], path: str) -> None:
    assert refused(lambda: agents[ME].get(path))


def test_it_makes_and_deletes_nothing_of_ours(web: Administrator, agents: Mapping[str, Api]) -> None:
    web.member("web", ME)
    assert refused(lambda: agents[ME].merge(f"{VIRTUAL_IPS_PATH}/web", {"spec": {"priority": 7}}))
    assert refused(lambda: agents[ME].merge(f"{MEMBERS_PATH}/web.{ME}", {"spec": {"rank": 1}}))
    for path in (f"{VIRTUAL_IPS_PATH}/web", f"{MEMBERS_PATH}/web.{ME}", f"{LEASES}/{lease_name(ME)}"):
        assert refused(lambda path=path: agents[ME]._request("DELETE", path, None))


BOUND = f"-n={NAMESPACE}"
UNCHECKED = "--validate=false"
"""Else kubectl itself ends before it has asked: it may not read the CRDs."""
RANKED = '{"spec":{"rank":9}}'
EXECUTED = '{"spec":{"trackers":[{"name":"x","script":{"command":["/x"]}}]}}'
THEFTS = {
    "the spec of a VirtualIP": ["patch", "virtualip", "web", "--type=merge", "-p", EXECUTED],
    "a VirtualIP of its own": ["create", UNCHECKED, "-f", str(SAMPLE)],
    "the whole status": ["replace", UNCHECKED, "--subresource=status", "-f", "VIRTUAL_IP"],
    "the plan of another node": ["patch", "virtualipmember", f"web.{OTHER}", "--type=merge", "-p", RANKED],
    "the plan of its own node": ["patch", "virtualipmember", f"web.{ME}", "--type=merge", "-p", RANKED],
    "a plan deleted": ["delete", "virtualipmember", f"web.{OTHER}"],
    "a secret elsewhere": ["get", "secret", "theirs", "-n=default"],
    "every secret": ["get", "secrets", "--all-namespaces"],
    "every secret here": ["get", "secrets", BOUND],
    "a secret changed": ["patch", "secret", "vrrp", BOUND, "--type=merge", "-p", '{"stringData":{"password":"x"}}'],
    "a pod": ["run", "mine", BOUND, "--image=mine"],
    "a pod elsewhere": ["run", "mine", "-n=kube-system", "--image=mine"],
    "a shell in a pod": ["exec", BOUND, f"agent-{OTHER}", "--", "sh"],
    "another's token": ["create", "token", "virtualip-operator", BOUND],
    "a node's labels": ["label", "node", ME, "node-role.kubernetes.io/control-plane="],
    "a node cordoned": ["cordon", OTHER],
    "a node's list": ["get", "nodes"],
    "an event": ["create", UNCHECKED, "-f", "EVENT"],
    "more rights": ["create", "clusterrolebinding", "mine", "--clusterrole=admin", "--user=mine"],
    "no policy": ["delete", "validatingadmissionpolicybinding", "virtualip-agent-status"],
    "no CRD": ["delete", "crd", "virtualips.virtualip.dev"],
    "another image": ["set", "image", "daemonset/virtualip-agent", BOUND, "vrrp=mine"],
    "somebody else": ["get", "nodes", "--as=admin", "--as-group=system:masters"],
}  # fmt: skip


@pytest.fixture(scope="module")
def scene(
    administrator: Administrator, agents: Mapping[str, Api], tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, str]:
    """Something to steal; and what some of the attempts send, by the word that stands for the file."""
    administrator.virtual_ip("web")
    for node in (ME, OTHER):
        agents[node].apply(status_path("web"), apply_body("web", entry(node)), field_manager(node))
        administrator.member("web", node)
    administrator.secret("vrrp", password="12345")
    stolen = administrator.get("virtualip", "web")
    assert stolen is not None
    stolen["status"]["master"] = ME
    event = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "mine", "namespace": "default"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reason": "Moved",
        "action": "Move",
        "type": "Normal",
        "reportingController": "virtualip-operator",
        "reportingInstance": "x",
    }
    directory = tmp_path_factory.mktemp("sent")
    for name, content in {"VIRTUAL_IP": stolen, "EVENT": event}.items():
        (directory / name).write_text(json.dumps(content))
    return {name: str(directory / name) for name in ("VIRTUAL_IP", "EVENT")}


@pytest.mark.parametrize("theft", THEFTS)
def test_with_a_stolen_token_nobody_gets(
    administrator: Administrator, tokens: Mapping[str, Path], scene: Mapping[str, str], theft: str
) -> None:
    kubectl = [str(administrator.cluster.binaries / "kubectl"), f"--kubeconfig={tokens[ME]}"]
    words = [scene.get(word, word) for word in THEFTS[theft]]
    done = subprocess.run([*kubectl, *words], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode, done.stdout
    assert "forbidden" in done.stderr.lower(), done.stderr


PLANS, OURS = ("virtualip.dev", "virtualipmembers"), ("virtualip.dev", "virtualips")
CRDS = ("apiextensions.k8s.io", "customresourcedefinitions")
LEASE = ("coordination.k8s.io", "leases")
EVERYWHERE: dict[str, dict[tuple[str, str], set[str]]] = {
    AGENT: {PLANS: {"list", "watch"}, OURS: {"get"}, (OURS[0], "virtualips/status"): {"patch"}, CRDS: {"get"}},
    OPERATOR: {
        PLANS: {"get", "list", "watch", "create", "update", "delete"},
        OURS: {"list", "watch"},
        (OURS[0], "virtualips/status"): {"patch"},
        CRDS: {"get", "list", "watch"},
        ("", "nodes"): {"list", "watch"},
        ("events.k8s.io", "events"): {"create"},
    },
}
IN_ITS_NAMESPACE: dict[str, dict[tuple[str, str], set[str]]] = {
    AGENT: {LEASE: {"create", "get", "patch"}, ("", "secrets"): {"get"}},
    # update: only the leader's, by its name
    OPERATOR: {LEASE: {"create", "get", "list", "watch", "update"}},
}
BASIC = {"selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"}
"""What Kubernetes lets everybody ask."""


@pytest.mark.parametrize("namespace", [NAMESPACE, "default", "kube-system"])
@pytest.mark.parametrize("account", [AGENT, OPERATOR])
def test_these_are_all_the_rights_of(administrator: Administrator, account: str, namespace: str) -> None:
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    whose = [
        f"--as=system:serviceaccount:{NAMESPACE}:{account}",
        *(f"--as-group=system:{group}" for group in ("authenticated", "serviceaccounts")),
        f"--as-group=system:serviceaccounts:{NAMESPACE}",
    ]
    answer = json.loads(
        administrator.cluster.kubectl("create", UNCHECKED, *whose, "-o", "json", "-f", "-", stdin=json.dumps(review))
    )
    rights: dict[tuple[str, str], set[str]] = defaultdict(set)
    for rule in answer["status"]["resourceRules"]:
        for group, resource in product(rule["apiGroups"], rule["resources"]):
            if resource not in BASIC:
                rights[group, resource].update(rule["verbs"])
    assert rights == EVERYWHERE[account] | (IN_ITS_NAMESPACE[account] if namespace == NAMESPACE else {})


def test_the_policy_alone_refuses_what_rbac_would_not(
    web: Administrator, agents: Mapping[str, Api], tmp_path: Path
) -> None:
    """As if somebody had given the agent's account all verbs."""
    rules = [{"apiGroups": ["virtualip.dev", "coordination.k8s.io"], "resources": ["*"], "verbs": ["*"]}]
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "too-much"}}
    subject = {"kind": "ServiceAccount", "name": "virtualip-agent", "namespace": NAMESPACE}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "too-much"}
    web.apply({**role, "rules": rules})
    web.apply({**role, "kind": "ClusterRoleBinding", "subjects": [subject], "roleRef": reference})
    try:
        eventually(lambda: not refused(lambda: agents[ME].get(VIRTUAL_IPS_PATH)))
        web.member("web", ME)
        assert refused(lambda: agents[ME].merge(f"{VIRTUAL_IPS_PATH}/web", {"spec": {"priority": 7}}))
        assert refused(lambda: agents[ME].merge(f"{MEMBERS_PATH}/web.{ME}", {"spec": {"rank": 1}}))
        for path in (f"{VIRTUAL_IPS_PATH}/web", f"{MEMBERS_PATH}/web.{ME}", VIRTUAL_IPS_PATH):
            assert refused(lambda path=path: agents[ME]._request("DELETE", path, None))
    finally:
        for kind in ("clusterrolebinding", "clusterrole"):
            web.delete(kind, "too-much")
