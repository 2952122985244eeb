"""What was declared and run, kept in the run directory: a control that is restarted beside a bad file goes on with the
last good version of it, trackers included, and knows which of two that clash was first.

Origins are parsed again when read, as any file is: whoever could write here could write desired files as well.
"""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from virtualip_agent.control.instance import Instance, Source, from_origin
from virtualip_agent.control.small_file import NotReadable, read_small_file
from virtualip_agent.control.source_directory import Place
from virtualip_agent.desired_file import write_atomically

log = logging.getLogger(__name__)

_FORMAT = 1
_LARGEST = 16 << 20

Files = Mapping[str, Mapping[str, Instance]]
"""By file, by name."""


@dataclass(frozen=True, slots=True)
class LastGood:
    """All that a control remembers of the one before it."""

    desired: Files = field(default_factory=dict)
    manifests: Files = field(default_factory=dict)
    running: Mapping[str, Instance] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)
    """Of desired files: the directory in which each was. Not of those that an older version has remembered."""


def last_good_path(run: Path) -> Path:
    """Control's own; nobody else reads it."""
    return run / "last-good.json"


def save(path: Path, known: LastGood) -> None:
    """Writes it; a disk that does not take it costs the memory only."""
    document = {
        "format": _FORMAT,
        "desired": {file: [one.origin for one in instances.values()] for file, instances in known.desired.items()},
        "manifests": {file: [one.origin for one in instances.values()] for file, instances in known.manifests.items()},
        "places": known.places,
        "running": [[str(instance.source), instance.origin] for instance in known.running.values()],
    }
    try:
        write_atomically(path, json.dumps(document).encode(), mode=0o600)
    except OSError as error:
        log.warning("the last good state cannot be kept: %s", error)


def load(path: Path, node: str) -> LastGood:
    """What was saved, as far as it can still be understood; nothing where there is nothing."""
    try:
        document: dict[str, Any] = json.loads(read_small_file(path, _LARGEST, follow_symlinks=False))
        if document["format"] != _FORMAT:
            return LastGood()
        return LastGood(
            desired=_files(document["desired"], lambda origin: from_origin(Source.DESIRED, origin, node)),
            manifests=_files(document["manifests"], lambda origin: from_origin(Source.MANIFEST, origin, node)),
            running=_named(document["running"], lambda item: from_origin(Source(item[0]), item[1], node)),
            places={file: (int(device), int(inode)) for file, (device, inode) in document.get("places", {}).items()},
        )
    except FileNotFoundError:
        return LastGood()
    except (NotReadable, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        log.warning("the last good state cannot be read: %r", error)
        return LastGood()


def _files(document: Mapping[str, list[Any]], make: Callable[[Any], Instance]) -> Files:
    return {file: _named(items, make) for file, items in document.items()}


def _named(items: list[Any], make: Callable[[Any], Instance]) -> dict[str, Instance]:
    found: dict[str, Instance] = {}
    for item in items:
        try:
            instance = make(item)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            log.warning("a last good version is of no use any more: %s", error)
            continue
        found[instance.name] = instance
    return found
