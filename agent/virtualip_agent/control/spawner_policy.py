"""Which scripts may run, and as whom. Whoever may write a VirtualIP must not thereby be root on the nodes."""

import os
import pwd
import stat
from dataclasses import dataclass
from typing import Final, NamedTuple

from virtualip_agent.run_directory import DEFAULT_SCRIPT_DIRECTORIES

NOBODY: Final = 65534
SEPARATOR: Final = ":"


class Refused(Exception):
    """Why; for the tracker's message."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the agent's own configuration allows."""

    directories: tuple[str, ...] = (DEFAULT_SCRIPT_DIRECTORIES,)
    root: bool = False
    """Whether scripts may run as root."""


def policy_of(directories: str, root: bool) -> Policy:
    """From a command line."""
    return Policy(tuple(filter(None, directories.split(SEPARATOR))), root)


class Account(NamedTuple):
    """Whom a script runs as."""

    uid: int
    gid: int


def account(user: str, policy: Policy) -> Account:
    """By name or number, with its own group and no other."""
    try:
        entry = pwd.getpwnam(user)
        found = Account(entry.pw_uid, entry.pw_gid)
    except KeyError:
        if user == "nobody":
            found = Account(NOBODY, NOBODY)
        elif user.isdecimal() and int(user) < 1 << 31:
            found = Account(int(user), int(user))
        else:
            raise Refused(f"there is no user {user}") from None
    if not policy.root and (found.uid == 0 or found.gid == 0):
        raise Refused(f"the agent's configuration does not allow scripts as {user}")
    return found


def executable(path: str, policy: Policy) -> str:
    """The file that `path` leads to, if it is beneath an allowed directory and only root can change what it is.

    Every directory on the way is looked at as well: who can write there can put another file in its place. Nothing can
    change between this look and the execve but by root's hand.
    """
    if not path.startswith("/") or ".." in path.split("/"):
        raise Refused(f"{path} is not an absolute path without '..'")
    try:
        real = os.path.realpath(path, strict=True)
    except FileNotFoundError:
        raise Refused(f"{path} does not exist") from None
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from None
    if not any(_beneath(real, os.path.realpath(directory)) for directory in policy.directories):
        leads = f" (it leads to {real})" if real != path else ""
        raise Refused(f"{path} is not in {' or '.join(policy.directories)}{leads}")
    status = os.lstat(real)
    if not stat.S_ISREG(status.st_mode):
        raise Refused(f"{real} is not a file")
    if not status.st_mode & 0o111:
        raise Refused(f"{real} is not executable")
    at = real
    while True:
        _only_root_writes(at)
        if at == "/":
            return real
        at = os.path.dirname(at)


def _beneath(path: str, directory: str) -> bool:
    return path.startswith(directory.rstrip("/") + "/")


def _only_root_writes(path: str) -> None:
    status = os.lstat(path)
    if status.st_uid != 0:
        raise Refused(f"{path} does not belong to root")
    # in a sticky directory (/tmp) others may write, but not touch what is root's
    sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    if status.st_mode & 0o022 and not sticky:
        raise Refused(f"{path} can be written by others than root")
