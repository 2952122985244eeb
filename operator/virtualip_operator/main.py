"""Puts the parts together and runs them until a signal."""

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kopf
from kopf._cogs.structs.references import Insights  # spawn_tasks takes one, and kopf exports none

from virtualip_operator.api import Api
from virtualip_operator.handlers import make_registry, make_settings
from virtualip_operator.health import Health
from virtualip_operator.http_server import health_app, is_loopback, metrics_app, serve
from virtualip_operator.leadership import Leadership
from virtualip_operator.lease_watch import LeaseWatch
from virtualip_operator.metrics import Metrics
from virtualip_operator.metrics_gate import Gate, guarded
from virtualip_operator.reconciler import Reconciler
from virtualip_operator.silence import Silence
from virtualip_operator.store import Store
from virtualip_operator.work_queue import WorkQueue
from virtualip_operator.workers import Workers

log = logging.getLogger(__name__)

_TICK = 1.0
_KOPF_RESTART = 5.0
"""Seconds."""
_KOPF_END = 10.0
"""Seconds in which a run of kopf ends, once one of its tasks has."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    namespace: str
    """The operator's and the agents' own; their Leases are there."""
    metrics_address: str
    """HOST:PORT of /metrics; '' for none. Where others can connect they need a token (metrics_gate.py)."""
    metrics_certificate: Path | None
    """The directory of tls.crt and tls.key for it."""
    health_address: str
    """HOST:PORT of /healthz; '' for none."""
    identity: str
    """This replica's name, in the leader's Lease."""


def run(options: Options) -> None:
    """Runs until SIGTERM or SIGINT. CannotConfigure; OSError where an address cannot be had."""
    api = Api()
    store, queue, metrics, health = Store(), WorkQueue(), Metrics(), Health()
    metrics.watch_queue(lambda: float(len(queue)))
    apps = {"/metrics": metrics_app(metrics.registry), "/healthz": health_app(health)}
    if options.metrics_address:
        if not is_loopback(options.metrics_address):
            apps["/metrics"] = guarded(apps["/metrics"], Gate(api))
        serve(options.metrics_address, apps, options.metrics_certificate)
    if options.health_address:
        serve(options.health_address, {"/healthz": apps["/healthz"]})
    silence = Silence(time.monotonic())
    leadership = Leadership(
        api, options.namespace, options.identity, lambda: workers.look_at_everything(), metrics.forget_all
    )
    metrics.watch_leadership(lambda: leadership.leading)
    reconciler = Reconciler(api, store, silence, metrics, queue.add)
    kopf_run = _KopfRun()
    workers = Workers(api, store, queue, reconciler, metrics, health, lambda: leadership.leading, kopf_run)
    LeaseWatch(api, options.namespace, silence, workers.look_anew).start()
    leadership.start()
    workers.start()
    try:
        asyncio.run(_watch(api, store, queue, workers, health, kopf_run))
    finally:
        workers.stop()
        leadership.resign()


class _KopfRun:
    """kopf's present run as other threads see it, and may end it, so that it is started again."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._event = asyncio.Event()
        self.insights = Insights()
        """What it found at the API server, and watches."""

    def renew(self) -> asyncio.Event:
        """The event that ends kopf's next run."""
        self._loop, self._event, self.insights = asyncio.get_running_loop(), asyncio.Event(), Insights()
        return self._event

    def lacks(self, plurals: Collection[str]) -> bool:
        """Whether it has looked what there is, and does not watch all of these. It looks once: what the API server does
        not serve at that moment, just started, is watched only when its CRD changes."""
        watched = {resource.plural for resource in list(self.insights.watched_resources)}
        return self.insights.ready_resources.is_set() and not watched.issuperset(plurals)

    @property
    def is_stopped(self) -> bool:
        """Whether that run was ended by another thread."""
        return self._event.is_set()

    def begin_anew(self) -> None:
        """Ends the present run, if there is one, for the next; from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._event.set)


async def _watch(
    api: Api, store: Store, queue: WorkQueue, workers: Workers, health: Health, kopf_run: _KopfRun
) -> None:
    # kopf asks for the user's name, and the uid that a cluster gives a container may have none
    os.environ.setdefault("LOGNAME", "virtualip-operator")
    ticking = asyncio.create_task(_tick(workers, health), name="tick")
    stopping = asyncio.Event()
    while not stopping.is_set():
        others, flag = asyncio.all_tasks(), kopf_run.renew()
        try:
            tasks = await kopf.spawn_tasks(
                registry=make_registry(store, queue, api.credentials),
                settings=make_settings(),
                insights=kopf_run.insights,
                clusterwide=True,
                standalone=True,
                stop_flag=flag,
            )
            # Instead of kopf's own, which are for one run and would be lost on one that is ending already.
            _on_signals(stopping.set, flag.set)
            await _run_to_its_end(asyncio.create_task(kopf.run_tasks(tasks, ignored=others)), tasks, others)
        except Exception as error:
            # What kopf takes for fatal (refused credentials, a watch's error) mostly passes, and a process that ends
            # for each would be kept waiting for minutes by the kubelet.
            log.error("kopf gave up and is started again in %.0f s: %s", _KOPF_RESTART, error)
            _on_signals(stopping.set)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), _KOPF_RESTART)
        else:
            if not kopf_run.is_stopped:
                break
    ticking.cancel()


async def _run_to_its_end(
    run: asyncio.Task[None], tasks: Collection[asyncio.Task[None]], others: Collection[asyncio.Task[Any]]
) -> None:
    """kopf cancels each of its tasks once, and waits without end for one that has lost it: a watch that is just being
    opened again does (kopf 1.45, `streaming_block`). Nothing would be watched then, and nothing would say so. They are
    cancelled again until they end. `others` are not its own."""
    await asyncio.wait({run, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    patience = _KOPF_END
    while not (await asyncio.wait({run}, timeout=patience))[0]:
        log.warning("kopf does not end: its tasks are cancelled again")
        for task in asyncio.all_tasks().difference(others, {run, asyncio.current_task()}):
            task.cancel()
        patience = 0.1 * _KOPF_END
    await run


def _on_signals(*actions: Callable[[], None]) -> None:
    def act() -> None:
        for action in actions:
            action()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, act)


async def _tick(workers: Workers, health: Health) -> None:
    while True:
        health.beat("loop", within=30.0)
        workers.tick(time.monotonic())
        await asyncio.sleep(_TICK)
