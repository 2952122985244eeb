"""A real LAN of network namespaces: a bridge in its own one, and hosts with `eth0` on it.

    with Segment() as lan:
        a, b = lan.host("192.168.122.101"), lan.host("192.168.122.102")
        a.run("ping -c1 192.168.122.102")
        lan.cut(a)

A namespace here has no name and is held by a process that ends when we do, however we end (its standard input closes),
so nothing is ever left behind and nothing is made in the root namespace. Times are time.monotonic().
"""

import ctypes
import json
import os
import shlex
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, Self

from capture import Capture

if TYPE_CHECKING:
    from types import TracebackType

Command = str | Sequence[str]
Process = subprocess.Popen[str]
Direction = Literal["both", "from", "to"]

_TOOLS = ("ip", "nsenter", "unshare", "setpriv", "nft", "tcpdump")
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def unavailable() -> str:
    """Why namespaces cannot be made here; empty where they can. For pytest.mark.skipif beside the mark `netns`."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [tool for tool in _TOOLS if not any(os.access(Path(p) / tool, os.X_OK) for p in path.split(":") if p)]
    if missing:
        return f"not installed: {', '.join(missing)}"
    probe = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, check=False)
    return f"unshare --net: {probe.stderr.strip()}" if probe.returncode else ""


class CommandFailed(AssertionError):
    """A command in a namespace that should have succeeded."""


class Namespace:
    """One network namespace and the processes in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--", "sh", "-c", "echo ready; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._processes: list[Process] = []
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != "ready\n":
            raise CommandFailed(f"unshare --net: exit code {self._holder.wait()}")
        self.run("ip link set lo up")
        # silence: nothing but what a test sends
        self.sysctl("net.ipv6.conf.all.disable_ipv6", "1")
        self.sysctl("net.ipv6.conf.default.disable_ipv6", "1")

    @property
    def pid(self) -> int:
        """Of the process that holds the namespace: `ip link set X netns PID`."""
        return self._holder.pid

    @property
    def path(self) -> str:
        """What nsenter --net= and setns take."""
        return f"/proc/{self.pid}/ns/net"

    def inside(self, command: Command) -> list[str]:
        """The command line that runs `command` in this namespace; the process it starts becomes the command."""
        words = shlex.split(command) if isinstance(command, str) else list(command)
        return ["nsenter", f"--net={self.path}", "--", *words]

    def run(self, command: Command, *, check: bool = True, timeout: float = 30.0, stdin: str | None = None) -> str:
        """Standard output of a command, which must succeed unless check is False."""
        done = subprocess.run(
            self.inside(command), input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )
        if check and done.returncode:
            raise CommandFailed(f"{self.name}: {command}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def popen(
        self,
        command: Command,
        *,
        stdin: IO[Any] | int | None = subprocess.DEVNULL,
        stdout: IO[Any] | int | None = subprocess.PIPE,
        stderr: IO[Any] | int | None = subprocess.STDOUT,
        env: dict[str, str] | None = None,
    ) -> Process:
        """A process in the namespace, leader of its own process group. It is killed (its whole group) at the end, and
        by the kernel if the thread that started it ends first."""
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", *self.inside(command)],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            text=True,
            env=None if env is None else os.environ | env,
            start_new_session=True,
        )
        self._processes.append(process)
        return process

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This thread in the namespace: sockets and processes made meanwhile belong to it."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            there = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _setns(there)
            finally:
                os.close(there)
            try:
                yield
            finally:
                _setns(home)
        finally:
            os.close(home)

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket of this namespace."""
        with self.entered():
            return socket.socket(family, kind, protocol)

    def sysctl(self, name: str, value: str) -> None:
        """Sets one of the network's sysctls."""
        with self.entered():
            Path("/proc/sys", name.replace(".", "/")).write_text(value)

    def ip(self, *words: str) -> list[dict[str, Any]]:
        """`ip -j ...` as data."""
        # an interface without what was asked for comes as {}
        return [found for found in json.loads(self.run(["ip", "-j", *words]) or "[]") if found]

    def close(self) -> None:
        """Ends everything in it, and so itself."""
        for process in self._processes:
            kill_group(process)
        assert self._holder.stdin is not None
        assert self._holder.stdout is not None
        with suppress(OSError):
            self._holder.stdin.close()
        self._holder.stdout.close()
        self._holder.wait()


