"""The names in the run directory, shared by the agent's processes."""

from pathlib import Path

GROUP_ID = 64112
"""The group that shares the run and desired directories (in the image: `virtualip`)."""

DEFAULT_RUN = Path("/run/virtualip")
DEFAULT_DESIRED = Path("/var/lib/virtualip/desired")
DEFAULT_MANIFESTS = Path("/etc/virtualip/manifests")
DEFAULT_SCRIPT_DIRECTORIES = "/etc/virtualip/scripts"
"""Separated by colons where there are several."""


def lock_path(run: Path) -> Path:
    """Held (flock) by the one vrrp process of the node, before it touches the kernel."""
    return run / "agent.lock"


def vrrp_socket_path(run: Path) -> Path:
    """SEQPACKET: vrrp listens, control connects (virtualip_agent.ipc)."""
    return run / "vrrp.sock"


def state_socket_path(run: Path) -> Path:
    """STREAM: control listens, reporter and `virtualip-agent status` connect (virtualip_agent.state_stream)."""
    return run / "state.sock"


def history_path(run: Path) -> Path:
    """One JSON object a line: every transition, newest last."""
    return run / "history.jsonl"


def notified_path(run: Path) -> Path:
    """What notify commands were told last; control's own."""
    return run / "notified.json"


def pods_path(run: Path) -> Path:
    """What the reporter knows of this node's pods, for podReady trackers (virtualip_agent.pods_file)."""
    return run / "pods.json"
