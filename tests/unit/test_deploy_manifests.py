"""deploy/base says what docs/install.md does: privileges, token, probes; and the policy misses no field."""

import re
import tomllib
from typing import Any

import pytest
import yaml

from manifests import BASE, ROOT, agent_pod, capabilities, containers, documents, one
from virtualip_agent.control.spawner_minder import MOST_MEMORY
from virtualip_agent.run_directory import GROUP_ID
from virtualip_operator.http_server import is_loopback


def status_fields() -> set[str]:
    crd = yaml.safe_load((ROOT / "crds/virtualip.yaml").read_text())
    (version,) = crd["spec"]["versions"]
    return set(version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"])


def status_policy() -> str:
    policy = one("policy.yaml", "ValidatingAdmissionPolicy", "virtualip-agent-status")
    return "\n".join(validation["expression"] for validation in policy["spec"]["validations"])


def test_each_status_field_of_the_crd_is_named_in_the_policy() -> None:
    compared = re.findall(r"object\.\?status\.\?(\w+) == oldObject\.\?status\.\?(\w+)", status_policy())
    assert {field for pair in compared for field in pair} == status_fields() - {"nodes"}
    assert all(new == old for new, old in compared)


def test_policies_deny_and_fail_closed_for_the_agents_account() -> None:
    namespace = documents("namespace.yaml")[0]["metadata"]["name"]
    account = f"system:serviceaccount:{namespace}:{agent_pod()['serviceAccountName']}"
    for name in ("virtualip-agent-status", "virtualip-agent-lease"):
        policy = one("policy.yaml", "ValidatingAdmissionPolicy", name)["spec"]
        assert policy["failurePolicy"] == "Fail"
        assert [c["expression"] for c in policy["matchConditions"]] == [f"request.userInfo.username == '{account}'"]
        binding = one("policy.yaml", "ValidatingAdmissionPolicyBinding", name)["spec"]
        assert binding == {"policyName": name, "validationActions": ["Deny"]}


@pytest.mark.parametrize(
    ("container", "user", "granted"),
    [
        ("vrrp", 0, ["NET_ADMIN", "NET_RAW", "SYS_NICE", "IPC_LOCK"]),
        ("control", 0, ["NET_RAW", "SETUID", "SETGID"]),
        ("reporter", 64112, []),
    ],
)
def test_each_container_has_its_privileges_and_no_more(container: str, user: int, granted: list[str]) -> None:
    context = containers()[container]["securityContext"]
    assert context["runAsUser"] == user
    assert context["capabilities"]["drop"] == ["ALL"]
    assert capabilities(container) == granted
    assert context["allowPrivilegeEscalation"] is False
    assert context["readOnlyRootFilesystem"] is True
    assert agent_pod()["securityContext"] == {
        "supplementalGroups": [GROUP_ID],
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def overlay(name: str) -> tuple[list[str], dict[str, Any]]:
    """What it builds on, and its control container's patch."""
    directory = ROOT / "deploy/overlays" / name
    patch = yaml.safe_load((directory / "control.yaml").read_text())
    (container,) = patch["spec"]["template"]["spec"]["containers"]
    assert container["name"] == "control"
    return yaml.safe_load((directory / "kustomization.yaml").read_text())["resources"], container


def test_the_hosts_root_is_read_only_and_costs_no_capability_until_scripts_run_in_it() -> None:
    resources, control = overlay("host-files")
    (mount,) = control["volumeMounts"]
    assert mount["readOnly"] is True
    assert (resources, "securityContext" in control) == (["../default"], False)

    resources, control = overlay("host-scripts")
    assert resources == ["../host-files"]
    assert control["env"] == [{"name": "VIRTUALIP_SCRIPTS_ROOT", "value": mount["mountPath"]}]
    with_chroot = [*capabilities("control"), "SYS_CHROOT"]
    assert control["securityContext"] == {"capabilities": {"drop": ["ALL"], "add": with_chroot}}


def test_the_static_pod_is_the_daemonsets_without_what_is_the_apis() -> None:
    static = yaml.safe_load((ROOT / "deploy/static-pod/virtualip.yaml").read_text())["spec"]
    pod = agent_pod()
    apis = {"reporter": "reporter", "volume": "token", "variable": "VIRTUALIP_NAMESPACE"}
    expected = [container for container in pod["containers"] if container["name"] != apis["reporter"]]
    for container in expected:
        container["env"] = [it for it in container["env"] if it["name"] != apis["variable"]]
    assert static["containers"] == expected
    assert static["volumes"] == [volume for volume in pod["volumes"] if volume["name"] != apis["volume"]]
    # the API server does this for others: system-node-critical (kubernetes/kubernetes, pkg/apis/scheduling/types.go)
    assert static["priority"] == 2_000_001_000
    rest = {"containers", "volumes", "serviceAccountName", "nodeSelector", "priority"}
    assert {key: value for key, value in static.items() if key not in rest} == {
        key: value for key, value in pod.items() if key not in rest
    }


def test_a_script_that_takes_all_the_memory_it_may_does_not_end_the_container_with_it() -> None:
    limit = containers()["control"]["resources"]["limits"]["memory"]
    assert limit.endswith("Mi")
    whole_agent = 140 << 20  # docs/performance.md: the bound for all its processes
    assert int(limit.removesuffix("Mi")) << 20 > MOST_MEMORY + whole_agent


def test_the_reporter_is_nobody_special() -> None:
    context = containers()["reporter"]["securityContext"]
    assert (context["runAsNonRoot"], context["runAsGroup"]) == (True, GROUP_ID)


def test_the_token_is_in_the_reporter_alone() -> None:
    assert agent_pod()["automountServiceAccountToken"] is False
    mounted = {name: {mount["name"] for mount in c["volumeMounts"]} for name, c in containers().items()}
    assert [name for name, mounts in mounted.items() if "token" in mounts] == ["reporter"]


def test_nothing_but_its_own_end_stops_vrrp() -> None:
    vrrp = containers()["vrrp"]
    assert "limits" not in vrrp["resources"]
    assert not [key for key in vrrp if key.endswith("Probe") or key == "lifecycle"]
    assert agent_pod()["priorityClassName"] == "system-node-critical"
    assert agent_pod()["tolerations"] == [{"operator": "Exists"}]


def test_a_rolling_update_goes_node_by_node() -> None:
    spec = one("agent.yaml", "DaemonSet", "virtualip-agent")["spec"]
    assert spec["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}
    assert spec["minReadySeconds"] > 0
    # One advertisement interval of VRRPv3 at most, and 100 ms.
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] > 41


def test_the_operator_is_unprivileged() -> None:
    pod = one("operator.yaml", "Deployment", "virtualip-operator")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        assert field not in pod


def test_no_rule_has_a_wildcard() -> None:
    for name in ("agent-rbac.yaml", "operator-rbac.yaml"):
        for document in documents(name):
            for rule in document.get("rules", ()):
                assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]


def test_no_cluster_wide_role_touches_secrets() -> None:
    for name in ("agent-rbac.yaml", "operator-rbac.yaml"):
        for document in documents(name):
            if document["kind"] == "ClusterRole":
                assert not [rule for rule in document["rules"] if "secrets" in rule["resources"]]


def test_pods_may_be_read_only_where_somebody_binds_the_role_for_it() -> None:
    rules = one("agent-rbac.yaml", "ClusterRole", "virtualip-agent-pods")["rules"]
    assert rules == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]
    bound = {d["roleRef"]["name"] for d in documents("agent-rbac.yaml") if "roleRef" in d}
    assert bound == {"virtualip-agent"}
    for role in (d for d in documents("agent-rbac.yaml") if d.get("rules") and d["metadata"]["name"] in bound):
        assert not [rule for rule in role["rules"] if "pods" in rule["resources"]]


