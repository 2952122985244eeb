"""The reporter process: its threads, its rounds, its end."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from virtualip_agent.reporter import memory as memory_file
from virtualip_agent.reporter.api import Api, ApiError, CannotConfigure
from virtualip_agent.reporter.desired_directory import DesiredDirectory
from virtualip_agent.reporter.lease import RENEWAL, Lease
from virtualip_agent.reporter.memory import Memory
from virtualip_agent.reporter.passwords import read_password
from virtualip_agent.reporter.plan_watch import PlanWatch
from virtualip_agent.reporter.pod_watch import PodWatch
from virtualip_agent.reporter.publisher import Publisher
from virtualip_agent.reporter.state_reader import StateReader, answers
from virtualip_agent.run_directory import DEFAULT_DESIRED, DEFAULT_RUN, pods_path

log = logging.getLogger(__name__)

WORKERS = 3
"""Threads that write entries: a take-over of 250 VIPs must not queue behind one slow answer."""
LEASE_RETRY = 2.0
UPKEEP = 10.0
"""Seconds between re-readings of passwords and of what the API shows."""
FAREWELL = 5.0
"""Seconds in which the last states are still published after SIGTERM."""
LONG_OUTAGE = 3.0
"""Seconds: after one as long as this the database may be another, so every entry is written again."""


@dataclass(frozen=True, slots=True)
class Options:
    """What `virtualip-agent reporter` takes, each also by an environment variable."""

    node: str
    """`--node`, VIRTUALIP_NODE: the Kubernetes node's name."""
    namespace: str
    """`--namespace`, VIRTUALIP_NAMESPACE: the agent's own; its Lease and the password Secrets are there."""
    desired: Path = DEFAULT_DESIRED
    """`--desired`, VIRTUALIP_DESIRED: where desired files go; control makes it."""
    run: Path = DEFAULT_RUN
    """`--run`, VIRTUALIP_RUN: where control's state socket is."""
    kubeconfig: Path | None = None
    """`--kubeconfig`, VIRTUALIP_KUBECONFIG: instead of the pod's own service account."""


def run(options: Options) -> int:
    """Runs until SIGTERM or SIGINT. Returns the exit code: 0 after a signal, 1 where a thread died or nothing can be
    configured."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        api = Api(options.kubeconfig)
    except CannotConfigure as error:
        log.error("no access to an API server: %s", error)
        return 1
    if not _wait_for_directory(options.desired, stop):
        return 0
    reporter = Reporter(options, api)
    reporter.start(stop)
    reporter.rounds(stop)
    reporter.farewell()
    return 1 if reporter.broken else 0


def _wait_for_directory(path: Path, stop: threading.Event) -> bool:
    """Control, who is root, makes the directory and gives it to our group."""
    said = False
    while not os.access(path, os.W_OK | os.X_OK):
        if not said:
            log.info("waiting for %s to be made and writable", path)
            said = True
        if stop.wait(0.5):
            return False
    return True


class Reporter:
    """All parts, wired."""

    def __init__(self, options: Options, api: Api) -> None:
        self._options = options
        self._api = api
        self._directory = options.desired
        memory = memory_file.load(options.desired)
        self._saved = memory
        self._save_lock = threading.Lock()
        self._refusals: dict[str, str] = {}
        self.broken = False
        self._pods: PodWatch
        self._publisher = Publisher(api, options.node, memory.published)
        self._desired = DesiredDirectory(options.desired, self._publisher.remark)
        self._lease = Lease(api, options.namespace, options.node, memory.lease, self._database_replaced)
        self._states = StateReader(options.run, self._publisher, self._desired.names)
        self._plans = PlanWatch(
            api,
            options.node,
            self._desired,
            memory,
            read_password=lambda secret: read_password(api, options.namespace, secret),
            lease_store=self._lease.store,
            checkpoint=self._plans_changed,
            made_anew=lambda name: self._publisher.retell([name]),
        )

    def start(self, stop: threading.Event) -> None:
        """Starts the threads; one that dies stops the process, so that it is started anew."""

        def start_thread(name: str, body: Callable[[], None]) -> None:
            threading.Thread(target=self._guarded, args=(body, stop), name=name, daemon=True).start()

        options = self._options
        self._pods = PodWatch(
            self._api, options.node, pods_path(options.run), self._desired.pod_namespaces, start_thread
        )
        start_thread("lease", lambda: self._renewals(stop))
        start_thread("states", self._states.work)
        start_thread("pods", self._pods.work)
        start_thread("plans", self._plans.work)
        for number in range(WORKERS):
            start_thread(f"publisher-{number}", self._publisher.work)

    def rounds(self, stop: threading.Event) -> None:
        """Every 10 s what keeps things right."""
        pause = 0.0
        while not stop.wait(pause):
            self._upkeep()
            pause = UPKEEP

    def _renewals(self, stop: threading.Event) -> None:
        """The Lease every 10 s, sooner where that failed; whatever else the API server is slow with."""
        pause = 0.0
        while not stop.wait(pause):
            began = time.monotonic()
            period = RENEWAL if self._try("Lease", self._renew) else LEASE_RETRY
            pause = max(0.0, began + period - time.monotonic())

    def _upkeep(self) -> None:
        if self._api.take_long_outage(LONG_OUTAGE):
            self._publisher.retell()
        self._try("password", self._refresh_passwords)
        self._try("status", self._publisher.check)
        self._desired.retry()
        self._save()

    def farewell(self) -> None:
        """Control serves the last states until vrrp has handed over; they are published before the process ends."""
        deadline = time.monotonic() + FAREWELL
        while time.monotonic() < deadline and not (self._publisher.idle() and not self._states.connected):
            time.sleep(0.02)
        self._save(always=True)

    def _renew(self) -> bool:
        # A node whose agent does not answer must count as silent: its last entry may claim what is no longer true.
        if not answers(self._options.run):
            return False
        self._lease.renew()
        return True

    def _refresh_passwords(self) -> None:
        for secret in self._desired.secrets():
            try:
                self._desired.take_password(secret, read_password(self._api, self._options.namespace, secret))
            except ApiError as error:
                self._desired.password_unread(secret, f"cannot be read: {error}")
                if error.outage:
                    raise  # the others would only wait as long

    def _plans_changed(self) -> None:
        self._save()
        self._pods.look()

    def _database_replaced(self) -> None:
        self._plans.replaced()
        self._publisher.retell()

    def _try(self, what: str, action: Callable[[], object]) -> bool:
        try:
            result = action()
        except ApiError as error:
            if not error.outage and self._refusals.get(what) != str(error):
                self._refusals[what] = str(error)
                log.warning("%s: refused by the API server: %s", what, error)
            return False
        if self._refusals.pop(what, None):
            log.info("%s: no longer refused", what)
        return result is not False

    def _save(self, *, always: bool = False) -> None:
        with self._save_lock:
            version, store, members = self._plans.memory()
            memory = Memory(version, store, self._lease.written, members, tuple(sorted(self._publisher.published())))
            known = (self._saved.store, self._saved.members, self._saved.published)
            if not always and (memory.store, memory.members, memory.published) == known:
                return
            try:
                memory_file.save(self._directory, memory)
                self._saved = memory
            except OSError as error:
                log.warning("what a restart should know cannot be written: %s", error.strerror)

    def _guarded(self, body: Callable[[], None], stop: threading.Event) -> None:
        try:
            body()
        except Exception:
            log.exception("thread %s died", threading.current_thread().name)
            self.broken = True
            stop.set()
