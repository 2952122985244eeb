"""What is allowed and probably not meant: each piece of advice names the fields that do not go together. Pure."""

from collections.abc import Collection, Iterator

from virtualip_api.trackers import FileTracker, Tracker
from virtualip_api.virtual_ip import OWNER_PRIORITY, VirtualIPSpec

HIGHEST_PRIORITY = 254


def advice(spec: VirtualIPSpec, bases: Collection[int]) -> tuple[str, ...]:
    """For a spec, and the base priorities of those who take part as far as they are known."""
    return tuple(_advice(spec, bases))


def _advice(spec: VirtualIPSpec, bases: Collection[int]) -> Iterator[str]:
    weighted = [(index, tracker) for index, tracker in enumerate(spec.trackers) if tracker.weight]
    if not weighted:
        return
    first = f"spec.trackers[{weighted[0][0]}].weight"
    if not spec.preempt:
        yield (
            f"spec.preempt and {first}: with preempt: false no priority is preempted, so that a weight never moves the "
            "addresses; a failure that is to move them needs weight 0"
        )
    owners = [index for index, entry in enumerate(spec.node_priorities) if entry.priority == OWNER_PRIORITY]
    if owners:
        yield (
            f"spec.nodePriorities[{owners[0]}].priority and {first}: the address owner's 255 never changes, so that a "
            "weight has no effect there"
        )
    ordinary = sorted({base for base in bases if base != OWNER_PRIORITY})
    if ordinary:
        yield from _saturated(ordinary[-1], weighted)
    if len(ordinary) > 1 and spec.preempt:
        yield from _too_small(ordinary, weighted)


def _saturated(base: int, weighted: list[tuple[int, Tracker]]) -> Iterator[str]:
    # what a file contributes is its content's to say
    gain = sum(max(tracker.weight, 0) for _, tracker in weighted if not isinstance(tracker.check, FileTracker))
    if base + gain > HIGHEST_PRIORITY:
        fields = ", ".join(f"spec.trackers[{index}].weight" for index, tracker in weighted if tracker.weight > 0)
        yield (
            f"spec.priority, spec.nodePriorities and {fields}: {base} and {gain} are more than {HIGHEST_PRIORITY}, "
            "where it is cut off: a failure may lower it by less than its weight, or not at all"
        )


def _too_small(bases: list[int], weighted: list[tuple[int, Tracker]]) -> Iterator[str]:
    gap = bases[-1] - bases[-2]
    for index, tracker in weighted:
        if not isinstance(tracker.check, FileTracker) and abs(tracker.weight) <= gap:
            yield (
                f"spec.trackers[{index}].weight and spec.nodePriorities: {abs(tracker.weight)} does not bridge the "
                f"{gap} between the members' priorities, so that this failure alone moves nothing"
            )
