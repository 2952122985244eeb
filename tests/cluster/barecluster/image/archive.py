"""Image archives: an OCI layout in a tar file, with docker's manifest.json beside it.

containerd, `docker load` and `kind load image-archive` all take it. The layout (one file per blob, by digest) lets a
node be sent only the blobs it does not have.
"""

import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from barecluster.errors import ClusterError
from barecluster.image.layer import Layer

_EPOCH = "1970-01-01T00:00:00Z"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_BLOBS = "blobs/sha256"


@dataclass(frozen=True, slots=True)
class Image:
    """An image in a file; image_id as Kubernetes shows it, sha256:..."""

    tag: str
    image_id: str
    archive: Path


def write_archive(path: Path, tag: str, layers: Sequence[Layer], config: Mapping[str, object]) -> Image:
    """Writes the archive, unless it holds that very image already; config is the OCI image's (Env, Labels...)."""
    blob = _json(
        {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "created": _EPOCH,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.digest}" for layer in layers]},
            "history": [{"created": _EPOCH} for _ in layers],
        }
    )
    image = Image(tag, f"sha256:{_digest(blob)}", path)
    if not path.exists() or image_id(path, tag) != image.image_id:
        scratch = path.with_name(f"{path.name}.new")
        with tarfile.open(scratch, "w") as tar:
            _write(tar, tag, blob, layers)
        scratch.rename(path)
    return image


def image_id(archive: Path, tag: str) -> str:
    """The id of an archive's image, sha256:...; raises ClusterError when it does not hold that tag."""
    with tarfile.open(archive) as tar:
        file = tar.extractfile("manifest.json")
        manifest = json.load(file) if file else []
    for entry in manifest:
        if tag in entry["RepoTags"]:
            return f"sha256:{Path(entry['Config']).name.removesuffix('.json')}"
    raise ClusterError(f"{archive} holds no image {tag}")


def copy_without(archive: Path, digests: Collection[str], to: IO[bytes]) -> None:
    """Copies an archive to a stream, without the blobs of these digests (sha256:...)."""
    with tarfile.open(archive) as source, tarfile.open(fileobj=to, mode="w|") as target:
        for member in source:
            if member.name.startswith(_BLOBS) and f"sha256:{Path(member.name).name}" in digests:
                continue
            target.addfile(member, source.extractfile(member))


def _write(tar: tarfile.TarFile, tag: str, config: bytes, layers: Sequence[Layer]) -> None:
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("application/vnd.oci.image.config.v1+json", _digest(config), len(config)),
            "layers": [
                _descriptor("application/vnd.oci.image.layer.v1.tar", layer.digest, layer.path.stat().st_size)
                for layer in layers
            ],
        }
    )
    entry = _descriptor("application/vnd.oci.image.manifest.v1+json", _digest(manifest), len(manifest))
    entry["annotations"] = {"io.containerd.image.name": tag}
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]}
    docker = {
        "Config": f"{_BLOBS}/{_digest(config)}",
        "RepoTags": [tag],
        "Layers": [f"{_BLOBS}/{layer.digest}" for layer in layers],
    }
    # What is asked for most comes first: image_id() reads no further.
    _add(tar, "manifest.json", _json([docker]))
    _add(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
    _add(tar, "index.json", _json(index))
    _add(tar, f"{_BLOBS}/{_digest(manifest)}", manifest)
    _add(tar, f"{_BLOBS}/{_digest(config)}", config)
    for layer in layers:
        member = tarfile.TarInfo(f"{_BLOBS}/{layer.digest}")
        member.size = layer.path.stat().st_size
        with layer.path.open("rb") as file:
            tar.addfile(member, file)


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, object]:
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": size}


def _digest(blob: bytes) -> str:
    return hashlib.sha256(blob).hexdigest()


def _json(content: object) -> bytes:
    return json.dumps(content).encode()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
