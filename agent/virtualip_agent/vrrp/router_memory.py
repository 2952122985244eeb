"""What a virtual router remembers, and what can be asked of it. What happens to it is in virtual_router.py."""

from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from virtualip_agent.vrrp.draining import Draining
from virtualip_agent.vrrp.first_question import FirstQuestion
from virtualip_agent.vrrp.fitness import Fitness
from virtualip_agent.vrrp.group_view import Standing
from virtualip_agent.vrrp.master_schedule import MasterSchedule
from virtualip_agent.vrrp.master_watch import MasterWatch
from virtualip_agent.vrrp.priority import OWNER
from virtualip_agent.vrrp.reception import Reception
from virtualip_agent.vrrp.report import Report
from virtualip_agent.vrrp.settings import Settings
from virtualip_agent.vrrp.steady_state import SteadyState
from virtualip_api.status import State

if TYPE_CHECKING:
    from virtualip_agent.vrrp import events as ev
    from virtualip_agent.vrrp.hand_over import HandOver


class Phase(Enum):
    """RFC 9568, section 6.4, and two of ours."""

    INITIALIZE = auto()
    """Waiting for the link or the first tracker results; reported as BACKUP."""
    BACKUP = auto()
    MASTER = auto()
    FAULT = auto()
    STOPPED = auto()


_STANDING: Final = {
    Phase.INITIALIZE: Standing.WAITING,
    Phase.BACKUP: Standing.BACKUP,
    Phase.MASTER: Standing.MASTER,
    Phase.FAULT: Standing.FAULT,
    Phase.STOPPED: Standing.LEAVING,
}


class RouterMemory:
    """Each phase's memory is a small object of its own: master_watch.py, master_schedule.py, hand_over.py; what decides
    whether to take part at all is in fitness.py."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.deadline: int | None = None
        self._armed_at = 0
        self._phase = Phase.INITIALIZE
        self.fitness = Fitness(settings)
        self._watch = MasterWatch(settings)
        self._question = FirstQuestion()
        self._reception = Reception()
        self._schedule = MasterSchedule()
        self._draining = Draining()
        self._hand_over: HandOver | None = None
        self.unsaid = False
        """In a sync group: a resignation was taken back, to be told with the priority that its trackers make now."""
        self._stop: ev.Stop | None = None
        self._report = Report()
        self._steady = SteadyState()

    @property
    def state(self) -> State:
        """As reported: a router that is not ready yet is a BACKUP with a reason."""
        if self._phase is Phase.MASTER:
            return State.MASTER
        return State.FAULT if self._phase is Phase.FAULT else State.BACKUP

    @property
    def priority(self) -> int:
        """The effective priority."""
        return self.fitness.effective.priority

    @property
    def master(self) -> bytes:
        """Source address of the MASTER that is heard, or our own."""
        return self._watch.master

    @property
    def drops(self) -> dict[str, int]:
        """Counters of what was heard and did not count, and `mismatch`."""
        return self._reception.drops

    @property
    def mismatches(self) -> dict[bytes, str]:
        """Member's source address -> what differs in its advertisements."""
        return self._reception.mismatches

    @property
    def foreign(self) -> dict[bytes, str]:
        """Source address of which nothing should be heard here -> why."""
        return self._reception.foreign

    @property
    def asks_segment(self) -> bool:
        """Whether a SegmentAnswered is waited for."""
        return self._question.open

    def _drains(self) -> bool:
        """Whether the present hand-over is one of a draining node."""
        return self._hand_over is not None and self._hand_over.drains

    @property
    def adopts(self) -> bool:
        """BACKUP with the addresses on, which an earlier process of ours left."""
        return self._phase is Phase.BACKUP and self._watch.adopted

    @property
    def is_master(self) -> bool:
        """MASTER, also while handing over: the addresses are held and refreshed."""
        return self._phase is Phase.MASTER

    @property
    def stopped(self) -> bool:
        """Released."""
        return self._phase is Phase.STOPPED

    @property
    def standing(self) -> Standing:
        """What it is to the others of its sync group."""
        if self._stop is not None:
            return Standing.LEAVING
        if self._hand_over is not None:
            follows = self._hand_over.follows and self.fitness.fault() is None
            return Standing.FOLLOWING if follows else Standing.RESIGNING
        return _STANDING[self._phase]

    def willing(self, now: int) -> bool:
        """Whether it would be MASTER now if its sync group were. One that has not run for a while and was not told of
        anything since has its queue still to read."""
        if self._phase is Phase.BACKUP:
            self._account_for_sleep(now)
            return not self._must_ask and self._takes_over_at() <= now
        return self.standing is Standing.FOLLOWING

    @property
    def _must_ask(self) -> bool:
        """Whether a take-over that is due is one to ask the segment about before."""
        return self._question.due(self.settings) and not self._watch.adopted

    def _takes_over_at(self) -> int:
        silent_at = self._watch.deadline(self.priority, self.settings)
        return self._question.take_over_at(silent_at, self.settings, owner=self.priority == OWNER)

    def _account_for_sleep(self, now: int) -> None:
        """Time in which a BACKUP did not run is no silence of the MASTER's, which may have been stopped with it."""
        due = self.deadline
        if self._phase is Phase.BACKUP and due is not None and self._watch.slept(max(due, self._armed_at), now):
            self._arm(now)

    def _arm(self, now: int) -> None:
        self._armed_at = now
        match self._phase:
            case Phase.BACKUP:
                self.deadline = self._takes_over_at()
                if self.fitness.group is not None and self.willing(now):
                    # it would take over, and waits for the others of its group; should it not run meanwhile, it knows
                    self.deadline = now + self._watch.interval
            case Phase.MASTER if self._hand_over is not None:
                self.deadline = self._hand_over.deadline
            case Phase.MASTER:
                self.deadline = self._schedule.deadline(self.settings)
            case Phase.FAULT:
                self.deadline = self.fitness.retry_at
            case _:
                self.deadline = None
