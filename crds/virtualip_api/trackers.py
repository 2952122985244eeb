"""Trackers as a user declares them. Each kind is one dataclass and one line in `_KINDS`."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address

from virtualip_api.capabilities import SCRIPT_CAPABILITIES
from virtualip_api.command import NOBODY, bound, check_path, parse_command, parse_user
from virtualip_api.duration import MILLISECOND, MINUTE, SECOND
from virtualip_api.fields import Fields
from virtualip_api.names import is_interface_name
from virtualip_api.selector import LabelSelector, parse_selector

LOWEST_WEIGHT, HIGHEST_WEIGHT = -254, 254
MOST_TRACKERS = 32
SHORTEST_INTERVAL = 100 * MILLISECOND
MOST_IN_A_ROW = 100

# As the CRD has them: no part of a request can hold a space or a line break.
_PORT = "[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
_URL = re.compile(rf"https?://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?)(:({_PORT}))?(/[!-\"$-~]*)?")
_HOST_HEADER = re.compile(r"[-A-Za-z0-9.:\[\]]+")
_SERVER_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?")
_HOST = re.compile(r"[A-Za-z0-9:][-A-Za-z0-9.:%]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_STATUS = re.compile(r"[1-5][0-9]{2}(-[1-5][0-9]{2})?")


@dataclass(frozen=True, slots=True)
class ProcessTracker:
    """Healthy while between `quorum` and `quorum_max` processes match (keepalived.conf(5), vrrp_track_process)."""

    name: str
    """The command's name: comm, of which the kernel keeps 15 characters; with `full_command` argv[0] as it was run."""
    full_command: bool = False
    arguments: tuple[str, ...] = ()
    """Where given, the arguments after argv[0] must match too, by `arguments_match`."""
    arguments_match: str = "Exact"
    """Exact: the whole list; Partial: the process may have more; Initial: and the last be the beginning of its own."""
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


@dataclass(frozen=True, slots=True)
class HttpTracker:
    """Healthy while a URL answers with one of these statuses. Redirects are not followed."""

    url: str
    interval: int = SECOND
    timeout: int = 2 * SECOND
    """For the whole try, resolution and TLS included. Above a second: one lost SYN is made up for."""
    rise: int = 1
    fall: int = 3
    status: tuple[tuple[int, int], ...] = ((200, 299),)
    """Ranges, both ends included."""
    ca_file: str = ""
    """Instead of the system's authorities."""
    insecure_skip_verify: bool = False
    host: str = ""
    """The Host header, where it is not the URL's."""
    server_name: str = ""
    """The name for TLS (SNI, and what the certificate must be for), where it is not the URL's."""


@dataclass(frozen=True, slots=True)
class TcpTracker:
    """Healthy while a port takes connections."""

    host: str
    """An address or a name."""
    port: int
    interval: int = SECOND
    timeout: int = 2 * SECOND
    rise: int = 1
    fall: int = 3


@dataclass(frozen=True, slots=True)
class ScriptTracker:
    """Healthy while a script exits with 0 (keepalived.conf(5), vrrp_script; its defaults)."""

    command: tuple[str, ...]
    """The executable and its arguments; no shell."""
    interval: int = SECOND
    timeout: int = SECOND
    """Then its process group is sent SIGTERM, and a second later whatever is left SIGKILL; it counts as a failure."""
    rise: int = 1
    fall: int = 1
    user: str = NOBODY
    capabilities: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    """The whole environment, but for PATH, VIRTUALIP_NAME and VIRTUALIP_TRACKER."""
    init_fail: bool = False
    """Failed before the first result; else the instance waits for it."""


@dataclass(frozen=True, slots=True)
class PodReadyTracker:
    """Healthy while enough pods of a namespace on this node are Ready. Needs the API: refused in static manifests."""

    namespace: str
    selector: LabelSelector
    quorum: int = 1
    hold_for: int = 24 * 60 * MINUTE
    """Nanoseconds for which the last value counts while the API cannot be asked; then it is a failure."""


TrackerKind = (
    ProcessTracker | FileTracker | InterfaceTracker | HttpTracker | TcpTracker | ScriptTracker | PodReadyTracker
)


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
        arguments_match=fields.choice("argumentsMatch", ("Exact", "Partial", "Initial"), "Exact"),
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
    check_path(fields, "path", path)
    return FileTracker(path=path, on_missing=fields.choice("onMissing", ("Zero", "Fail"), "Zero"))


def _parse_interface(fields: Fields) -> InterfaceTracker:
    name = fields.text("name", longest=15)
    if name and not is_interface_name(name):
        fields.error("name", f"{name!r} is not an interface's name")
    return InterfaceTracker(name)


def _url(fields: Fields) -> str:
    url = _matching(fields, "url", _URL, "an http or https URL without user, fragment or spaces", 2048)
    bracketed = url.partition("[")[2].partition("]")[0] if url else ""
    if bracketed:
        try:
            IPv6Address(bracketed)
        except ValueError:
            fields.error("url", f"[{bracketed}] is not an IPv6 address")
    return url


