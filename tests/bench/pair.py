"""Two nodes joined by a cable, and where one is wanted a client: both cables then end in the client itself, as ports of
its own bridge, so that there is still nothing between."""

import fcntl
import socket
import struct
from pathlib import Path
from typing import Self

from segment import Host
from setup import NODES, SUBNET

_PREFIX = 16
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_IFF_UP = 0x1
_IFREQ = struct.Struct("16sh14x")


class Pair:
    """Everything of it ends with `with`."""

    def __init__(self, *, client: bool) -> None:
        self.nodes = tuple(Host(name, f"{SUBNET}.0.{number}", _PREFIX) for number, name in enumerate(NODES, 1))
        self.client: Host | None = None
        one, two = self.nodes
        if client:
            self.client = Host("client", f"{SUBNET}.0.9", _PREFIX)
            _configure(
                self.client,
                "link add br0 type bridge mcast_snooping 0",
                f"addr add {self.client.address}/{_PREFIX} brd + dev br0",
                "link set br0 up",
            )
            for node in self.nodes:
                _configure(self.client, f"link add {node.name} type veth peer name eth0 netns {node.pid}")
                _configure(self.client, f"link set {node.name} master br0 up")
        else:
            _configure(one, f"link add eth0 type veth peer name eth0 netns {two.pid}")
        for node in self.nodes:
            _configure(node, f"addr add {node.address}/{_PREFIX} brd + dev eth0", "link set eth0 up")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for host in (*self.nodes, *([self.client] if self.client else [])):
            host.close()

    def other(self, node: Host) -> Host:
        """The node beside this one."""
        return self.nodes[1 - self.nodes.index(node)]

    def unplug(self, node: Host) -> None:
        """Pulls the node's cable out of the client: by ioctl, as starting `ip` takes longer than what is measured."""
        self._switch(node, up=False)

    def plug(self, node: Host) -> None:
        """Puts it back."""
        self._switch(node, up=True)

    def _switch(self, node: Host, *, up: bool) -> None:
        assert self.client is not None
        with self.client.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            name = node.name.encode()
            answer = fcntl.ioctl(asking, _SIOCGIFFLAGS, _IFREQ.pack(name, 0))
            flags = _IFREQ.unpack(answer)[1]
            flags = flags | _IFF_UP if up else flags & ~_IFF_UP
            fcntl.ioctl(asking, _SIOCSIFFLAGS, _IFREQ.pack(name, flags))


def ip_received(host: Host) -> int:
    """IPv4 packets that reached it. ARP is none: a BACKUP's questions who answers for a VIP are not counted."""
    names, values = (
        line.split() for line in Path(f"/proc/{host.pid}/net/snmp").read_text().splitlines() if line.startswith("Ip:")
    )
    return int(dict(zip(names, values, strict=True))["InReceives"])


def _configure(host: Host, *lines: str) -> None:
    host.run("ip -batch -", stdin="\n".join(lines))
