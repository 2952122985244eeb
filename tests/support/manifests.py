"""What deploy/base says of the pods, for tests that hold the running thing against it."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
BASE = ROOT / "deploy/base"


def documents(name: str) -> list[dict[str, Any]]:
    """A file's documents."""
    return [document for document in yaml.safe_load_all((BASE / name).read_text()) if document]


def one(name: str, kind: str, called: str) -> dict[str, Any]:
    """The only one of a kind and name."""
    (found,) = [d for d in documents(name) if d["kind"] == kind and d["metadata"]["name"] == called]
    return found


def agent_pod() -> dict[str, Any]:
    """The DaemonSet's pod."""
    spec: dict[str, Any] = one("agent.yaml", "DaemonSet", "virtualip-agent")["spec"]["template"]["spec"]
    return spec


def containers() -> dict[str, dict[str, Any]]:
    """The agent's containers by name."""
    return {container["name"]: container for container in agent_pod()["containers"]}


def capabilities(container: str) -> list[str]:
    """What one of the agent's containers is given, without CAP_."""
    granted: list[str] = containers()[container]["securityContext"]["capabilities"].get("add", [])
    return granted
