"""What both contestants are given: virtual routers, timers, priorities."""

from dataclasses import dataclass, field

NODES = ("server1", "server2")
SUBNET = "10.66"


@dataclass(frozen=True, slots=True)
class Setup:
    """Virtual routers on two nodes. VRRPv3; S1's priorities."""

    routers: int = 1
    interval_ms: int = 1000
    preempt: bool = False
    priorities: dict[str, int] = field(default_factory=lambda: {"server1": 244, "server2": 240})
    tracked: bool = False
    """A node on which httpd runs has 10 more."""

    @property
    def vips(self) -> list[str]:
        """One a virtual router."""
        return [f"{SUBNET}.200.{number}" for number in range(1, self.routers + 1)]

    @property
    def interval(self) -> float:
        """Seconds."""
        return self.interval_ms / 1000
