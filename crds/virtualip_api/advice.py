"""What is allowed and probably not meant: each piece of advice names the fields that do not go together. Pure."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from virtualip_api.trackers import FileTracker, HttpTracker, TcpTracker, Tracker
from virtualip_api.virtual_ip import OWNER_PRIORITY, VirtualIPSpec

HIGHEST_PRIORITY = 254
_API_SERVER_PORT = 6443
"""kubeadm's; Kubernetes has no port of its own for it."""


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing that is followed, and that a user wants to know of."""

    reason: str
    """One word, as in a condition's reason."""
    text: str
    """The fields, and what becomes of them."""

    def __str__(self) -> str:
        return f"{self.reason}: {self.text}"


def advice(spec: VirtualIPSpec, bases: Collection[int]) -> tuple[Advice, ...]:
    """For a spec, and the base priorities of those who take part as far as they are known."""
    return (*_of_weights(spec, bases), *_of_circles(spec))


def _of_weights(spec: VirtualIPSpec, bases: Collection[int]) -> Iterator[Advice]:
    weighted = [(index, tracker) for index, tracker in enumerate(spec.trackers) if tracker.weight]
    if not weighted:
        return
    first = f"spec.trackers[{weighted[0][0]}].weight"
    if not spec.preempt:
        yield Advice(
            "WeightWithoutPreemption",
            f"spec.preempt and {first}: with preempt: false no priority is preempted, so that a weight never moves the "
            "addresses; a failure that is to move them needs weight 0",
        )
    owners = [index for index, entry in enumerate(spec.node_priorities) if entry.priority == OWNER_PRIORITY]
    if owners:
        yield Advice(
            "WeightOnOwner",
            f"spec.nodePriorities[{owners[0]}].priority and {first}: the address owner's 255 never changes, so that a "
            "weight has no effect there",
        )
    ordinary = sorted({base for base in bases if base != OWNER_PRIORITY})
    if ordinary:
        yield from _saturated(ordinary[-1], weighted)
    if len(ordinary) > 1 and spec.preempt:
        yield from _too_small(ordinary, weighted)


def _saturated(base: int, weighted: list[tuple[int, Tracker]]) -> Iterator[Advice]:
    # what a file contributes is its content's to say
    gain = sum(max(tracker.weight, 0) for _, tracker in weighted if not isinstance(tracker.check, FileTracker))
    if base + gain > HIGHEST_PRIORITY:
        fields = ", ".join(f"spec.trackers[{index}].weight" for index, tracker in weighted if tracker.weight > 0)
        yield Advice(
            "PrioritySaturated",
            f"spec.priority, spec.nodePriorities and {fields}: {base} and {gain} are more than {HIGHEST_PRIORITY}, "
            "where it is cut off: a failure may lower it by less than its weight, or not at all",
        )


def _too_small(bases: list[int], weighted: list[tuple[int, Tracker]]) -> Iterator[Advice]:
    gap = bases[-1] - bases[-2]
    for index, tracker in weighted:
        if not isinstance(tracker.check, FileTracker) and abs(tracker.weight) <= gap:
            yield Advice(
                "WeightTooSmall",
                f"spec.trackers[{index}].weight and spec.nodePriorities: {abs(tracker.weight)} does not bridge the "
                f"{gap} between the members' priorities, so that this failure alone moves nothing",
            )


def _of_circles(spec: VirtualIPSpec) -> Iterator[Advice]:
    """Trackers whose failure is FAULT, and which fail because nobody holds the addresses."""
    for index, tracker in enumerate(spec.trackers):
        if tracker.weight or tracker.reverse:
            continue
        match tracker.check:
            case HttpTracker(url=url):
                parts = urlsplit(url)
                field, host = f"spec.trackers[{index}].http.url", parts.hostname or ""
                port = parts.port or (443 if parts.scheme == "https" else 80)
            case TcpTracker(host=host, port=port):
                field = f"spec.trackers[{index}].tcp.host"
            case _:
                continue
        if _is_virtual(host, spec):
            yield Advice(
                "TrackerAsksItself",
                f"{field}: {host} is the VirtualIP's own address, which answers on the node that holds it; with weight "
                "0 none ever will: give it a weight, or ask the node itself",
            )
        elif port == _API_SERVER_PORT and _is_loopback(host):
            yield Advice(
                "ApiTrackerWeightZero",
                f"{field} and spec.trackers[{index}].weight: with weight 0 no node holds the addresses while no API "
                "server is ready, as at a cluster's first start, where it is waited for through them; a weight such "
                "as -60 prefers a node whose API server is ready, and goes on without",
            )


def _is_virtual(host: str, spec: VirtualIPSpec) -> bool:
    try:
        return ip_address(host) in {address.ip for address in spec.addresses}
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
