"""From a plan to VirtualIPMembers: what has to be written, and nothing where nothing changed."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from virtualip_api.member import Peer, member_spec
from virtualip_api.names import (
    API_VERSION,
    MEMBER_KIND,
    NODE_LABEL,
    VIRTUAL_IP_KIND,
    VIRTUAL_IP_LABEL,
    WITHDRAWN_ANNOTATION,
    label_value,
    member_name,
)
from virtualip_operator.planning import Plan, PlannedMember

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Changes:
    """Bodies to create and to replace, and existing ones to delete."""

    create: tuple[dict[str, Any], ...] = ()
    replace: tuple[dict[str, Any], ...] = ()
    delete: tuple[Json, ...] = ()
    heir: bool = True
    """Somebody is there to take over from those whose Members are deleted."""


def nodes_of(existing: Mapping[str, Json]) -> frozenset[str]:
    """The nodes that these Members are for."""
    return frozenset(body["spec"]["node"] for body in existing.values())


def diff(virtual_ip: Json, plan: Plan, existing: Mapping[str, Json], now: float, *, heir: bool = True) -> Changes:
    """What turns the existing Members (by name) into those of the plan. `now`: seconds since the epoch."""
    create, replace = [], []
    wanted = {body["metadata"]["name"]: body for body in _bodies(virtual_ip, plan)}
    for name, body in wanted.items():
        found = existing.get(name)
        if found is None:
            body["spec"]["revision"] = _revision(now, 0)
            create.append(body)
        elif not _same(found, body):
            body["spec"]["revision"] = _revision(now, _revised(found))
            metadata = {**found["metadata"], **body["metadata"]}
            metadata["labels"] = {**(found["metadata"].get("labels") or {}), **body["metadata"]["labels"]}
            metadata["annotations"] = {**_annotations(found)}
            metadata["annotations"].pop(WITHDRAWN_ANNOTATION, None)
            replace.append({**body, "metadata": metadata})
    delete = tuple(body for name, body in existing.items() if name not in wanted)
    return Changes(tuple(create), tuple(replace), delete, heir)


def withdrawn(found: Json) -> dict[str, Any]:
    """The Member with the mark that its node takes no part any more."""
    annotations = {**_annotations(found), WITHDRAWN_ANNOTATION: "true"}
    return {**found, "metadata": {**found["metadata"], "annotations": annotations}}


def is_withdrawn(found: Json) -> bool:
    """Whether it has that mark."""
    return WITHDRAWN_ANNOTATION in _annotations(found)


def _annotations(found: Json) -> Json:
    return found["metadata"].get("annotations") or {}


def as_it_stands(existing: Iterable[Json], draining: Collection[str], nodes: Collection[str]) -> Plan:
    """The plan that Members were made from, as far as it is in them; of those on one of the `nodes` who drains is told
    anew."""
    members = [
        PlannedMember(
            node=spec["node"],
            base_priority=spec["basePriority"],
            rank=spec["rank"],
            draining=spec["node"] in draining if spec["node"] in nodes else bool(spec.get("draining")),
        )
        for spec in (body["spec"] for body in existing)
    ]
    return Plan(tuple(sorted(members, key=lambda member: (-member.base_priority, member.node))), ())


def redrained(existing: Mapping[str, Json], plan: Plan, master: str | None, now: float) -> tuple[dict[str, Any], ...]:
    """Bodies in which those drain that drain by the plan, and nothing else is another than in the existing ones."""
    found = {body["spec"]["node"]: body for body in existing.values()}
    return tuple(
        {**body, "spec": {**body["spec"], "draining": member.draining, "revision": _revision(now, _revised(body))}}
        for member in _in_the_order_of_writing(plan.members, master)
        if bool((body := found[member.node])["spec"].get("draining")) != member.draining
    )


def _revised(body: Json) -> int:
    return int(body["spec"].get("revision", 0))


def _revision(now: float, old: int) -> int:
    # Milliseconds: it rises beyond what agents have seen also when every Member was lost and is made anew.
    return max(int(now * 1000), old + 1)


def _same(found: Json, wanted: Json) -> bool:
    spec = {key: value for key, value in found["spec"].items() if key != "revision"}
    metadata, wanted_metadata = found["metadata"], wanted["metadata"]
    return bool(
        spec == wanted["spec"]
        and not is_withdrawn(found)
        and metadata.get("ownerReferences") == wanted_metadata["ownerReferences"]
        and (metadata.get("labels") or {}).items() >= wanted_metadata["labels"].items()
    )


def _as_it_knows(peer: Peer, member: PlannedMember) -> Peer:
    return replace(peer, addresses=member.known) if peer.node == member.node and member.known is not None else peer


def _bodies(virtual_ip: Json, plan: Plan) -> list[dict[str, Any]]:
    metadata = virtual_ip["metadata"]
    # The garbage collector removes the Members of a deleted VirtualIP too, also while no operator runs.
    owner = {
        "apiVersion": API_VERSION,
        "kind": VIRTUAL_IP_KIND,
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": False,
    }
    return [
        {
            "apiVersion": API_VERSION,
            "kind": MEMBER_KIND,
            "metadata": {
                "name": member_name(metadata["name"], member.node),
                "labels": {
                    NODE_LABEL: label_value(member.node),
                    VIRTUAL_IP_LABEL: label_value(metadata["name"]),
                },
                "ownerReferences": [owner],
            },
            "spec": member_spec(
                virtual_ip=metadata["name"],
                node=member.node,
                generation=metadata.get("generation", 0),
                base_priority=member.base_priority,
                rank=member.rank,
                draining=member.draining,
                peers=tuple(_as_it_knows(peer, member) for peer in plan.peers),
                unknown_to=member.unknown_to,
                spec=virtual_ip["spec"],
            ),
        }
        for member in _in_the_order_of_writing(plan.members, (virtual_ip.get("status") or {}).get("master"))
    ]


def _in_the_order_of_writing(members: tuple[PlannedMember, ...], master: str | None) -> list[PlannedMember]:
    """So that the addresses move once: who may take them first, the best of them foremost, and of those that drain the
    MASTER last, when no other that is to drain would still take them."""
    taking = [member for member in members if not member.draining]
    draining = [member for member in reversed(members) if member.draining]
    return taking + sorted(draining, key=lambda member: member.node == master)


def orphans(existing: Mapping[str, Json], look: Callable[[], Json | None]) -> list[Json]:
    """The Members of a VirtualIP that is not in the API when `look`ed for now; one made anew takes them over.

    The garbage collector finds them as well, but it sees no deletions for minutes where the database has been an older
    one or the API server away, and whoever deletes a VirtualIP waits for its addresses to go. A Member without an owner
    was left on purpose (`kubectl delete --cascade=orphan`)."""
    owned = [body for body in existing.values() if body["metadata"].get("ownerReferences")]
    return owned if owned and look() is None else []
