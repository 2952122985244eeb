"""The file that carries what the reporter knows of this node's pods to control: `RUN/pods.json`.

Facts only: control decides what they are worth to podReady trackers, and how long they hold. Times are seconds since
the boot (CLOCK_BOOTTIME), which all of a node's containers share and nobody sets; of another boot nothing is believed.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMAT = 1
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Pod:
    """One pod of this node."""

    labels: Mapping[str, str]
    ready: bool
    """Its condition Ready is True, and it is not being deleted."""


@dataclass(frozen=True, slots=True)
class PodsOfNamespace:
    """What is known of the pods of a namespace on this node."""

    pods: Mapping[str, Pod] | None = None
    """By name; None: never listed."""
    confirmed_at: float = 0.0
    """When this was last known to be so."""
    problem: str = ""
    """What the API answered instead, where it refuses (403); '' while it merely does not answer."""


def now() -> float:
    """Seconds since the boot."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Which boot of the machine this is."""
    return _BOOT_ID.read_text().strip()


def encode(namespaces: Mapping[str, PodsOfNamespace], boot: str) -> bytes:
    """The file's content."""
    known = {
        name: {
            "pods": None
            if one.pods is None
            else {pod: {"labels": dict(it.labels), "ready": it.ready} for pod, it in one.pods.items()},
            "confirmedAt": one.confirmed_at,
            "problem": one.problem,
        }
        for name, one in namespaces.items()
    }
    return json.dumps({"format": FORMAT, "boot": boot, "namespaces": known}, sort_keys=True).encode()


def decode(content: bytes, boot: str) -> dict[str, PodsOfNamespace]:
    """What `encode` wrote in this boot, else nothing; ValueError where it cannot be understood."""
    try:
        document: dict[str, Any] = json.loads(content)
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']!r} is not {FORMAT}")
        if document["boot"] != boot:
            return {}
        return {name: _namespace(one) for name, one in document["namespaces"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a file of pods: {error!r}") from None


def _namespace(one: Mapping[str, Any]) -> PodsOfNamespace:
    pods = one["pods"]
    return PodsOfNamespace(
        pods=None
        if pods is None
        else {name: Pod(dict(pod["labels"]), bool(pod["ready"])) for name, pod in pods.items()},
        confirmed_at=float(one["confirmedAt"]),
        problem=str(one["problem"]),
    )
