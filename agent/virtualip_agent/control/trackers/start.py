"""Which module runs which kind of tracker."""

from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from virtualip_agent.control.spawner_client import Spawner
from virtualip_agent.control.trackers.base import Origin, Report, RunningTracker
from virtualip_agent.control.trackers.file import RunningFileTracker
from virtualip_agent.control.trackers.http import start_http
from virtualip_agent.control.trackers.interface import RunningInterfaceTracker
from virtualip_agent.control.trackers.link_watch import LinkWatch
from virtualip_agent.control.trackers.pod_ready import RunningPodReadyTracker
from virtualip_agent.control.trackers.pod_table import PodTable
from virtualip_agent.control.trackers.process import RunningProcessTracker
from virtualip_agent.control.trackers.process_table import ProcessTable
from virtualip_agent.control.trackers.script import RunningScriptTracker
from virtualip_agent.control.trackers.tcp import start_tcp
from virtualip_agent.control.trackers.watched_files import WatchedFiles
from virtualip_api.trackers import (
    FileTracker,
    HttpTracker,
    InterfaceTracker,
    PodReadyTracker,
    ProcessTracker,
    ScriptTracker,
    TcpTracker,
    TrackerKind,
)


@dataclass(frozen=True, slots=True)
class Facilities:
    """What trackers of a node share."""

    files: WatchedFiles
    processes: ProcessTable
    links: LinkWatch
    spawner: Spawner
    pods: PodTable
    root: Path
    """Where the host's root directory is."""

    def start(self, check: TrackerKind, report: Report, origin: Origin) -> RunningTracker:
        """Starts a tracker; it may report from within."""
        match check:
            case FileTracker():
                return RunningFileTracker(check, report, self.files)
            case ProcessTracker():
                return RunningProcessTracker(check, report, self.processes)
            case InterfaceTracker():
                return RunningInterfaceTracker(check, report, self.links)
            case HttpTracker():
                return start_http(check, report, self.root, resumed=origin.resumed)
            case TcpTracker():
                return start_tcp(check, report, resumed=origin.resumed)
            case ScriptTracker():
                return RunningScriptTracker(check, report, self.spawner, origin)
            case PodReadyTracker():
                return RunningPodReadyTracker(check, report, self.pods)
            case _:
                assert_never(check)
