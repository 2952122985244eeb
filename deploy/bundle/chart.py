"""The Helm chart, generated: each resource as kustomize renders it, with template expressions where a value may change
something, and each overlay that changes a resource as another branch of its template.

So nothing has to be said twice, and `helm template` gives what `kubectl kustomize` gives (tests/cluster/test_chart.py).
"""

import copy
import json
import re
import shutil
import string
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from rendering import IMAGE, REPOSITORY, Document, documents, kustomized

SOURCE: Final = Path(__file__).parent / "chart"
NAMESPACE: Final = "virtualip-system"

AGENT: Final = ("DaemonSet", "virtualip-agent")
OPERATOR: Final = ("Deployment", "virtualip-operator")
Key = tuple[str, str]
"""A resource's kind and name."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A value of the chart, and the field that it sets: keys, or the name of an entry of a list."""

    value: str
    resource: Key
    path: tuple[str, ...]


_TAG: Final = '(.Values.image.tag | default (printf "v%s" .Chart.AppVersion))'
_IMAGE: Final = f'{{{{ printf "%s:%s" .Values.image.repository {_TAG} | quote }}}}'
_POD: Final = ("spec", "template", "spec")
SETTINGS: Final = (
    Setting("agent.nodeSelector", AGENT, (*_POD, "nodeSelector")),
    Setting("agent.tolerations", AGENT, (*_POD, "tolerations")),
    Setting("agent.priorityClassName", AGENT, (*_POD, "priorityClassName")),
    *(
        Setting(f"agent.resources.{name}", AGENT, (*_POD, "containers", name, "resources"))
        for name in ("vrrp", "control", "reporter")
    ),
    Setting("operator.replicas", OPERATOR, ("spec", "replicas")),
    Setting("operator.nodeSelector", OPERATOR, (*_POD, "nodeSelector")),
    Setting("operator.tolerations", OPERATOR, (*_POD, "tolerations")),
    Setting("operator.priorityClassName", OPERATOR, (*_POD, "priorityClassName")),
    Setting("operator.resources", OPERATOR, (*_POD, "containers", "operator", "resources")),
)
VARIANTS: Final = {
    "agent.hostScripts": "host-scripts",
    "agent.hostFiles": "host-files",
    "operator.metrics": "metrics",
}
"""By value the overlay that it stands for; the first that is on and changes a resource decides about it."""


def write_chart(directory: Path) -> None:
    """Writes the chart into a directory, which is made anew."""
    shutil.rmtree(directory, ignore_errors=True)
    templates = directory / "templates"
    templates.mkdir(parents=True)
    base = _by_key(kustomized("default"))
    variants = {value: _by_key(kustomized(overlay)) for value, overlay in VARIANTS.items()}
    for name, text in _templates(base, variants):
        with (templates / name).open("a") as file:
            file.write(text)
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    for source in SOURCE.iterdir():
        text = source.read_text()
        if source.name == "Chart.yaml":
            text = string.Template(text).substitute(version=version)
        elif source.name == "values.yaml":
            text = string.Template(text).substitute(_defaults(base))
        (templates if source.name == "NOTES.txt" else directory).joinpath(source.name).write_text(text)


def _by_key(text: str) -> dict[Key, Document]:
    # Helm makes the release's namespace, or takes the one there is.
    return {
        (document["kind"], document["metadata"]["name"]): document
        for document in documents(text)
        if document["kind"] != "Namespace"
    }


def _templates(
    base: Mapping[Key, Document], variants: Mapping[str, Mapping[Key, Document]]
) -> Iterator[tuple[str, str]]:
    """File names and what they get, a resource at a time."""
    keys = list(dict.fromkeys([*base, *(key for resources in variants.values() for key in resources)]))
    for key in keys:
        branches = [
            (f".Values.{value}", resources[key])
            for value, resources in variants.items()
            if key in resources and resources[key] != base.get(key)
        ]
        text = ""
        for number, (condition, document) in enumerate(branches):
            text += f"{{{{- {'else ' if number else ''}if {condition} }}}}\n{template(key, document)}"
        if branches:
            text += f"{{{{- else }}}}\n{template(key, base[key])}{{{{- end }}}}\n" if key in base else "{{- end }}\n"
        else:
            text = template(key, base[key])
        if key[0] == "CustomResourceDefinition":
            text = f"{{{{- if .Values.crds.install }}}}\n{text}{{{{- end }}}}\n"
        yield _file_of(key), f"---\n{text}"


def _file_of(key: Key) -> str:
    kind, name = key
    if kind == "CustomResourceDefinition":
        return "crds.yaml"
    if kind.startswith("Validating"):
        return "policy.yaml"
    component = "agent" if name.startswith("virtualip-agent") else "operator"
    return f"{component}{'' if (kind, name) in (AGENT, OPERATOR) else '-rbac'}.yaml"


def template(key: Key, document: Document) -> str:
    """A resource as a template."""
    resource = copy.deepcopy(document)
    expressions: dict[str, str] = {}

    def placeholder(expression: str) -> str:
        expressions[name := f"PLACEHOLDER{len(expressions)}X"] = expression
        return name

    for setting in SETTINGS:
        if setting.resource == key:
            *way, last = setting.path
            at(resource, way)[last] = placeholder(f"{{{{ toJson .Values.{setting.value} }}}}")
    if key in (AGENT, OPERATOR):
        pod = at(resource, _POD)
        for container in pod["containers"]:
            assert container["image"].startswith(f"{IMAGE}:")
            container["image"] = placeholder(_IMAGE)
            container["imagePullPolicy"] = placeholder("{{ .Values.image.pullPolicy }}")
        pod["imagePullSecrets"] = placeholder("{{ toJson .Values.imagePullSecrets }}")
    if key[0] == "CustomResourceDefinition":
        # Uninstalling must not delete everybody's VirtualIPs.
        resource["metadata"].setdefault("annotations", {})["helm.sh/resource-policy"] = "keep"
    text: str = yaml.safe_dump(resource, sort_keys=False, width=10_000, allow_unicode=True)
    assert "{{" not in text, f"{key}: Helm would take this for a template"
    text = re.sub(rf"^(\s*(?:- )?\w+: ){NAMESPACE}$", r"\1{{ .Release.Namespace | quote }}", text, flags=re.MULTILINE)
    text = text.replace(NAMESPACE, "{{ .Release.Namespace }}")
    # Nothing said is nothing written.
    text = re.sub(
        r"^( *)(imagePullSecrets: PLACEHOLDER\d+X)$",
        r"{{- if .Values.imagePullSecrets }}\n\1\2\n{{- end }}",
        text,
        flags=re.MULTILINE,
    )
    return re.sub(r"PLACEHOLDER\d+X", lambda found: expressions[found[0]], text)


def _defaults(base: Mapping[Key, Document]) -> dict[str, str]:
    """For values.yaml: by the value's name with underscores what deploy/base has."""
    found = {}
    for setting in SETTINGS:
        *way, last = setting.path
        found[setting.value.replace(".", "_")] = json.dumps(at(base[setting.resource], way)[last])
    found["image"] = IMAGE
    return found


def at(resource: Any, path: Sequence[str]) -> Any:
    """What is there in a resource: keys, or names of a list's entries."""
    for step in path:
        resource = next(it for it in resource if it["name"] == step) if isinstance(resource, list) else resource[step]
    return resource
