"""One run of a script, from fork to the end of the last process that came of it.

The minder is a process of its own, forked by the spawner for each run. It becomes the script's user itself, so it needs
no privilege to end what the script leaves behind; and it is a subreaper, so that nothing gets away, whatever sessions
and double forks it tries.
"""

import os
import resource
import select
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NoReturn

from virtualip_agent.control import spawner_kernel as kernel
from virtualip_agent.control.spawner_policy import Account

GRACE: Final = 1.0
"""Seconds between SIGTERM and SIGKILL."""
MOST_MEMORY: Final = 512 << 20
"""Bytes of private writable memory a process, used or not (RLIMIT_DATA). Not of address space (RLIMIT_AS): Go, Java and
others reserve gigabytes of it that nobody may touch and that cost nothing, and end at once where they may not."""
MOST_PROCESSES: Final = 512
"""Of one run at a time. Counted here and not by RLIMIT_NPROC: the kernel holds that against every thread of the user on
the whole node, and `nobody` is half of a cluster's monitoring."""
_FEW: Final = 16
_COUNT_FIRST, _COUNT_SELDOM = 0.02, 0.16
"""Seconds: a count costs some 0.2 ms, and fifty checks may hang at a gateway that is dead. Of few it is less urgent."""
_LIMITS: Final = {
    resource.RLIMIT_DATA: MOST_MEMORY,
    resource.RLIMIT_FSIZE: 16 << 20,
    resource.RLIMIT_NOFILE: 256,
    resource.RLIMIT_CORE: 0,
}
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MUCH: Final = 1 << 20
"""Bytes of output, after which the script is read slowly: it may print for ever, but not cost a processor."""
_SLOWLY: Final = 0.01
_LONGEST_LINE: Final = 200

Tell = Callable[[bool, str, str], None]
"""passed, reason, detail"""


@dataclass(frozen=True, slots=True)
class Run:
    """What is to be run; checked already."""

    executable: str
    arguments: list[str]
    """With argv[0]."""
    account: Account
    capabilities: int
    """Bits."""
    environment: Mapping[str, str]
    timeout: float
    expendable: bool
    """Whether it is to be the first to go when memory is short."""


def mind(run: Run, tell: Tell, ended: Callable[[], None], stop: int) -> NoReturn:
    """Runs it, tells the result once, and leaves when nothing of it is left; early if `stop` hangs up."""
    try:
        _mind(run, tell, stop)
        ended()
        os._exit(0)
    except BaseException as error:
        with suppress(Exception):
            tell(False, f"cannot be run: {error}", "")
    os._exit(1)


def _mind(run: Run, tell: Tell, stop: int) -> None:
    began = time.monotonic()
    if run.expendable:
        with suppress(OSError), open("/proc/self/oom_score_adj", "w") as adjust:
            adjust.write("1000")  # it is not control that goes
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    become(run.account, run.capabilities)
    output, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(theirs, True)
    refusal, refusal_theirs = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        _become_script(run, theirs, refusal_theirs)
    os.close(theirs)
    os.close(refusal_theirs)
    # what the script lies on may hang: execve, which closes the other end, never comes then
    deadline = began + run.timeout
    ready = _readable([refusal, stop], max(0.0, deadline - time.monotonic()))
    if refusal not in ready:
        if stop not in ready:
            tell(False, f"timed out after {run.timeout:g}s", "")
        end_all()
        return
    problem = os.read(refusal, 512).decode(errors="replace")
    if problem:
        tell(False, f"cannot be run: {problem}", "")
        end_all()
        return
    _follow(run, tell, stop, child, output, deadline)


def become(account: Account, capabilities: int) -> None:
    """The script's user, for good: no group, no capability but these, no way to gain any."""
    os.setgroups([])
    os.setresgid(account.gid, account.gid, account.gid)
    if capabilities:
        kernel.prctl(kernel.PR_SET_KEEPCAPS, 1)
    os.setresuid(account.uid, account.uid, account.uid)
    # Before a root script's execve too: with no_new_privs it gains nothing that is not permitted here.
    kernel.set_capabilities(capabilities, capabilities)
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)


