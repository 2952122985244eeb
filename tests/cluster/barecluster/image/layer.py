"""Layers: tar files that are the same bytes for the same content, kept in the cache by what they were made from."""

import hashlib
import io
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from barecluster.layout import cache
from barecluster.lock import locked

_KEEP_UNUSED = 3 * 24 * 3600  # s


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer on disk; digest is the SHA-256 of the tar file, its diff_id without the prefix."""

    path: Path
    digest: str


def key_of(*inputs: str) -> str:
    """A short name for what a layer is made from."""
    return hashlib.sha256(repr(inputs).encode()).hexdigest()[:16]


def cached(kind: str, key: str, make: Callable[[tarfile.TarFile], None]) -> Layer:
    """The layer of this kind and key; make fills the tar the first time."""
    directory = cache() / "layers"
    found = _find(directory, kind, key)
    if found:
        return found
    with locked(directory / f"{kind}.lock", f"building the image layer {kind}"):
        found = _find(directory, kind, key)
        if found:
            return found
        scratch = directory / f"{kind}-{key}.new"
        with tarfile.open(scratch, "w", format=tarfile.GNU_FORMAT) as tar:
            make(tar)
        digest = _digest(scratch)
        path = directory / f"{kind}-{key}-{digest}.tar"
        scratch.rename(path)
        _forget_unused(directory)
        return Layer(path, digest)


def add_tree(tar: tarfile.TarFile, tree: Path, below: str = "") -> None:
    """Adds a directory's content below a path of the image, owned by root, without times, in order."""

    def normal(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = member.mtime = 0
        member.uname = member.gname = ""
        return member

    # TarFile.add goes through a directory in sorted order.
    for path in sorted(tree.iterdir()):
        tar.add(path, arcname=f"{below}/{path.name}".lstrip("/"), filter=normal)


def add_file(tar: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    """Adds one file, owned by root."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mode = mode
    tar.addfile(member, io.BytesIO(content))


def _find(directory: Path, kind: str, key: str) -> Layer | None:
    for path in directory.glob(f"{kind}-{key}-*.tar"):
        path.touch()
        return Layer(path, path.stem.rpartition("-")[2])
    return None


def _forget_unused(directory: Path) -> None:
    """Every change of our code makes a layer: those that nobody asked for in a while go."""
    for path in directory.glob("*.tar"):
        if time.time() - path.stat().st_mtime > _KEEP_UNUSED:
            path.unlink(missing_ok=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
