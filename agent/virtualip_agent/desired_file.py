"""The files that carry a plan from the reporter to control: `DESIRED/<vip>.json`, kept over restarts.

They are written atomically (a temporary name with a leading dot, fsync, rename), so a reader never sees half of one.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from virtualip_api.errors import FieldError, InvalidResource
from virtualip_api.member import MemberSpec, parse_member_spec

FORMAT = 1
SUFFIX = ".json"


@dataclass(frozen=True, slots=True)
class DesiredVirtualIP:
    """One VirtualIP as this node is to run it."""

    name: str
    member: MemberSpec
    password: bytes | None = None


def encode(name: str, member_spec: dict[str, Any], password: bytes | None) -> bytes:
    """The file's content. `member_spec` is the VirtualIPMember's spec as the API gave it."""
    document: dict[str, Any] = {"format": FORMAT, "name": name, "member": member_spec}
    if password is not None:
        document["password"] = password.hex()
    return json.dumps(document, indent=1, sort_keys=True).encode()


def decode(content: bytes) -> DesiredVirtualIP:
    """What `encode` wrote; InvalidResource where it cannot be understood."""
    try:
        document = json.loads(content)
        if document["format"] != FORMAT:
            raise InvalidResource((FieldError("format", f"{document['format']!r} is not {FORMAT}"),))
        password = document.get("password")
        return DesiredVirtualIP(
            name=document["name"],
            member=parse_member_spec(document["member"], "member"),
            password=None if password is None else bytes.fromhex(password),
        )
    except InvalidResource:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidResource((FieldError("", f"not a desired file: {error!r}"),)) from None


def names_in(directory: Path) -> list[str]:
    """The VirtualIPs that have a file in the directory."""
    files = (file.name for file in directory.glob(f"*{SUFFIX}"))
    return sorted(name.removesuffix(SUFFIX) for name in files if not name.startswith("."))


def write_atomically(path: Path, content: bytes, mode: int = 0o640) -> None:
    """Replaces `path` as a whole and makes it durable. OSError as it comes."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