def test_every_manifest_is_in_the_kustomization() -> None:
    kustomization = documents("kustomization.yaml")[0]
    files = {file.name for file in BASE.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == {"../../crds", *files}


def test_the_namespace_says_that_its_pods_are_privileged() -> None:
    labels = documents("namespace.yaml")[0]["metadata"]["labels"]
    modes = ("enforce", "audit", "warn")
    assert [labels[f"pod-security.kubernetes.io/{mode}"] for mode in modes] == ["privileged"] * 3


def test_readiness_is_that_the_files_are_applied_and_only_control_is_asked() -> None:
    probes = {name: [key for key in it if key.endswith("Probe")] for name, it in containers().items()}
    assert probes == {"vrrp": [], "control": ["readinessProbe"], "reporter": []}
    probe = containers()["control"]["readinessProbe"]
    # of the agent's own sockets: a rolling update goes on also without an API server
    assert probe["exec"]["command"] == ["virtualip-agent", "ready", "--run", "/run/virtualip"]


def operator_container() -> dict[str, Any]:
    pod = one("operator.yaml", "Deployment", "virtualip-operator")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return dict(container)


def test_the_operator_is_asked_whether_it_lives_and_nothing_about_the_api() -> None:
    probes = {key: probe for key, probe in operator_container().items() if key.endswith("Probe")}
    health = {"path": "/healthz", "port": "health"}
    assert {key: probe["httpGet"] for key, probe in probes.items()} == dict.fromkeys(
        ("startupProbe", "livenessProbe", "readinessProbe"), health
    )


def test_nobody_outside_the_pod_sees_the_metrics_but_by_the_overlay_that_asks_who_they_are() -> None:
    environment = {entry["name"]: entry.get("value", "") for entry in operator_container()["env"]}
    assert is_loopback(environment["VIRTUALIP_METRICS_ADDRESS"])
    patch = yaml.safe_load((ROOT / "deploy/overlays/metrics/operator.yaml").read_text())
    (container,) = patch["spec"]["template"]["spec"]["containers"]
    theirs = {entry["name"]: entry["value"] for entry in container["env"]}
    assert not is_loopback(theirs["VIRTUALIP_METRICS_ADDRESS"])
    assert theirs["VIRTUALIP_METRICS_CERTIFICATE"] in {mount["mountPath"] for mount in container["volumeMounts"]}


def test_the_images_tag_is_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images = {container["image"] for container in [*containers().values(), operator_container()]}
    assert images == {f"ghcr.io/virtualip/virtualip:v{version}"}


def test_the_agents_share_their_directories_with_the_host_and_nothing_else() -> None:
    """A file that no other container or restart sees would be lost with the pod."""
    volumes = {volume["name"]: volume for volume in agent_pod()["volumes"]}
    paths = {name: volume["hostPath"]["path"] for name, volume in volumes.items() if "hostPath" in volume}
    assert paths == {"run": "/run/virtualip", "state": "/var/lib/virtualip", "config": "/etc/virtualip"}
    read_only = {
        (name, mount["name"])
        for name, container in containers().items()
        for mount in container["volumeMounts"]
        if mount.get("readOnly")
    }
    assert read_only == {("control", "config"), ("reporter", "token")}
