"""helm, built from its Go module and kept in the cache: half a minute where Kubernetes has been built before, as its
go.mod asks for the same versions of what they share."""

import tempfile
from pathlib import Path

from barecluster.binaries import go, key_of_source
from barecluster.layout import REPOSITORY, cache
from barecluster.lock import locked
from barecluster.progress import say

_SOURCE = REPOSITORY / "tests" / "cluster" / "helm"
_PACKAGE = "helm.sh/helm/v3/cmd/helm"


def helm() -> Path:
    """The program; builds it first where needed. Raises ClusterError."""
    program = cache() / "helm" / key_of_source(_SOURCE / "go.mod", _SOURCE / "go.sum") / "helm"
    if program.exists():
        return program
    with locked(program.parent.with_name(f"{program.parent.name}.lock"), "building helm"):
        if not program.exists():
            say("building helm from its Go module: half a minute after Kubernetes, minutes without")
            with tempfile.TemporaryDirectory(dir=program.parent.parent, prefix="building-") as scratch:
                made = Path(scratch) / "bin"
                made.mkdir()
                go(_SOURCE, ["build", "-v", "-ldflags=-s -w", "-o", str(made / "helm"), _PACKAGE], "packages compiled")
                made.rename(program.parent)
    return program
