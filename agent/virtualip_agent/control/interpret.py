"""From a file's content to the instances it declares. Pure but for a manifest's password file.

What is wrong with one document is said of that document alone, and its last good version goes on: an edit that went
wrong must not take an address away.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from virtualip_agent.control.instance import Instance, from_desired, from_manifest
from virtualip_agent.control.small_file import NotReadable, read_small_file
from virtualip_agent.desired_file import SUFFIX
from virtualip_api.errors import InvalidResource
from virtualip_api.virtual_ip import LONGEST_PASSWORD, VirtualIPSpec

MANIFEST_SUFFIXES = (".yaml", ".yml", ".json")

_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that a user has to look at."""

    where: str
    """The file, or the field in it."""
    message: str
    name: str = ""
    """The VirtualIP, where it is known."""

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


@dataclass(frozen=True, slots=True)
class Reading:
    """What one file says."""

    instances: Mapping[str, Instance] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    bad: frozenset[str] = frozenset()
    """Names declared here whose content is wrong: what vrrp runs under them is not to be withdrawn."""
    depends_on_others: bool = False
    """Other files decide too (a password's): read again even where the content is the same."""


Interpret = Callable[[str, bytes, Mapping[str, Instance], str], Reading]
"""(file name, content, what the file declared before, node) -> what it declares now"""


def interpret_desired(file: str, content: bytes, previous: Mapping[str, Instance], node: str) -> Reading:
    """A file of the reporter: one VirtualIP, named as the file is."""
    name = file.removesuffix(SUFFIX)
    try:
        instance = from_desired(content, node)
    except InvalidResource as error:
        return Reading(previous, _problems(file, error, name), frozenset((name,)))
    if instance.name != name:
        problem = f"holds {instance.name!r}; the file's name must be that of its VirtualIP"
        return Reading(previous, (Problem(file, problem, name),), frozenset((name,)))
    return Reading({name: instance})


def interpret_manifest(file: str, content: bytes, previous: Mapping[str, Instance], node: str) -> Reading:
    """A file of the administrator: VirtualIPs as one would apply them."""
    try:
        documents = _documents(file, content)
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        return _unchanged(previous, Problem(file, _one_line(error)))
    if not documents:
        return _unchanged(previous, Problem(file, "holds no document; delete the file to withdraw its VirtualIPs"))

    instances: dict[str, Instance] = {}
    problems: list[Problem] = []
    bad: set[str] = set()
    depends = False
    for number, document in enumerate(documents, 1):
        where = file if len(documents) == 1 else f"{file} (document {number})"
        name = _name_of(document)
        try:
            instance = from_manifest(document, _password, node)
            depends |= instance.spec.authentication is not None
            if name in instances or name in bad:
                problems.append(Problem(where, f"{name} is there twice; the first counts", name))
            else:
                instances[name] = instance
        except InvalidResource as error:
            problems += _problems(where, error, name)
            bad.add(name)
        except NotReadable as error:
            problems.append(Problem(where, str(error), name))
            bad.add(name)
            depends = True
    if "" in bad:
        # One document cannot be named: it may be any of those that are no longer found.
        bad.remove("")
        bad |= previous.keys() - instances.keys()
    for name in bad & previous.keys():
        instances.setdefault(name, previous[name])
    return Reading(instances, tuple(problems), frozenset(bad), depends)


def _unchanged(previous: Mapping[str, Instance], problem: Problem) -> Reading:
    return Reading(previous, (problem,), frozenset(previous))


def _documents(file: str, content: bytes) -> list[object]:
    if file.endswith(".json"):
        return [json.loads(content)] if content.strip() else []
    return [document for document in yaml.load_all(content, _SafeLoader) if document is not None]


def _name_of(document: object) -> str:
    metadata = document.get("metadata") if isinstance(document, dict) else None
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return name if isinstance(name, str) else ""


def _password(spec: VirtualIPSpec) -> bytes:
    """The PASS password of a manifest. A symlink is refused: a password's path is to say where it really is."""
    if spec.authentication is None or spec.authentication.password_file is None:
        return b""
    path = spec.authentication.password_file
    field = f"spec.authentication.passwordFile: {path}"
    try:
        password = read_small_file(Path(path), 64, follow_symlinks=False)
    except FileNotFoundError:
        raise NotReadable(f"{field} is not there") from None
    except NotReadable as error:
        raise NotReadable(f"{field} {error}") from None
    password = password.removesuffix(b"\n")
    if not password or len(password) > LONGEST_PASSWORD:
        raise NotReadable(f"{field} holds {len(password)} bytes; 1 to {LONGEST_PASSWORD} are wanted")
    return password


def _problems(where: str, error: InvalidResource, name: str) -> tuple[Problem, ...]:
    return tuple(Problem(f"{where}: {one.path}" if one.path else where, one.problem, name) for one in error.errors)


def _one_line(error: Exception) -> str:
    return "cannot be parsed: " + " ".join(str(error).split())
