"""A node: its power switch, its cables, and a way in."""

import contextlib
import json
import subprocess
import time
import uuid
from pathlib import Path

from barecluster import cgroups, image, network, node_config
from barecluster.errors import ClusterError
from barecluster.layout import Host, Layout
from barecluster.processes import Daemons, children, end
from barecluster.shell import Word, run
from barecluster.waiting import wait_until

_INIT = Path(__file__).with_name("node-init.sh")
_MOUNTED_WITHIN = 30.0  # s; 0.1 are usual
_CONTAINERD_WITHIN = 30.0  # s; 0.3 are usual
_OUTLIVE_TERM = {"bash", "sleep", "containerd-shim"}  # PID 1 of the node and its pause, the parents of containers
_CTR = ("ctr", "--namespace", "k8s.io")


class Node:
    """One of the cluster's machines. Get it from Cluster.node(); it holds no state of its own."""

    def __init__(self, host: Host, layout: Layout, daemons: Daemons, binaries: Path, api_url: str) -> None:
        self._host = host
        self._layout = layout
        self._daemons = daemons
        self._binaries = binaries
        self._api_url = api_url

    @property
    def name(self) -> str:
        """Its host name, and its name in Kubernetes."""
        return self._host.name

    @property
    def address(self) -> str:
        """Its IPv4 address on the segment."""
        return self._host.address

    @property
    def address_v6(self) -> str:
        """Its IPv6 address on the segment."""
        return self._host.address_v6

    @property
    def interfaces(self) -> tuple[str, ...]:
        """Its interfaces, eth0 and ens9; the latter leads nowhere."""
        return self._host.interfaces

    @property
    def netns(self) -> str:
        """Its network namespace, as in /run/netns; gone while the power is off."""
        return self._layout.namespace(self.name)

    @property
    def pid(self) -> int | None:
        """Its PID 1, as numbered by the machine; None while the power is off."""
        return _init(self._daemons, self.name)

    @property
    def root(self) -> Path:
        """Its root directory, to read and write its files from outside; only while the power is on."""
        return Path(f"/proc/{self._running()}/root")

    @property
    def boot_id(self) -> str | None:
        """Which boot this is, as the kubelet reports it in status.nodeInfo.bootID; None while the power is off."""
        return self._boot_id_file.read_text().strip() if self.pid is not None else None

    def power_on(self, api_url: str | None = None) -> None:
        """Boots it; returns when its file system is complete and its daemons are being started.

        They find the API server at api_url, where that is another than its own. Nothing happens when it is on. Raises
        ClusterError.
        """
        if self.pid is not None:
            return
        directory = self._layout.node(self.name)
        network.plug(self._layout, self._host)
        cgroups.make(self._layout.cgroup, self.name)
        node_config.write(self._layout, self._host, api_url or self._api_url)
        mark = directory / "mounted"
        mark.unlink(missing_ok=True)
        self._boot_id_file.write_text(f"{uuid.uuid4()}\n")
        namespaces = ["--mount", "--pid", "--fork", "--uts", "--ipc", "--kill-child", "--propagation", "private"]
        arguments: list[Word] = [
            self.name,
            self.address,
            directory,
            self._binaries,
            self._layout.pause,
            *node_config.DISK,
        ]
        self._daemons.start(
            _daemon(self.name), ["unshare", *namespaces, "bash", _INIT, *arguments], namespace=self.netns
        )

        def mounted() -> bool:
            self._daemons.check(_daemon(self.name))
            return mark.exists()

        wait_until(mounted, _MOUNTED_WITHIN, f"{self.name} to boot", step=0.01)

    def power_off(self) -> None:
        """Cuts its power: no process gets to say good-bye. Its disk is kept. Nothing happens when it is off."""
        # First of all, so that the kernel's own good-byes (FIN, RST) for dying sockets are not heard either.
        network.cut(self._layout, self._host)
        cut_power(self._daemons, self.name)
        network.unplug(self._layout, self._host)
        cgroups.remove(self._layout.cgroup, self.name)

    def shut_down(self, grace: float = 10.0) -> None:
        """Turns it off as `systemctl poweroff` does: SIGTERM to everything, up to grace seconds to obey, power off."""
        self.run("sh", "-c", "kill -TERM -1")  # -1 spares PID 1 and the one who says it
        deadline = time.monotonic() + grace
        while self._commands() - _OUTLIVE_TERM and time.monotonic() < deadline:
            time.sleep(0.05)
        self.power_off()

    def link_down(self, interface: str = "eth0") -> None:
        """Pulls a cable: the node loses its carrier, its neighbours hear nothing."""
        self._set_link(interface, up=False)

    def link_up(self, interface: str = "eth0") -> None:
        """Plugs it in again."""
        self._set_link(interface, up=True)

    def link_is_up(self, interface: str = "eth0") -> bool:
        """Whether the cable is plugged in (and the power on)."""
        return self.pid is not None and network.link_is_up(self._layout, self._host, interface)

    def command(self, *words: Word) -> list[str]:
        """The words of a command that runs these inside the node's namespaces, for a Popen of one's own."""
        inside = ["nsenter", f"--target={self._running()}", "--mount", "--net", "--pid", "--uts", "--ipc", "--"]
        return [*inside, *(str(word) for word in words)]

    def run(self, *words: Word, stdin: str | None = None, timeout: float = 60.0) -> str:
        """Runs a command inside the node and returns its output; raises ClusterError when it fails."""
        return run(*self.command(*words), stdin=stdin, timeout=timeout)

    def load_image(self, tag: str, image_id: str, archive: Path) -> bool:
        """Imports an archive into its containerd; False when it has that very image under that tag."""
        socket = self.root / "run/containerd/containerd.sock"
        wait_until(socket.is_socket, _CONTAINERD_WITHIN, f"containerd on {self.name}")
        if self._image_id(tag) == image_id:
            return False
        present = self._ctr("content", "list", "--quiet").split()
        with subprocess.Popen(
            self.command(*_CTR, "images", "import", "--no-unpack", "-"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            assert process.stdin
            with contextlib.suppress(BrokenPipeError):  # its own words are better than ours
                image.copy_without(archive, present, process.stdin)
            said, _ = process.communicate()
        if process.returncode:
            raise ClusterError(f"{self.name} cannot import {archive}: {said.decode(errors='replace').strip()}")
        return True

    def _image_id(self, tag: str) -> str | None:
        for line in self._ctr("images", "list", f"name=={tag}").splitlines()[1:]:
            manifest = json.loads(self._ctr("content", "get", line.split()[2]))
            return str(manifest["config"]["digest"])
        return None

    def _ctr(self, *words: Word) -> str:
        return self.run(*_CTR, *words)

    def _commands(self) -> set[str]:
        """The names of the programs that run on it."""
        found = set()
        for process in (self.root / "proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # ended since it was listed
                found.add((process / "comm").read_text().strip())
        return found

    @property
    def _boot_id_file(self) -> Path:
        return self._layout.node(self.name) / "boot-id"

    def _running(self) -> int:
        pid = self.pid
        if pid is None:
            raise ClusterError(f"{self.name} is off")
        return pid

    def _set_link(self, interface: str, up: bool) -> None:
        if interface not in self._host.interfaces:
            raise ClusterError(f"{self.name} has no {interface}, only {', '.join(self._host.interfaces)}")
        self._running()
        network.set_link(self._layout, self._host, interface, up)


def cut_power(daemons: Daemons, name: str) -> None:
    """Kills a node's PID 1, and with it all that runs there; needs nothing but the record of its process."""
    pid = _init(daemons, name)
    if pid is not None:
        end(pid)
    daemons.stop(_daemon(name))


def _init(daemons: Daemons, name: str) -> int | None:
    # Recorded is unshare, which forks the PID 1 of the new pid namespace and waits for it.
    launcher = daemons.pid(_daemon(name))
    return next(iter(children(launcher)), None) if launcher else None


def _daemon(name: str) -> str:
    return f"node-{name}"
