"""What `virtualip-agent status` and `history` print. Pure, but for reading the socket."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from virtualip_agent.run_directory import state_socket_path
from virtualip_agent.state_stream import GET_STATISTICS, connect, read_messages
from virtualip_api.table import columns, history_head, history_row


class NoAgent(Exception):
    """Nobody answers in this run directory; the message is for the user."""


@dataclass(slots=True)
class Picture:
    """The node's state as far as it was told."""

    agent: Mapping[str, Any] = field(default_factory=dict)
    vips: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    statistics: Mapping[str, Any] = field(default_factory=dict)
    """vrrp's counters, where they were asked for."""

    def apply(self, message: Mapping[str, Any]) -> bool:
        """Takes one message of the state stream in; True where the picture is whole and worth showing."""
        match message.get("type"):
            case "agent":
                self.agent = message["agent"]
            case "vip":
                self.vips[message["name"]] = message
            case "gone":
                self.vips.pop(message["name"], None)
            case "statistics":
                self.statistics = message
            case "ready":
                return True
            case _:
                pass  # a newer agent's
        return False


def pictures(run: Path, patience: float = 5.0, *, statistics: bool = False) -> Iterator[Picture]:
    """The node's picture, then again after each change. NoAgent where nobody answers.

    statistics: with vrrp's counters, as they were at the beginning."""
    path = state_socket_path(run)
    try:
        client = connect(path)
    except OSError as error:
        raise NoAgent(f"no agent runs here: {path}: {error.strerror}") from None
    with client:
        client.settimeout(patience)
        picture, whole = Picture(), False
        try:
            if statistics:
                client.sendall(GET_STATISTICS)
            for message in read_messages(client):
                whole = picture.apply(message) or whole
                if whole and (picture.statistics or not statistics):
                    client.settimeout(None)
                    yield picture
        except OSError as error:
            if not whole:
                raise NoAgent(f"the agent does not answer: {path}: {error}") from None
        else:
            if not whole or picture.statistics or not statistics:
                raise NoAgent(f"the agent hung up: {path}")
    # a control of an older version says everything but the counters
    yield from pictures(run, patience)


def as_json(picture: Picture) -> dict[str, Any]:
    """The raw entries."""
    return {
        "agent": dict(picture.agent),
        "virtualIPs": [
            {"name": name, "entry": vip["entry"], "detail": vip["detail"]} for name, vip in sorted(picture.vips.items())
        ],
        "statistics": {key: value for key, value in picture.statistics.items() if key != "type"},
    }


def counters_text(picture: Picture) -> str:
    """Every counter of every virtual router, then those of the process and how late its timer was."""
    counted = {
        **picture.statistics.get("routers", {}),
        "(process)": picture.statistics.get("process", {}),
        "(timer late, us below)": picture.statistics.get("lateness", {}),
    }
    rows = [("NAME", "COUNTER", "VALUE")]
    rows += [
        (name, counter, str(value))
        for name, counters in counted.items()
        for counter, value in (counters.items() if name.startswith("(timer") else sorted(counters.items()))
    ]
    return "\n".join(columns(rows))


def status_text(picture: Picture) -> str:
    """The table for people, then trackers, then what is to be looked at."""
    agent = picture.agent
    lines = [f"node {agent.get('node', '?')}, {_agent_words(agent)}", ""]
    rows = [("NAME", "STATE", "PRIORITY", "ADDRESSES HERE", "MASTER", "REASON", "MESSAGE")]
    for name, vip in sorted(picture.vips.items()):
        entry, detail = vip["entry"], vip["detail"]
        rows.append(
            (
                name,
                entry["state"] + (" (stale)" if detail.get("stale") else ""),
                str(entry["priority"]),
                ",".join(detail.get("addresses", ())) or "-",
                detail.get("master", "") or "-",
                entry.get("reason", "") or "-",
                entry.get("message", ""),
            )
        )
        rows += [
            (f"{name}/{one['family']}", one["state"], "", "", "", one.get("reason", "") or "-", one.get("message", ""))
            for one in entry.get("families", ())
        ]
    lines += columns(rows) if len(rows) > 1 else ["no VirtualIP on this node"]
    trackers = [
        (
            name,
            tracker["name"],
            "healthy" if tracker["healthy"] else "failing",
            f"{tracker['contribution']:+d}" if tracker["contribution"] else "0",
            tracker.get("lastTransitionTime", "") or "-",
            tracker.get("message", ""),
        )
        for name, vip in sorted(picture.vips.items())
        for tracker in vip["entry"].get("trackers", ())
    ]
    if trackers:
        lines += ["", *columns([("NAME", "TRACKER", "HEALTH", "ADDS", "SINCE", "MESSAGE"), *trackers])]
    remarks = list(_remarks(picture))
    if remarks:
        lines += ["", *(f"! {remark}" for remark in remarks)]
    return "\n".join(lines)


def _agent_words(agent: Mapping[str, Any]) -> str:
    starts = f"process starts by {agent['processStarts']}" if agent.get("processStarts") else ""
    if not agent.get("ready"):
        words = ["vrrp does not answer"]
    else:
        words = ["active" if agent.get("active") else "standing by", agent.get("scheduling", "")]
    return ", ".join(filter(None, (*words, starts)))


def _remarks(picture: Picture) -> Iterator[str]:
    yield from picture.agent.get("problems", ())
    for other in picture.agent.get("otherRouters", ()):
        yield f"{other['interface']}: VRID {other['vrid']} is used by {other['address']} for {other['addresses']}"
    for name, vip in sorted(picture.vips.items()):
        detail = vip["detail"]
        if detail.get("conflict"):
            yield f"{name}: {detail['conflict']}"
        for member, mismatch in sorted(detail.get("mismatches", {}).items()):
            yield f"{name}: {member} does not agree: {mismatch}"
        for one in vip["entry"].get("observations", ()):
            yield f"{name}: {one['address']} {one['message']}"
        for source, why in sorted(detail.get("foreign", {}).items()):
            yield f"{name}: {source} advertises its VRID and is not heard: it {why}"
        for piece in detail.get("advice", ()):
            yield f"{name}: {piece}"
        if vip["entry"].get("notifyFailure"):
            yield f"{name}: notify {vip['entry']['notifyFailure']}"


def history_text(records: Iterable[Mapping[str, Any]]) -> str:
    """The transitions, and what was seen on the segment, as a table, newest last."""
    rows = [history_head("NAME"), *(history_row(record["name"], record) for record in records)]
    return "\n".join(columns(rows))
