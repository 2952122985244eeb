"""The two directories of declarations together, and what follows from them: what runs, and what is wrong."""

import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from virtualip_agent.control.inotify import Inotify
from virtualip_agent.control.interpret import MANIFEST_SUFFIXES, interpret_desired, interpret_manifest
from virtualip_agent.control.last_good import LastGood, last_good_path, load, save
from virtualip_agent.control.source_directory import SourceDirectory, declared, duplicate_problems
from virtualip_agent.control.source_watch import SourceWatch
from virtualip_agent.control.sources import Selection, select
from virtualip_agent.desired_file import SUFFIX, write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping

    from virtualip_agent.control.instance import Instance
    from virtualip_agent.control.interpret import Problem

log = logging.getLogger(__name__)

MANIFEST_REMOVAL_GRACE = 1.0
"""Seconds that a manifest, or a document in it, must be gone before its VirtualIP is withdrawn."""


class Declarations:
    """What is declared on this node now. `on_change` is called when that changes what is to be said or run."""

    def __init__(
        self, node: str, desired: Path, manifests: Path, run: Path, inotify: Inotify, on_change: Callable[[], None]
    ) -> None:
        self._node = node
        self._remembered_in = last_good_path(run)
        self._on_change = on_change
        self._desired = SourceDirectory(
            desired, (SUFFIX,), interpret_desired, node, follow_symlinks=False, write_again=_write_again
        )
        self._manifests = SourceDirectory(
            manifests, MANIFEST_SUFFIXES, interpret_manifest, node, removal_grace=MANIFEST_REMOVAL_GRACE
        )
        self._watches = [
            SourceWatch(directory, inotify, self._changed) for directory in (self._desired, self._manifests)
        ]
        self._owners: dict[str, str] = {}
        self._saved = LastGood()
        self.selection = Selection({}, {}, ())
        self.problems: tuple[Problem, ...] = ()

    def start(self) -> None:
        """Begins where the control before us ended, and reads everything once."""
        self._saved = load(self._remembered_in, self._node)
        for file, instances in self._saved.desired.items():
            self._desired.seed(file, instances, self._saved.places.get(file))
        for file, instances in self._saved.manifests.items():
            self._manifests.seed(file, instances)
        self.selection = Selection(self._saved.running, {}, ())
        for watch in self._watches:
            watch.start()
        self._select()

    @property
    def names_not_to_withdraw(self) -> frozenset[str]:
        """More than what is to run, where a file is bad and its last good version is not known to us."""
        readings = (*self._desired.readings.values(), *self._manifests.readings.values())
        return frozenset(self.selection.instances).union(*(reading.bad for reading in readings))

    def _changed(self) -> None:
        self._select()
        self._on_change()

    def _select(self) -> None:
        desired, _ = declared(self._desired.readings, {})
        manifests, self._owners = declared(self._manifests.readings, self._owners)
        self.selection = select(desired, manifests, self.selection.instances)
        problems = (
            *self._desired.problems,
            *self._manifests.problems,
            *duplicate_problems(self._manifests.readings, self._owners),
            *self.selection.problems,
        )
        for problem in problems:
            if problem not in self.problems:
                log.warning("%s", problem)
        self.problems = problems
        known = LastGood(
            self._desired.instances, self._manifests.instances, self.selection.instances, self._desired.places
        )
        if known != self._saved:
            self._saved = known
            save(self._remembered_in, known)

    def close(self) -> None:
        """Looks no more."""
        for watch in self._watches:
            watch.close()


def _write_again(path: Path, instances: "Mapping[str, Instance]") -> None:
    """Puts a desired file back as it was; never over a newer one of the reporter's. OSError."""
    instance = next(iter(instances.values()))
    finished = path.with_name(f".{path.name}.again")
    write_atomically(finished, instance.origin.encode())
    try:
        with contextlib.suppress(FileExistsError):
            os.link(finished, path)
    finally:
        finished.unlink(missing_ok=True)
