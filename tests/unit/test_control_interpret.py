"""What a file declares, and what is said of a wrong one."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from virtualip_agent.control.instance import Instance, Source
from virtualip_agent.control.interpret import Reading, interpret_desired, interpret_manifest
from virtualip_agent.desired_file import encode


def document(name: str = "web", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "virtualip.dev/v1alpha1",
        "kind": "VirtualIP",
        "metadata": {"name": name},
        "spec": {"addresses": ["192.168.122.200/24"], "vrid": 51, "version": 2} | spec,
    }


def manifest(*documents: object, file: str = "a.yaml", previous: Mapping[str, Instance] | None = None) -> Reading:
    return interpret_manifest(file, yaml.safe_dump_all(documents).encode(), previous or {}, "server1")


def messages(reading: Reading) -> list[str]:
    return [str(problem) for problem in reading.problems]


def member(**more: Any) -> dict[str, Any]:
    return {
        "virtualIP": "web",
        "node": "server1",
        "revision": 1,
        "generation": 3,
        "basePriority": 244,
        "rank": 1,
        "draining": True,
        "members": [
            {"node": "server1", "addresses": ["192.168.122.101"]},
            {"node": "server2", "addresses": ["192.168.122.102"]},
        ],
        "spec": document()["spec"],
    } | more


def desired(password: bytes | None = None, file: str = "web.json", **more: Any) -> Reading:
    return interpret_desired(file, encode("web", member(**more), password), {}, "server1")


# ---- desired files


def test_a_desired_file_is_the_plan_for_this_node() -> None:
    web = desired().instances["web"]
    assert (web.source, web.base_priority, web.rank, web.draining, web.generation) == (
        Source.DESIRED,
        244,
        1,
        True,
        3,
    )
    assert web.members == ("192.168.122.102",)
    assert not web.alone


def test_a_plan_without_other_members_says_that_this_node_is_alone() -> None:
    assert desired(members=[{"node": "server1", "addresses": []}]).instances["web"].alone


def test_a_plan_for_another_node_is_refused() -> None:
    reading = desired(node="server2")
    assert messages(reading) == ["web.json: member.node: 'server2' is another node; this is 'server1'"]
    assert reading.bad == {"web"}


def test_a_password_file_is_refused_in_a_virtual_ip_from_the_api() -> None:
    spec = document(authentication={"type": "PASS", "passwordFile": "/etc/shadow"})["spec"]
    assert "member.spec.authentication.passwordFile: is for static manifests only" in messages(desired(spec=spec))[0]


def test_a_secret_that_is_not_there_yet_is_waited_for() -> None:
    spec = document(authentication={"type": "PASS", "secretKeyRef": {"name": "web-vrrp", "key": "password"}})["spec"]
    assert "the password is not known yet" in messages(desired(spec=spec))[0]
    assert desired(b"12345", spec=spec).instances["web"].password == b"12345"
    assert "is longer than 8 bytes" in messages(desired(b"123456789", spec=spec))[0]


def test_a_field_of_a_newer_operator_is_named_and_the_last_good_plan_goes_on() -> None:
    good = desired()
    content = encode("web", member(spec=document(quantum=True)["spec"]), None)
    reading = interpret_desired("web.json", content, good.instances, "server1")
    assert reading.instances == good.instances
    assert messages(reading) == ["web.json: member.spec.quantum: unknown field"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"format": 2}', b"\xff\xfe", b'{"format": 1, "name": "web"}'])
def test_a_file_that_is_no_plan_changes_nothing(content: bytes) -> None:
    good = desired()
    reading = interpret_desired("web.json", content, good.instances, "server1")
    assert reading.instances == good.instances
    assert len(reading.problems) == 1


def test_a_plan_under_another_name_than_its_files_is_refused() -> None:
    assert messages(desired(file="api.json")) == [
        "api.json: holds 'web'; the file's name must be that of its VirtualIP"
    ]


# ---- manifests


def test_a_manifest_is_a_virtual_ip_as_one_would_apply_it_and_several_fit_in_a_file() -> None:
    reading = manifest(document("web"), document("api", vrid=52, addresses=["192.168.122.201/32"]))
    assert list(reading.instances) == ["web", "api"]
    assert reading.instances["web"].source is Source.MANIFEST
    assert not reading.instances["web"].alone
    assert not reading.problems


def test_json_will_do_as_well() -> None:
    reading = interpret_manifest("a.json", json.dumps(document()).encode(), {}, "server1")
    assert list(reading.instances) == ["web"]


def test_the_base_priority_is_that_of_the_node() -> None:
    priorities = [{"nodeName": "server2", "priority": 240}, {"nodeName": "server1", "priority": 244}]
    assert manifest(document(nodePriorities=priorities)).instances["web"].base_priority == 244
    assert manifest(document(priority=77)).instances["web"].base_priority == 77


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"nodeSelector": {"matchLabels": {"edge": "true"}}}, "spec.nodeSelector"),
        (
            {"nodePriorities": [{"nodeSelector": {"matchLabels": {"edge": "true"}}, "priority": 1}]},
            "spec.nodePriorities[0].nodeSelector",
        ),
        (
            {"authentication": {"type": "PASS", "secretKeyRef": {"name": "n", "key": "k"}}},
            "spec.authentication.secretKeyRef",
        ),
        (
            {"trackers": [{"name": "ingress", "podReady": {"namespace": "ingress", "selector": {}}}]},
            "spec.trackers[0].podReady",
        ),
    ],
)
def test_what_only_the_api_can_answer_is_refused_by_name(spec: dict[str, Any], field: str) -> None:
    assert messages(manifest(document(**spec))) == [
        f"a.yaml: {field}: needs the API, which a static manifest does without"
    ]


def test_a_wrong_document_does_not_touch_the_others_and_its_last_good_version_goes_on() -> None:
    good = manifest(document("web"), document("api", vrid=52))
    reading = manifest(document("web", vrid=0), document("api", vrid=53), previous=good.instances)
    assert reading.instances["web"] == good.instances["web"]
    assert reading.instances["api"].spec.vrid == 53
    assert messages(reading) == ["a.yaml (document 1): spec.vrid: 0 is not within 1..255"]


def test_a_document_whose_name_was_damaged_withdraws_nothing() -> None:
    good = manifest(document("web"), document("api", vrid=52))
    nameless = document("web")
    del nameless["metadata"]
    reading = manifest(nameless, document("api", vrid=52), previous=good.instances)
    assert reading.instances == good.instances


def test_a_document_taken_out_is_gone() -> None:
    good = manifest(document("web"), document("api", vrid=52))
    assert list(manifest(document("api", vrid=52), previous=good.instances).instances) == ["api"]


@pytest.mark.parametrize("content", [b"", b"---\n", b"a: [", b"\x00", b"just text", b"{" * 5000, b"- a\n- b\n"])
def test_a_file_without_sense_withdraws_nothing_and_is_reported_in_one_line(content: bytes) -> None:
    good = manifest(document("web"))
    reading = interpret_manifest("a.yaml", content, good.instances, "server1")
    assert reading.instances == good.instances
    assert reading.problems
    assert all("\n" not in message for message in messages(reading))


def test_the_same_name_twice_in_a_file_counts_once() -> None:
    reading = manifest(document("web"), document("web", vrid=52))
    assert reading.instances["web"].spec.vrid == 51
    assert messages(reading) == ["a.yaml (document 2): web is there twice; the first counts"]


# ---- a manifest's password


def with_password(path: Path) -> Reading:
    return manifest(document(authentication={"type": "PASS", "passwordFile": str(path)}))


def test_a_password_is_read_from_its_file_without_the_last_newline(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_bytes(b"12345\n")
    reading = with_password(path)
    assert reading.instances["web"].password == b"12345"
    assert reading.depends_on_others
    assert "12345" not in repr(reading)


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"", "holds 0 bytes"), (b"\n", "holds 0 bytes"), (b"123456789\n", "holds 9 bytes"), (b"x" * 99, "is larger")],
)
def test_a_password_of_the_wrong_length_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "password"
    path.write_bytes(content)
    assert problem in messages(with_password(path))[0]


def test_a_password_file_that_is_none_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    real, link, fifo = tmp_path / "real", tmp_path / "link", tmp_path / "fifo"
    real.write_bytes(b"12345")
    link.symlink_to(real)
    os.mkfifo(fifo)
    assert "Too many levels of symbolic links" in messages(with_password(link))[0]
    assert "is not a regular file" in messages(with_password(fifo))[0]
    assert "is not a regular file" in messages(with_password(tmp_path))[0]
    assert "is not there" in messages(with_password(tmp_path / "none"))[0]


NODES = [
    {"nodeName": "server1", "addresses": ["192.168.122.101"]},
    {"nodeName": "server2", "addresses": ["192.168.122.102"]},
]


@pytest.mark.parametrize("field", [{"transport": "Unicast"}, {"strictPeers": True}])
@pytest.mark.parametrize("known", [NODES[:1], NODES[1:], []], ids=["no-other", "not-this-one", "nobody"])
def test_who_is_heard_by_name_alone_must_be_named_and_name_others(field: dict[str, Any], known: list[Any]) -> None:
    """Else it hears nobody, and is MASTER beside another."""
    reading = manifest(document(nodeAddresses=known, **field))
    assert [message.split(":")[1] for message in messages(reading)] == [" spec.nodeAddresses"]
    assert reading.bad == {"web"}


def test_a_manifests_peers_are_the_other_nodes_it_names() -> None:
    (web,) = manifest(document(transport="Unicast", nodeAddresses=NODES)).instances.values()
    assert (web.members, web.own_addresses, web.named_addresses) == (
        ("192.168.122.102",),
        ("192.168.122.101",),
        ("192.168.122.101",),
    )


def test_a_plans_own_addresses_are_known_apart_from_the_others() -> None:
    peers = [{"node": f"server{n}", "addresses": [f"192.0.2.{n}", f"2001:db8::{n}"]} for n in (1, 2)]
    reading = interpret_desired("web.json", encode("web", member(members=peers), None), {}, "server1")
    (web,) = reading.instances.values()
    assert (web.members, web.own_addresses) == (("192.0.2.2", "2001:db8::2"), ("192.0.2.1", "2001:db8::1"))
    assert web.named_addresses == ()
