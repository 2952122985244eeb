"""The node's own history."""

import os
from pathlib import Path

import pytest

from virtualip_agent import ipc
from virtualip_agent.control.history import History, previous_path, read_history


def state(to: str, since: float, name: str = "web", takeover: int = -1) -> ipc.RouterState:
    return ipc.RouterState(
        name=name, state=to, priority=254, reason="HigherPriority", message="244 + apache 10", since=since,
        takeover=takeover,
    )  # fmt: skip


def moves(path: Path) -> list[tuple[str, str]]:
    return [(record["from"], record["to"]) for record in read_history(path)]


def test_every_transition_is_a_record_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    history = History(path)
    history.transition(state("BACKUP", 1.0))
    history.transition(state("MASTER", 2.0, takeover=12_000_000))
    assert moves(path) == [("STOP", "BACKUP"), ("BACKUP", "MASTER")]
    last = list(read_history(path))[-1]
    assert last == {
        "time": "1970-01-01T00:00:02.000000Z",
        "name": "web",
        "from": "BACKUP",
        "to": "MASTER",
        "priority": 254,
        "reason": "HigherPriority",
        "message": "244 + apache 10",
        "takeover": "12ms",
    }


def test_a_change_of_priority_is_no_transition(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    history.transition(state("MASTER", 1.0))
    history.transition(state("MASTER", 1.0))
    assert moves(tmp_path / "history.jsonl") == [("STOP", "MASTER")]


def test_a_restarted_control_does_not_note_again_what_it_hears_again(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    History(path).transition(state("MASTER", 1.0))
    again = History(path)
    again.transition(state("MASTER", 1.0))
    again.transition(state("BACKUP", 2.0))
    assert moves(path) == [("STOP", "MASTER"), ("MASTER", "BACKUP")]


def test_a_withdrawal_is_a_transition_too(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    history = History(path)
    history.gone("never-heard-of")
    history.transition(state("MASTER", 1.0))
    history.gone("web")
    history.gone("web")
    history.transition(state("BACKUP", 3.0))
    assert moves(path) == [("STOP", "MASTER"), ("MASTER", "STOP"), ("STOP", "BACKUP")]


def test_it_is_bounded_and_the_older_half_stays_readable(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    history = History(path, largest=2000)
    for number in range(100):
        history.transition(state("MASTER" if number % 2 else "BACKUP", float(number)))
    assert path.stat().st_size + previous_path(path).stat().st_size < 5000
    times = [record["time"] for record in read_history(path)]
    assert times == sorted(times)
    assert len(times) > 10
    assert History(path)._last["web"][0] == "MASTER"


def test_a_line_cut_off_by_a_crash_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    History(path).transition(state("MASTER", 1.0))
    with path.open("a") as file:
        file.write('{"time": "2026-\n[]\n')
    History(path).transition(state("BACKUP", 2.0))
    assert moves(path) == [("STOP", "MASTER"), ("MASTER", "BACKUP")]


def test_a_disk_that_does_not_take_it_costs_the_history_only(tmp_path: Path) -> None:
    history = History(tmp_path / "none" / "history.jsonl")
    history.transition(state("MASTER", 1.0))
    assert moves(tmp_path / "none" / "history.jsonl") == []


def test_what_others_of_the_group_may_have_put_there_is_not_followed(tmp_path: Path) -> None:
    path, victim = tmp_path / "history.jsonl", tmp_path / "victim"
    victim.write_text("precious")
    path.symlink_to(victim)
    History(path).transition(state("MASTER", 1.0))
    assert victim.read_text() == "precious"
    path.unlink()
    os.mkfifo(path)
    History(path).transition(state("MASTER", 1.0))
    assert moves(path) == []


def test_what_is_seen_on_the_segment_is_noted_when_it_begins_and_ends_and_not_again_after_a_restart(
    tmp_path: Path,
) -> None:
    path = tmp_path / "history.jsonl"
    history = History(path)
    history.transition(state("MASTER", 1.0))
    history.observed("web", {("Stranger", "02:00:00:00:00:66"): "answers for 192.0.2.10 and is no member"})
    again = History(path)
    again.transition(state("MASTER", 1.0))
    again.observed("web", {("Stranger", "02:00:00:00:00:66"): "answers for 192.0.2.10 and is no member"})
    again.observed("web", {})
    records = [(record["to"], record.get("kind", ""), record.get("address", "")) for record in read_history(path)]
    assert records == [
        ("MASTER", "", ""),
        ("seen", "Stranger", "02:00:00:00:00:66"),
        ("over", "Stranger", "02:00:00:00:00:66"),
    ]
    assert History(path)._last["web"][0] == "MASTER"


@pytest.mark.parametrize(
    "line",
    [
        '{"name": "a", "to": "seen", "time": "t", "kind": "x", "address": "y"}',
        '{"name": ["a"], "to": "MASTER", "time": "t"}',
        "[" * 100_000,
    ],
    ids=["without a message", "a name that is a list", "nested without end"],
)
def test_a_line_of_which_nobody_has_thought_costs_itself_alone(tmp_path: Path, line: str) -> None:
    path = tmp_path / "history.jsonl"
    known = '{"name": "web", "to": "MASTER", "time": "2026-01-01T00:00:00Z"}'
    path.write_text(f"{line}\n{known}\n")
    assert History(path)._last == {"web": ("MASTER", "2026-01-01T00:00:00Z")}


def test_a_record_that_was_cut_off_costs_itself_and_not_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    History(path).transition(state("BACKUP", 1.0))
    with path.open("a") as file:
        file.write('{"time": "2026-01-01T00:00:00Z", "name": "we')  # the disk was full, or it was killed
    history = History(path)
    history.transition(state("MASTER", 2.0))
    history.transition(state("FAULT", 3.0))
    assert moves(path) == [("STOP", "BACKUP"), ("BACKUP", "MASTER"), ("MASTER", "FAULT")]
    assert "" not in path.read_text().splitlines()
