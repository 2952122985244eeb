"""barecluster: layers and archives are the same bytes for the same content; both image builders agree."""

import io
import json
import os
import re
import tarfile
import tomllib
from pathlib import Path

import pytest

from barecluster.errors import ClusterError
from barecluster.image import archive, base, dependencies, inputs
from barecluster.image.build import CONFIG, TAG
from barecluster.image.layer import Layer, add_file, add_tree, cached, key_of
from barecluster.layout import REPOSITORY

DOCKERFILE = (inputs.DIRECTORY / "Dockerfile").read_text()


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def a_layer(content: bytes) -> Layer:
    return cached("test", key_of(repr(content)), lambda tar: add_file(tar, "file", content))


def test_a_tree_makes_the_same_layer_whenever_it_was_written(tmp_path: Path) -> None:
    digests = []
    for name, time in (("one", 1_000), ("two", 2_000)):
        tree = tmp_path / name
        (tree / "b").mkdir(parents=True)
        for path in (tree / "b/file", tree / "a"):
            path.write_text("content")
            os.utime(path, (time, time))
        digests.append(cached(name, "key", lambda tar, tree=tree: add_tree(tar, tree, "opt")).digest)  # type: ignore[misc]
    assert digests[0] == digests[1]


def test_a_layer_is_made_once() -> None:
    first = a_layer(b"content")
    again = cached("test", key_of(repr(b"content")), lambda tar: pytest.fail("made again"))
    assert again == first


def test_the_image_id_changes_with_the_content_only(tmp_path: Path) -> None:
    def write(name: str, content: bytes, tag: str = TAG) -> str:
        return archive.write_archive(tmp_path / name, tag, [a_layer(content)], {"Labels": {}}).image_id

    assert write("a.tar", b"1") == write("b.tar", b"1") == write("c.tar", b"1", "localhost/other:1")
    assert write("a.tar", b"1") != write("d.tar", b"2")
    assert write("a.tar", b"1") == archive.image_id(tmp_path / "a.tar", TAG)


def test_an_archive_is_asked_for_a_tag_it_does_not_hold(tmp_path: Path) -> None:
    archive.write_archive(tmp_path / "a.tar", TAG, [a_layer(b"1")], {})
    with pytest.raises(ClusterError, match="holds no image localhost/other:1"):
        archive.image_id(tmp_path / "a.tar", "localhost/other:1")


def test_every_blob_that_the_index_leads_to_is_there(tmp_path: Path) -> None:
    archive.write_archive(tmp_path / "a.tar", TAG, [a_layer(b"1"), a_layer(b"2")], {"Env": ["A=b"]})
    with tarfile.open(tmp_path / "a.tar") as tar:
        files = {member.name: (tar.extractfile(member) or io.BytesIO()).read() for member in tar}
    index = json.loads(files["index.json"])
    assert index["manifests"][0]["annotations"] == {"io.containerd.image.name": TAG}
    manifest = json.loads(files[_blob(index["manifests"][0]["digest"])])
    config = json.loads(files[_blob(manifest["config"]["digest"])])
    assert config["config"] == {"Env": ["A=b"]}
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]
    assert [len(files[_blob(layer["digest"])]) for layer in manifest["layers"]] == [
        layer["size"] for layer in manifest["layers"]
    ]


def test_a_copy_leaves_out_the_blobs_that_are_there_already(tmp_path: Path) -> None:
    layer = a_layer(b"1")
    archive.write_archive(tmp_path / "a.tar", TAG, [layer], {})
    copy = io.BytesIO()
    archive.copy_without(tmp_path / "a.tar", {f"sha256:{layer.digest}"}, copy)
    copy.seek(0)
    with tarfile.open(tmp_path / "a.tar") as whole, tarfile.open(fileobj=copy) as part:
        assert set(whole.getnames()) - set(part.getnames()) == {_blob(f"sha256:{layer.digest}")}


def test_the_dockerfile_reads_the_same_requirements_and_prunes_the_same() -> None:
    assert (
        f"COPY {inputs.REQUIREMENTS.relative_to(REPOSITORY)} requirements/build.txt deploy/image/prune.txt ./"
        in DOCKERFILE
    )
    assert inputs.read_list("prune.txt")


def test_the_dockerfile_makes_the_same_user_for_the_same_python() -> None:
    (user,) = (line for line in base.PASSWD.splitlines() if line.startswith("virtualip:"))
    (group,) = (line for line in base.GROUP.splitlines() if line.startswith("virtualip:"))
    assert f"echo '{user}' >> /etc/passwd" in DOCKERFILE
    assert f"echo '{group}' >> /etc/group" in DOCKERFILE
    assert "python3.11/" in dependencies.SITE_PACKAGES
    assert "ARG BASE=python:3.11-" in DOCKERFILE
    assert DOCKERFILE.count("FROM ${BASE}") == 2


def test_both_images_carry_what_scripts_are_promised() -> None:
    for package in ("curl", "iputils-ping"):
        assert package in inputs.read_list("packages.txt")
        assert re.search(rf"apt-get install .* {package}\b", DOCKERFILE)
    assert 'chmod u-s "$(command -v ping)"' in DOCKERFILE


def test_what_the_dockerfile_copies_is_not_ignored() -> None:
    ignore = (inputs.DIRECTORY / "Dockerfile.dockerignore").read_text().splitlines()
    for path in ("pyproject.toml", "requirements/image.txt", "deploy/image/prune.txt", "crds", "operator", "agent"):
        assert f"!{path}" in ignore


def test_both_images_start_the_same_way() -> None:
    assert f"CMD {json.dumps(CONFIG['Cmd'])}" in DOCKERFILE
    for variable in CONFIG["Env"]:
        # PATH is the base image's: /usr/local/bin comes first in any
        assert variable.startswith("PATH=/usr/local/bin:") or f"ENV {variable}" in DOCKERFILE


def test_both_images_have_every_command_of_the_project() -> None:
    scripts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"]
    linked = " ".join(f"/opt/virtualip/bin/{name}" for name in scripts)
    assert f"ln -s {linked} /usr/local/bin/" in DOCKERFILE


def test_both_images_carry_byte_code_that_is_never_looked_at_again() -> None:
    """Nothing can be written where they run, and without it a start takes three times as long."""
    mode = " ".join(base._COMPILE[base._COMPILE.index("--invalidation-mode") :])
    dependencies_and_ours, pythons_own = re.findall(
        rf"-m compileall -q {mode}(.*?)(?=&&|\n[A-Z])", DOCKERFILE, re.DOTALL
    )
    assert dependencies_and_ours.strip() == "/opt/virtualip/lib"
    assert 'sysconfig.get_path("stdlib")' in pythons_own


def test_what_the_wheel_is_made_of_is_copied() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    ignore = (inputs.DIRECTORY / "Dockerfile.dockerignore").read_text().splitlines()
    for path in [*(package.partition("/")[0] for package in packages), project["project"]["readme"], "LICENSE"]:
        assert f"!{path}" in ignore


def _blob(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"
