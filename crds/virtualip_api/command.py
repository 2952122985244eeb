"""A command of the node's that a VirtualIP names: of script trackers and of notify."""

import re
from collections.abc import Iterable

from virtualip_api.fields import Fields

LONGEST_COMMAND = 32
LONGEST_ARGUMENT = 1024
NOBODY = "nobody"

_USER = re.compile(r"[a-z_][-a-z0-9_]*|[0-9]{1,9}")


def parse_command(fields: Fields) -> tuple[str, ...]:
    """`command`: the executable by an absolute path, and its arguments; no shell."""
    command = fields.texts("command", LONGEST_COMMAND, required=True)
    bound(fields, "command", command)
    if command:
        check_path(fields, "command[0]", command[0] or "''")
    return command


def parse_user(fields: Fields) -> str:
    """`user`: whom it runs as."""
    user = fields.text("user", None, longest=32)
    if user and not _USER.fullmatch(user):
        fields.error("user", f"{user!r} is not a user's name or number")
    return user or NOBODY


def check_path(fields: Fields, name: str, path: str) -> None:
    """An error where the path (empty: none) is not absolute or climbs."""
    if path and (not path.startswith("/") or ".." in path.split("/")):
        fields.error(name, f"{path!r} is not an absolute path without '..'")


def bound(fields: Fields, name: str, texts: Iterable[str]) -> None:
    """Errors for texts that no execve takes."""
    for text in texts:
        if len(text) > LONGEST_ARGUMENT:
            fields.error(name, f"has one of {len(text)} characters; {LONGEST_ARGUMENT} are allowed")
        if "\0" in text:
            fields.error(name, "has one with a NUL character")