class Host(Namespace):
    """A node on the segment: eth0 with an address."""

    def __init__(self, name: str, address: str, prefix: int) -> None:
        super().__init__(name)
        self.address = address
        self.prefix = prefix

    @property
    def mac(self) -> str:
        """eth0's."""
        return self.mac_of("eth0")

    def mac_of(self, interface: str) -> str:
        """Lower case with colons."""
        return str(self.ip("link", "show", "dev", interface)[0]["address"])

    def address_details(self, interface: str = "eth0", family: str = "-4") -> list[dict[str, Any]]:
        """What the kernel says of each address: local, prefixlen, protocol, valid_life_time ..."""
        links = self.ip(family, "addr", "show", "dev", interface)
        return [info for link in links for info in link.get("addr_info", [])]

    def addresses(self, interface: str = "eth0") -> list[str]:
        """With prefix, in the kernel's order."""
        return [f"{info['local']}/{info['prefixlen']}" for info in self.address_details(interface)]

    def has(self, address: str, interface: str = "eth0") -> bool:
        """Whether an address (without prefix) is on the interface."""
        return any(info["local"] == address for info in self.address_details(interface, _family(address)))

    def enable_ipv6(self, *addresses: str, interface: str = "eth0", detect_duplicates: bool = False) -> None:
        """IPv6 on the interface: a link-local address, and these."""
        self.sysctl("net.ipv6.conf.all.disable_ipv6", "0")
        self.sysctl(f"net.ipv6.conf.{interface}.accept_dad", str(int(detect_duplicates)))
        self.sysctl(f"net.ipv6.conf.{interface}.disable_ipv6", "0")
        for address in addresses:
            self.run(f"ip addr add {address} dev {interface}")

    def link_local(self, interface: str = "eth0") -> str:
        """Its link-local address."""
        found = [info["local"] for info in self.address_details(interface, "-6") if info["scope"] == "link"]
        return str(found[0])

    def wait_for_address(
        self, address: str, *, present: bool = True, interface: str = "eth0", timeout: float = 10.0
    ) -> float:
        """Waits until the address (without prefix) is there, or is not; when that was seen."""
        with self.popen(["timeout", str(timeout), "ip", _family(address), "monitor", "address"]) as monitor:
            try:
                assert monitor.stdout is not None
                while self.has(address, interface) is not present:
                    if not monitor.stdout.readline():
                        state = "not on" if present else "still on"
                        raise AssertionError(f"{address} is {state} {self.name}'s {interface} after {timeout} s")
                return time.monotonic()
            finally:
                kill_group(monitor)


def _family(address: str) -> str:
    return "-6" if ":" in address else "-4"


