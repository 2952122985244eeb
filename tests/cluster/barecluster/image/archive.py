"""docker-archive files: the format of `docker save`, which containerd imports."""

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from barecluster.errors import ClusterError
from barecluster.image.layer import Layer

_EPOCH = "1970-01-01T00:00:00Z"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class Image:
    """An image in a file; image_id as Kubernetes shows it, sha256:..."""

    tag: str
    image_id: str
    archive: Path


def write_archive(path: Path, tag: str, layers: Sequence[Layer], config: Mapping[str, object]) -> Image:
    """Writes the archive, the same bytes for the same content; config is the OCI image's (Env, Labels...)."""
    content = json.dumps(
        {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "created": _EPOCH,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.digest}" for layer in layers]},
            "history": [{"created": _EPOCH} for _ in layers],
        }
    ).encode()
    digest = hashlib.sha256(content).hexdigest()
    manifest = [
        {"Config": f"{digest}.json", "RepoTags": [tag], "Layers": [f"{layer.digest}/layer.tar" for layer in layers]}
    ]
    scratch = path.with_name(f"{path.name}.new")
    with tarfile.open(scratch, "w") as tar:
        _add(tar, "manifest.json", json.dumps(manifest).encode())
        _add(tar, f"{digest}.json", content)
        for layer in layers:
            member = tarfile.TarInfo(f"{layer.digest}/layer.tar")
            member.size = layer.path.stat().st_size
            with layer.path.open("rb") as file:
                tar.addfile(member, file)
    scratch.rename(path)
    return Image(tag, f"sha256:{digest}", path)


def image_id(archive: Path, tag: str) -> str:
    """The id of an archive's image, sha256:...; raises ClusterError when it does not hold that tag."""
    with tarfile.open(archive) as tar:
        file = tar.extractfile("manifest.json")
        manifest = json.load(file) if file else []
    for entry in manifest:
        if tag in entry["RepoTags"]:
            return f"sha256:{entry['Config'].removesuffix('.json').rpartition('/')[2]}"
    raise ClusterError(f"{archive} holds no image {tag}")


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
