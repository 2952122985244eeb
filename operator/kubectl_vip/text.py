"""What `kubectl vip` prints. Pure; `now` is seconds since the epoch."""

from collections.abc import Iterable, Mapping
from typing import Any

from kubectl_vip.picture import Picture
from virtualip_api.status import NodeEntry, parse_time
from virtualip_api.table import columns, history_head, history_row

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def why(picture: Picture, now: float) -> str:
    """Who has it, why, and how every node stands."""
    blocks = [[_head(picture), _holder(picture, now)], _nodes(picture, now)]
    blocks += [_trackers(picture, now), [f"! {remark}" for remark in picture.remarks()], _moves(picture)]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _head(picture: Picture) -> str:
    spec = picture.spec
    version = spec.get("version", 3)
    every = f", every {spec['advertInterval']}" if "advertInterval" in spec else ""
    return f"{picture.name}  {','.join(spec['addresses'])}  VRRPv{version}, VRID {spec['vrid']}{every}"


def _holder(picture: Picture, now: float) -> str:
    master = picture.master()
    if master is None:
        return "nobody has it"
    where = f" on {master.interface}" if master.interface else ""
    since = _age(master.last_transition_time, now)
    moved = picture.status.get("lastMove", "")
    return f"{master.node} has it{where}, for {since}, with priority {master.priority}" + (
        f" ({moved})" if moved else ""
    )


def _nodes(picture: Picture, now: float) -> list[str]:
    rows = [("NODE", "STATE", "PRIORITY", "FOR", "REASON", "MESSAGE")]
    for entry in picture.entries:
        state = f"{entry.state}?" if entry.node in picture.silent else str(entry.state)
        since = _age(entry.last_transition_time, now)
        rows.append((entry.node, state, str(entry.priority), since, entry.reason or "-", _message(entry)))
    rows += [(node, "?", "-", "-", "-", "") for node in picture.unheard]
    return columns(rows) if len(rows) > 1 else []


def _message(entry: NodeEntry) -> str:
    families = [f"{one.family} {one.state}" for one in entry.families if one.state is not entry.state]
    return "; ".join(filter(None, (entry.message, *families)))


def _trackers(picture: Picture, now: float) -> list[str]:
    rows = [("TRACKER", "NODE", "HEALTH", "ADDS", "FOR", "MESSAGE")]
    rows += sorted(
        (
            tracker.name,
            entry.node,
            "healthy" if tracker.healthy else "failing",
            f"{tracker.contribution:+d}" if tracker.contribution else "0",
            _age(tracker.last_transition_time, now),
            tracker.message,
        )
        for entry in picture.entries
        if entry.node not in picture.silent
        for tracker in entry.trackers
    )
    return columns(rows) if len(rows) > 1 else []


def _moves(picture: Picture) -> list[str]:
    moves: list[Mapping[str, str]] = picture.status.get("lastMoves", ())
    rows = [("MOVED", "FROM", "TO", "REASON", "TAKEOVER")]
    rows += [
        (move["time"], move.get("from", "-"), move["to"], move.get("reason", "-"), move.get("takeover", "-"))
        for move in moves
    ]
    return columns(rows) if moves else []


def history(records: Iterable[tuple[str, Mapping[str, Any]]]) -> str:
    """The nodes' own records, (node, record), as one story, newest last."""
    ordered = sorted(records, key=lambda one: (one[1]["time"], one[0]))
    return "\n".join(columns([history_head("NODE"), *(history_row(node, record, "-") for node, record in ordered)]))


def _age(time: str, now: float) -> str:
    """As kubectl tells ages."""
    moment = parse_time(time)
    if not moment:
        return "-"
    seconds = max(0, int(now - moment))
    if seconds < 2 * _MINUTE:
        return f"{seconds}s"
    if seconds < 2 * _HOUR:
        return f"{seconds // _MINUTE}m"
    return f"{seconds // _HOUR}h" if seconds < 2 * _DAY else f"{seconds // _DAY}d"
