"""What is known of the cluster: VirtualIPs, Members and Nodes, from watches, complete lists and answers to own writes.

Not kopf's index: what is deleted while a watch is broken stays in it for ever (kopf lists again, and tells of no
absence), and a Node that is long gone would take part in every plan.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from virtualip_api.errors import InvalidResource
from virtualip_api.names import VIRTUAL_IP_LABEL
from virtualip_api.virtual_ip import VirtualIPSpec, parse_spec
from virtualip_operator.claims import Ask, Claim, ask_of, running_claims
from virtualip_operator.draining import part_of
from virtualip_operator.planning import Node, node_from_json

Json = Mapping[str, Any]
T = TypeVar("T")


class Cache(Generic[T]):
    """Objects of one kind by name, as `read` takes them; the newest resourceVersion wins, whoever brought it."""

    def __init__(self, read: Callable[[Json], T]) -> None:
        self._read = read
        self._objects: dict[str, tuple[int, T]] = {}
        self._gone: dict[str, int] = {}
        """Names that were deleted since the last list, which may be older than that."""
        self.saw_older = False
        """Since the last list, something older than what is known was seen: late news, or a restored database."""

    def get(self, name: str) -> T | None:
        """The object, or None."""
        found = self._objects.get(name)
        return found[1] if found else None

    def items(self) -> dict[str, T]:
        """All of them by name."""
        return {name: value for name, (_, value) in self._objects.items()}

    def put(self, body: Json) -> bool:
        """Takes an object; whether it is other than the one known."""
        name, version = _identity(body)
        known = self._objects.get(name)
        if version <= self._gone.get(name, 0) or (known and version < known[0]):
            self.saw_older = True
            return False
        value = self._read(body)
        self._objects[name] = (version, value)
        return known is None or known[1] != value

    def remove(self, body: Json) -> bool:
        """Takes a deletion; whether the object was known."""
        name, version = _identity(body)
        self._gone[name] = max(version, self._gone.get(name, 0))
        known = self._objects.get(name)
        if known is None or known[0] > version:
            return False
        del self._objects[name]
        return True

    def newest(self) -> int:
        """The highest resourceVersion that was seen."""
        return max([*(version for version, _ in self._objects.values()), *self._gone.values(), 0])

    def replace(self, bodies: Iterable[Json], version: int, floor: int) -> None:
        """Takes a complete list of that resourceVersion. What is newer than the list is kept, but for a list that is
        older than what was the newest before it was asked for (`floor`): then the database is another, restored one.
        So it is where the list is newer than an object that is known, and has an older one of it."""
        if version < floor:
            self._objects.clear()
            self._gone.clear()
        # What was seen of a restored database while it was listed was taken for late news, and is not in the list.
        self.saw_older = self.saw_older and version < floor
        self._gone = {name: gone for name, gone in self._gone.items() if gone > version}
        listed = set()
        for body in bodies:
            name, listed_version = _identity(body)
            listed.add(name)
            known_version = self._objects[name][0] if name in self._objects else 0
            if listed_version < known_version <= version:
                del self._objects[name]
            self.put(body)
        for name, (known, _) in list(self._objects.items()):
            if name not in listed and known <= version:
                del self._objects[name]


def _identity(body: Json) -> tuple[str, int]:
    metadata = body["metadata"]
    return metadata["name"], int(metadata.get("resourceVersion") or 0)


def _as_it_is(body: Json) -> Json:
    return body


@dataclass(frozen=True, slots=True)
class Newest:
    """The newest resourceVersion that is known of each kind."""

    virtual_ips: int
    members: int
    nodes: int


class Store:
    """The three caches behind one lock; every change says which VirtualIPs it is news for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._virtual_ips: Cache[Json] = Cache(_as_it_is)
        self._members: Cache[Json] = Cache(_as_it_is)
        self._nodes: Cache[Node] = Cache(node_from_json)
        self._specs: dict[str, tuple[Json, VirtualIPSpec | InvalidResource, Ask | None]] = {}
        """By VirtualIP the spec read last: as it was written, as it was understood, what it takes of a segment."""
        self._owned: dict[str, dict[str, Json]] = {}
        """`_members` by their VirtualIPs."""
        self._claims: dict[str, tuple[Claim, ...]] = {}
        """Of those that did not change since they were asked for."""

    def saw_virtual_ip(self, body: Json, deleted: bool = False) -> set[str]:
        """A VirtualIP from a watch or an answer."""
        with self._lock:
            changed = self._virtual_ips.remove(body) if deleted else self._virtual_ips.put(body)
        return {body["metadata"]["name"]} if changed else set()

    def saw_member(self, body: Json, deleted: bool = False) -> set[str]:
        """A VirtualIPMember from a watch or an answer."""
        with self._lock:
            changed = self._members.remove(body) if deleted else self._members.put(body)
            if changed:
                self._claims.pop(_owner(body), None)
                owned = self._owned.setdefault(_owner(body), {})
                if deleted:
                    owned.pop(body["metadata"]["name"], None)
                else:
                    owned[body["metadata"]["name"]] = body
        return {_owner(body)} if changed else set()

    def saw_node(self, body: Json, deleted: bool = False) -> set[str]:
        """A Node from a watch. Most of its updates are heartbeats and news for nobody, other labels for few."""
        name = body["metadata"]["name"]
        with self._lock:
            before = self._nodes.get(name)
            if not (self._nodes.remove(body) if deleted else self._nodes.put(body)):
                return set()
            after = self._nodes.get(name)
            return self._touched_by(name, before, after)

    def _touched_by(self, node: str, before: Node | None, after: Node | None) -> set[str]:
        return {
            vip
            for vip, body in self._virtual_ips.items().items()
            if self._touches(vip, before, after) or (after is None and _tells(body, node))
        }

    def _touches(self, virtual_ip: str, before: Node | None, after: Node | None) -> bool:
        spec = self._spec(virtual_ip)
        return isinstance(spec, VirtualIPSpec) and part_of(spec, before) != part_of(spec, after)

    def newest(self) -> Newest:
        """What a list that is asked for from now on cannot be older than."""
        with self._lock:
            return Newest(self._virtual_ips.newest(), self._members.newest(), self._nodes.newest())

    @property
    def saw_older(self) -> bool:
        """Whether complete lists should be made soon."""
        with self._lock:
            return self._virtual_ips.saw_older or self._members.saw_older or self._nodes.saw_older

    def listed(self, virtual_ips: Json, members: Json, nodes: Json, newest: Newest) -> None:
        """Complete lists of all three, and what was the newest before they were asked for."""
        with self._lock:
            self._virtual_ips.replace(virtual_ips["items"], _list_version(virtual_ips), newest.virtual_ips)
            self._members.replace(members["items"], _list_version(members), newest.members)
            self._owned.clear()
            self._claims.clear()
            for name, body in self._members.items().items():
                self._owned.setdefault(_owner(body), {})[name] = body
            self._nodes.replace(nodes["items"], _list_version(nodes), newest.nodes)

    def listed_nodes(self, nodes: Json, newest: Newest) -> set[str]:
        """A complete list of Nodes, and what was the newest before it was asked for; for whom it is news."""
        with self._lock:
            before = self._nodes.items()
            self._nodes.replace(nodes["items"], _list_version(nodes), newest.nodes)
            after = self._nodes.items()
            pairs = {name: (before.get(name), after.get(name)) for name in before.keys() | after.keys()}
            return set[str]().union(
                *(self._touched_by(name, *pair) for name, pair in pairs.items() if pair[0] != pair[1])
            )

    def virtual_ip(self, name: str) -> Json | None:
        """A VirtualIP, or None."""
        with self._lock:
            return self._virtual_ips.get(name)

    def spec(self, name: str) -> VirtualIPSpec | InvalidResource | None:
        """A VirtualIP's spec, or what is wrong with it; None where there is no such VirtualIP."""
        with self._lock:
            return self._spec(name)

    def ask(self, name: str) -> Ask | None:
        """What a VirtualIP's spec takes of a segment; None where it cannot be followed, or is not there."""
        with self._lock:
            self._spec(name)
            return self._specs[name][2] if name in self._specs else None

    def _spec(self, name: str) -> VirtualIPSpec | InvalidResource | None:
        body = self._virtual_ips.get(name)
        if body is None:
            self._specs.pop(name, None)
            return None
        written = body.get("spec") or {}
        known = self._specs.get(name)
        if known is None or known[0] != written:
            try:
                spec = parse_spec(written)
                known = written, spec, ask_of(spec)
            except InvalidResource as error:
                known = written, error, None
            self._specs[name] = known
        return known[1]

    def virtual_ips(self) -> dict[str, Json]:
        """All VirtualIPs by name."""
        with self._lock:
            return self._virtual_ips.items()

    def names(self) -> set[str]:
        """All VirtualIPs, and those that are gone while Members of theirs are left."""
        with self._lock:
            return {*self._virtual_ips.items(), *(owner for owner, bodies in self._owned.items() if bodies)}

    def members_of(self, virtual_ip: str) -> dict[str, Json]:
        """The Members of a VirtualIP by their own names."""
        with self._lock:
            return dict(self._owned.get(virtual_ip, {}))

    def claims_of(self, virtual_ip: str) -> tuple[Claim, ...]:
        """What a VirtualIP's Members take of a segment; also of one that is gone, while nodes still have them."""
        with self._lock:
            return self._claims_of(virtual_ip)

    def claims(self) -> dict[str, tuple[Claim, ...]]:
        """The same of all."""
        with self._lock:
            return {owner: self._claims_of(owner) for owner, bodies in self._owned.items() if bodies}

    def _claims_of(self, virtual_ip: str) -> tuple[Claim, ...]:
        found = self._claims.get(virtual_ip)
        if found is None:
            bodies = self._owned.get(virtual_ip, {}).values()
            found = self._claims[virtual_ip] = running_claims(body["spec"] for body in bodies)
        return found

    def nodes(self) -> list[Node]:
        """All Nodes."""
        with self._lock:
            return list(self._nodes.items().values())


def _owner(body: Json) -> str:
    return str(body["spec"].get("virtualIP") or (body["metadata"].get("labels") or {}).get(VIRTUAL_IP_LABEL, ""))


def _tells(virtual_ip: Json, node: str) -> bool:
    """Whether the node has an entry in the status."""
    return any(entry.get("node") == node for entry in (virtual_ip.get("status") or {}).get("nodes") or ())


def _list_version(body: Json) -> int:
    return int((body.get("metadata") or {}).get("resourceVersion") or 0)
