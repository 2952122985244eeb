"""What a node runs when a VirtualIP enters another state there (keepalived.conf(5), notify scripts)."""

import re
from dataclasses import dataclass
from enum import StrEnum

from virtualip_api.command import NOBODY, parse_command, parse_user
from virtualip_api.duration import MILLISECOND, MINUTE, SECOND
from virtualip_api.fields import Fields

MOST_NOTIFIES = 16
DEFAULT_TIMEOUT = 10 * SECOND

_SHORTEST_TIMEOUT = 100 * MILLISECOND
_INSTANCE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


class Occasion(StrEnum):
    """What is told; keepalived's words."""

    MASTER = "MASTER"
    BACKUP = "BACKUP"
    FAULT = "FAULT"
    STOP = "STOP"
    """The agent ends; the VirtualIP is still declared here."""
    DELETED = "DELETED"
    """The VirtualIP is withdrawn from this node."""


@dataclass(frozen=True, slots=True)
class Notify:
    """One command, and when it runs."""

    command: tuple[str, ...]
    """Four arguments are appended: INSTANCE or GROUP, its name, the occasion, the priority."""
    when: tuple[Occasion, ...] = tuple(Occasion)
    """(Not `on`: kubectl's YAML reads that as a boolean.)"""
    user: str = NOBODY
    timeout: int = DEFAULT_TIMEOUT
    """Nanoseconds; then its process group is sent SIGTERM, and a second later whatever is left SIGKILL."""
    instance: str = ""
    """The name that it is told, where that is another than the VirtualIP's: the one of keepalived's days."""


def parse_notify(spec: Fields) -> tuple[Notify, ...]:
    """`spec.notify`."""
    found = []
    for fields in spec.children("notify", MOST_NOTIFIES):
        when = fields.texts("when", len(Occasion))
        for index, text in enumerate(when):
            if text not in tuple(Occasion):
                fields.error(f"when[{index}]", f"{text!r} is not one of {', '.join(Occasion)}")
            elif text in when[:index]:
                fields.error(f"when[{index}]", f"{text} is there twice")
        instance = fields.text("instance", None, longest=63)
        if instance and not _INSTANCE.fullmatch(instance):
            fields.error("instance", f"{instance!r} is not a name of letters, digits, '-', '_' and '.'")
        found.append(
            Notify(
                command=parse_command(fields),
                when=tuple(occasion for occasion in Occasion if occasion in when) or tuple(Occasion),
                user=parse_user(fields),
                timeout=fields.duration("timeout", _SHORTEST_TIMEOUT, MINUTE, DEFAULT_TIMEOUT),
                instance=instance or "",
            )
        )
        fields.finish()
    return tuple(found)
