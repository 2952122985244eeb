"""deploy/sample: one manifest a scenario, each good by the dataclasses; tests/cluster asks the API server the same."""

import os
from pathlib import Path

import pytest
import yaml

from article import SAMPLES, sample_documents
from virtualip_api.virtual_ip import parse_virtual_ip

WITHOUT_TRACKERS = {"s10", "dual-stack", "ipv6", "unicast"}
FILES = sorted(path.stem for path in SAMPLES.glob("*.yaml"))


def test_each_scenario_has_one() -> None:
    assert {f"s{number}" for number in range(1, 11)} <= set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_it_is_good_and_documents_say_so(name: str) -> None:
    (resource,) = (document for document in sample_documents(name) if document["kind"] == "VirtualIP")
    spec = parse_virtual_ip(resource).spec
    assert spec.trackers or name in WITHOUT_TRACKERS
    assert (SAMPLES / f"{name}.yaml").read_text().startswith("# ")


def test_those_of_the_article_differ_in_their_trackers_and_notify_alone() -> None:
    common = []
    for name in FILES:
        if name.startswith("s"):
            secret, resource = sample_documents(name)
            for own in ("trackers", "notify"):
                resource["spec"].pop(own, None)
            common.append(yaml.safe_dump([secret, resource]))
    assert len(set(common)) == 1


def test_each_script_that_is_named_is_there_and_may_run() -> None:
    named = {
        Path(word).name
        for path in SAMPLES.glob("*.yaml")
        for word in path.read_text().replace("[", " ").replace(",", " ").replace("]", " ").split()
        if word.startswith("/etc/virtualip/scripts/")
    }
    there = {path.name for path in (SAMPLES / "scripts").iterdir() if os.access(path, os.X_OK)}
    assert named == there