def _become_script(run: Run, output: int, refusal: int) -> NoReturn:
    try:
        minder = os.getppid()
        os.setsid()
        os.chdir("/")
        os.umask(0o022)
        for limit, value in _LIMITS.items():
            _, hard = resource.getrlimit(limit)
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(limit, (value, value))
        for capability in range(64):
            if run.capabilities >> capability & 1:
                kernel.raise_ambient(capability)
        for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        nothing = os.open("/dev/null", os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != minder:
            os._exit(1)
        os.execve(run.executable, run.arguments, {"PATH": _PATH, **run.environment})
    except OSError as error:
        os.write(refusal, (error.strerror or str(error)).encode())
    except BaseException as error:
        os.write(refusal, repr(error)[:200].encode())
    os._exit(127)


def _follow(run: Run, tell: Tell, stop: int, child: int, output: int, deadline: float) -> None:
    pidfd = os.pidfd_open(child)
    tail = Tail(output)
    told = False
    pause = _COUNT_FIRST
    count_at = time.monotonic() + pause
    while True:
        wait = max(0.0, min(deadline, count_at) - time.monotonic())
        readable = _readable([pidfd, stop, *tail.wanted()], min(wait, _SLOWLY) if tail.slow else wait)
        if stop in readable:
            break
        tail.read()
        if pidfd in readable:
            if not told:
                status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                tell(status == 0, how(status), tail.last_line())
            break
        if time.monotonic() >= count_at:
            count = len(kernel.descendants(kernel.children(os.getpid()), MOST_PROCESSES))
            if count > MOST_PROCESSES:
                if not told:
                    tell(False, f"has more than {MOST_PROCESSES} processes", "")
                break
            pause = min(2 * pause, _COUNT_SELDOM) if count <= _FEW else _COUNT_FIRST
            count_at = time.monotonic() + pause
        if time.monotonic() >= deadline:
            if told:
                break
            told = True
            tell(False, f"timed out after {run.timeout:g}s", "")
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGTERM)
            deadline = time.monotonic() + GRACE
    end_all()


def how(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"exit code {status}"
    try:
        return f"ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"ended by signal {-status}"


class Tail:
    """The end of what a script prints."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._open = True
        self._length = 0
        self._kept = b""

    @property
    def slow(self) -> bool:
        """Whether it has printed so much that it must wait."""
        return self._open and self._length > _MUCH

    def wanted(self) -> list[int]:
        """What to poll."""
        return [self._descriptor] if self._open and not self.slow else []

    def read(self) -> None:
        """Takes in what is there, a pipe's length at most."""
        if not self._open:
            return
        with suppress(BlockingIOError):
            data = os.read(self._descriptor, 1 << 16)
            self._open = bool(data)
            self._length += len(data)
            self._kept = (self._kept + data)[-4 * _LONGEST_LINE :]

    def last_line(self) -> str:
        """Printable, and short enough for a status."""
        before = -1
        while before != self._length and not self.slow:
            before = self._length
            self.read()
        lines = self._kept.decode(errors="replace").split("\n")
        line = next((stripped for line in reversed(lines) if (stripped := line.strip())), "")
        return "".join(letter if letter.isprintable() else "?" for letter in line)[:_LONGEST_LINE]


def _readable(descriptors: list[int], seconds: float) -> set[int]:
    poller = select.poll()
    for descriptor in descriptors:
        poller.register(descriptor, select.POLLIN)
    return {descriptor for descriptor, _ in poller.poll(-(-seconds * 1000 // 1))}


def kill(pids: list[int]) -> None:
    """And their process groups: a group ends in one step, in which none of it can fork. One by one, a fork bomb would
    always be ahead."""
    groups: set[int] = set()
    for pid in pids:
        with suppress(ProcessLookupError):
            groups.add(os.getpgid(pid))
    for group in groups - {os.getpgrp()}:  # that is the spawner's, and ours
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def end_all() -> None:
    """Kills every descendant of this process until there is none."""
    pause = 0.002
    while True:
        kill(kernel.descendants(kernel.children(os.getpid())))
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(pause)
        pause = min(2 * pause, 0.2)  # one that hangs in the kernel ends when that lets it
