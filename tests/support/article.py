"""The configuration with which the project began, as a static manifest; and deploy/sample, the same for a cluster."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

VIP = "192.168.122.200"
SAMPLES = Path(__file__).parents[2] / "deploy/sample"


def manifest(name: str = "web", /, password_file: str | None = None, **spec: Any) -> str:
    """The VirtualIP: VRRPv2, VRID 51, 244 on server1 and 240 on server2; `spec` overrides and adds."""
    whole: dict[str, Any] = {
        "addresses": [f"{VIP}/24"],
        "vrid": 51,
        "version": 2,
        "interface": "eth0",
        "nodePriorities": [{"nodeName": "server1", "priority": 244}, {"nodeName": "server2", "priority": 240}],
        "advertInterval": "1s",
    }
    if password_file:
        whole["authentication"] = {"type": "PASS", "passwordFile": password_file}
    resource = {
        "apiVersion": "virtualip.dev/v1alpha1",
        "kind": "VirtualIP",
        "metadata": {"name": name},
        "spec": {key: value for key, value in (whole | spec).items() if value is not None},
    }
    return yaml.safe_dump(resource)


def fast(name: str = "web", /, **spec: Any) -> str:
    """The same with VRRPv3 at 100 ms, for tests that are not about the article's timers."""
    settings: dict[str, Any] = {"version": 3, "advertInterval": "100ms"}
    return manifest(name, **(settings | spec))


def sample_documents(name: str, replace: Mapping[str, str] = {}) -> list[dict[str, Any]]:
    """The documents of deploy/sample/NAME.yaml; `replace` are texts, such as paths, that are others here."""
    text = (SAMPLES / f"{name}.yaml").read_text()
    for old, new in replace.items():
        assert old in text, f"{name}: there is no {old}"
        text = text.replace(old, new)
    return [document for document in yaml.safe_load_all(text) if document]


def sample(name: str, password_file: str, replace: Mapping[str, str] = {}) -> str:
    """A sample as a static manifest: the password is in a file instead of a Secret, and the rest as it is."""
    (resource,) = (it for it in sample_documents(name, replace) if it["kind"] == "VirtualIP")
    resource["spec"]["authentication"] = {"type": "PASS", "passwordFile": password_file}
    return yaml.safe_dump(resource)
