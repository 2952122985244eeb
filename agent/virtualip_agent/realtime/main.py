"""The vrrp process: takes the node's lock, then runs its epoll loop until it is told to stop."""

import logging
import os
import select
import signal
import socket
import time
from pathlib import Path
from typing import Final

from virtualip_agent.realtime.control_server import ControlServer
from virtualip_agent.realtime.engine import Engine
from virtualip_agent.realtime.lock import NodeLock
from virtualip_agent.realtime.ports import Ports
from virtualip_agent.realtime.readers import Readers
from virtualip_agent.realtime.route_socket import RouteSocket
from virtualip_agent.realtime.scheduling import become_punctual, freeze_memory
from virtualip_agent.realtime.speech import Speech
from virtualip_agent.realtime.timers import TimerFd
from virtualip_agent.realtime.vrrp_sockets import FrameSender
from virtualip_agent.run_directory import lock_path, vrrp_socket_path

log = logging.getLogger(__name__)

_LOCK_POLL: Final = 0.1
_FIRED: Final = -1


class Loop:
    """One thread, one epoll, one timerfd."""

    def __init__(self, run_directory: Path, scheduling: str, wake_up: int) -> None:
        self._epoll = select.epoll()
        self._timer = TimerFd()
        self._timer_at: int | None = None
        """None: nothing is due."""
        self._stopping = self._abandoned = False
        self._routes = RouteSocket()
        self._readers = Readers(self._epoll)
        self._clients: dict[int, socket.socket] = {}
        self._control = ControlServer(
            vrrp_socket_path(run_directory), scheduling, self._register_client, lambda: self._engine.decided
        )
        ports = Ports(self._readers.register, self._readers.unregister)
        self._engine = Engine(self._routes, ports, Speech(FrameSender()), self._control.send)
        self._wake_up = wake_up
        for readable in (self._timer, self._routes, self._control.listener, wake_up):
            self._epoll.register(readable, select.EPOLLIN)

    def _register_client(self, client: socket.socket) -> None:
        self._clients[client.fileno()] = client
        self._epoll.register(client, select.EPOLLIN)

    def run(self) -> None:
        """Returns when everything has been handed over after a signal."""
        engine, readers, woke = self._engine, self._readers, self._engine.process.woke
        timer = self._timer.fileno()
        done = time.monotonic_ns()
        while not engine.finished and not self._abandoned:
            ready, now, late = readers.wait(engine, done)
            others = None
            for descriptor, _ in ready:
                receiver = readers.get(descriptor)
                if receiver is not None:
                    readers.read(receiver, engine, slept=late)
                elif descriptor == timer:
                    self._timer_at = _FIRED
                else:
                    others = others or {descriptor for descriptor, _ in ready}
            if others is not None:
                self._read_others(others, now)
            engine.expire(now)
            engine.flush(now)
            readers.arm(engine)
            self._arm()
            done = time.monotonic_ns()
            woke(done - now)

    def _read_others(self, ready: set[int], now: int) -> None:
        """What is not there at each wake-up: links and addresses, then control, then signals."""
        if self._routes.fileno() in ready:
            changed = self._routes.read_notifications()
            if changed:
                self._engine.links_changed(now, changed)
        self._read_control(ready, now)
        if self._wake_up in ready:
            os.read(self._wake_up, 64)
            if self._stopping:
                log.warning("a second signal: ending at once; the addresses are left to their lifetime")
                self._abandoned = True
                return
            self._stopping = True
            log.info("stopping: handing over")
            self._engine.stop(now)

    def _read_control(self, ready: set[int], now: int) -> None:
        if self._control.listener.fileno() in ready and self._control.accept():
            self._engine.publish_all()
        for descriptor, client in list(self._clients.items()):
            if descriptor not in ready:
                continue
            messages, replaced = self._control.read(client)
            for message in messages:
                self._engine.command(message, now)
            if client.fileno() < 0:
                del self._clients[descriptor]
                if not self._control.connected:
                    log.warning("control is gone: going on with what it said last")
            if replaced:
                self._engine.publish_all()

    def _arm(self) -> None:
        first = self._engine.deadlines.first
        if first != self._timer_at:
            # setting it also takes back that it has fired: there is no need to read it
            self._timer.set(first)
            self._timer_at = first


def run(run_directory: Path) -> int:
    """Runs until SIGTERM or SIGINT; the exit status. OSError where the run directory or the kernel refuses."""
    wake_up, signalled = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(signalled, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    lock = NodeLock(lock_path(run_directory))
    if not lock.take():
        log.info("another agent runs on this node: standing by")
        while not lock.take():
            if select.select([wake_up], [], [], _LOCK_POLL)[0]:
                return 0
        log.info("the other agent is gone: taking its place")
    scheduling = become_punctual()
    log.info("scheduling: %s", scheduling)
    loop = Loop(run_directory, scheduling, wake_up)
    freeze_memory()
    loop.run()
    return 0
