"""What the reporter must still know after a restart: a small file beside the desired files (its dot hides it there)."""

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path

from virtualip_agent.desired_file import write_atomically

log = logging.getLogger(__name__)

FILE_NAME = ".reporter.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class KnownMember:
    """The Member that a desired file was last written from."""

    uid: str
    created: str
    trusted: bool
    """See withdrawal.Held."""


@dataclass(slots=True)
class Memory:
    """Everything in the file. Losing it is safe: VIPs run on, none is withdrawn before its Member was seen again."""

    resource_version: str = ""
    """The last one seen, of a list or an event."""
    store: tuple[str, ...] = ()
    """uids of the CRDs at the last list."""
    lease: str = ""
    """renewTime of a Lease that we wrote."""
    members: dict[str, KnownMember] = field(default_factory=dict)
    """By VirtualIP."""
    published: tuple[str, ...] = ()
    """VirtualIPs that may have an entry of this node in their status."""


def load(directory: Path) -> Memory:
    """What the last process knew; an empty memory where there is none or it cannot be understood."""
    try:
        content = (directory / FILE_NAME).read_bytes()
    except FileNotFoundError:
        return Memory()
    try:
        document = json.loads(content)
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']!r}")
        return Memory(
            resource_version=str(document["resourceVersion"]),
            store=tuple(map(str, document["store"])),
            lease=str(document["lease"]),
            members={
                str(name): KnownMember(str(known["uid"]), str(known["created"]), bool(known["trusted"]))
                for name, known in document["members"].items()
            },
            published=tuple(map(str, document["published"])),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s is not understood and starts empty: %r", FILE_NAME, error)
        return Memory()


def encode(memory: Memory) -> bytes:
    """The file's content."""
    document = {
        "format": FORMAT,
        "resourceVersion": memory.resource_version,
        "store": memory.store,
        "lease": memory.lease,
        "members": {
            name: {"uid": known.uid, "created": known.created, "trusted": known.trusted}
            for name, known in memory.members.items()
        },
        "published": sorted(memory.published),
    }
    return json.dumps(document, indent=1, sort_keys=True).encode()


def save(directory: Path, memory: Memory) -> None:
    """Replaces the file. OSError."""
    write_atomically(directory / FILE_NAME, encode(memory))
