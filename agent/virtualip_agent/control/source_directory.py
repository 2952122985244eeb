"""A directory of files that declare VirtualIPs, read so that nothing is withdrawn by accident.

Withdrawn is what a file's deletion, or an edit of it that still parses, takes away; never what cannot be read just now.
In a directory that people edit by hand, both count only when they have lasted a moment: editors truncate, write and
rename, and an address must not blink for that.

A file is deleted only where it was seen: one that the directory of now never had, as a file system is not mounted or
the directory was made anew, goes on (where the path is a link that leads elsewhere now, somebody meant that). Where the
files are a process's (`write_again`) it is written there again, and whoever wants it to go finds it there to take away.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from virtualip_agent.control.instance import Instance
from virtualip_agent.control.interpret import Interpret, Problem, Reading
from virtualip_agent.control.small_file import NotReadable, read_small_file

log = logging.getLogger(__name__)

Place = tuple[int, int]
"""Device and inode of a directory."""


@dataclass(slots=True)
class _File:
    content: bytes | None
    """As last interpreted; None: not readable."""
    reading: Reading
    withdrawing_since: float | None = None
    """Seconds: since when the file (or something in it) has been gone, not yet believed."""
    place: Place | None = None
    """Of the directory in which it was seen last, where that is known."""


class SourceDirectory:
    """What the files of one directory declare. Time is passed in, in seconds of any steady clock."""

    def __init__(
        self,
        path: Path,
        suffixes: tuple[str, ...],
        interpret: Interpret,
        node: str,
        *,
        removal_grace: float = 0.0,
        follow_symlinks: bool = True,
        write_again: Callable[[Path, Mapping[str, Instance]], None] | None = None,
    ) -> None:
        self.path = path
        self._suffixes = suffixes
        self._interpret = interpret
        self._node = node
        self.removal_grace = removal_grace
        """Seconds that something must be gone before that is believed."""
        self._follow_symlinks = follow_symlinks
        self._write_again = write_again
        self._paths: dict[Place, str] = {}
        """Of the directories that were seen: where `path` led then."""
        self._missed_from: Place | None = None
        """The directory that was there before the one that is there now, which lacked something."""
        self._files: dict[str, _File] = {}
        self._directory_problem: Problem | None = None
        self._was_there = False

    def seed(self, file: str, instances: Mapping[str, Instance], place: Place | None = None) -> None:
        """Takes over what a file declared before this process started: the last good version where it is bad now."""
        self._files[file] = _File(None, Reading(instances), place=place)
        self._was_there = True

    @property
    def readings(self) -> dict[str, Reading]:
        """By file, in the order of names."""
        return {name: self._files[name].reading for name in sorted(self._files)}

    @property
    def instances(self) -> dict[str, Mapping[str, Instance]]:
        """What each file declares."""
        return {name: reading.instances for name, reading in self.readings.items() if reading.instances}

    @property
    def places(self) -> dict[str, Place]:
        """In which directory each of them was seen last, where that is known."""
        return {name: file.place for name, file in self._files.items() if file.reading.instances and file.place}

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Everything wrong, in the order of files."""
        of_files = tuple(problem for reading in self.readings.values() for problem in reading.problems)
        return ((self._directory_problem,) if self._directory_problem else ()) + of_files

    @property
    def waiting(self) -> bool:
        """Whether a withdrawal waits to be confirmed by another look after the grace time."""
        return any(file.withdrawing_since is not None for file in self._files.values())

    def rescan(self, now: float) -> bool:
        """Looks at every file (unchanged ones cost a read); whether anything is declared differently now."""
        before = (self._directory_problem, self.readings)
        try:
            place, names = self._listed()
        except OSError as error:
            self._unlisted(error)
        else:
            self._was_there = True
            self._directory_problem = None
            self._paths[place] = os.path.realpath(self.path)
            for name in sorted(names):
                self._look_at(name, now)
            for name in self._files.keys() & names:
                self._files[name].place = place
            if self._write_again is None:
                self._missed_from = None  # while something is missing
            for name in sorted(self._files.keys() - names):
                self._gone(name, now, place)
            self._say_replaced(place)
        return before != (self._directory_problem, self.readings)

    def _listed(self) -> tuple[Place, set[str]]:
        directory = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            there = os.fstat(directory)
            return (there.st_dev, there.st_ino), {name for name in os.listdir(directory) if self._is_ours(name)}
        finally:
            os.close(directory)

    def _is_ours(self, name: str) -> bool:
        return name.endswith(self._suffixes) and not name.startswith(".")

    def _unlisted(self, error: OSError) -> None:
        """A directory that never was is empty; one that went away or cannot be listed says nothing about its files."""
        absent = isinstance(error, FileNotFoundError)
        if absent and not self._was_there:
            return
        self._directory_problem = Problem(
            str(self.path), f"cannot be listed ({error.strerror}); what it declared goes on"
        )

    def _look_at(self, name: str, now: float) -> None:
        known = self._files.get(name)
        before = known.reading if known else Reading()
        try:
            content = read_small_file(self.path / name, follow_symlinks=self._follow_symlinks)
        except FileNotFoundError:
            # Deleted since it was listed, or a symlink to nowhere: the next look tells.
            if known is None:
                return
            self._files[name] = _File(
                None, _still(before, Problem(name, "is a symlink to nothing; what it declared goes on"))
            )
            return
        except NotReadable as error:
            self._files[name] = _File(None, _still(before, Problem(name, str(error))))
            return
        if known and content == known.content and known.withdrawing_since is None and not before.depends_on_others:
            return
        try:
            reading = self._interpret(name, content, before.instances, self._node)
        except Exception as error:
            # whatever a file may hold that nobody has thought of costs that file, and not all others
            log.exception("%s", self.path / name)
            reading = _still(before, Problem(name, f"cannot be understood: {error!r}"))
        if not (before.instances.keys() - reading.instances.keys()):
            self._files[name] = _File(content, reading)
            return
        if known and known.withdrawing_since is not None and content == known.content:
            since = known.withdrawing_since
        else:
            since = now
        if now - since >= self.removal_grace:
            self._files[name] = _File(content, reading)
        else:
            kept = {**before.instances, **reading.instances}
            self._files[name] = _File(content, _with_instances(reading, kept), since)

    def _gone(self, name: str, now: float, place: Place) -> None:
        file = self._files[name]
        declares = file.reading.instances or file.reading.bad
        if declares and file.place is not None and self._was_replaced(file.place, place):
            self._missed_from = file.place
            with contextlib.suppress(OSError):  # tried again at each look; what it declared goes on in any case
                if file.reading.instances and self._write_again is not None:
                    self._write_again(self.path / name, file.reading.instances)
                    file.place = place
            return
        if file.content is not None or file.withdrawing_since is None:
            file.content, file.withdrawing_since = None, now
        if now - file.withdrawing_since >= self.removal_grace:
            del self._files[name]

    def _was_replaced(self, before: Place, now: Place) -> bool:
        """Whether another directory is there under the path, and not by a link that leads elsewhere."""
        return before != now and self._paths.get(before, self._paths[now]) == self._paths[now]

    def _say_replaced(self, place: Place) -> None:
        """Where files are written again until the directory of before is back. (The next process finds everything in
        this one and has no doubt.)"""
        if self._missed_from == place:
            self._missed_from = None
        if self._missed_from is not None:
            self._directory_problem = Problem(
                str(self.path),
                "is not the directory that it was (is its file system not mounted?); what was declared there goes on",
            )


