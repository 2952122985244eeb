"""Debian packages: installs what is missing, and nothing when all is there."""

import os
import shutil
import subprocess
from collections.abc import Iterable

from barecluster.errors import ClusterError
from barecluster.progress import say
from barecluster.shell import run

# What the nodes need, each with a file that shows it is there: containerd may also have come from elsewhere.
NODE_PACKAGES = {
    "containerd": "containerd",
    "runc": "runc",
    "containernetworking-plugins": "/usr/lib/cni/bridge",
    "iproute2": "ip",
    "nftables": "nft",
}


def missing_node_packages() -> list[str]:
    """Those of NODE_PACKAGES whose file is not found."""
    return [package for package, file in NODE_PACKAGES.items() if not shutil.which(file)]


def ensure_packages(packages: Iterable[str]) -> None:
    """Installs the packages that dpkg does not know as installed; needs root for that. Raises ClusterError."""
    missing = [package for package in packages if not _installed(package)]
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise ClusterError(f"needed and not installed (no apt-get here): {' '.join(missing)}")
    say(f"installing Debian packages: {' '.join(missing)}")
    _apt_get("update")
    _apt_get("install", "--yes", "--no-install-recommends", *missing)


def _installed(package: str) -> bool:
    try:
        return run("dpkg-query", "--show", "--showformat=${db:Status-Abbrev}", package).startswith("ii")
    except ClusterError:
        return False


def _apt_get(*arguments: str) -> None:
    # Somebody else's apt may hold the lock, for instance unattended upgrades just after a boot.
    command = ["apt-get", "--quiet", "--quiet", "-o", "DPkg::Lock::Timeout=300", *arguments]
    done = subprocess.run(
        command,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ClusterError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr.strip()}")
