"""A spec in which every property is given, and what may be changed in it to break one rule."""

import copy
from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

FULL: dict[str, Any] = {
    "addresses": ["192.0.2.10/32"],
    "vrid": 51,
    "version": 2,
    "transport": "Unicast",
    "strictPeers": True,
    "nodeAddresses": [{"nodeName": "server1", "addresses": ["192.0.2.1"]}],
    "interface": "eth0",
    "nodeSelector": {
        "matchLabels": {"edge": "true"},
        "matchExpressions": [{"key": "edge", "operator": "In", "values": ["true"]}],
    },
    "priority": 244,
    "nodePriorities": [
        {
            "priority": 240,
            "nodeSelector": {
                "matchLabels": {"edge": "true"},
                "matchExpressions": [{"key": "edge", "operator": "In", "values": ["true"]}],
            },
        },
        {"priority": 240, "nodeName": "server2"},
    ],
    "advertInterval": "2s",
    "preempt": False,
    "fastPreempt": False,
    "preemptDamping": False,
    "preemptDelay": "30s",
    "startupDelay": "45s",
    "downTimerAdverts": 5,
    "authentication": {"type": "PASS", "secretKeyRef": {"name": "web", "key": "password"}},
    "checksum": "PseudoHeader",
    "drain": {"onCordon": False, "onExcludeLabel": True},
    "garp": {"repeat": 3, "interval": "20ms", "delay": "10s", "refresh": "60s", "refreshRepeat": 2},
    "syncGroup": "edge",
    "trackers": [
        {
            "name": "apache",
            "weight": 10,
            "reverse": True,
            "process": {
                "name": "httpd",
                "fullCommand": True,
                "arguments": ["-k"],
                "argumentsMatch": "Partial",
                "quorum": 2,
                "quorumMax": 3,
                "delay": "1s",
                "terminateDelay": "1s",
            },
        },
        {"name": "app", "weight": 1, "reverse": False, "file": {"path": "/x", "onMissing": "Fail"}},
        {"name": "uplink", "weight": 5, "reverse": False, "interface": {"name": "ens9"}},
        {
            "name": "api",
            "weight": -60,
            "reverse": False,
            "http": {
                "url": "https://127.0.0.1:6443/readyz",
                "interval": "2s",
                "timeout": "3s",
                "rise": 2,
                "fall": 4,
                "status": ["200", "401-403"],
                "caFile": "/etc/kubernetes/pki/ca.crt",
                "insecureSkipVerify": True,
                "host": "api.example.com:6443",
                "serverName": "api.example.com",
            },
        },
        {
            "name": "database",
            "weight": 0,
            "reverse": False,
            "tcp": {"host": "192.0.2.1", "port": 5432, "interval": "2s", "timeout": "3s", "rise": 2, "fall": 4},
        },
        {
            "name": "check",
            "weight": 0,
            "reverse": False,
            "script": {
                "command": ["/etc/virtualip/scripts/check.sh", "192.0.2.1"],
                "interval": "2s",
                "timeout": "5s",
                "rise": 3,
                "fall": 3,
                "user": "daemon",
                "capabilities": ["NET_RAW"],
                "env": {"TARGET": "192.0.2.1"},
                "initFail": True,
            },
        },
        {
            "name": "ingress",
            "weight": 10,
            "reverse": False,
            "podReady": {
                "namespace": "ingress",
                "selector": {
                    "matchLabels": {"app": "nginx"},
                    "matchExpressions": [{"key": "app", "operator": "In", "values": ["nginx"]}],
                },
                "quorum": 2,
                "holdFor": "5m",
            },
        },
    ],
    "notify": [
        {
            "command": ["/etc/virtualip/scripts/notify.sh", "web"],
            "when": ["MASTER", "STOP"],
            "user": "daemon",
            "timeout": "5s",
            "instance": "VI_1",
        }
    ],
}
"""A good spec in which every property is given."""

PathOf = tuple[str | int, ...]


def properties(schema: Schema, value: Any, path: PathOf = ()) -> Iterator[tuple[PathOf, Schema]]:
    """Every property of the schema, with a path at which FULL has it."""
    if schema["type"] == "array":
        for index, element in enumerate(value):
            yield from properties(schema["items"], element, (*path, index))
    for name, child in schema.get("properties", {}).items():
        if isinstance(value, dict) and name in value:
            yield (*path, name), child
            yield from properties(child, value[name], (*path, name))


def changed(path: PathOf, value: object) -> dict[str, Any]:
    """FULL with another value at a path."""
    document = copy.deepcopy(FULL)
    at: Any = document
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return document


def without(path: PathOf) -> dict[str, Any]:
    document = copy.deepcopy(FULL)
    at: Any = document
    for step in path[:-1]:
        at = at[step]
    del at[path[-1]]
    return document
