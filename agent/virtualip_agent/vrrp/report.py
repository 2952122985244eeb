"""What is told about a virtual router: when it is new, and only then."""

from virtualip_agent.vrrp import effects as fx
from virtualip_api.status import State


class Report:
    """Reason, message and take-over time of the present state, and what was told last."""

    def __init__(self) -> None:
        self.reason = ""
        self.fault_message = ""
        self.takeover = -1
        self._told: tuple[object, ...] = ()

    def news(self, state: State, priority: int, message: str, *others: object) -> tuple[fx.Transitioned, ...]:
        """The effect to be carried out, where anything differs from what was told last."""
        if state is State.FAULT:
            message = self.fault_message
        seen = (state, priority, self.reason, message, *others)
        if seen == self._told:
            return ()
        entered = not self._told or self._told[0] != state
        self._told = seen
        return (fx.Transitioned(state, self.reason, message, self.takeover, entered),)
