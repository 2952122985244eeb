"""The last layer: our own packages, as the wheel holds them, and their commands."""

import hashlib
import shutil
import tarfile
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path

from barecluster.image.base import compile_modules
from barecluster.image.dependencies import SITE_PACKAGES
from barecluster.image.layer import Layer, add_file, add_tree, cached, key_of
from barecluster.layout import REPOSITORY

_SCRIPT = """\
#!/usr/bin/python3
import sys
from {module} import {function}
sys.exit({function}())
"""


def application_layer(root: Path, source: Path = REPOSITORY) -> Layer:
    """The layer of a checkout of the project, kept by the content of every file in it.

    Its pyproject.toml says which packages and commands there are, so that no build backend has to run for each change.
    """
    project = tomllib.loads((source / "pyproject.toml").read_text())
    packages = [source / path for path in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]
    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch)
        for package in packages:
            if package.is_dir():
                shutil.copytree(package, tree / package.name, ignore=shutil.ignore_patterns("__pycache__"))
        _write_metadata(tree, project["project"])
        key = key_of(_content(tree), repr(project["project"]["scripts"]), root.name)
        return cached("application", key, lambda tar: _fill(tar, root, tree, project["project"]["scripts"]))


def _fill(tar: tarfile.TarFile, root: Path, tree: Path, scripts: Mapping[str, str]) -> None:
    compile_modules(root, tree, f"/{SITE_PACKAGES}")
    add_tree(tar, tree, SITE_PACKAGES)
    for name, target in scripts.items():
        module, function = target.split(":")
        add_file(tar, f"usr/local/bin/{name}", _SCRIPT.format(module=module, function=function).encode(), 0o755)


def _write_metadata(tree: Path, project: Mapping[str, str]) -> None:
    """What importlib.metadata.version() reads."""
    directory = tree / f"{project['name']}-{project['version']}.dist-info"
    directory.mkdir()
    metadata = f"Metadata-Version: 2.3\nName: {project['name']}\nVersion: {project['version']}\n"
    (directory / "METADATA").write_text(metadata)


def _content(tree: Path) -> str:
    files = sorted(path for path in tree.rglob("*") if path.is_file())
    return "\n".join(f"{path.relative_to(tree)} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files)
