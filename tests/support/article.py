"""The article's configuration (scenarios.md, "Common to all"), as a static manifest."""

from typing import Any

import yaml

VIP = "192.168.122.200"


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
