"""What kustomize makes of deploy/: the one source of install.yaml and of the Helm chart."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

from barecluster.binaries import api_binaries

REPOSITORY = Path(__file__).resolve().parents[2]
OVERLAYS = REPOSITORY / "deploy/overlays"
IMAGE = "ghcr.io/virtualip/virtualip"
"""As deploy/base names it; its tag there is that of the next release."""

Document = dict[str, Any]


def kustomized(overlay: str, image: str = "") -> str:
    """One of deploy/overlays as YAML, with another image (NAME:TAG or NAME@DIGEST) where one is given."""
    with tempfile.TemporaryDirectory(dir=REPOSITORY / "deploy", prefix=".rendering-") as scratch:
        kustomization: Document = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            # relative, as kustomize wants it
            "resources": [os.path.relpath(OVERLAYS / overlay, scratch)],
        }
        if image:
            kustomization["images"] = [{"name": IMAGE, **image_fields(image)}]
        Path(scratch, "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        return subprocess.run(
            [kubectl(), "kustomize", scratch], stdout=subprocess.PIPE, text=True, timeout=60, check=True
        ).stdout


def documents(text: str) -> list[Document]:
    """The resources in a YAML text."""
    return [document for document in yaml.safe_load_all(text) if document]


def image_fields(image: str) -> dict[str, str]:
    """An image's reference as kustomize wants it; ValueError where it names neither tag nor digest."""
    found = re.fullmatch(r"(?P<newName>[^@]+?)(?::(?P<newTag>[^:/@]+))?(?:@(?P<digest>sha256:[0-9a-f]+))?", image)
    fields = {name: value for name, value in found.groupdict().items() if value} if found else {}
    if not fields.keys() & {"newTag", "digest"}:
        raise ValueError(f"{image!r} is neither NAME:TAG nor NAME@sha256:DIGEST")
    return fields


def kubectl() -> str:
    """The user's, else the one that is built for the tests."""
    return shutil.which("kubectl") or str(api_binaries() / "kubectl")
