"""systemd-logind as far as a kubelet needs it for its graceful node shutdown: a bus, and a login1 by dbusmock.

The nodes of our own cluster have no systemd. Everything here ends with the node's power.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable
from typing import Self

import yaml

from barecluster.node import Node
from barecluster.packages import ensure_packages

_BUS = "/run/dbus/system_bus_socket"
_LONGEST_DELAY = 60_000_000
"""InhibitDelayMaxUSec: as long as this logind lets itself be delayed, so that the kubelet need not reconfigure it."""
_SEND = (
    *("dbus-send", "--system", "--print-reply", "--dest=org.freedesktop.login1"),
    "/org/freedesktop/login1",
)


class Logind:
    """A node's. Its kubelet is started anew with graceful node shutdown, by the same command."""

    def __init__(self, node: Node, grace: int, critical: int) -> None:
        """`grace`: seconds for all pods, of which the last `critical` are for the critical ones."""
        ensure_packages(["dbus", "python3-dbusmock"])
        self._node = node
        self._processes: list[subprocess.Popen[bytes]] = []
        node.run("mkdir", "-p", "/run/dbus")
        self._start("dbus-daemon", "--session", "--nofork", "--nopidfile", f"--address=unix:path={_BUS}")
        _until(lambda: (node.root / _BUS[1:]).is_socket())
        self._start("/usr/bin/python3", "-m", "dbusmock", "--system", "--template", "logind")
        _until(lambda: self._asked("org.freedesktop.login1.Manager.ListInhibitors") is not None)
        added = self._asked(
            "org.freedesktop.DBus.Mock.AddProperty", "string:org.freedesktop.login1.Manager",
            "string:InhibitDelayMaxUSec", f"variant:uint64:{_LONGEST_DELAY}",
        )  # fmt: skip
        assert added is not None
        self._restart_kubelet(shutdownGracePeriod=f"{grace}s", shutdownGracePeriodCriticalPods=f"{critical}s")
        _until(lambda: self.delayed, 60.0)

    def _restart_kubelet(self, **changes: str) -> None:
        pid = self._node.run("pgrep", "-xo", "kubelet").strip()
        words = self._node.run("cat", f"/proc/{pid}/cmdline").rstrip("\0").split("\0")
        flag = next(word for word in words if word.startswith("--config="))
        changed = "/run/kubelet.yaml"
        config = yaml.safe_load(self._node.run("cat", flag.partition("=")[2])) | changes
        self._node.run("sh", "-c", f"cat > {changed}", stdin=json.dumps(config))
        self._node.run("kill", pid)
        self._start(*(f"--config={changed}" if word == flag else word for word in words))

    def _start(self, *words: str) -> None:
        log = (self._node.root / "var/log/logind.log").open("ab")
        environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={_BUS}"}
        with log:
            self._processes.append(
                subprocess.Popen(
                    self._node.command(*words), env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
            )

    def _asked(self, method: str, *arguments: str) -> str | None:
        done = subprocess.run(
            self._node.command(*_SEND, method, *arguments), capture_output=True, text=True, check=False
        )
        return done.stdout if done.returncode == 0 else None

    @property
    def delayed(self) -> bool:
        """Whether the kubelet holds a shutdown up."""
        return "kubelet" in (self._asked("org.freedesktop.login1.Manager.ListInhibitors") or "")

    def prepare_for_shutdown(self) -> None:
        """What `systemctl reboot` has logind say first; returns when the kubelet lets it go on."""
        self._node.run(
            *("dbus-send", "--system", "--type=signal", "/org/freedesktop/login1"),
            *("org.freedesktop.login1.Manager.PrepareForShutdown", "boolean:true"),
        )
        _until(lambda: not self.delayed, _LONGEST_DELAY / 1e6)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


def _until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "logind or its kubelet does not do what it should"
        time.sleep(0.1)
