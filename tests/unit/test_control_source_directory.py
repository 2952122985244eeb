"""A directory of declarations: nothing is withdrawn by accident. Real files; time is passed in."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from virtualip_agent.control.interpret import MANIFEST_SUFFIXES, interpret_manifest
from virtualip_agent.control.source_directory import SourceDirectory, declared, duplicate_problems


def document(name: str, vrid: int = 51) -> dict[str, Any]:
    return {
        "apiVersion": "virtualip.dev/v1alpha1",
        "kind": "VirtualIP",
        "metadata": {"name": name},
        "spec": {"addresses": [f"10.0.0.{vrid}/32"], "vrid": vrid},
    }


def text(*names: str) -> str:
    return yaml.safe_dump_all([document(name, 50 + number) for number, name in enumerate(names)])


class Manifests(SourceDirectory):
    def __init__(self, path: Path) -> None:
        super().__init__(path, MANIFEST_SUFFIXES, interpret_manifest, "server1", removal_grace=1.0)

    def names(self, now: float = 0.0) -> list[str]:
        self.rescan(now)
        return sorted(declared(self.readings, {})[0])

    def said(self) -> str:
        return "\n".join(map(str, self.problems))


@pytest.fixture
def directory(tmp_path: Path) -> Manifests:
    return Manifests(tmp_path)


def test_every_manifest_of_the_directory_counts_and_nothing_else(directory: Manifests) -> None:
    (directory.path / "a.yaml").write_text(text("a"))
    (directory.path / "b.yml").write_text(text("b"))
    (directory.path / "c.yaml~").write_text(text("c"))
    (directory.path / ".d.yaml").write_text(text("d"))
    (directory.path / "README").write_text("read me")
    assert directory.names() == ["a", "b"]
    assert not directory.problems


def test_a_look_says_whether_anything_is_declared_differently(directory: Manifests) -> None:
    (directory.path / "a.yaml").write_text(text("a"))
    assert directory.rescan(0)
    assert not directory.rescan(1)
    (directory.path / "a.yaml").write_text("# a comment\n" + text("a"))
    assert not directory.rescan(2)
    (directory.path / "b.yaml").write_text("[")
    assert directory.rescan(3)


def test_a_deleted_manifest_is_withdrawn_once_it_has_been_gone_for_a_moment(directory: Manifests) -> None:
    path = directory.path / "a.yaml"
    path.write_text(text("a"))
    assert directory.names(0) == ["a"]
    path.unlink()
    assert directory.names(10) == ["a"]
    assert directory.waiting
    assert directory.names(10.5) == ["a"]
    assert directory.names(11) == []
    assert not directory.waiting


def test_an_editor_that_moves_the_file_away_and_writes_a_new_one_withdraws_nothing(directory: Manifests) -> None:
    path = directory.path / "a.yaml"
    path.write_text(text("a"))
    assert directory.names(0) == ["a"]
    path.rename(directory.path / "a.yaml~")
    assert directory.names(10) == ["a"]
    path.write_text("")
    assert directory.names(10.1) == ["a"]
    path.write_text(text("a"))
    assert directory.names(10.2) == ["a"]
    assert not directory.waiting
    assert directory.names(12) == ["a"]


def test_a_file_seen_half_written_withdraws_nothing(directory: Manifests) -> None:
    path = directory.path / "a.yaml"
    whole = text("a", "b", "c")
    path.write_text(whole)
    assert directory.names(0) == ["a", "b", "c"]
    for length in range(0, len(whole), 7):
        path.write_text(whole[:length])
        assert directory.names(1 + length / 1000) == ["a", "b", "c"]
    path.write_text(whole)
    assert directory.names(9) == ["a", "b", "c"]
    assert not directory.problems


def test_a_document_taken_out_is_withdrawn_once_that_has_lasted(directory: Manifests) -> None:
    path = directory.path / "a.yaml"
    path.write_text(text("a", "b"))
    assert directory.names(0) == ["a", "b"]
    path.write_text(text("a"))
    assert directory.names(5) == ["a", "b"]
    assert directory.names(6) == ["a"]


def test_a_file_truncated_to_nothing_is_reported_and_what_it_declared_goes_on(directory: Manifests) -> None:
    path = directory.path / "a.yaml"
    path.write_text(text("a"))
    directory.rescan(0)
    path.write_text("")
    assert directory.names(5) == directory.names(50) == ["a"]
    assert "delete the file to withdraw" in directory.said()


def test_a_file_that_may_not_be_read_any_more_goes_on(directory: Manifests) -> None:
    path = directory.path / "a.yaml"
    path.write_text(text("a"))
    directory.rescan(0)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("CAP_DAC_OVERRIDE reads everything")
    assert directory.names(5) == directory.names(50) == ["a"]
    assert "cannot be read: Permission denied" in directory.said()


def test_a_file_replaced_by_something_else_goes_on(directory: Manifests) -> None:
    path = directory.path / "a.yaml"
    path.write_text(text("a"))
    directory.rescan(0)
    path.unlink()
    os.mkfifo(path)
    assert directory.names(5) == directory.names(50) == ["a"]
    assert "is not a regular file" in directory.said()


def test_a_directory_that_never_was_is_empty(tmp_path: Path) -> None:
    directory = Manifests(tmp_path / "none")
    assert directory.names() == []
    assert not directory.problems


def test_a_directory_that_goes_away_withdraws_nothing(tmp_path: Path) -> None:
    directory = Manifests(tmp_path / "manifests")
    directory.path.mkdir()
    (directory.path / "a.yaml").write_text(text("a"))
    assert directory.names(0) == ["a"]
    directory.path.rename(tmp_path / "elsewhere")
    assert directory.names(5) == directory.names(50) == ["a"]
    assert "cannot be listed" in directory.said()


def test_a_file_is_deleted_only_where_it_was_seen(tmp_path: Path) -> None:
    """A file system that is not mounted (yet) says nothing; nor does configuration management between two steps."""
    directory = Manifests(tmp_path / "manifests")
    directory.path.mkdir()
    (directory.path / "a.yaml").write_text(text("a"))
    assert directory.names(0) == ["a"]
    directory.path.rename(tmp_path / "elsewhere")
    directory.path.mkdir()
    assert directory.names(5) == directory.names(50) == ["a"]
    assert "is not the directory that it was" in directory.said()
    (directory.path / "a.yaml").write_text(text("a"))
    assert directory.names(60) == ["a"]
    assert not directory.problems
    (directory.path / "a.yaml").unlink()
    assert directory.names(70) == ["a"]
    assert directory.names(71) == []


def test_a_link_that_leads_to_another_directory_now_was_meant(tmp_path: Path) -> None:
    for version in ("1", "2"):
        (tmp_path / version).mkdir()
    (tmp_path / "1" / "a.yaml").write_text(text("a"))
    directory = Manifests(tmp_path / "manifests")
    directory.path.symlink_to("1")
    assert directory.names(0) == ["a"]
    directory.path.unlink()
    directory.path.symlink_to("2")
    assert directory.names(1) == ["a"]
    assert directory.names(2) == []
    assert not directory.problems


def test_a_config_map_is_a_directory_of_symlinks_that_are_swapped_together(directory: Manifests) -> None:
    for version, names in (("..1", ["a"]), ("..2", ["a", "b"])):
        (directory.path / version).mkdir()
        (directory.path / version / "vips.yaml").write_text(text(*names))
    (directory.path / "..data").symlink_to("..1")
    (directory.path / "vips.yaml").symlink_to("..data/vips.yaml")
    assert directory.names(0) == ["a"]
    (directory.path / "..new").symlink_to("..2")
    (directory.path / "..new").rename(directory.path / "..data")
    assert directory.names(1) == ["a", "b"]


def test_a_link_that_leads_nowhere_any_more_withdraws_nothing(directory: Manifests) -> None:
    (directory.path / "real").write_text(text("a"))
    (directory.path / "a.yaml").symlink_to("real")
    assert directory.names(0) == ["a"]
    (directory.path / "real").unlink()
    assert directory.names(5) == directory.names(50) == ["a"]
    assert "symlink to nothing" in directory.said()


def test_a_changed_password_is_seen_though_the_manifest_is_the_same(directory: Manifests, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("12345")
    manifest = document("a")
    manifest["spec"] |= {"version": 2, "authentication": {"type": "PASS", "passwordFile": str(secret)}}
    (directory.path / "a.yaml").write_text(yaml.safe_dump(manifest))
    directory.rescan(0)
    secret.write_text("54321")
    assert directory.rescan(1)
    assert directory.readings["a.yaml"].instances["a"].password == b"54321"
    secret.unlink()
    directory.rescan(2)
    assert directory.readings["a.yaml"].instances["a"].password == b"54321"
    assert "is not there" in directory.said()


def test_a_name_in_two_files_stays_with_the_file_that_had_it(directory: Manifests) -> None:
    (directory.path / "b.yaml").write_text(text("web"))
    directory.rescan(0)
    _, owners = declared(directory.readings, {})
    (directory.path / "a.yaml").write_text(yaml.safe_dump(document("web", 99)))
    directory.rescan(1)
    instances, owners = declared(directory.readings, owners)
    assert instances["web"].spec.vrid == 50
    assert [str(one) for one in duplicate_problems(directory.readings, owners)] == [
        "a.yaml: web is declared in b.yaml already"
    ]


def test_a_restarted_control_goes_on_with_the_last_good_version_of_a_file_that_is_bad_now(tmp_path: Path) -> None:
    before = Manifests(tmp_path)
    (tmp_path / "a.yaml").write_text(text("a"))
    before.rescan(0)
    (tmp_path / "a.yaml").write_text("a: [")
    restarted = Manifests(tmp_path)
    for file, instances in before.instances.items():
        restarted.seed(file, instances)
    assert restarted.names() == ["a"]


def test_a_file_deleted_while_control_was_away_is_withdrawn(tmp_path: Path) -> None:
    before = Manifests(tmp_path)
    (tmp_path / "a.yaml").write_text(text("a"))
    before.rescan(0)
    (tmp_path / "a.yaml").unlink()
    restarted = Manifests(tmp_path)
    restarted.seed("a.yaml", before.instances["a.yaml"])
    restarted.rescan(0)
    assert restarted.names(1) == []


@pytest.mark.parametrize(
    "odd", ["annotations: {2024-01-01: x}", "annotations: &a {b: *a}", "annotations: {!!binary aGk=: x}"]
)
def test_a_file_of_which_nobody_has_thought_costs_itself_alone(tmp_path: Path, odd: str) -> None:
    good = "apiVersion: virtualip.dev/v1alpha1\nkind: VirtualIP\nmetadata: {name: NAME}\n"
    good += "spec: {addresses: [192.0.2.1/32], vrid: 51, interface: eth0}\n"
    for name in ("a", "z"):
        (tmp_path / f"{name}.yaml").write_text(good.replace("NAME", name))
    (tmp_path / "odd.yaml").write_text(good.replace("{name: NAME}", f"{{name: odd, {odd}}}"))
    directory = SourceDirectory(tmp_path, (".yaml",), interpret_manifest, "server1")
    assert directory.rescan(0.0)
    assert directory.instances.keys() == {"a.yaml", "z.yaml"}
    (problem,) = directory.problems
    assert problem.where == "odd.yaml"
