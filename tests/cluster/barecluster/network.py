"""The segment: a switch (a bridge in a namespace of its own) and the hosts' namespaces plugged into it.

Nothing is made in the machine's own network namespace, not even for a moment: the cables are created inside.
"""

import os
from pathlib import Path

from barecluster.errors import ClusterError
from barecluster.layout import GATEWAY, NETWORK_V6, NODES, PREFIX_LENGTH, SWITCH, Host, Layout
from barecluster.processes import end
from barecluster.shell import run

_NETNS = Path("/run/netns")
_MARK = "link set lo alias complete"  # the last command of every namespace


def make_switch(layout: Layout) -> None:
    """The switch; nothing happens when it is there."""
    namespace = layout.namespace(SWITCH)
    if _complete(namespace):
        return
    _make(namespace)
    _batch(
        namespace,
        "link set lo up",
        "link add br0 type bridge mcast_snooping 0",
        f"addr add {GATEWAY}/{PREFIX_LENGTH} dev br0",
        f"addr add {NETWORK_V6}:1/64 dev br0 nodad",
        "link set br0 up",
        _MARK,
    )


def plug(layout: Layout, host: Host) -> None:
    """A host's namespace with its links, addresses and routes; nothing happens when it is there."""
    namespace = layout.namespace(host.name)
    if _complete(namespace):
        return
    unplug(layout, host)
    _make(namespace)
    cables = [
        f"link add {_port(host, interface)} {'master br0 ' if interface == 'eth0' else ''}up type veth"
        f" peer name {interface} address {host.mac(interface)} netns {namespace}"
        for interface in host.interfaces
    ]
    _batch(layout.namespace(SWITCH), *cables)
    _batch(
        namespace,
        "link set lo up",
        f"addr add {host.address}/{PREFIX_LENGTH} brd + dev eth0",
        f"addr add {host.address_v6}/64 dev eth0 nodad",
        *(f"link set {interface} up" for interface in host.interfaces),
        f"route add default via {GATEWAY}",
        # Pod subnets are routed node by node, as a small bare-metal cluster would.
        *(f"route add {node.pod_subnet} via {node.address}" for node in NODES if node is not host),
        _MARK,
    )


def unplug(layout: Layout, host: Host) -> None:
    """Removes a host's namespace and cables; nothing happens when they are gone."""
    for port in _plugged(layout, host):
        # The namespace itself may live on for a moment in the hands of the kernel; the cable must not.
        run("ip", "-n", layout.namespace(SWITCH), "link", "delete", port)
    remove(layout.namespace(host.name))


def cut(layout: Layout, host: Host) -> None:
    """Pulls every cable that is (still) plugged: who deletes the host's end of one takes the switch's with it."""
    for port in _plugged(layout, host):
        run("ip", "-n", layout.namespace(SWITCH), "link", "set", port, "down")


def set_link(layout: Layout, host: Host, interface: str, up: bool) -> None:
    """Pulls or plugs the cable at the switch: the host sees its carrier go or come."""
    run("ip", "-n", layout.namespace(SWITCH), "link", "set", _port(host, interface), "up" if up else "down")


def link_is_up(layout: Layout, host: Host, interface: str) -> bool:
    """Whether the cable is plugged."""
    line = run("ip", "-n", layout.namespace(SWITCH), "-o", "link", "show", _port(host, interface))
    return ",UP" in line.split(">")[0]


def exists(namespace: str) -> bool:
    """Whether there is a namespace of that name."""
    return (_NETNS / namespace).exists()


def remove(namespace: str) -> None:
    """Ends every process in a namespace and deletes it; nothing happens when it is gone."""
    if not exists(namespace):
        return
    ours = _ancestors()
    for pid in _pids(namespace):
        if pid not in ours:
            end(pid)
    run("ip", "netns", "delete", namespace)


def _port(host: Host, interface: str) -> str:
    """The switch's end of a host's cable."""
    return f"{host.name}-{interface}"


def _plugged(layout: Layout, host: Host) -> list[str]:
    """The switch's ends of the cables that the host has now."""
    switch = layout.namespace(SWITCH)
    if not exists(switch):
        return []
    lines = run("ip", "-n", switch, "-o", "link").splitlines()
    ports = {line.split("@")[0].split(":")[1].strip() for line in lines}
    return [port for interface in host.interfaces if (port := _port(host, interface)) in ports]


def _complete(namespace: str) -> bool:
    """Whether a namespace was made to its end, and not interrupted half-way."""
    return exists(namespace) and "alias complete" in run("ip", "-n", namespace, "link", "show", "lo")


def _make(namespace: str) -> None:
    remove(namespace)  # a half-made one, if any
    run("ip", "netns", "add", namespace)


def _batch(namespace: str, *commands: str) -> None:
    run("ip", "-n", namespace, "-batch", "-", stdin="\n".join(commands))


def _pids(namespace: str) -> list[int]:
    try:
        return [int(pid) for pid in run("ip", "netns", "pids", namespace).split()]
    except ClusterError:  # the file is there, but no namespace is mounted on it: made half
        return []


def _ancestors() -> set[int]:
    """Ourselves and whoever started us: a shell inside a namespace may ask for its removal."""
    found: set[int] = set()
    pid = os.getpid()
    while pid > 1 and pid not in found:
        found.add(pid)
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return found
