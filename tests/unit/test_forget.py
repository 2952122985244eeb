"""`virtualip-agent forget`: what the API does not know any more is ended by hand, and nothing else."""

from pathlib import Path

import pytest

from virtualip_agent.forget import Refused, forget, unknown_to_the_api
from virtualip_agent.reporter.memory import KnownMember, Memory, save


@pytest.fixture
def desired(tmp_path: Path) -> Path:
    """web is in the API, old was before its CRDs were made anew, older is of a reporter whose memory is lost."""
    for name in ("web", "old", "older"):
        (tmp_path / f"{name}.json").write_text("{}")
    members = {"web": KnownMember("uid-1", "", trusted=True), "old": KnownMember("uid-2", "", trusted=False)}
    save(tmp_path, Memory(members=members))
    return tmp_path


def test_what_the_api_does_not_know_is_listed(desired: Path) -> None:
    assert unknown_to_the_api(desired) == ("old", "older")


def test_it_is_forgotten(desired: Path) -> None:
    forget(desired, "old")
    assert unknown_to_the_api(desired) == ("older",)


@pytest.mark.parametrize(
    ("name", "why"),
    [("web", "delete the VirtualIP there"), ("../x", "there is no"), ("nobody", "there are old, older")],
)
def test_what_the_api_knows_or_is_not_there_is_not(desired: Path, name: str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        forget(desired, name)
    assert (desired / "web.json").exists()
