"""Kubernetes' programs, built from its Go modules and kept in the cache.

One build per Kubernetes version, source and architecture: about six minutes on two cores when Go's own cache is
cold, seconds when it is warm. Builders that start at the same time wait for the first.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from barecluster.errors import ClusterError
from barecluster.layout import REPOSITORY, cache
from barecluster.lock import locked
from barecluster.progress import say

PROGRAMS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "kubectl",
)
_SOURCE = REPOSITORY / "tests" / "cluster" / "kube"
_TELL_EVERY = 15.0  # s


def binaries() -> Path:
    """The directory of PROGRAMS and pause; builds them first where needed. Raises ClusterError."""
    directory = cache() / "kube" / _key()
    if directory.is_dir():
        return directory
    with locked(directory.with_name(f"{directory.name}.lock"), "building Kubernetes"):
        if not directory.is_dir():
            _build(directory)
    return directory


def are_built() -> bool:
    """Whether binaries() would build nothing."""
    return (cache() / "kube" / _key()).is_dir()


def api_binaries() -> Path:
    """The directory of etcd, kube-apiserver and kubectl: KUBEBUILDER_ASSETS where set, else our own build."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if not assets:
        return binaries()
    directory = Path(assets)
    for program in ("etcd", "kube-apiserver", "kubectl"):
        if not (directory / program).exists():
            raise ClusterError(f"KUBEBUILDER_ASSETS={assets} holds no {program}")
    return directory


def kubernetes_version() -> str:
    """The version that go.mod asks for, like 1.35.4."""
    found = re.search(r"^\s*k8s\.io/kubernetes v(\S+)$", (_SOURCE / "go.mod").read_text(), re.MULTILINE)
    if not found:
        raise ClusterError(f"{_SOURCE}/go.mod names no k8s.io/kubernetes")
    return found[1]


def _key() -> str:
    names = ("go.mod", "go.sum", "main.go", "pause/main.go")
    return f"{kubernetes_version()}-{key_of_source(*(_SOURCE / name for name in names))}"


def key_of_source(*files: Path) -> str:
    """Part of the name under which what is built from these files is kept."""
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files))
    return f"{digest.hexdigest()[:12]}-{platform.machine()}"


def _build(directory: Path) -> None:
    version = kubernetes_version()
    major, minor, _ = version.split(".", 2)
    stamp = "-X k8s.io/component-base/version"
    flags = f"-s -w {stamp}.gitVersion=v{version} {stamp}.gitMajor={major} {stamp}.gitMinor={minor}"
    say(f"building Kubernetes {version} from its Go modules: about 6 minutes the first time, then kept in {directory}")
    started = time.monotonic()
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix="building-") as scratch:
        made = Path(scratch) / "bin"
        made.mkdir()
        # go names on stderr what it downloads, and with -v each package that it compiles.
        packages = len(go(_SOURCE, ["list", "-deps", "."], "modules downloaded").split())
        compiled = f"of {packages} packages compiled"
        go(_SOURCE, ["build", "-v", f"-ldflags={flags}", "-o", str(made / "kube"), "."], compiled)
        go(_SOURCE, ["build", "-v", "-ldflags=-s -w", "-o", str(made / "pause"), "./pause"], "packages compiled")
        for program in PROGRAMS:
            (made / program).symlink_to("kube")
        made.rename(directory)
    say(f"built in {time.monotonic() - started:.0f} s")


def go(source: Path, arguments: Sequence[str], unit: str) -> str:
    """Runs go in a module, returns its output; each _TELL_EVERY says how many lines (of unit) it has put on stderr."""
    if not shutil.which("go"):
        raise ClusterError("Go is not installed; it builds the programs of the test cluster (see go.dev/doc/install)")
    lines: list[str] = []
    # Nothing of the user's own Go settings may change what is built; static, so that images need no libc.
    environment = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false", "GOWORK": "off"}
    with subprocess.Popen(
        ["go", *arguments],
        cwd=source,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stderr
        done = threading.Event()
        helpers = [
            threading.Thread(target=lines.extend, args=[process.stderr], daemon=True),
            threading.Thread(target=_tell, args=[lines, unit, done], daemon=True),
        ]
        for helper in helpers:
            helper.start()
        try:
            output = process.stdout.read()
        finally:
            done.set()
            for helper in helpers:
                helper.join()
    if process.returncode:
        raise ClusterError(f"go {arguments[0]} failed:\n" + "".join(lines[-30:]))
    return output


def _tell(lines: Sequence[str], unit: str, done: threading.Event) -> None:
    started = time.monotonic()
    while not done.wait(_TELL_EVERY):
        say(f"  for {time.monotonic() - started:.0f} s: {len(lines)} {unit}")
