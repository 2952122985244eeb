"""The Helm chart and install.yaml are what kustomize makes of deploy/; nothing here needs an API server."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from chart import SETTINGS, VARIANTS, Setting, at, write_chart
from rendering import documents, image_fields, kustomized

Resources = dict[tuple[str, str], Any]
NAMESPACE = "virtualip-system"
KEEP = {"helm.sh/resource-policy": "keep"}


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("chart") / "virtualip"
    write_chart(directory)
    return directory


def refused(helm: Path, chart: Path, *words: str) -> str:
    """What helm complains of."""
    command = [str(helm), "template", "x", str(chart), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode, done.stdout
    return done.stderr


def rendered(helm: Path, chart: Path, *words: str, namespace: str = NAMESPACE) -> Resources:
    command = [str(helm), "template", "virtualip", str(chart), "-n", namespace, "--kube-version=1.31.0", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return by_key(done.stdout)


def by_key(text: str) -> Resources:
    found = {(it["kind"], it["metadata"]["name"]): it for it in documents(text)}
    assert len(found) == len(documents(text))
    return found


def without_helms_own(resources: Resources) -> Resources:
    """But for two things they are the same: helm makes the namespace itself, and is told to keep the CRDs."""
    for (kind, _), resource in resources.items():
        if kind == "CustomResourceDefinition":
            assert resource["metadata"].pop("annotations") == KEEP
    return resources


@pytest.mark.parametrize(
    ("values", "overlay"), [((), "default"), *(((value,), overlay) for value, overlay in VARIANTS.items())]
)
def test_a_chart_renders_what_the_overlay_does(
    helm_program: Path, chart: Path, values: tuple[str, ...], overlay: str
) -> None:
    ours = without_helms_own(rendered(helm_program, chart, *(f"--set={value}=true" for value in values)))
    theirs = by_key(kustomized(overlay))
    del theirs["Namespace", NAMESPACE]
    assert ours.keys() == theirs.keys()
    for key, resource in theirs.items():
        assert ours[key] == resource, key


def test_values_of_different_overlays_go_together(helm_program: Path, chart: Path) -> None:
    ours = rendered(helm_program, chart, "--set=agent.hostScripts=true,operator.metrics=true")
    for overlay, key in (
        ("host-scripts", ("DaemonSet", "virtualip-agent")),
        ("metrics", ("Service", "virtualip-operator-metrics")),
    ):
        assert ours[key] == by_key(kustomized(overlay))[key]


def test_in_another_namespace_everything_is_of_that_namespace(helm_program: Path, chart: Path) -> None:
    ours = rendered(helm_program, chart, "--set=operator.metrics=true", namespace="vips")
    crds = {key for key in ours if key[0] == "CustomResourceDefinition"}
    rest = json.dumps([resource for key, resource in ours.items() if key not in crds])
    assert NAMESPACE not in rest
    policy = json.dumps(ours["ValidatingAdmissionPolicy", "virtualip-agent-status"])
    assert "request.userInfo.username == 'system:serviceaccount:vips:virtualip-agent'" in policy


def test_the_image_is_said_once(helm_program: Path, chart: Path) -> None:
    words = ("--set=image.repository=r/v,image.tag=v9,image.pullPolicy=Always", "--set=imagePullSecrets[0].name=key")
    ours = rendered(helm_program, chart, *words)
    pods = [
        resource["spec"]["template"]["spec"]
        for (kind, _), resource in ours.items()
        if kind in ("DaemonSet", "Deployment")
    ]
    containers = [container for pod in pods for container in pod["containers"]]
    assert {(it["image"], it["imagePullPolicy"]) for it in containers} == {("r/v:v9", "Always")}
    assert [pod["imagePullSecrets"] for pod in pods] == [[{"name": "key"}]] * 2


WANTED: dict[str, Any] = {
    "nodeSelector": {"edge": "true"},
    "tolerations": [{"key": "edge", "operator": "Exists"}],
    "agent.priorityClassName": "system-cluster-critical",
    "operator.priorityClassName": "high",
    "replicas": 3,
    "resources": {"requests": {"cpu": "1"}},
}


def merged(default: Any, wanted: Any) -> Any:
    """As helm does it: maps become one, all else is replaced."""
    if isinstance(default, dict) and isinstance(wanted, dict):
        return default | {key: merged(default.get(key), value) for key, value in wanted.items()}
    return wanted


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.value)
def test_every_value_gets_where_it_belongs(helm_program: Path, chart: Path, setting: Setting, tmp_path: Path) -> None:
    wanted = values = WANTED.get(setting.value) or WANTED[setting.path[-1]]
    for step in reversed(setting.value.split(".")):
        values = {step: values}
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values))
    before, after = (
        at(rendered(helm_program, chart, *words)[setting.resource], setting.path)
        for words in ((), ("-f", str(tmp_path / "values.yaml")))
    )
    assert after == merged(before, wanted) != before


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("agent.hostNetwrok=true", "hostNetwrok"),
        ("operator.replicas=0", "replicas"),
        ("image.pullPolicy=Sometimes", "pullPolicy"),
        ("agent.resources.vrrp.limits.memory=1Gi", "limits"),
        ("agent.hostFiles=maybe", "hostFiles"),
        ("agent.priorityClassName=high", "priorityClassName"),
    ],
)
def test_values_that_are_none_are_refused_by_name(helm_program: Path, chart: Path, words: str, complaint: str) -> None:
    assert complaint in refused(helm_program, chart, f"--set={words}")


def test_every_value_has_its_schema_and_the_other_way_round(chart: Path) -> None:
    schema = json.loads((chart / "values.schema.json").read_text())["properties"]
    values = yaml.safe_load((chart / "values.yaml").read_text())
    assert schema.keys() - {"global"} == values.keys()
    for section in ("image", "crds", "agent", "operator"):
        assert schema[section]["properties"].keys() == values[section].keys()


def test_the_crds_can_be_somebody_elses_business(helm_program: Path, chart: Path) -> None:
    ours = rendered(helm_program, chart, "--set=crds.install=false")
    assert not [key for key in ours if key[0] == "CustomResourceDefinition"]


def test_helm_lint_has_nothing_to_say(helm_program: Path, chart: Path) -> None:
    done = subprocess.run([helm_program, "lint", "--strict", chart], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_install_yaml_is_the_default_overlay_with_that_image() -> None:
    digest = f"sha256:{'0' * 64}"
    for image in ("registry:5000/v:v9", f"registry:5000/v@{digest}"):
        pods = [
            it["spec"]["template"]["spec"]
            for it in documents(kustomized("default", image))
            if it["kind"] in ("DaemonSet", "Deployment")
        ]
        assert {container["image"] for pod in pods for container in pod["containers"]} == {image}
    plain = by_key(kustomized("default"))
    assert by_key(kustomized("default", "r/v:v9")).keys() == plain.keys()


@pytest.mark.parametrize("image", ["registry:5000/v", "v", "v@sha512:00", ""])
def test_an_image_needs_a_tag_or_a_digest(image: str) -> None:
    with pytest.raises(ValueError, match="is neither NAME:TAG nor"):
        image_fields(image)
