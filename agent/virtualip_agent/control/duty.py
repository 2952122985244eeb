"""The control process on duty: what is declared and measured goes to vrrp, what vrrp says goes to the state socket."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from virtualip_agent import ipc
from virtualip_agent.control.compile import compile_routers
from virtualip_agent.control.declarations import Declarations
from virtualip_agent.control.families import VirtualIPStates, router_names, virtual_ip_of
from virtualip_agent.control.history import OTHER_ROUTERS, History
from virtualip_agent.control.inotify import Inotify
from virtualip_agent.control.link import Link
from virtualip_agent.control.notifier import Audience, Notifier
from virtualip_agent.control.publisher import Publisher
from virtualip_agent.control.spawner_client import Spawner, answered
from virtualip_agent.control.spawner_policy import Policy
from virtualip_agent.control.state import statistics_line
from virtualip_agent.control.state_server import StateServer
from virtualip_agent.control.trackers.board import TrackerBoard
from virtualip_agent.control.trackers.link_watch import LinkWatch
from virtualip_agent.control.trackers.pod_table import PodTable
from virtualip_agent.control.trackers.process_table import ProcessTable
from virtualip_agent.control.trackers.rise_fall import Outcome
from virtualip_agent.control.trackers.start import Facilities
from virtualip_agent.control.trackers.watched_files import WatchedFiles
from virtualip_agent.control.witness.first_look import FirstLook
from virtualip_agent.control.witness.hearing import Counters
from virtualip_agent.control.witness.witness import Witness
from virtualip_agent.run_directory import history_path, state_socket_path
from virtualip_api.duration import SECOND
from virtualip_api.notify import Notify

if TYPE_CHECKING:
    from virtualip_agent.control.instance import Instance

_LEFTOVERS: Final = 5.0
"""Seconds for which what a notify command has left behind may take to end when it is killed."""


@dataclass(frozen=True, slots=True)
class Options:
    """How the process was started."""

    node: str
    manifests: Path
    desired: Path
    run: Path
    host_root: Path = Path("/")
    scripts: Policy = field(default_factory=Policy)
    """Which scripts may run."""


class Duty:
    """Everything that runs while this control is the one that vrrp listens to (or no vrrp is there to say)."""

    def __init__(self, options: Options, link: Link, spawner: Spawner) -> None:
        self._link = link
        self._spawner = spawner
        self._inotify = Inotify(self._agent_changed)
        self._processes = ProcessTable(on_mode=self._agent_changed)
        self._links = LinkWatch()
        self._pods = PodTable(options.run, self._inotify)
        files = WatchedFiles(self._inotify, options.host_root)
        facilities = Facilities(files, self._processes, self._links, spawner, self._pods, options.host_root)
        decided = {virtual_ip_of(router) for router in link.hello.decided} if link.hello is not None else ()
        self._board = TrackerBoard(
            facilities.start, self._tracker_changed, asyncio.get_running_loop().call_later, decided
        )
        self._history = History(history_path(options.run))
        self._witness = Witness(self._witnessed, self._count)
        self._first_look = FirstLook(link.answer)
        self._server = StateServer(state_socket_path(options.run), self._statistics)
        self._declarations = Declarations(
            options.node, options.desired, options.manifests, options.run, self._inotify, self._declared
        )
        self._notifier = Notifier(options.run, self._notify, self._notify_failed)
        self._states = VirtualIPStates(link.states)
        self._publisher = Publisher(
            options.node,
            link,
            self._states,
            self._declarations,
            self._board,
            self._server,
            process_starts=lambda: self._processes.starts_by,
            notify_failure=self._notifier.failure,
            witness=self._witness,
            problems=self._problems,
        )
        self._configs: dict[str, tuple[Instance, dict[str, ipc.RouterConfig]]] = {}
        """By VirtualIP, then by router."""

    async def start(self) -> None:
        """Reads the directories, then speaks. OSError where the state socket cannot be made."""
        self._declarations.start()
        self._declared()
        await self._server.start()
        for state in tuple(self._link.states.values()):
            self.heard(state)  # whatever was told until now, while nobody was on duty
        self._witness.start()

    def _declared(self) -> None:
        """Something else is to run, or something else is wrong."""
        instances = self._declarations.selection.instances
        self._board.run({name: instance.spec.trackers for name, instance in instances.items()})
        self._notifier.declare(
            {
                name: Audience(instance.spec.notify, instance.spec.sync_group or "")
                for name, instance in instances.items()
            }
        )
        self._configs = {name: self._compiled(instance) for name, instance in instances.items()}
        routers = {name: configs for name, (_, configs) in self._configs.items()}
        configs = {name: config for both in routers.values() for name, config in both.items()}
        contributions = {name: self._board.contributions(virtual_ip_of(name)) for name in configs}
        # of one whose file is bad it may not be known how many routers it has
        kept = (routers.get(name, router_names(name)) for name in self._declarations.names_not_to_withdraw)
        self._witness.run(configs)
        self._first_look.run(configs)
        self._link.want(configs, contributions, frozenset().union(*kept))
        self._states.expect(routers)
        self._publisher.everything(configs)

    def _compiled(self, instance: "Instance") -> "tuple[Instance, dict[str, ipc.RouterConfig]]":
        known = self._configs.get(instance.name)
        return known if known is not None and known[0] == instance else (instance, compile_routers(instance))

    def _tracker_changed(self, name: str) -> None:
        _, routers = self._configs.get(name, (None, {}))
        for router in routers:
            self._link.contribute(router, self._board.contributions(name))
        self._publisher.soon(name)

    def _agent_changed(self) -> None:
        """Something else than a VirtualIP."""
        self._publisher.agent()

    def _problems(self) -> Iterator[str]:
        """What is wrong with the node and not with what is declared."""
        if self._inotify.problem:
            yield self._inotify.problem

    def heard(self, message: ipc.FromVrrp) -> None:
        """What vrrp said."""
        match message:
            case ipc.Hello():
                self._publisher.vrrp_here()
            case ipc.RouterState():
                self._witness.state(message)
                self._first_look.state(message)
                self._heard_of(virtual_ip_of(message.name))
            case ipc.RouterGone():
                self._witness.gone(message.name)
                self._first_look.gone(message.name)
                self._heard_of(virtual_ip_of(message.name))
            case _:
                pass  # Statistics: whoever asked for them gets them of the link

    def _witnessed(self, name: str) -> None:
        """Something else is seen of a VirtualIP; '': something else than a VirtualIP."""
        if name:
            seen = {(str(one.kind), one.address): one.message for one in self._witness.observations(name)}
            self._history.observed(name, seen)
            self._publisher.one(name)
            return
        self._history.observed(
            OTHER_ROUTERS,
            {
                (f"VRID {one.vrid}", one.address): f"on {one.interface}: {one.addresses}"
                for one in self._witness.foreign
            },
        )
        self._publisher.agent()

    async def _count(self, names: frozenset[str]) -> Counters | None:
        statistics = await self._link.statistics(names)
        return statistics.routers if statistics is not None else None

    async def _statistics(self) -> dict[str, Any]:
        return statistics_line(await self._link.statistics())

    def _heard_of(self, name: str) -> None:
        known, state = self._states.get(name), self._states.refresh(name)
        if state is not None:
            self._history.transition(state)
            self._notifier.state(state)
        elif known is not None:
            self._history.gone(name)
            self._notifier.gone(name)
        if known is None or state is None or known.state != state.state:
            self._publisher.one(name)
        else:
            self._publisher.soon(name)

    async def commanded(self) -> None:
        """vrrp has said that this control is the one. OSError as from `start`."""
        await self._server.reclaim()

    def vrrp_away(self, since: float) -> None:
        """vrrp hung up, or does not answer, since then (time of the event loop)."""
        self._publisher.vrrp_away(since)

    @property
    def holds_something(self) -> bool:
        """Whether vrrp, as far as is known, is MASTER of anything."""
        return self._link.answering and any(state.state == "MASTER" for state in self._link.states.values())

    @property
    def waits_for_stop(self) -> bool:
        """Whether a notify command is to be told STOP as soon as vrrp has let go."""
        return self._link.answering and self._notifier.waits_for_stop

    async def finish_notifying(self, seconds: float) -> None:
        """Lets the notify commands be told what happened, no longer than that."""
        await self._notifier.finish(seconds)

    async def _notify(self, notify: Notify, command: tuple[str, ...], name: str) -> Outcome:
        run = await self._spawner.start(command, notify.user, (), {"VIRTUALIP_NAME": name}, notify.timeout / SECOND)
        outcome = await answered(run, notify.timeout / SECOND)
        try:
            async with asyncio.timeout(_LEFTOVERS):
                await run.ended.wait()  # never two at once, not even what is left of the one before
        except TimeoutError:
            return Outcome(False, "something of it does not end")
        return outcome

    def _notify_failed(self, name: str) -> None:
        self._publisher.one(name)

    def stop_watching(self) -> None:
        """No file or tracker changes anything any more; vrrp's last states are still published."""
        self._declarations.close()
        self._board.close()

    async def close(self) -> None:
        """Ends everything."""
        self.stop_watching()
        self._notifier.close()
        self._witness.close()
        self._first_look.close()
        self._publisher.close()
        self._processes.close()
        self._links.close()
        self._pods.close()
        self._inotify.close()
        await self._server.close()
