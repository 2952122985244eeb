"""`virtualip-agent forget`: ends what is kept on this node though the API does not know it any more.

A plan whose Member was never seen in the database as it is now (the CRDs were deleted and made anew, etcd restored)
is kept for ever: that a database does not have it does not say that somebody meant it to go. Here somebody says so.
"""

from pathlib import Path

from virtualip_agent.desired_file import SUFFIX, names_in
from virtualip_agent.reporter import memory


class Refused(Exception):
    """Why it cannot be forgotten, for a person."""


def unknown_to_the_api(desired: Path) -> tuple[str, ...]:
    """What is kept without a Member in the API, as far as the reporter could tell."""
    known = memory.load(desired).members
    return tuple(name for name in names_in(desired) if name not in known or not known[name].trusted)


def forget(desired: Path, name: str) -> None:
    """Takes it off this node for good. Refused; OSError."""
    if name not in names_in(desired):
        raise Refused(
            f"there is no {name} from the API on this node; there are {', '.join(names_in(desired)) or 'none'}"
        )
    if name not in unknown_to_the_api(desired):
        raise Refused(f"{name} is in the API: delete the VirtualIP there")
    (desired / f"{name}{SUFFIX}").unlink()
