"""Entries of status.nodes whose nodes take no part any more, with no agent left to say so: the operator removes them.

One that lives takes its entry away itself when it has let go; until then it says who has the addresses, and an entry
that is removed would be written again.

A JSON patch, as an apply cannot remove what another manager owns. It tests each entry's node at its index, and is all
or nothing: where the list has changed meanwhile it fails, and is made anew from the list as it is then.
"""

from collections.abc import Collection, Mapping
from typing import Any


def prune_patch(status: Mapping[str, Any], kept: Collection[str]) -> list[dict[str, Any]]:
    """The operations that remove the entries of all but the `kept`; empty where there are none."""
    operations: list[dict[str, Any]] = []
    nodes = list(enumerate(status.get("nodes") or ()))
    for index, entry in reversed(nodes):  # from the end, so that what follows keeps its index
        if entry["node"] not in kept:
            path = f"/status/nodes/{index}"
            operations.append({"op": "test", "path": f"{path}/node", "value": entry["node"]})
            operations.append({"op": "remove", "path": path})
    return operations
