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
    root_directory: str = "/"
    """Where the host's root directory is mounted; scripts are looked up there, and run with it as theirs."""
    capabilities: tuple[str, ...] = ("NET_RAW",)
    """Which capabilities a script may ask for."""


def policy_of(directories: str, root: bool, root_directory: str, capabilities: str) -> Policy:
    """From a command line."""
    return Policy(_several(directories), root, root_directory, _several(capabilities))


def _several(words: str) -> tuple[str, ...]:
    return tuple(filter(None, words.split(SEPARATOR)))


class Account(NamedTuple):
    """Whom a script runs as."""

    uid: int
    gid: int


def account(user: str, policy: Policy) -> Account:
    """By name or number, with its own group and no other."""
    found = _in_host(user) if policy.root_directory != "/" else _here(user)
    if found is None:
        if user == "nobody":
            found = Account(NOBODY, NOBODY)
        elif user.isdecimal() and int(user) < 1 << 31:
            found = Account(int(user), int(user))
        else:
            raise Refused(f"there is no user {user}")
    if not policy.root and (found.uid == 0 or found.gid == 0):
        raise Refused(f"the agent's configuration does not allow scripts as {user}")
    return found


def _here(user: str) -> Account | None:
    if user.isdecimal():
        return None  # a number is nobody's name: a directory service that is slow or away is not to be asked for it
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return None
    return Account(entry.pw_uid, entry.pw_gid)


def _in_host(user: str) -> Account | None:
    """From the host's passwd(5), which is ours by now. Not by getpwnam: glibc would load the host's NSS modules, of
    another libc, into a process that may become anybody (CVE-2019-14271 was that)."""
    try:
        with open("/etc/passwd", encoding="utf-8", errors="replace") as passwd:
            for line in passwd:
                match line.rstrip("\n").split(":"):
                    case [name, _, uid, gid, *_] if name == user and uid.isdecimal() and gid.isdecimal():
                        return Account(int(uid), int(gid))
    except OSError as error:
        raise Refused(f"the host's /etc/passwd cannot be read ({error.strerror})") from None
    return None


def executable(path: str, policy: Policy) -> str:
    """The file that `path` leads to, if it is beneath an allowed directory and only root can change what it is.

    Every directory on the way is looked at as well: who can write there can put another file in its place. Nothing can
    change between this look and the execve but by root's hand. Root's hand may also remove it while we look.
    """
    try:
        return _checked_executable(path, policy)
    except FileNotFoundError:
        raise Refused(f"{path} does not exist") from None
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from None


def _checked_executable(path: str, policy: Policy) -> str:
    if not path.startswith("/") or ".." in path.split("/"):
        raise Refused(f"{path} is not an absolute path without '..'")
    real = os.path.realpath(path, strict=True)
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
