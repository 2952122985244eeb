"""Trackers as a user declares them. Each kind is one dataclass and one line in `_KINDS`."""

from collections.abc import Callable
from dataclasses import dataclass

from virtualip_api.duration import MINUTE
from virtualip_api.fields import Fields
from virtualip_api.names import is_interface_name

LOWEST_WEIGHT, HIGHEST_WEIGHT = -254, 254
MOST_TRACKERS = 32


@dataclass(frozen=True, slots=True)
class ProcessTracker:
    """Healthy while between `quorum` and `quorum_max` processes match (keepalived.conf(5), vrrp_track_process)."""

    name: str
    """The command's name: comm, of which the kernel keeps 15 characters; with `full_command` argv[0] as it was run."""
    full_command: bool = False
    arguments: tuple[str, ...] = ()
    """Where given, the arguments after argv[0] must match too, by `arguments_match`."""
    arguments_match: str = "Exact"
    """Exact: the whole list; Initial: the process may have more; Partial: each may be a beginning."""
    quorum: int = 1
    quorum_max: int = 0
    """0: no upper bound."""
    delay: int = 0
    """Nanoseconds a start must last before it counts."""
    terminate_delay: int = 0
    """Nanoseconds an end must last before it counts."""


@dataclass(frozen=True, slots=True)
class FileTracker:
    """Contributes the number in a file times the weight (keepalived.conf(5), vrrp_track_file)."""

    path: str
    on_missing: str = "Zero"
    """Zero: a missing, empty or non-numeric file counts as 0. Fail: it is a failure (FAULT)."""


@dataclass(frozen=True, slots=True)
class InterfaceTracker:
    """Healthy while an interface, and what it is built on, is up and running (keepalived.conf(5), track_interface)."""

    name: str


TrackerKind = ProcessTracker | FileTracker | InterfaceTracker


@dataclass(frozen=True, slots=True)
class Tracker:
    """One tracker of a VirtualIP."""

    name: str
    check: TrackerKind
    weight: int = 0
    """0: a failure is FAULT."""
    reverse: bool = False


def _parse_process(fields: Fields) -> ProcessTracker:
    process = ProcessTracker(
        name=fields.text("name", longest=255),
        full_command=fields.boolean("fullCommand", False),
        arguments=fields.texts("arguments", 32),
        arguments_match=fields.choice("argumentsMatch", ("Exact", "Initial", "Partial"), "Exact"),
        quorum=fields.integer("quorum", 1, 65535, 1),
        quorum_max=fields.integer("quorumMax", 0, 65535, 0),
        delay=fields.duration("delay", 0, 60 * MINUTE, 0),
        terminate_delay=fields.duration("terminateDelay", 0, 60 * MINUTE, 0),
    )
    if process.quorum_max and process.quorum_max < process.quorum:
        fields.error("quorumMax", f"{process.quorum_max} is below quorum, {process.quorum}")
    if fields.has("argumentsMatch") and not fields.has("arguments"):
        fields.error("argumentsMatch", "needs arguments")
    return process


def _parse_file(fields: Fields) -> FileTracker:
    path = fields.text("path", longest=4096)
    if path and (not path.startswith("/") or ".." in path.split("/")):
        fields.error("path", f"{path!r} is not an absolute path without '..'")
    return FileTracker(path=path, on_missing=fields.choice("onMissing", ("Zero", "Fail"), "Zero"))


def _parse_interface(fields: Fields) -> InterfaceTracker:
    name = fields.text("name", longest=15)
    if name and not is_interface_name(name):
        fields.error("name", f"{name!r} is not an interface's name")
    return InterfaceTracker(name)


_KINDS: dict[str, tuple[Callable[[Fields], TrackerKind], int]] = {
    # kind: (parser, default weight)
    "process": (_parse_process, 0),
    "file": (_parse_file, 1),
    "interface": (_parse_interface, 0),
}


def parse_trackers(spec: Fields) -> tuple[Tracker, ...]:
    """`spec.trackers`: names unique, exactly one kind each."""
    trackers: list[Tracker] = []
    for fields in spec.children("trackers", MOST_TRACKERS):
        name = fields.text("name", longest=63)
        if name in (tracker.name for tracker in trackers):
            fields.error("name", f"{name!r} is there twice")
        given = [kind for kind in _KINDS if fields.has(kind)]
        if len(given) != 1:
            fields.error("", f"has {' and '.join(given) or 'none'} of {', '.join(_KINDS)}; exactly one is needed")
        checks = []
        for kind in given:
            parse, default_weight = _KINDS[kind]
            child = fields.child(kind)
            assert child is not None
            checks.append((parse(child), default_weight))
            child.finish()
        default_weight = checks[0][1] if checks else 0
        weight = fields.integer("weight", LOWEST_WEIGHT, HIGHEST_WEIGHT, default_weight)
        reverse = fields.boolean("reverse", False)
        fields.finish()
        if checks:
            trackers.append(Tracker(name=name, check=checks[0][0], weight=weight, reverse=reverse))
    return tuple(trackers)
