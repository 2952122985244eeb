"""What makes the process punctual: real-time priority, locked memory, no garbage collection pauses."""

import ctypes
import gc
import os
from typing import Final

_PRIORITY: Final = 50
_MCL_CURRENT: Final = 1
_MCL_FUTURE: Final = 2
_MCL_ONFAULT: Final = 4
"""Locks pages as they are touched; without it every mapped page is brought in, which doubles the memory."""


def become_punctual() -> str:
    """Takes what the system permits, and says what that was, for the log and the status."""
    return f"{_schedule()}, {_lock_memory()}"


def freeze_memory() -> None:
    """After start-up: what lives now lives for ever, and is no longer the collector's business."""
    gc.collect()
    gc.freeze()
    gc.disable()


def _schedule() -> str:
    try:
        # RESET_ON_FORK: nothing that this process might start inherits real-time priority
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(_PRIORITY))
    except OSError as refused:
        try:
            os.setpriority(os.PRIO_PROCESS, 0, -20)
        except OSError as also_refused:
            return f"ordinary priority (SCHED_RR: {refused.strerror}; nice: {also_refused.strerror})"
        return f"nice -20 (SCHED_RR: {refused.strerror})"
    return f"SCHED_RR {_PRIORITY}"


def _lock_memory() -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT):
        return f"memory not locked ({os.strerror(ctypes.get_errno())})"
    return "memory locked"
