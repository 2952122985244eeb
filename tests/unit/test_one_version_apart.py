"""While an update is under way the processes of a node, and operator and agents, are one version apart."""

import json
from typing import Any

import msgspec
import pytest

from virtualip_agent import ipc
from virtualip_agent.desired_file import decode, encode
from virtualip_api.errors import InvalidResource
from virtualip_api.member import parse_member_spec
from virtualip_api.status import NodeEntry, State, entry_from_json, entry_to_json
from virtualip_operator.aggregation import entries_from_status

MEMBER: dict[str, Any] = {
    "virtualIP": "web", "node": "server1", "revision": 7, "generation": 2, "basePriority": 244, "rank": 0,
    "members": [{"node": "server1", "addresses": ["192.168.122.101"]}],
    "spec": {"addresses": ["192.168.122.200/32"], "vrid": 51},
}  # fmt: skip
CONFIG = ipc.RouterConfig("web", 51, 3, "eth0", ("192.168.122.200/32",), 244, 1_000_000_000)
TO_VRRP = [
    ipc.Hello(pid=7), ipc.SetRouter(CONFIG), ipc.SetContributions("web", {"httpd": ipc.Contribution(10)}),
    ipc.RemoveRouter("web"), ipc.Complete(("web",)), ipc.GetStatistics(),
]  # fmt: skip
FROM_VRRP = [
    ipc.Hello(pid=7, scheduling="SCHED_RR 50"), ipc.RouterState("web", "MASTER", 244, "NoMaster", "244", 1.0),
    ipc.RouterGone("web"), ipc.Statistics({"web": {"sent": 1}}, {}),
]  # fmt: skip
NEWS = {"fromTheFuture": {"at": [1, 2]}}


def told(value: Any) -> Any:
    """A message or a part of it as it goes over the socket."""
    return msgspec.to_builtins(value, builtin_types=(bytes,))


def of_a_newer(message: msgspec.Struct) -> dict[str, Any]:
    """The same with a field more in the message and in a router's configuration."""
    fields: dict[str, Any] = told(message)
    return {key: value | NEWS if key == "config" else value for key, value in fields.items()} | NEWS


def of_an_older(message: msgspec.Struct) -> dict[str, Any]:
    """The same without whatever has its default."""
    fields = {field.encode_name: getattr(message, field.name) for field in _without_defaults(message)}
    shown = {key: of_an_older(value) if isinstance(value, ipc.RouterConfig) else value for key, value in fields.items()}
    tag = {key: value for key, value in told(message).items() if key == "type"}
    return tag | {key: told(value) for key, value in shown.items()}


def _without_defaults(message: msgspec.Struct) -> list[Any]:
    fields = msgspec.structs.fields(message)
    return [field for field in fields if field.required or getattr(message, field.name) != field.default]


@pytest.mark.parametrize("message", TO_VRRP, ids=lambda message: type(message).__name__)
def test_vrrp_passes_over_the_fields_of_a_newer_control_and_has_defaults_for_an_older_ones(
    message: ipc.ToVrrp,
) -> None:
    assert ipc.decode_to_vrrp(msgspec.msgpack.encode(of_a_newer(message))) == message
    assert ipc.decode_to_vrrp(msgspec.msgpack.encode(of_an_older(message))) == message


@pytest.mark.parametrize("message", FROM_VRRP, ids=lambda message: type(message).__name__)
def test_control_passes_over_the_fields_of_a_newer_vrrp_and_has_defaults_for_an_older_ones(
    message: ipc.FromVrrp,
) -> None:
    assert ipc.decode_from_vrrp(msgspec.msgpack.encode(of_a_newer(message))) == message
    assert ipc.decode_from_vrrp(msgspec.msgpack.encode(of_an_older(message))) == message


def test_a_router_needs_no_more_than_it_always_did() -> None:
    """A required field more, and a control of the version before could start no router any more."""
    assert {field.encode_name for field in msgspec.structs.fields(CONFIG) if field.required} == {
        "name", "vrid", "version", "interface", "addresses", "base_priority", "advert_interval",
    }  # fmt: skip


def test_a_contribution_of_a_newer_control_has_more_to_it() -> None:
    packet = msgspec.msgpack.encode({
        "type": "contributions", "name": "web", "contributions": {"httpd": [10, False, True, "since noon"]},
    })  # fmt: skip
    assert ipc.decode_to_vrrp(packet) == ipc.SetContributions("web", {"httpd": ipc.Contribution(10)})


def test_a_message_of_another_kind_is_an_error_that_both_ends_pass_over() -> None:
    packet = msgspec.msgpack.encode({"type": "pause", "name": "web"})
    for read in (ipc.decode_to_vrrp, ipc.decode_from_vrrp):
        with pytest.raises(msgspec.DecodeError):
            read(packet)


def test_control_reads_the_desired_file_of_a_newer_reporter_and_of_an_older_one() -> None:
    document = json.loads(encode("web", MEMBER, None))
    assert decode(json.dumps(document | NEWS).encode()) == decode(json.dumps(document).encode())
    assert decode(json.dumps(document).encode()).password is None


def test_a_plan_with_a_field_that_is_not_known_is_not_followed_by_halves() -> None:
    """The reporter says UnsupportedField and leaves the last file; the agent of the next version understands it."""
    for newer in (MEMBER | NEWS, MEMBER | {"spec": MEMBER["spec"] | NEWS}):
        with pytest.raises(InvalidResource, match="fromTheFuture: unknown field"):
            parse_member_spec(newer)
        with pytest.raises(InvalidResource, match="fromTheFuture: unknown field"):
            decode(encode("web", newer, None))


def test_a_plan_of_an_older_operator_has_all_that_is_needed() -> None:
    assert parse_member_spec(MEMBER).draining is False
    assert "draining" not in MEMBER


def test_the_operator_believes_a_newer_agent_as_far_as_it_understands_it() -> None:
    entry = NodeEntry("server1", State.MASTER, 244)
    status = {"nodes": [entry_to_json(entry) | NEWS, {"node": "server2", "state": "SLEEPING", "priority": 1}]}
    assert entries_from_status(status) == {"server1": entry}
    assert entry_from_json({"node": "server1", "state": "MASTER", "priority": 244}) == entry
