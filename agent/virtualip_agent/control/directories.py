"""The directories that the agent's processes share: made so that the reporter, who is not root, may use them."""

import logging
import os
import socket
from pathlib import Path

from virtualip_agent.run_directory import GROUP_ID

log = logging.getLogger(__name__)

_MODE = 0o2770
_OUR_SUFFIXES = (".json", ".jsonl", ".jsonl.1", ".lock", ".sock")


def prepare_shared(path: Path) -> None:
    """Makes the directory, mode 2770 and of the shared group. Where the group cannot be given (not root, and not a
    member of it) the directory is used as it is. OSError where there is none and none can be made.

    A directory that was there and holds other things than ours (`--run /run`, say) is left alone.
    """
    path.mkdir(parents=True, exist_ok=True)
    status = path.stat()
    if (status.st_gid, status.st_mode & 0o7777) == (GROUP_ID, _MODE):
        return
    if foreign := next((name for name in os.listdir(path) if not name.endswith(_OUR_SUFFIXES)), None):
        log.warning("%s is not shared with group %d: it holds other things (%s)", path, GROUP_ID, foreign)
        return
    try:
        os.chown(path, -1, GROUP_ID)  # to a group of ours: no CAP_CHOWN needed
        path.chmod(_MODE)
    except OSError as error:
        log.warning("%s is not shared with group %d: %s", path, GROUP_ID, error.strerror)


def bind_shared(listener: socket.socket, path: Path) -> None:
    """Binds a socket, mode 0660 and of the shared group where permitted. By umask and without following a link, as
    whoever is of the group may write in the directory."""
    umask = os.umask(0o117)
    try:
        listener.bind(str(path))
    finally:
        os.umask(umask)
    try:
        os.chown(path, -1, GROUP_ID, follow_symlinks=False)
    except OSError as error:
        log.debug("%s stays with its group: %s", path, error.strerror)
