"""The vrrp end of control's socket, without VRRP: it keeps the state that the real one would, and answers as it."""

import asyncio
import collections
import socket
import time
from collections.abc import Callable
from pathlib import Path

from virtualip_agent import ipc

PATIENCE = 30.0


class FakeVrrp:
    """Which routers would run, and at which priority. `advertised` has every priority that a router ever had."""

    def __init__(self, path: Path, *, taken: bool = False) -> None:
        self.path = path
        self.taken = taken
        """Another control commands; whoever connects waits."""
        self.routers: dict[str, ipc.RouterConfig] = {}
        self.contributions: dict[str, dict[str, ipc.Contribution]] = {}
        self.states: dict[str, ipc.RouterState] = {}
        self.advertised: dict[str, list[int]] = {}
        self.complete = False
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._clients: list[socket.socket] = []
        self._unsent: dict[socket.socket, collections.deque[bytes]] = {}
        self._listener: socket.socket | None = None

    def start(self) -> "FakeVrrp":
        """Listens."""
        self.path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        self._listener.bind(str(self.path))
        self._listener.listen(4)
        self._loop.add_reader(self._listener, self._accept)
        return self

    def stop(self) -> None:
        """Dies: nothing is said, everything is closed."""
        for client in self._clients:
            self._loop.remove_reader(client)
            self._loop.remove_writer(client)
            client.close()
        self._clients.clear()
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        self.path.unlink(missing_ok=True)
        self.complete = False

    def _accept(self) -> None:
        assert self._listener is not None
        client, _ = self._listener.accept()
        client.setblocking(False)
        self._clients.append(client)
        self._unsent[client] = collections.deque()
        self._loop.add_reader(client, self._read, client)
        self._greet(client)
        self._changed.set()

    def _greet(self, client: socket.socket) -> None:
        commands = client is self._commanding
        self._say_to(client, ipc.encode(ipc.Hello(pid=1, scheduling="none (fake)", active=commands)))
        for state in self.states.values() if commands else ():
            self._say_to(client, ipc.encode(state))

    @property
    def _commanding(self) -> socket.socket | None:
        return self._clients[0] if self._clients and not self.taken else None

    def pause(self) -> None:
        """Stops reading, as a process that is stopped does."""
        for client in self._clients:
            self._loop.remove_reader(client)

    def resume(self) -> None:
        """Reads again."""
        for client in self._clients:
            self._loop.add_reader(client, self._read, client)

    def read_one(self) -> None:
        """Reads a single message while paused: there is room for another."""
        (client,) = self._clients
        self._obey(ipc.decode_to_vrrp(client.recv(ipc.LARGEST_MESSAGE)))

    def forget_all(self) -> None:
        """It was started anew."""
        self.routers.clear()
        self.states.clear()
        self.contributions.clear()

    def give_way(self) -> None:
        """The control that commanded is gone: the first of those who wait does now."""
        self.taken = False
        self._greet(self._clients[0])

    def _read(self, client: socket.socket) -> None:
        while True:
            try:
                packet = client.recv(ipc.LARGEST_MESSAGE)
            except BlockingIOError:
                break
            except ConnectionResetError:
                packet = b""
            if not packet:
                commanded = client is self._commanding
                self._loop.remove_reader(client)
                self._loop.remove_writer(client)
                self._clients.remove(client)
                client.close()
                if commanded and self._clients:
                    self._greet(self._clients[0])
                break
            message = ipc.decode_to_vrrp(packet)
            if client is self._commanding:
                self._obey(message)
        self._changed.set()

    def _obey(self, message: ipc.ToVrrp) -> None:
        match message:
            case ipc.SetRouter(config=config):
                self.routers[config.name] = config
                self._recompute(config.name)
            case ipc.SetContributions(name=name, contributions=contributions):
                trackers = self.routers[name].trackers if name in self.routers else ()
                known = {key: it for key, it in self.contributions.get(name, {}).items() if key in trackers}
                self.contributions[name] = known | contributions
                self._recompute(name)
            case ipc.RemoveRouter(name=name):
                self._remove(name)
            case ipc.Complete(names=names):
                self.complete = True
                for name in self.routers.keys() - set(names):
                    self._remove(name)
            case ipc.GetStatistics(names):
                asked = [name for name in sorted(self.routers) if not names or name in names]
                for name in asked:
                    self.say(ipc.Statistics({name: {"sent": 7}}, {"wake_ups": 1}, {"64": 1}, more=name != asked[-1]))
                if not asked:
                    self.say(ipc.Statistics({}, {"wake_ups": 1}, {"64": 1}))
            case _:
                pass

    def _remove(self, name: str) -> None:
        if self.routers.pop(name, None) is not None:
            self.contributions.pop(name, None)
            self.states.pop(name, None)
            self.say(ipc.RouterGone(name))

    def _recompute(self, name: str) -> None:
        config = self.routers.get(name)
        if config is None:
            return
        known = self.contributions.get(name, {})
        ready = set(config.trackers) <= known.keys()
        priority = self.priority(name)
        fault = any(known[tracker].fault for tracker in config.trackers if tracker in known)
        if ready and (not self.advertised.get(name) or self.advertised[name][-1] != priority):
            self.advertised.setdefault(name, []).append(priority)
        if fault:
            self.set_state(name, "FAULT", "TrackerFailed", ", ".join(t for t in config.trackers if known[t].fault))
        elif ready:
            self.set_state(name, "MASTER", "NoMaster", str(priority))
        else:
            self.set_state(name, "BACKUP", "WaitingForTrackers")

    def priority(self, name: str) -> int:
        """What would be advertised."""
        config = self.routers[name]
        known = self.contributions.get(name, {})
        total = config.base_priority + sum(known[tracker].value for tracker in config.trackers if tracker in known)
        return min(max(total, 1), 254)

    def set_state(self, name: str, state: str, reason: str = "", message: str = "") -> None:
        """What the router is from now on."""
        config, before = self.routers[name], self.states.get(name)
        since = before.since if before and before.state == state else time.time()
        new = ipc.RouterState(
            name=name,
            state=state,
            priority=self.priority(name),
            reason=reason,
            message=message,
            since=since,
            interface=config.interface or "auto0",
            source="192.0.2.1",
            addresses=config.addresses if state == "MASTER" else (),
            master="192.0.2.1" if state == "MASTER" else "192.0.2.2",
        )
        if new != before:
            self.states[name] = new
            self.say(new)

    def say(self, message: ipc.FromVrrp) -> None:
        """To the control that commands."""
        self.say_bytes(ipc.encode(message))

    def say_bytes(self, packet: bytes) -> None:
        """The same with any bytes."""
        if self._commanding is not None:
            self._say_to(self._commanding, packet)

    def _say_to(self, client: socket.socket, packet: bytes) -> None:
        self._unsent[client].append(packet)
        self._send(client)

    def _send(self, client: socket.socket) -> None:
        waiting = self._unsent[client]
        try:
            while waiting:
                client.send(waiting[0])
                waiting.popleft()
        except BlockingIOError:
            self._loop.add_writer(client, self._send, client)
        else:
            self._loop.remove_writer(client)

    @property
    def clients(self) -> int:
        """How many controls are there."""
        return len(self._clients)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits until what control said makes it so."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()
