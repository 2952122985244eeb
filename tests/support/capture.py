"""tcpdump as a test uses it: its text line by line as packets pass, and the pcap for tshark."""

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self


class Capture:
    """One running tcpdump. `stop` keeps lines and pcap; the file goes with the object (`with`) or with `close`."""

    def __init__(self, popen: Callable[..., "subprocess.Popen[str]"], interface: str, expression: str = "") -> None:
        descriptor, name = tempfile.mkstemp(prefix="segment-", suffix=".pcap")
        os.close(descriptor)
        self.pcap = Path(name)
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._ended = False
        command = ["tcpdump", "-i", interface, "-nn", "-tt", "-l", "-U", "--immediate-mode", "-w", name, "--print"]
        self._process = popen([*command, "-Z", "root", *expression.split()], stderr=subprocess.PIPE)
        assert self._process.stderr is not None
        heard: list[str] = []
        for line in self._process.stderr:
            heard.append(line)
            if "listening on" in line:
                break
        else:
            self.stop()
            raise AssertionError(f"tcpdump: {''.join(heard)}")
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.pcap.unlink(missing_ok=True)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                # tcpdump -v continues a packet on indented lines
                self._lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    @property
    def lines(self) -> list[str]:
        """What tcpdump has printed, each line after its time (seconds since the epoch)."""
        with self._news:
            return list(self._lines)

    def matching(self, text: str) -> list[str]:
        """The lines that contain text."""
        return [line for line in self.lines if text in line]

    def wait_for(self, text: str, count: int = 1, timeout: float = 10.0) -> list[str]:
        """Waits until so many lines contain text, and returns them."""
        deadline = time.monotonic() + timeout
        with self._news:
            while True:
                found = [line for line in self._lines if text in line]
                if len(found) >= count:
                    return found
                left = deadline - time.monotonic()
                if left <= 0 or self._ended:
                    heard = "\n".join(self._lines[-20:]) or "(nothing)"
                    raise AssertionError(f"{len(found)} of {count} lines with {text!r} in {timeout} s; heard:\n{heard}")
                self._news.wait(left)

    def tshark(self, *arguments: str) -> str:
        """tshark's reading of what was captured so far."""
        command = ["tshark", "-n", "-r", str(self.pcap), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stop(self) -> None:
        """Ends tcpdump; lines and pcap stay."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(timeout=10)
        if hasattr(self, "_reader"):
            self._reader.join(timeout=10)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
