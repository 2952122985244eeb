"""What `kubectl vip` makes of what the API has."""

from pathlib import Path
from typing import Any

import pytest

from kubectl_vip import move, text
from kubectl_vip.kubectl import Kubectl, KubectlFailed
from kubectl_vip.picture import Picture, read
from virtualip_api.status import format_time

NOW = 1_795_000_000.0


def node(name: str, state: str, priority: int, **more: Any) -> dict[str, Any]:
    return {"node": name, "state": state, "priority": priority} | more


def picture(*nodes: dict[str, Any], members: tuple[str, ...] = ("server1", "server2"), **status: Any) -> Picture:
    conditions = [
        {"type": kind, "status": "True", "reason": reason, "message": ""}
        for kind, reason in (("Accepted", "Planned"), ("Ready", "Master"), ("TrackersHealthy", "Healthy"))
    ]
    resource = {
        "metadata": {"name": "web"},
        "spec": {"addresses": ["192.168.122.200/24"], "vrid": 51, "version": 2, "advertInterval": "1s"},
        "status": {"nodes": list(nodes), "conditions": conditions} | status,
    }
    return read(resource, {"items": [{"spec": {"node": member}} for member in members]})


MASTER = node(
    "server2", "MASTER", 250, reason="HigherPriority", message="240 + httpd 10", interface="eth0",
    lastTransitionTime=format_time(NOW - 300),
    trackers=[{"name": "httpd", "healthy": True, "contribution": 10, "lastTransitionTime": format_time(NOW - 90000)}],
)  # fmt: skip
BACKUP = node(
    "server1", "BACKUP", 244, reason="LowerPriority", lastTransitionTime=format_time(NOW - 90),
    trackers=[{"name": "httpd", "healthy": False, "message": "0 processes, 1 wanted"}],
)  # fmt: skip


def test_why_tells_it_all() -> None:
    moves = [{"from": "server1", "to": "server2", "time": "T", "reason": "HigherPriority", "takeover": "26ms"}]
    told = text.why(picture(BACKUP, MASTER, master="server2", lastMove="server1 -> server2: x", lastMoves=moves), NOW)
    assert told.splitlines() == [
        "web  192.168.122.200/24  VRRPv2, VRID 51, every 1s",
        "server2 has it on eth0, for 5m, with priority 250 (server1 -> server2: x)",
        "",
        "NODE     STATE   PRIORITY  FOR  REASON          MESSAGE",
        "server2  MASTER  250       5m   HigherPriority  240 + httpd 10",
        "server1  BACKUP  244       90s  LowerPriority",
        "",
        "TRACKER  NODE     HEALTH   ADDS  FOR  MESSAGE",
        "httpd    server1  failing  0     -    0 processes, 1 wanted",
        "httpd    server2  healthy  +10   25h",
        "",
        "MOVED  FROM     TO       REASON          TAKEOVER",
        "T      server1  server2  HigherPriority  26ms",
    ]


def test_a_silent_node_is_not_believed_and_one_that_said_nothing_is_named() -> None:
    found = picture(MASTER, members=("server2", "server3"), master="", silentNodes=["server2"])
    told = text.why(found, NOW).splitlines()
    assert told[1] == "nobody has it"
    assert [line.split()[:2] for line in told[4:6]] == [["server2", "MASTER?"], ["server3", "?"]]
    assert not any(line.startswith("httpd") for line in told)
    assert list(found.remarks()) == [
        "server3 is to take part and has said nothing",
        "server2 is silent: its agent has not renewed its Lease, and what it said is not believed",
    ]


def test_a_family_that_is_otherwise_than_both_together_is_told() -> None:
    families = [{"family": "IPv4", "state": "MASTER"}, {"family": "IPv6", "state": "BACKUP"}]
    assert "; IPv4 MASTER" in text.why(picture(BACKUP | {"families": families, "message": "244"}), NOW)


def test_what_is_as_it_should_be_needs_no_remark() -> None:
    assert list(picture(MASTER, BACKUP, master="server2").remarks()) == []


