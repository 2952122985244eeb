"""The vrrp process alone, commanded as control would: what the wire and the kernel do, whatever a VirtualIP may say.

with BareVrrp(host, tmp_path) as vrrp:
    vrrp.set(router(["2001:db8::200/64"], priority=200))
    vrrp.wait("web", "MASTER")
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from segment import Host, kill_group
from virtualip_agent import ipc
from virtualip_agent.control.compile import compile_router
from virtualip_agent.control.instance import Instance, Source
from virtualip_agent.run_directory import vrrp_socket_path
from virtualip_api.virtual_ip import parse_spec

if TYPE_CHECKING:
    from types import TracebackType


def router(
    addresses: Sequence[str],
    priority: int = 100,
    *,
    name: str = "web",
    password: bytes = b"",
    change: dict[str, Any] | None = None,
    **spec: Any,
) -> ipc.RouterConfig:
    """As control compiles it; version 3 at 100 ms unless `spec` says otherwise. `change` is of the compiled one."""
    settings: dict[str, Any] = {"addresses": ["192.0.2.1/32"], "vrid": 51, "interface": "eth0"}
    whole = parse_spec(settings | {"advertInterval": "100ms"} | spec)
    whole = replace(whole, addresses=tuple(ip_interface(address) for address in addresses))
    config = compile_router(Instance(name, Source.MANIFEST, whole, priority, password))
    return ipc.RouterConfig(**{key: getattr(config, key) for key in config.__struct_fields__} | (change or {}))


class BareVrrp:
    """One on a host, and its state as it tells it."""

    def __init__(self, host: Host, directory: Path) -> None:
        self.host = host
        self.states: dict[str, ipc.RouterState] = {}
        self._run = directory / f"vrrp-{host.name}"
        self._run.mkdir(exist_ok=True)
        self._log = self._run / "log"
        self._statistics: list[ipc.Statistics] = []
        with self._log.open("a") as log:
            self._process = host.popen(
                [sys.executable, "-m", "virtualip_agent.cli", "vrrp", "--run", str(self._run)], stdout=log
            )
        self._socket = self._connect()
        self._socket.send(ipc.encode(ipc.Hello(pid=os.getpid())))

    def _connect(self) -> socket.socket:
        deadline = time.monotonic() + 10
        while True:
            client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                client.connect(str(vrrp_socket_path(self._run)))
            except OSError:
                client.close()
                assert time.monotonic() < deadline, self.log()
                time.sleep(0.02)
            else:
                return client

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: "type[BaseException] | None", error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        self._socket.close()
        kill_group(self._process)

    def log(self) -> str:
        """What it has said."""
        return self._log.read_text()

    def set(self, config: ipc.RouterConfig) -> None:
        """Runs a router, or changes it."""
        self._socket.send(ipc.encode(ipc.SetRouter(config)))

    def remove(self, name: str = "web") -> None:
        """Withdraws it."""
        self._socket.send(ipc.encode(ipc.RemoveRouter(name)))

    def wait(self, name: str = "web", state: str = "", reason: str = "", timeout: float = 15.0) -> ipc.RouterState:
        """Waits until it is in the state, or has the reason."""
        deadline = time.monotonic() + timeout
        while True:
            found = self.states.get(name)
            if found is not None and state in ("", found.state) and reason in ("", found.reason):
                return found
            assert self._read(deadline), f"{self.host.name}: {name} is {found}\n{self.log()[-4000:]}"

    def statistics(self, name: str = "web") -> dict[str, int]:
        """The router's counters."""
        self._statistics.clear()
        self._socket.send(ipc.encode(ipc.GetStatistics()))
        deadline = time.monotonic() + 5
        while not self._statistics:
            assert self._read(deadline), self.log()
        (found,) = self._statistics
        return found.routers[name] | {f"process_{key}": it for key, it in found.process.items()}

    def wait_for_count(self, counter: str, name: str = "web", timeout: float = 10.0, *, at_least: int = 1) -> int:
        """Waits until something was counted so often."""
        deadline = time.monotonic() + timeout
        while (found := self.statistics(name).get(counter, 0)) < at_least:
            assert time.monotonic() < deadline, self.statistics(name)
            time.sleep(0.05)
        return found

    def _read(self, deadline: float) -> bool:
        self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            packet = self._socket.recv(ipc.LARGEST_MESSAGE)
        except TimeoutError:
            return False
        assert packet, f"vrrp ended\n{self.log()}"
        message = ipc.decode_from_vrrp(packet)
        if isinstance(message, ipc.RouterState):
            self.states[message.name] = message
        elif isinstance(message, ipc.RouterGone):
            self.states.pop(message.name, None)
        elif isinstance(message, ipc.Statistics):
            self._statistics.append(message)
        return True

    def wait_gone(self, name: str = "web") -> None:
        """Waits until it has been withdrawn."""
        deadline = time.monotonic() + 10
        while name in self.states:
            assert self._read(deadline), self.log()

    def stop(self) -> None:
        """SIGTERM: hands over, and ends."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=20)

    def kill(self) -> None:
        """kill -9."""
        kill_group(self._process)
