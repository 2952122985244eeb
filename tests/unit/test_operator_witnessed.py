"""What nodes see on the segment: conditions with the address, and one Event each."""

from dataclasses import replace
from typing import Any

import pytest

from virtualip_api.status import NodeEntry, Observation, ObservationKind, State, entry_from_json, entry_to_json
from virtualip_operator.aggregation import Aggregate, View, aggregate
from virtualip_operator.narrator import happenings

NOW = 1_800_000_000.0
ROGUE = Observation(ObservationKind.STRANGER, "02:00:00:00:00:66", "answers for 192.0.2.10 and is no member")
ROUTER = Observation(ObservationKind.FOREIGN_ROUTER, "192.0.2.9", "advertises VRID 51 for 192.0.2.77 and is no member")
QUIET = NodeEntry("server1", State.MASTER, 244, last_transition_time="2027-01-15T08:00:00.000000Z")


def told(*entries: NodeEntry, before: dict[str, Any] | None = None, silent: tuple[str, ...] = ()) -> Aggregate:
    view = View(
        generation=1,
        addresses=("192.0.2.10/32",),
        refused=None,
        members=("server1", "server2"),
        entries={entry.node: entry for entry in entries},
        silent=frozenset(silent),
        renewed={},
    )
    return aggregate(view, before or {}, NOW)


def seeing(node: str, *observations: Observation) -> NodeEntry:
    state = State.MASTER if node == "server1" else State.BACKUP
    return replace(QUIET, node=node, state=state, observations=observations)


def condition(result: Aggregate, kind: str) -> tuple[str, str, str]:
    (found,) = (one for one in result.status["conditions"] if one["type"] == kind)
    return found["status"], found["reason"], found["message"]


def events(result: Aggregate) -> list[tuple[str, str]]:
    return [(one.reason, one.note) for one in happenings(result) if one.type == "Warning"]


def test_where_nothing_is_seen_vrid_unique_is_true_and_silence_is_unknown() -> None:
    assert condition(told(QUIET), "VRIDUnique")[0] == "True"
    assert condition(told(QUIET, silent=("server1",)), "VRIDUnique")[0] == "Unknown"


def test_a_foreign_router_is_named_with_its_address_and_vrid_and_who_saw_it() -> None:
    result = told(seeing("server1", ROUTER), seeing("server2", ROUTER))
    text = "192.0.2.9 advertises VRID 51 for 192.0.2.77 and is no member (seen by server1, server2)"
    assert condition(result, "VRIDUnique") == ("False", "ForeignRouter", text)
    assert condition(result, "SingleMaster")[0] == "True"
    assert events(result) == [("ForeignRouter", text)]


@pytest.mark.parametrize(("kind", "reason"), [
    (ObservationKind.STRANGER, "Stranger"),
    (ObservationKind.TWO_HOLDERS, "SeveralHolders"),
    (ObservationKind.FILTERED, "AdvertisementsFiltered"),
    (ObservationKind.WRONG_TTL, "WrongTTL"),
])  # fmt: skip
def test_who_answers_beside_the_master_concerns_single_master(kind: ObservationKind, reason: str) -> None:
    result = told(seeing("server2", replace(ROGUE, kind=kind)), QUIET)
    assert condition(result, "SingleMaster")[:2] == ("False", reason)
    assert condition(result, "VRIDUnique")[0] == "True"
    (event,) = events(result)
    assert event[0] == reason
    assert "02:00:00:00:00:66" in event[1]


def test_the_same_is_not_an_event_again_but_another_address_is_and_what_went_and_came_back() -> None:
    first = told(seeing("server1", ROUTER, ROGUE))
    assert [reason for reason, _ in events(first)] == ["ForeignRouter", "Stranger"]
    again = told(seeing("server1", ROUTER, ROGUE), seeing("server2", ROUTER), before=first.status)
    assert events(again) == []
    other = replace(ROUTER, address="2.0.2.9")
    more = told(seeing("server1", ROUTER, ROGUE, other), before=again.status)
    assert [note.partition(" ")[0] for _, note in events(more)] == ["2.0.2.9"]
    over = told(QUIET, before=more.status)
    assert events(over) == []
    assert events(told(seeing("server1", ROGUE), before=over.status)) != []


def test_a_silent_nodes_sight_is_not_believed() -> None:
    assert condition(told(QUIET, seeing("server2", ROGUE), silent=("server2",)), "SingleMaster")[0] == "True"


def test_an_entry_is_read_as_it_was_written_and_kinds_of_a_newer_agent_are_left_out() -> None:
    entry = seeing("server1", ROUTER, ROGUE)
    written = entry_to_json(entry)
    assert entry_from_json(written) == entry
    written["observations"].append({"kind": "SomethingNew", "address": "x"})
    assert entry_from_json(written) == entry
    assert "observations" not in entry_to_json(QUIET)
