"""Which VirtualIPs this node runs, and from where: desired files (the API's) and manifests (the node's own). Pure.

A manifest stays in charge of its name until the VirtualIP from the API is the same on the wire; the hand-over between
the two then moves nothing. This holds at every moment and not only once, so that a restarted agent decides as the one
before it did.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from virtualip_agent.control.instance import Instance
from virtualip_agent.control.interpret import Problem
from virtualip_api.claims import claims

_IDENTITY_WORDS: Final = {
    "vrid": "vrid",
    "version": "version",
    "transport": "transport",
    "addresses": "addresses",
    "advert_interval": "advertInterval",
    "password": "authentication",
}


@dataclass(frozen=True, slots=True)
class Selection:
    """What is to run."""

    instances: Mapping[str, Instance]
    conflicts: Mapping[str, str]
    """By name: why the VirtualIP from the API does not take over its manifest yet."""
    problems: tuple[Problem, ...]
    """What was refused, and because of which other."""


def select(
    desired: Mapping[str, Instance], manifests: Mapping[str, Instance], running: Mapping[str, Instance]
) -> Selection:
    """Chooses between the sources, then refuses what cannot run beside the others on this node."""
    chosen: dict[str, Instance] = {}
    conflicts: dict[str, str] = {}
    for name in sorted(desired.keys() | manifests.keys()):
        if name in desired and name in manifests:
            difference = wire_difference(desired[name], manifests[name])
            if difference:
                conflicts[name] = f"the manifest stays: the VirtualIP differs in {', '.join(difference)}"
            chosen[name] = manifests[name] if difference else desired[name]
        else:
            chosen[name] = desired[name] if name in desired else manifests[name]
    instances, problems = _without_clashes(chosen, running)
    return Selection(instances, conflicts, problems)


def wire_difference(one: Instance, other: Instance) -> tuple[str, ...]:
    """The fields of the wire identity in which two differ, in the words of the spec."""
    mine, theirs = one.wire_identity, other.wire_identity
    return tuple(word for field, word in _IDENTITY_WORDS.items() if getattr(mine, field) != getattr(theirs, field))


def _without_clashes(
    chosen: Mapping[str, Instance], running: Mapping[str, Instance]
) -> tuple[dict[str, Instance], tuple[Problem, ...]]:
    taken: dict[object, str] = {}
    accepted: dict[str, Instance] = {}
    problems: list[Problem] = []

    def clash(instance: Instance) -> str:
        return next((f"{word} is {taken[key]}'s" for key, word in claims(instance.spec).items() if key in taken), "")

    for name in _by_seniority(chosen, running):
        instance = chosen[name]
        reason = clash(instance)
        if reason:
            going_on = running.get(name)
            if going_on is None or clash(going_on):
                problems.append(Problem(name, f"refused: {reason} on this node", name))
                continue
            problems.append(Problem(name, f"change refused: {reason} on this node; what ran before goes on", name))
            instance = going_on
        accepted[name] = instance
        taken |= dict.fromkeys(claims(instance.spec), name)
    return dict(sorted(accepted.items())), tuple(problems)


def _by_seniority(chosen: Mapping[str, Instance], running: Mapping[str, Instance]) -> Iterable[str]:
    """First what runs with the same claims, then what runs and changed, then what is new; each by name."""

    def rank(name: str) -> tuple[int, str]:
        if name not in running:
            return 2, name
        return int(claims(running[name].spec).keys() != claims(chosen[name].spec).keys()), name

    return sorted(chosen, key=rank)
