"""How the house is built, so that it stays so."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
LONGEST_FILE = 400


def python_files(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def test_pythons_own_operator_module_is_the_one_found_from_the_root() -> None:
    subprocess.run([sys.executable, "-c", "import operator; operator.eq"], cwd=ROOT, check=True)


@pytest.mark.parametrize("folder", ["operator", "agent", "crds", "tests", "tests/unit"])
def test_these_folders_are_no_packages(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists()


def test_no_file_is_longer_than_a_person_reads_at_once() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in python_files("agent", "operator", "crds")}
    assert {str(path.relative_to(ROOT)): lines for path, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in python_files("agent", "operator", "crds")
        if path.read_text().strip() and not path.read_text().lstrip().startswith(('"""', "#!"))
    ]
    assert silent == []


def contracts() -> list[dict[str, Any]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found: list[dict[str, Any]] = project["tool"]["importlinter"]["contracts"]
    return found


def test_the_walls_between_the_rooms_hold() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(contracts())} kept, 0 broken" in done.stdout


@pytest.mark.parametrize("module", ["asyncio", "socket", "time", "scapy", "pyroute2"])
def test_the_core_is_sans_io(module: str) -> None:
    core = next(contract for contract in contracts() if "virtualip_agent.vrrp" in contract["source_modules"])
    assert module in core["forbidden_modules"]


def test_the_core_brings_none_of_them_along() -> None:
    script = (
        "import sys, virtualip_agent.vrrp.virtual_router as core;"
        "print(sorted({'asyncio', 'socket', 'select', 'subprocess', 'scapy', 'pyroute2'} & sys.modules.keys()))"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_nothing_but_control_imports_scapy_and_nothing_but_these_kubernetes() -> None:
    def importers(name: str) -> set[str]:
        words = (f"import {name}", f"from {name}")
        return {
            path.relative_to(ROOT).parts[-2] if path.parent.name != "trackers" else "control"
            for path in python_files("agent", "operator", "crds")
            if any(line.strip().startswith(words) for line in path.read_text().splitlines())
        }

    assert importers("scapy") <= {"control"}
    assert importers("kubernetes") <= {"reporter", "virtualip_operator"}


def test_what_workflows_and_docs_tell_to_make_can_be_made() -> None:
    texts = [
        *(ROOT / ".github/workflows").glob("*.yaml"),
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        ROOT / ".ci/run",
    ]
    told: set[str] = set()
    for path in texts:
        # a command begins its line, its code span, or a step of a workflow
        for words in re.findall(r"(?:^|`|run: |\$\()make ((?:[a-z-]+\b(?!=) ?)+)", path.read_text(), re.MULTILINE):
            told.update(words.split())
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"test", "demo", "install-yaml", "chart"} <= told
    assert told - targets == set()
