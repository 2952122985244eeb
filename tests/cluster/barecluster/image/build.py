"""Our image: the same content as deploy/image/Dockerfile makes."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from barecluster.errors import ClusterError
from barecluster.image.application import application_layer
from barecluster.image.archive import Image, write_archive
from barecluster.image.base import base_layer, base_root
from barecluster.image.dependencies import dependencies_layer
from barecluster.layout import REPOSITORY, cache
from barecluster.lock import locked

TAG = "localhost/virtualip:dev"
CONFIG = {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin", "PYTHONUNBUFFERED=1"], "Cmd": ["virtualip-agent", "--help"]}


def build(tag: str = TAG, labels: Mapping[str, str] | None = None, source: Path = REPOSITORY) -> Image:
    """Builds the image of this checkout, or of another with the same dependencies; labels make an image of another id,
    for tests of rolling updates.

    Needs Debian's apt, and root: the image's own interpreter compiles what is in it. Raises ClusterError.
    """
    if os.geteuid() != 0:
        raise ClusterError("the image is built with chroot: this needs root")
    root = base_root()
    layers = [base_layer(root), dependencies_layer(root), application_layer(root, source)]
    labels = dict(labels or {})
    config = {**CONFIG, "Labels": labels}
    # Named by what it is, not by its content: the newest replaces the one before.
    name = hashlib.sha256(repr((tag, sorted(labels.items()))).encode()).hexdigest()[:16]
    directory = cache() / "images"
    with locked(directory / "lock", "writing an image"):
        return write_archive(directory / f"{name}.tar", tag, layers, config)
