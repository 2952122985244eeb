"""The layer of the locked requirements: wheels, unpacked by pip for the image's Python, pruned and compiled."""

import platform
import shutil
import sys
import tempfile
from pathlib import Path

from barecluster.image.base import compile_modules
from barecluster.image.inputs import REQUIREMENTS, read_list
from barecluster.image.layer import Layer, add_tree, cached, key_of
from barecluster.progress import say
from barecluster.shell import run

# Debian's Python finds modules there.
SITE_PACKAGES = "usr/local/lib/python3.11/dist-packages"


def dependencies_layer(root: Path) -> Layer:
    """The layer, kept by the requirements, what is pruned, and the interpreter that compiled it."""
    key = key_of(REQUIREMENTS.read_text(), *read_list("prune.txt"), root.name)
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch)

        def install() -> Path:
            say("image: installing the locked requirements")
            _install(tree)
            compile_modules(root, tree, f"/{SITE_PACKAGES}")
            return tree

        return cached("dependencies", key, lambda tar: add_tree(tar, install(), SITE_PACKAGES))


def _install(tree: Path) -> None:
    # Named platforms, not the builder's own: the image's C library is what must be able to load them.
    machine = platform.machine()
    platforms = [f"--platform=manylinux_2_{minor}_{machine}" for minor in (36, 34, 31, 28, 17)]
    run(
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"),
        *("--no-deps", "--only-binary=:all:", "--require-hashes", "--requirement", REQUIREMENTS),
        *("--python-version=3.11", "--implementation=cp", f"--platform=manylinux2014_{machine}", *platforms),
        *("--target", tree),
        timeout=600,
    )
    for pattern in read_list("prune.txt"):
        for path in tree.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
