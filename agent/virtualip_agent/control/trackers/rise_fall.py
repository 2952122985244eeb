"""How many results in a row it takes: keepalived's rise and fall, for every tracker that asks again and again. Pure.

keepalived.conf(5), vrrp_script, and its source: the first result decides by itself, whichever it is (`initFail` starts
as failed instead, and then `rise` successes are needed); afterwards `rise` successes in a row heal and `fall` failures
in a row break, and a result of the other kind begins the count anew. Ours: where an earlier result still counts, as
after an edit, the first is none before enough in a row say the same.
"""

from dataclasses import dataclass, replace

from virtualip_agent.control.trackers.base import Check


@dataclass(frozen=True, slots=True)
class Outcome:
    """One try."""

    passed: bool
    reason: str
    """One of few words: `exit code 1`, `status 503`. Another reason is told; another detail alone is not."""
    detail: str = ""
    """What may be different each time, such as a script's last line: told with the reason, never by itself, or a check
    that prints a time would write to the API with every run."""


@dataclass(frozen=True, slots=True)
class RiseFall:
    """The state between tries; `after` gives the next one."""

    rise: int = 1
    fall: int = 1
    shown: Check | None = None
    """The result as it counts; None before the first."""
    _reason: str = ""
    _against: int = 0
    """Results in a row that disagree with it."""
    _in_a_row: int | None = None
    """While an earlier result still counts: the successes in a row, or less than 0 the failures."""

    @classmethod
    def start(cls, rise: int, fall: int, *, resumed: bool) -> "RiseFall":
        """Before the first try; `resumed`: an earlier result counts until then, though it is not known here."""
        return cls(rise, fall, _in_a_row=0 if resumed else None)

    @classmethod
    def failed(cls, rise: int, fall: int, message: str) -> "RiseFall":
        """Failed before the first try (`initFail`)."""
        return cls(rise, fall, Check(False, message))

    def after(self, outcome: Outcome) -> "RiseFall":
        """The state after one more try."""
        if self.shown is None and self._in_a_row is not None:
            in_a_row = max(self._in_a_row, 0) + 1 if outcome.passed else min(self._in_a_row, 0) - 1
            if -self.fall < in_a_row < self.rise:
                return replace(self, _in_a_row=in_a_row)
        if self.shown is not None and outcome.passed != self.shown.passed:
            against = self._against + 1
            if against < (self.rise if outcome.passed else self.fall):
                return replace(self, _against=against)
        elif self.shown is not None and outcome.reason == self._reason:
            return replace(self, _against=0)
        message = f"{outcome.reason}: {outcome.detail}" if outcome.detail else outcome.reason
        return replace(self, shown=Check(outcome.passed, message), _reason=outcome.reason, _against=0)
