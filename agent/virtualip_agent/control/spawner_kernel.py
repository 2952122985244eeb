"""The system calls of the script spawner that Python has no name for. Linux; raises OSError."""

import ctypes
import os
from typing import Final

CAP_DAC_READ_SEARCH: Final = 2
CAP_SETGID: Final = 6
CAP_SETUID: Final = 7
CAP_NET_BIND_SERVICE: Final = 10
CAP_NET_ADMIN: Final = 12
CAP_NET_RAW: Final = 13
CAP_SYS_CHROOT: Final = 18

PR_SET_PDEATHSIG: Final = 1
PR_SET_KEEPCAPS: Final = 8
PR_SET_CHILD_SUBREAPER: Final = 36
PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_RAISE: Final = 2
_VERSION_3: Final = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def prctl(option: int, argument: int = 0, more: int = 0) -> None:
    """prctl(2)."""
    _checked(_libc.prctl(option, *(ctypes.c_ulong(value) for value in (argument, more, 0, 0))))


def raise_ambient(capability: int) -> None:
    """Keeps a capability, which must be permitted and inheritable, over execve."""
    prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, capability)


def permitted() -> int:
    """Our permitted capabilities, a bit each."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1], 16) for line in status if line.startswith("CapPrm"))


def set_capabilities(permitted_and_effective: int, inheritable: int = 0) -> None:
    """capset(2): nothing but these any more."""
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    low, high = permitted_and_effective & 0xFFFFFFFF, permitted_and_effective >> 32
    data = (ctypes.c_uint32 * 6)(low, low, inheritable & 0xFFFFFFFF, high, high, inheritable >> 32)
    _checked(_libc.capset(header, data))


def children(pid: int) -> list[int]:
    """A process's children; none where it is gone."""
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                found += map(int, file.read().split())
    except OSError:
        pass  # it ended while we looked
    return found


def descendants(pids: list[int], enough: int | None = None) -> list[int]:
    """These processes and all that come from them; no further than to more than `enough`."""
    found: list[int] = []
    queue = list(pids)
    while queue and (enough is None or len(found) <= enough):
        pid = queue.pop()
        found.append(pid)
        queue += children(pid)
    return found


def own_cgroup() -> str:
    """Our cgroup of version 2; / where it is the root of what we see of them, or there is none."""
    with open("/proc/self/cgroup") as file:
        return next((line[3:].rstrip("\n") for line in file if line.startswith("0::")), "/")


def ended_together(cgroup: str, mounted: str = "/sys/fs/cgroup") -> bool:
    """Whether the kernel, when it ends one process of this cgroup for want of memory, ends all of them
    (memory.oom.group, its own or of one above it)."""
    while True:
        try:
            with open(f"{mounted}{cgroup.rstrip('/')}/memory.oom.group") as file:
                if file.read().strip() == "1":
                    return True
        except OSError:
            pass  # version 1, or the root of the whole tree
        if cgroup == "/":
            return False
        cgroup = os.path.dirname(cgroup)
