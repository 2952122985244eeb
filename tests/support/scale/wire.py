"""The nodes' elections: who is MASTER follows from who lives, as VRRP would have it, a master_down_interval later."""

from collections.abc import Callable
from dataclasses import dataclass, field

from virtualip_api.status import State

Changed = Callable[[str, State], None]
"""(VirtualIP, state): what a node is from now on."""


@dataclass(slots=True)
class _Router:
    members: dict[str, tuple[int, Changed]] = field(default_factory=dict)
    """Node -> base priority, and whom to tell."""
    master: str = ""


class Wire:
    """Everybody's segment."""

    def __init__(self) -> None:
        self._routers: dict[str, _Router] = {}
        self.dead: frozenset[str] = frozenset()

    def join(self, virtual_ip: str, node: str, base: int, changed: Changed) -> None:
        """A node takes part."""
        self._routers.setdefault(virtual_ip, _Router()).members[node] = (base, changed)

    def leave(self, virtual_ip: str, node: str) -> None:
        """And no more."""
        self._routers[virtual_ip].members.pop(node, None)

    def elect(self) -> None:
        """Everybody's timers have run out: tells each node that lives what is new for it."""
        for name, router in self._routers.items():
            best = max(
                ((base, node) for node, (base, _) in router.members.items() if node not in self.dead),
                default=(0, ""),
            )[1]
            before, router.master = router.master, best
            for node, (_, changed) in router.members.items():
                if node in self.dead:
                    continue
                if node == best != before:
                    changed(name, State.MASTER)
                elif node == before != best:
                    changed(name, State.BACKUP)

    def masters(self) -> dict[str, str]:
        """VirtualIP -> its MASTER."""
        return {name: router.master for name, router in self._routers.items()}
