"""The control process on duty: what is declared and measured goes to vrrp, what vrrp says goes to the state socket."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from virtualip_agent import ipc
from virtualip_agent.control.compile import compile_router
from virtualip_agent.control.history import History
from virtualip_agent.control.inotify import Inotify
from virtualip_agent.control.instance import Instance
from virtualip_agent.control.interpret import MANIFEST_SUFFIXES, interpret_desired, interpret_manifest
from virtualip_agent.control.link import Link
from virtualip_agent.control.source_directory import SourceDirectory, declared, duplicate_problems
from virtualip_agent.control.source_watch import SourceWatch
from virtualip_agent.control.sources import Selection, select
from virtualip_agent.control.state import AFTER_EXPIRY, Situation, agent_line, gone_line, vip_line
from virtualip_agent.control.state_server import StateServer
from virtualip_agent.control.trackers.board import TrackerBoard
from virtualip_agent.control.trackers.process_table import ProcessTable
from virtualip_agent.control.trackers.start import Facilities
from virtualip_agent.desired_file import SUFFIX
from virtualip_agent.run_directory import history_path, state_socket_path

if TYPE_CHECKING:
    from virtualip_agent.control.interpret import Problem

log = logging.getLogger(__name__)

MANIFEST_REMOVAL_GRACE = 1.0
"""Seconds that a manifest, or a document in it, must be gone before its VirtualIP is withdrawn."""


@dataclass(frozen=True, slots=True)
class Options:
    """How the process was started."""

    node: str
    manifests: Path
    desired: Path
    run: Path
    host_root: Path = Path("/")


class Duty:
    """Everything that runs while this control is the one that vrrp listens to (or no vrrp is there to say)."""

    def __init__(self, options: Options, link: Link) -> None:
        self._options = options
        self._link = link
        self._inotify = Inotify()
        self._processes = ProcessTable()
        self._board = TrackerBoard(
            Facilities(self._inotify, self._processes, options.host_root).start, self._tracker_changed
        )
        self._history = History(history_path(options.run))
        self._server = StateServer(state_socket_path(options.run))
        self._desired = SourceDirectory(options.desired, (SUFFIX,), interpret_desired, options.node)
        self._manifests = SourceDirectory(
            options.manifests, MANIFEST_SUFFIXES, interpret_manifest, options.node, MANIFEST_REMOVAL_GRACE
        )
        self._watches = [
            SourceWatch(directory, self._inotify, self._sources_changed)
            for directory in (self._desired, self._manifests)
        ]
        self._owners: dict[str, str] = {}
        self._selection = Selection({}, {}, ())
        self._problems: tuple[Problem, ...] = ()
        self._names: frozenset[str] = frozenset()
        self._configs: dict[str, tuple[Instance, ipc.RouterConfig]] = {}
        self._since: dict[str, tuple[object, float]] = {}
        self._away_since: float | None = None
        self._expiries: list[asyncio.TimerHandle] = []

    async def start(self) -> None:
        """Reads the directories, then speaks. OSError where the state socket cannot be made."""
        for watch in self._watches:
            watch.start()
        for state in self._link.states.values():
            self._history.transition(state)
        self._sources_changed()
        await self._server.start()

    # ---- towards vrrp

    def _sources_changed(self) -> None:
        desired, _ = declared(self._desired.readings, {})
        manifests, self._owners = declared(self._manifests.readings, self._owners)
        selection = select(desired, manifests, self._selection.instances)
        problems = (
            *self._desired.problems,
            *self._manifests.problems,
            *duplicate_problems(self._manifests.readings, self._owners),
            *selection.problems,
        )
        for problem in problems:
            if problem not in self._problems:
                log.warning("%s", problem)
        self._selection, self._problems = selection, problems
        self._board.run({name: instance.spec.trackers for name, instance in selection.instances.items()})
        self._configs = {name: self._compiled(instance) for name, instance in selection.instances.items()}
        self._link.want(
            {name: config for name, (_, config) in self._configs.items()}, self._all_contributions(), self._kept_names()
        )
        self._publish_all()

    def _compiled(self, instance: Instance) -> tuple[Instance, ipc.RouterConfig]:
        known = self._configs.get(instance.name)
        return known if known is not None and known[0] == instance else (instance, compile_router(instance))

    def _kept_names(self) -> frozenset[str] | None:
        """What vrrp may run: more than we give it, where a file is bad; None where that cannot be known."""
        if self._desired.unknown or self._manifests.unknown:
            return None
        readings = (*self._desired.readings.values(), *self._manifests.readings.values())
        return frozenset(self._selection.instances).union(*(reading.kept for reading in readings))

    def _all_contributions(self) -> Mapping[str, Mapping[str, ipc.Contribution]]:
        return {name: self._board.contributions(name) for name in self._selection.instances}

    def _tracker_changed(self, name: str) -> None:
        self._link.contribute(self._all_contributions())
        self._publish(name)

    # ---- from vrrp

    def heard(self, message: ipc.FromVrrp) -> None:
        """What vrrp said."""
        match message:
            case ipc.Hello():
                self._away_since = None
                self._cancel_expiries()
                self._publish_all()
            case ipc.RouterState():
                self._history.transition(message)
                self._publish(message.name)
            case ipc.RouterGone():
                self._history.gone(message.name)
                self._publish(message.name)
            case _:
                pass  # Statistics: nobody here asks for them

    def vrrp_away(self) -> None:
        """vrrp hung up: what it said grows stale, and after L the kernel has dropped the addresses."""
        loop = asyncio.get_running_loop()
        self._away_since = loop.time()
        for name, (_, config) in self._configs.items():
            # A little later than the moment itself, so that it has passed by the clock that is then asked.
            after = config.lifetime + AFTER_EXPIRY + 0.1
            self._expiries.append(loop.call_later(after, self._publish, name))
        self._publish_all()

    def _cancel_expiries(self) -> None:
        for timer in self._expiries:
            timer.cancel()
        self._expiries.clear()

    # ---- towards the state socket

    def _publish_all(self) -> None:
        named = {problem.name for problem in self._problems if problem.name}
        names = frozenset(self._selection.instances) | named | self._link.states.keys()
        for name in sorted(self._names | names):
            self._publish(name)
        self._names = names
        hello = self._link.hello
        self._server.tell(
            agent_line(
                {
                    "node": self._options.node,
                    "active": hello is None or hello.active,
                    "scheduling": hello.scheduling if hello else "",
                    "ready": hello is not None,
                    "problems": [str(problem) for problem in self._problems],
                }
            )
        )

    def _publish(self, name: str) -> None:
        situation = self._situation(name)
        if situation is None:
            self._since.pop(name, None)
            self._server.tell(gone_line(name))
        else:
            self._server.tell(vip_line(situation))

    def _situation(self, name: str) -> Situation | None:
        instance = self._selection.instances.get(name)
        router = self._link.states.get(name)
        problems = [str(problem) for problem in self._problems if problem.name == name]
        if instance is None and router is None and not problems:
            return None
        expired = self._expired(name)
        kind = (instance is None, router is None, expired)
        if self._since.get(name, ((), 0.0))[0] != kind:
            self._since[name] = (kind, time.time())
        return Situation(
            node=self._options.node,
            name=name,
            instance=instance,
            router=router,
            trackers=self._board.statuses(name),
            conflict=self._selection.conflicts.get(name, ""),
            problems=problems,
            stale=self._away_since is not None,
            expired=expired,
            since=self._since[name][1],
        )

    def _expired(self, name: str) -> bool:
        if self._away_since is None or name not in self._configs:
            return False
        return asyncio.get_running_loop().time() - self._away_since > self._configs[name][1].lifetime + AFTER_EXPIRY

    # ---- the end

    @property
    def holds_something(self) -> bool:
        """Whether vrrp, as far as is known, is MASTER of anything."""
        return self._link.connected and any(state.state == "MASTER" for state in self._link.states.values())

    def stop_watching(self) -> None:
        """No file or tracker changes anything any more; vrrp's last states are still published."""
        for watch in self._watches:
            watch.close()
        self._board.close()

    async def close(self) -> None:
        """Ends everything."""
        self.stop_watching()
        self._cancel_expiries()
        self._processes.close()
        self._inotify.close()
        await self._server.close()
