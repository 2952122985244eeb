"""The cgroups the kubelets put their pods into, in every hierarchy of this machine (v1 or v2)."""

import contextlib
import os
import time
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def make(cgroup: str, node: str) -> None:
    """Makes the kubelet's cgroupRoot, which it wants to find; nothing happens when it is there."""
    if (_ROOT / "cgroup.controllers").exists():
        _make_unified(_ROOT / cgroup / node)
        return
    for hierarchy in _hierarchies():
        directory = hierarchy / cgroup / node
        directory.mkdir(parents=True, exist_ok=True)
        if (hierarchy / "cpuset.cpus").exists():  # v1: a new cpuset is empty, and no process can be put into it
            for level in (directory.parent, directory):
                for file in ("cpuset.cpus", "cpuset.mems"):
                    (level / file).write_text((hierarchy / file).read_text())


def remove(cgroup: str, node: str = "") -> None:
    """Removes a node's cgroups, or all of the cluster's; what was in them has ended."""
    for hierarchy in _hierarchies():
        for directory, _, _ in os.walk(hierarchy / cgroup / node, topdown=False):
            _remove(Path(directory))


def _hierarchies() -> list[Path]:
    mounted = [path for path in _ROOT.iterdir() if not path.is_symlink() and path.is_mount()]
    return mounted or [_ROOT]


def _make_unified(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for level in (_ROOT, directory.parent, directory):
        for controller in (level / "cgroup.controllers").read_text().split():
            with contextlib.suppress(
                OSError
            ):  # not every controller can be handed down; the kubelet says which it misses
                (level / "cgroup.subtree_control").write_text(f"+{controller}")


def _remove(directory: Path) -> None:
    for _ in range(100):  # the kernel may still count a process that has just ended
        try:
            directory.rmdir()
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.02)
        else:
            return
