"""kubelet and kube-proxy of a node of our own cluster, started anew with other arguments."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from barecluster import Node
from barecluster.processes import children, end
from barecluster.waiting import wait_until

_START = 'log=$1; shift; setsid --fork "$@" >> "$log" 2>&1 < /dev/null'


class NodeDaemon:
    """One of the programs that a node starts when it boots."""

    def __init__(self, node: Node, program: str) -> None:
        self._node = node
        self._program = program

    @property
    def words(self) -> list[str]:
        """The command that runs; none when it has ended."""
        pid = self._pid()
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1] if pid else []
        return [word.decode() for word in words]

    def restart(self, words: Sequence[str] = ()) -> None:
        """Kills it, as a crash would, and starts this command, or the same again."""
        words = words or self.words
        if pid := self._pid():
            end(pid)
        self._node.run("sh", "-c", _START, "sh", f"/var/log/{self._program}.log", *words)
        wait_until(lambda: self.words == list(words), 10.0, f"{self._program} to run with {words}")

    @contextmanager
    def restarted(self, change: Callable[[list[str]], list[str]]) -> Iterator[None]:
        """Meanwhile it runs with changed words; then as before."""
        before = self.words
        self.restart(change(list(before)))
        try:
            yield
        finally:
            # a node that was booted meanwhile has started it as it does, and one without power will
            if self._node.pid is not None and self.words != before:
                self.restart(before)

    def _pid(self) -> int | None:
        """As numbered by the machine."""
        assert self._node.pid is not None
        for pid in children(self._node.pid):
            if Path(f"/proc/{pid}/comm").read_text().strip() == self._program and Path(f"/proc/{pid}/exe").exists():
                return pid
        return None
