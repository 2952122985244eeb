"""Draining: the node is to give its VIPs away, by priority 1 and, where that is not enough, by one resignation.

Priority 1 is level: whoever may preempt takes over, also one that comes later, and nobody who drains too. With
`preempt: false` or a delay it would move nothing for long or for ever, so there the MASTER resigns (priority 0), which
is followed whatever Preempt_Mode says. Once: where everybody drains the addresses would else go round for ever.
"""

from virtualip_agent.vrrp.settings import Settings


class Draining:
    """What one router remembers of it."""

    def __init__(self) -> None:
        self.now = False
        self._settled = False
        """It has resigned for this draining, or was elected in spite of it."""

    def saw(self, *, draining: bool) -> None:
        """Whether it drains now."""
        self.now = draining
        self._settled = self._settled and draining

    def elected(self) -> None:
        """It became MASTER by election: where it drains, nobody was there who does not."""
        self._settled = self.now

    def resigns(self, settings: Settings) -> bool:
        """Whether a MASTER is to resign now; it counts as done."""
        preempted_at_once = settings.preempt and settings.fast_preempt and not settings.preempt_delay
        if not self.now or self._settled or preempted_at_once:
            return False
        self._settled = True
        return True