def _parse_http(fields: Fields) -> HttpTracker:
    http = HttpTracker(
        url=_url(fields),
        interval=fields.duration("interval", SHORTEST_INTERVAL, 60 * MINUTE, SECOND),
        timeout=fields.duration("timeout", SHORTEST_INTERVAL, MINUTE, 2 * SECOND),
        rise=fields.integer("rise", 1, MOST_IN_A_ROW, 1),
        fall=fields.integer("fall", 1, MOST_IN_A_ROW, 3),
        status=_parse_statuses(fields),
        ca_file=fields.text("caFile", None, longest=4096),
        insecure_skip_verify=fields.boolean("insecureSkipVerify", False),
        host=_matching(fields, "host", _HOST_HEADER, "a Host header", required=False),
        server_name=_matching(fields, "serverName", _SERVER_NAME, "a server's name", required=False),
    )
    check_path(fields, "caFile", http.ca_file)
    return http


def _parse_statuses(fields: Fields) -> tuple[tuple[int, int], ...]:
    if not fields.has("status"):
        fields.ignore("status")
        return HttpTracker("").status
    found = []
    for index, text in enumerate(fields.texts("status", 16, required=True)):
        low, _, high = text.partition("-")
        if not _STATUS.fullmatch(text) or int(high or low) < int(low):
            fields.error(f"status[{index}]", f"{text!r} is not a status or a range such as 200-299")
        else:
            found.append((int(low), int(high or low)))
    return tuple(found)


def _parse_script(fields: Fields) -> ScriptTracker:
    command = parse_command(fields)
    capabilities = fields.texts("capabilities", len(SCRIPT_CAPABILITIES))
    for index, capability in enumerate(capabilities):
        if capability not in SCRIPT_CAPABILITIES:
            fields.error(f"capabilities[{index}]", f"{capability!r} is not one of {', '.join(SCRIPT_CAPABILITIES)}")
    env = fields.string_map("env")
    if len(env) > 32:
        fields.error("env", f"has {len(env)} variables; 32 are allowed")
    bound(fields, "env", env.values())
    for name in env:
        if not _VARIABLE.fullmatch(name) or name in ("VIRTUALIP_NAME", "VIRTUALIP_TRACKER"):
            fields.error("env", f"{name!r} is not a variable's name, or one that is given")
    return ScriptTracker(
        command=command,
        interval=fields.duration("interval", SHORTEST_INTERVAL, 60 * MINUTE, SECOND),
        timeout=fields.duration("timeout", SHORTEST_INTERVAL, 60 * MINUTE, SECOND),
        rise=fields.integer("rise", 1, MOST_IN_A_ROW, 1),
        fall=fields.integer("fall", 1, MOST_IN_A_ROW, 1),
        user=parse_user(fields),
        capabilities=capabilities,
        env=tuple(sorted(env.items())),
        init_fail=fields.boolean("initFail", False),
    )


def _parse_pod_ready(fields: Fields) -> PodReadyTracker:
    selector = fields.child("selector")
    if selector is None:
        fields.error("selector", "is required")
    return PodReadyTracker(
        namespace=_matching(fields, "namespace", _NAMESPACE, "a namespace's name", 63),
        selector=parse_selector(selector) if selector else LabelSelector(),
        quorum=fields.integer("quorum", 1, 1024, 1),
        hold_for=fields.duration("holdFor", 30 * SECOND, 168 * 60 * MINUTE, 24 * 60 * MINUTE),
    )


def _parse_tcp(fields: Fields) -> TcpTracker:
    return TcpTracker(
        host=_matching(fields, "host", _HOST, "an address or a name"),
        port=fields.integer("port", 1, 65535),
        interval=fields.duration("interval", SHORTEST_INTERVAL, 60 * MINUTE, SECOND),
        timeout=fields.duration("timeout", SHORTEST_INTERVAL, MINUTE, 2 * SECOND),
        rise=fields.integer("rise", 1, MOST_IN_A_ROW, 1),
        fall=fields.integer("fall", 1, MOST_IN_A_ROW, 3),
    )


def _matching(
    fields: Fields, name: str, pattern: re.Pattern[str], what: str, longest: int = 253, *, required: bool = True
) -> str:
    text = fields.text(name, longest=longest) if required else fields.text(name, None, longest=longest)
    if text and not pattern.fullmatch(text):
        fields.error(name, f"{text!r} is not {what}")
    return text


_KINDS: dict[str, tuple[Callable[[Fields], TrackerKind], int]] = {
    # kind: (parser, default weight)
    "process": (_parse_process, 0),
    "file": (_parse_file, 1),
    "interface": (_parse_interface, 0),
    "http": (_parse_http, 0),
    "tcp": (_parse_tcp, 0),
    "script": (_parse_script, 0),
    "podReady": (_parse_pod_ready, 0),
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
