"""What the API has of a VirtualIP, as far as `kubectl vip` shows it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from virtualip_api.status import NodeEntry, State, entry_from_json

_AS_PLANNED = "Planned"


@dataclass(frozen=True, slots=True)
class Picture:
    """A VirtualIP and its members."""

    name: str
    spec: Mapping[str, Any]
    status: Mapping[str, Any]
    entries: tuple[NodeEntry, ...]
    """What each node says of itself: the MASTER first, then by priority."""
    members: frozenset[str]
    """The nodes that are planned to take part."""

    @property
    def silent(self) -> frozenset[str]:
        """Nodes that are not believed."""
        return frozenset(self.status.get("silentNodes", ()))

    @property
    def unheard(self) -> list[str]:
        """Members that have said nothing yet."""
        return sorted(self.members - {entry.node for entry in self.entries})

    def master(self) -> NodeEntry | None:
        """The entry of the node that has it, by the operator's judgement."""
        name = self.status.get("master", "")
        return next((entry for entry in self.entries if entry.node == name), None)

    def condition(self, kind: str) -> Mapping[str, str]:
        """One of them; of one that is not there yet nothing is known."""
        nothing = {"type": kind, "status": "Unknown", "reason": "", "message": ""}
        return next((one for one in self.status.get("conditions", ()) if one["type"] == kind), nothing)

    def remarks(self) -> Iterator[str]:
        """What is not as it should be: conditions, and what nodes say that no condition repeats."""
        conditions = self.status.get("conditions", ())
        if not conditions:
            yield "no operator has looked at it"
        for condition in conditions:
            warned = condition["type"] == "Accepted" and condition.get("reason") != _AS_PLANNED
            if condition["status"] != "True" or warned:
                yield f"{condition['type']} {condition['status']} {condition['reason']}: {condition['message']}"
        for node in self.unheard:
            yield f"{node} is to take part and has said nothing"
        for entry in self.entries:
            if entry.node in self.silent:
                yield f"{entry.node} is silent: its agent has not renewed its Lease, and what it said is not believed"
            if entry.notify_failure:
                yield f"{entry.node}: notify {entry.notify_failure}"


def read(virtual_ip: Mapping[str, Any], members: Mapping[str, Any]) -> Picture:
    """From the object, and the list of its VirtualIPMembers."""
    status = virtual_ip.get("status", {})
    entries = [entry_from_json(entry) for entry in status.get("nodes", ())]
    return Picture(
        name=virtual_ip["metadata"]["name"],
        spec=virtual_ip["spec"],
        status=status,
        entries=tuple(
            sorted(entries, key=lambda entry: (entry.state is not State.MASTER, -entry.priority, entry.node))
        ),
        members=frozenset(member["spec"]["node"] for member in members["items"]),
    )