class Segment:
    """The bridge, its hosts, and what can go wrong between them."""

    def __init__(self, prefix: int = 24) -> None:
        self.hosts: list[Host] = []
        self._prefix = prefix
        self._ports: dict[Host, str] = {}
        self._cuts: dict[tuple[Host, Direction], list[str]] = {}
        self._captures: list[Capture] = []
        self.bridge = Namespace("bridge")
        try:
            self.bridge.run("ip -batch -", stdin="link add br0 type bridge mcast_snooping 0\nlink set br0 up\n")
        except BaseException:
            self.bridge.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: "type[BaseException] | None", error: BaseException | None, trace: "TracebackType | None"
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends every process and namespace of the segment."""
        for capture in self._captures:
            capture.stop()
        for namespace in (*self.hosts, self.bridge):
            namespace.close()

    def host(self, address: str, name: str | None = None, *, interfaces: Sequence[str] = ()) -> Host:
        """A new host. `interfaces` names further ones, up and running, connected to nothing (`ip link set X down`)."""
        host = Host(name or f"server{len(self.hosts) + 1}", address, self._prefix)
        self.hosts.append(host)
        port = f"port{len(self.hosts)}"
        self._ports[host] = port
        lines = [
            f"link add eth0 type veth peer name {port} netns {self.bridge.pid}",
            f"addr add {address}/{self._prefix} brd + dev eth0",
            "link set eth0 up",
        ]
        for index, interface in enumerate(interfaces):
            # a veth whose other end is up in the bridge's namespace: `running` as a cable would make it
            lines += [
                f"link add {interface} type veth peer name {port}x{index} netns {self.bridge.pid}",
                f"link set {interface} up",
            ]
        host.run("ip -batch -", stdin="\n".join(lines))
        far = [f"link set {port} master br0 up", *(f"link set {port}x{i} up" for i in range(len(interfaces)))]
        self.bridge.run("ip -batch -", stdin="\n".join(far))
        self._wait_forwarding(port)
        return host

    def _wait_forwarding(self, port: str) -> None:
        """The bridge hears of a carrier when the kernel comes to it; until then it drops everything."""
        deadline = time.monotonic() + 10
        while "state forwarding" not in self.bridge.run(f"ip -d link show {port}"):
            assert time.monotonic() < deadline, f"{port} does not forward"
            time.sleep(0.005)

    # ---- faults

    def plug_anew(self, host: Host) -> None:
        """An eth0 that was deleted is there again, with another index."""
        port = f"{self._ports[host]}n"
        self._ports[host] = port
        lines = [
            f"link add eth0 type veth peer name {port} netns {self.bridge.pid}",
            f"addr add {host.address}/{host.prefix} brd + dev eth0",
            "link set eth0 up",
        ]
        host.run("ip -batch -", stdin="\n".join(lines))
        self.bridge.run(f"ip link set {port} master br0 up")

    def unplug(self, host: Host) -> None:
        """Pulls the cable: eth0 loses its carrier."""
        self.bridge.run(f"ip link set {self._ports[host]} down")

    def plug(self, host: Host) -> None:
        """Puts the cable back."""
        self.bridge.run(f"ip link set {self._ports[host]} up")

    def cut(self, host: Host, direction: Direction = "both", match: str = "") -> None:
        """Drops what a host sends ("from"), gets ("to"), or both; its carrier stays. `match` (nftables, such as
        `ip protocol 112`) makes it a filter."""
        ways = {"both": ("iifname", "oifname"), "from": ("iifname",), "to": ("oifname",)}[direction]
        self._cuts.setdefault((host, direction), []).extend(
            f'{way} "{self._ports[host]}" {match} counter drop' for way in ways
        )
        self._filter()

    def heal(self, host: Host | None = None) -> None:
        """Takes away every cut of a host, or of all."""
        self._cuts = {key: rules for key, rules in self._cuts.items() if host is not None and key[0] is not host}
        self._filter()

    def _filter(self) -> None:
        rules = "\n".join(rule for rules in self._cuts.values() for rule in rules)
        chain = f"chain forwarded {{ type filter hook forward priority 0\n{rules}\n}}"
        self.bridge.run(
            "nft -f -", stdin=f"table bridge cuts\ndelete table bridge cuts\ntable bridge cuts {{\n{chain}\n}}\n"
        )

    # ---- watching

    def capture(self, where: Namespace | None = None, expression: str = "", interface: str | None = None) -> Capture:
        """Starts tcpdump on the bridge (all that passes) or on a host's eth0; it listens when this returns."""
        namespace = where or self.bridge
        capture = Capture(namespace.popen, interface or ("br0" if namespace is self.bridge else "eth0"), expression)
        self._captures.append(capture)
        return capture


def kill_group(process: Process, sig: signal.Signals = signal.SIGKILL) -> None:
    """Ends a process and what it started, by its own process group, and waits for it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, sig)
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
