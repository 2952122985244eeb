"""The supervisor of `virtualip-agent engine`: vrrp and control as children, without Kubernetes.

It does nothing but wait, so it holds nothing that could go wrong with them. If it is killed itself (-9), both get
SIGTERM from the kernel (PDEATHSIG): vrrp then hands over as planned, which leaves no gap; SIGKILL would leave one of
master_down_interval. A vrrp that hangs does not refresh its addresses any more, so that the kernel drops them.
"""

import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

log = logging.getLogger(__name__)

VIRTUALIP_AGENT: Final = (sys.executable, "-m", "virtualip_agent.cli")
BACK_OFF: Final = (0.0, 0.2, 1.0, 5.0)
"""Seconds before the first, second, ... restart in a row."""
LASTING: Final = 10.0
"""Seconds after which a child counts as running well."""
CONTROL_FAREWELL: Final = 12.0
"""Seconds that control has to publish the last state and to let notify commands end, before it is killed."""

_PR_SET_PDEATHSIG: Final = 1
_SIGNALS: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGCHLD})
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(slots=True)
class _Child:
    name: str
    command: Sequence[str]
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    failures: int = 0
    restart_at: float = field(default=0.0)

    def start(self) -> None:
        supervisor = os.getpid()

        def prepare() -> None:
            # Runs between fork and exec; the supervisor has no threads that could hold a lock.
            os.setpgid(0, 0)  # a Ctrl-C is for the supervisor, which knows the order
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            if os.getppid() != supervisor:
                os._exit(1)

        self.started_at = time.monotonic()
        try:
            self.process = subprocess.Popen(self.command, preexec_fn=prepare)
        except (OSError, subprocess.SubprocessError) as error:
            # no memory, or no process to be had: the other child must not suffer for it
            self.restart_at = self.started_at + BACK_OFF[-1]
            log.error("%s cannot be started: %s; again in %gs", self.name, error, BACK_OFF[-1])

    def ended(self, now: float) -> bool:
        """Takes note of an end, and says when it is to run again."""
        if self.process is None or self.process.poll() is None:
            return False
        self.failures = 0 if now - self.started_at >= LASTING else self.failures
        delay = BACK_OFF[min(self.failures, len(BACK_OFF) - 1)]
        log.error("%s ended (%s); restarting in %gs", self.name, _how(self.process.returncode), delay)
        self.failures += 1
        self.restart_at = now + delay
        self.process = None
        return True

    def signal(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)


def run(vrrp: Sequence[str], control: Sequence[str], program: Sequence[str] = VIRTUALIP_AGENT) -> int:
    """Runs `program` with these arguments, twice, until SIGTERM or SIGINT; the exit code."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    children = (_Child("vrrp", (*program, *vrrp)), _Child("control", (*program, *control)))
    _supervise(children)
    _shut_down(*children)
    return 0


def _supervise(children: tuple[_Child, ...]) -> None:
    """Returns when asked to stop. Signals are taken, not handled: nothing runs in between."""
    while True:
        now = time.monotonic()
        for child in children:
            child.ended(now)
            if child.process is None and child.restart_at <= now:
                child.start()
        waiting = [child.restart_at for child in children if child.process is None]
        if _next_signal(min(waiting) - now if waiting else None) in (signal.SIGTERM, signal.SIGINT):
            return


def _shut_down(vrrp: _Child, control: _Child) -> None:
    """vrrp first: it hands over, however long that takes, while control still tells. A second signal ends both."""
    vrrp.signal(signal.SIGTERM)
    if not _wait(vrrp, None):
        vrrp.signal(signal.SIGKILL)
        control.signal(signal.SIGKILL)
    control.signal(signal.SIGTERM)
    if not _wait(control, CONTROL_FAREWELL):
        control.signal(signal.SIGKILL)
    for child in (vrrp, control):
        if child.process is not None:
            child.process.wait()


def _wait(child: _Child, seconds: float | None) -> bool:
    """Whether the child ended within the time, and before another signal to stop."""
    deadline = None if seconds is None else time.monotonic() + seconds
    while child.process is not None and child.process.poll() is None:
        left = None if deadline is None else deadline - time.monotonic()
        if (left is not None and left <= 0) or _next_signal(left) in (signal.SIGTERM, signal.SIGINT):
            return False
    return True


def _next_signal(seconds: float | None) -> int | None:
    if seconds is None:
        return signal.sigwait(_SIGNALS)
    received = signal.sigtimedwait(_SIGNALS, max(seconds, 0.0))
    return received.si_signo if received else None


def _how(returncode: int) -> str:
    if returncode < 0:
        return f"signal {signal.Signals(-returncode).name}"
    return f"exit code {returncode}"
