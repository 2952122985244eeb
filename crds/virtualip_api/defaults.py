"""What the API server fills into a VirtualIP where its user said nothing: the `default:`s of crds/virtualip.yaml.

They are left out of what agents are told: absent means the same, and an agent of the version before, which does not
know a field, must not be told of it by those who never used it. For the same reason the list is closed: the API server
fills a new default into every stored VirtualIP at once, and the operator that still runs would refuse them all. A field
that comes later has its default in virtual_ip.py alone, and no default here ever becomes another one.
"""

from collections.abc import Mapping
from typing import Final

Tree = Mapping[str, "object | Tree"]

_CHECK: Final = {"interval": "1s", "timeout": "2s", "rise": 1, "fall": 3}
DEFAULTS: Final[Tree] = {
    "version": 3,
    "transport": "Multicast",
    "strictPeers": False,
    "priority": 100,
    "advertInterval": "1s",
    "preempt": True,
    "fastPreempt": True,
    "preemptDamping": True,
    "preemptDelay": "0s",
    "startupDelay": "0s",
    "downTimerAdverts": 3,
    "checksum": "PseudoHeader",
    "garp": {"repeat": 5, "interval": "50ms", "delay": "5s", "refresh": "0s", "refreshRepeat": 1},
    "drain": {"onCordon": True, "onExcludeLabel": False},
    "trackers": {
        "reverse": False,
        "process": {"fullCommand": False, "quorum": 1, "quorumMax": 0, "delay": "0s", "terminateDelay": "0s"},
        "file": {"onMissing": "Zero"},
        "http": {**_CHECK, "status": ["200-299"], "insecureSkipVerify": False},
        "tcp": _CHECK,
        "script": {"interval": "1s", "timeout": "1s", "rise": 1, "fall": 1, "user": "nobody", "initFail": False},
        "podReady": {"quorum": 1, "holdFor": "24h"},
    },
    "notify": {"user": "nobody", "timeout": "10s"},
}
"""By field; of a list the defaults of its elements."""


def without_defaults(value: object, defaults: Tree = DEFAULTS) -> object:
    """A spec, or a part of it, without what is so anyway. What is not there by default stays, empty or not."""
    if isinstance(value, list):
        return [without_defaults(element, defaults) for element in value]
    if not isinstance(value, Mapping):
        return value
    return {
        key: without_defaults(found, below) if isinstance(below, Mapping) else found
        for key, found in value.items()
        if isinstance(below := defaults.get(key), Mapping) or key not in defaults or found != below
    }
