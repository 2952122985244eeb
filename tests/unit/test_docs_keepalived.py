"""docs/keepalived.md: keepalived takes its blocks, and virtualip_api takes ours."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from segment import Namespace, unavailable
from virtualip_api.virtual_ip import parse_spec, parse_virtual_ip

PAGE = (Path(__file__).parents[2] / "docs/keepalived.md").read_text()
BLOCKS = re.findall(r"^```(keepalived|yaml)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
THEIRS = [text for kind, text in BLOCKS if kind == "keepalived"]
OURS = [text for kind, text in BLOCKS if kind == "yaml"]
RUNS_A_SCRIPT = re.compile(r'^\s*(script|notify\w*) "?/', re.MULTILINE)

needs_keepalived = pytest.mark.skipif(
    not shutil.which("keepalived") or bool(unavailable()), reason=unavailable() or "not installed: keepalived"
)


def first_words(text: str) -> str:
    return " ".join(text.split()[:2])


def test_they_come_in_pairs() -> None:
    assert [kind for kind, _ in BLOCKS] == ["keepalived", "yaml"] * len(OURS)


@needs_keepalived
@pytest.mark.parametrize("text", THEIRS, ids=first_words)
def test_keepalived_takes_its_own(text: str, tmp_path: Path) -> None:
    said, code = config_test(text, tmp_path)
    # 2.2.7 ends itself by SIGTERM where it looks at a script's owner (acassen/keepalived#2587), after it has read all
    allowed = [(0, ""), (-15, "")] if RUNS_A_SCRIPT.search(text) else [(0, "")]
    assert (code, said) in allowed


@needs_keepalived
def test_what_is_wrong_is_noticed(tmp_path: Path) -> None:
    for text in (THEIRS[0].replace("advert_int", "advert_interval"), THEIRS[0].replace("51", "351")):
        assert config_test(text, tmp_path)[0]


def config_test(text: str, directory: Path) -> tuple[str, int]:
    """What `keepalived --config-test` says of it, on a machine with eth0 and ens9."""
    path = directory / "keepalived.conf"
    path.write_text(text)
    node = Namespace("node")
    try:
        for name in ("eth0", "ens9"):
            node.run(f"ip link add {name} type veth peer name {name}far")
        done = subprocess.run(
            node.inside(["keepalived", "--config-test", "--log-console", f"--use-file={path}"]),
            capture_output=True, text=True, timeout=20, check=False, start_new_session=True,
        )  # fmt: skip
    finally:
        node.close()
    return (done.stdout + done.stderr).strip(), done.returncode


@pytest.mark.parametrize("text", OURS, ids=first_words)
def test_ours_is_good(text: str) -> None:
    documents: list[dict[str, Any]] = list(yaml.safe_load_all(text))
    for document in documents:
        if "kind" in document:
            assert parse_virtual_ip(document).name
        else:
            parse_spec({"addresses": ["192.168.122.200/24"], "vrid": 51, **document})