def _with_instances(reading: Reading, instances: Mapping[str, Instance]) -> Reading:
    return Reading(instances, reading.problems, reading.bad, reading.depends_on_others)


def _still(before: Reading, problem: Problem) -> Reading:
    return Reading(before.instances, (problem,), before.bad | before.instances.keys())


def declared(readings: Mapping[str, Reading], owners: Mapping[str, str]) -> tuple[dict[str, Instance], dict[str, str]]:
    """The instances of several files by name, and the file each is from. Where two files declare the same name, the
    one that did so before (`owners`) goes on, else the first by file name."""
    instances: dict[str, Instance] = {}
    files: dict[str, str] = {}
    for name, file in _declarations(readings):
        if name not in files or owners.get(name) == file:
            instances[name], files[name] = readings[file].instances[name], file
    return instances, files


def duplicate_problems(readings: Mapping[str, Reading], files: Mapping[str, str]) -> tuple[Problem, ...]:
    """A problem for every declaration that does not count because another file has the name."""
    return tuple(
        Problem(file, f"{name} is declared in {files[name]} already", name)
        for name, file in _declarations(readings)
        if files[name] != file
    )


def _declarations(readings: Mapping[str, Reading]) -> Iterator[tuple[str, str]]:
    for file in sorted(readings):
        for name in readings[file].instances:
            yield name, file