@pytest.mark.parametrize(
    ("condition", "remarked"),
    [
        (("Ready", "False", "NoMaster", "why"), True),
        (("SingleMaster", "Unknown", "NodesSilent", "why"), True),
        (("Accepted", "True", "PrioritySaturated", "why"), True),
        (("Accepted", "True", "Planned", "moved to server2"), False),
    ],
)
def test_conditions_that_are_not_true_and_warnings_are_remarks(
    condition: tuple[str, str, str, str], remarked: bool
) -> None:
    kind, status, reason, message = condition
    one = {"type": kind, "status": status, "reason": reason, "message": message}
    found = list(picture(MASTER, BACKUP, conditions=[one]).remarks())
    assert found == ([f"{kind} {status} {reason}: {message}"] if remarked else [])


def test_without_an_operator_that_is_said() -> None:
    assert "no operator has looked at it" in picture(MASTER, BACKUP, conditions=[]).remarks()


def accepted(reason: str, message: str) -> list[dict[str, str]]:
    return [{"type": "Accepted", "status": "True", "reason": reason, "message": message}]


@pytest.mark.parametrize(
    ("master", "message", "made"),
    [
        ("server2", "2 nodes take part; moved to server2 until 2026-11-18T12:06:40Z", True),
        ("server1", "2 nodes take part; moved to server2 until 2026-11-18T12:06:40Z", False),
        ("server2", "2 nodes take part", False),
        ("server2", "2 nodes take part; moved to server2 until 2020-01-01T00:00:00Z", False),
    ],
    ids=["made", "not there yet", "there by chance", "an earlier one"],
)
def test_a_move_is_made_when_the_node_has_it_and_keeps_it(master: str, message: str, made: bool) -> None:
    planned = move.lasting("server2", NOW, 3600)
    assert planned.end == "2026-11-18T12:06:40Z"
    assert move.is_made(picture(master=master, conditions=accepted("Planned", message)), planned) is made


@pytest.mark.parametrize("seconds", [0.4, 1.0])
def test_a_move_ends_no_earlier_than_asked(seconds: float) -> None:
    assert move.lasting("server2", NOW + 0.3, seconds).end > move.lasting("server2", NOW, 0).end


def test_why_a_move_is_not_made_is_told_of_this_one_alone() -> None:
    message = "metadata.annotations[virtualip.dev/move-to]: nowhere takes no part"
    found = picture(conditions=accepted("PrioritySaturated,MoveNotMade", message))
    assert move.refusal(found, move.lasting("nowhere", NOW, 60)) == message
    assert move.refusal(found, move.lasting("server2", NOW, 60)) == ""
    assert move.refusal(picture(conditions=[]), move.lasting("nowhere", NOW, 60)) == ""


def test_the_histories_of_all_nodes_are_one_story() -> None:
    told = text.history(
        [
            (
                "server2",
                {
                    "time": "t2",
                    "name": "web",
                    "from": "BACKUP",
                    "to": "MASTER",
                    "priority": 250,
                    "reason": "MasterDown",
                },
            ),
            ("server1", {"time": "t1", "name": "web", "from": "", "to": "MASTER", "priority": 244, "takeover": "1ms"}),
            (
                "server1",
                {
                    "time": "t3",
                    "name": "web",
                    "to": "seen",
                    "kind": "Stranger",
                    "address": "02:00",
                    "message": "answers",
                },
            ),
        ]
    )
    assert told.splitlines() == [
        "TIME  NODE     FROM    TO      PRIORITY  TAKEOVER  REASON      MESSAGE",
        "t1    server1  -       MASTER  244       1ms       -",
        "t2    server2  BACKUP  MASTER  250       -         MasterDown",
        "t3    server1  -       seen    -         -         Stranger    02:00 answers",
    ]


def test_of_what_kubectl_complains_its_log_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it does where nothing answers."""
    program = tmp_path / "kubectl"
    program.write_text(
        "#!/bin/sh\necho 'E1127 15:59:37.743966   26084 memcache.go:265] no' >&2\necho refused >&2\nexit 1\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(KubectlFailed, match=r"^refused$"):
        Kubectl().get("nodes")
