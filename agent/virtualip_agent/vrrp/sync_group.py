"""Sync groups: the routers of one group on this node are MASTER together, or none of them is.

Each router goes on with an election of its own; what binds them:

- They speak with one priority: the lowest base among them, and the contributions of all their trackers (a VirtualIP's
  count once, though it may have a router for each family). So two nodes cannot prefer one another's halves.
- They take over together: when every one of them would (keepalived: "only sync to master if everyone wants to"). One
  that still hears a MASTER which it must respect keeps the others, or two nodes that hear each other in one segment
  and not in the other would take turns.
- One that yields makes the others hand over; one in FAULT makes the others FAULT. They go on answering until their
  successor is heard.
- One that comes to a group that is MASTER is MASTER with it.
- Equal priorities are decided by source addresses, whose order may differ from segment to segment. The first router of
  the group decides for all; the others wait for that, but not for ever (master_schedule.py).

A router that is being stopped or withdrawn belongs to no group any more; one that waits for its first tracker results,
or is handing over for a reason of its own, keeps the others from taking over, but not from being MASTER.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from virtualip_agent.vrrp import effects as fx
from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.group_view import FOLLOWERS, UNDECIDED, GroupView, Standing
from virtualip_agent.vrrp.priority import Effective, effective_priority
from virtualip_agent.vrrp.timing import LOWEST_PRIORITY, SECOND, master_down_interval
from virtualip_agent.vrrp.virtual_router import VirtualRouter

if TYPE_CHECKING:
    from virtualip_agent.vrrp.priority import Contribution

Outcome = list[tuple[str, Sequence[fx.Effect]]]
"""(router's name, what it wants done)"""


class SyncGroups:
    """All routers of a node, by name; a name is `VirtualIP` or `VirtualIP/family`."""

    def __init__(self) -> None:
        self._cores: dict[str, VirtualRouter] = {}
        self._group_of: dict[str, str] = {}
        self._views: dict[str, GroupView | None] = {}
        self._masters: dict[str, frozenset[str]] = {}
        """Group -> who of it was MASTER when it was last looked at."""

    def add(self, name: str, core: VirtualRouter) -> None:
        """A router that has not been told anything yet."""
        self._cores[name] = core
        self._group_of[name] = core.settings.group
        self._views[name] = None

    def remove(self, name: str, now: int) -> Outcome:
        """It is forgotten; what that means for the others."""
        del self._cores[name]
        self._views.pop(name, None)
        return self._settle(self._group_of.pop(name), now)

    def handle(self, name: str, event: ev.Event, now: int) -> Outcome:
        """One router's event, and what follows from it for its group."""
        core = self._cores[name]
        before = self._group_of[name]
        if not before and not isinstance(event, ev.SettingsChanged):
            return [(name, core.handle(event, now))]
        standing, refused = core.standing, core.fitness.refused
        outcome = [(name, core.handle(event, now))]
        same = core.standing is standing and core.fitness.refused is refused
        if isinstance(event, ev.Heard | ev.TimerExpired) and same and not core.willing(now):
            return outcome  # most advertisements and timers are nobody else's business
        group = self._group_of[name] = core.settings.group
        if before != group:
            outcome += self._leave(name, now)
            outcome += self._settle(before, now)
        outcome += self._settle(group, now)
        return outcome

    def _leave(self, name: str, now: int) -> Outcome:
        self._masters = {group: masters - {name} for group, masters in self._masters.items()}
        return self._tell(name, ev.GroupChanged(None), now) if self._views.pop(name, None) else []

    def _tell(self, name: str, event: ev.Event, now: int) -> Outcome:
        return [(name, self._cores[name].handle(event, now))]

    def _settle(self, group: str, now: int) -> Outcome:
        """Until nobody has anything to say to the others."""
        outcome: Outcome = []
        if not group:
            return outcome
        while said := self._inform(group, now) or self._move(group, now):
            outcome += said
        return outcome

    def _members(self, group: str) -> dict[str, VirtualRouter]:
        return {
            name: core
            for name, core in self._cores.items()
            if self._group_of[name] == group and core.standing is not Standing.LEAVING
        }

    # ---- what each must know of the others

    def _inform(self, group: str, now: int) -> Outcome:
        members = self._members(group)
        views = {name: self._view(name, members) for name in members} if len(members) > 1 else dict.fromkeys(members)
        outcome: Outcome = []
        for name, view in views.items():
            if view != self._views.get(name) or self._cores[name].unsaid:
                self._views[name] = view
                outcome += self._tell(name, ev.GroupChanged(view), now)
        return outcome

    def _view(self, name: str, members: dict[str, VirtualRouter]) -> GroupView:
        cores = members.values()
        fault = next(
            (
                ("SyncGroup", f"{other}: {problem[1] or problem[0]}")
                for other, core in sorted(members.items())
                if other != name and (problem := core.fitness.own_fault()) is not None
            ),
            None,
        )
        first = min(
            members, key=lambda other: (members[other].settings.vrid, sorted(members[other].settings.addresses))
        )
        return GroupView(
            effective=_priority(members),
            fault=fault,
            first=first == name,
            patience=_patience(cores, faulty=fault is not None),
            draining=any(core.settings.draining for core in cores),
        )

    # ---- together or not at all

    def _move(self, group: str, now: int) -> Outcome:
        members = self._members(group)
        masters = {name for name, core in members.items() if core.standing is Standing.MASTER}
        gone = (self._masters.get(group, frozenset()) & members.keys()) - masters
        self._masters[group] = frozenset(masters)
        followers = [name for name, core in members.items() if core.standing in FOLLOWERS]
        if gone and masters:
            self._masters[group] = frozenset()
            return self._tell_all(masters, ev.GroupYields(), now)
        waiting = any(core.standing in UNDECIDED for core in members.values())
        if followers and (masters or (not waiting and all(members[name].willing(now) for name in followers))):
            elected = bool(masters) or not all(members[name].adopts for name in followers)
            return self._tell_all(followers, ev.GroupTakesOver(elected), now)
        return []

    def _tell_all(self, names: Iterable[str], event: ev.Event, now: int) -> Outcome:
        return [told for name in sorted(names) for told in self._tell(name, event, now)]


def _priority(members: dict[str, VirtualRouter]) -> Effective:
    """The lowest base and everybody's contributions, those of one VirtualIP once."""
    several = len({_virtual_ip(name) for name in members}) > 1
    contributions: dict[str, Contribution] = {}
    for name, core in members.items():
        for tracker, contribution in core.fitness.contributions(core.settings).items():
            key = f"{_virtual_ip(name)}/{tracker}" if several else tracker
            contributions[key] = contribution
    settings = [core.settings for core in members.values()]
    base = min(one.base_priority for one in settings)
    return effective_priority(base, contributions, any(one.draining for one in settings))


def _virtual_ip(name: str) -> str:
    return name.partition("/")[0]


def _patience(cores: Iterable[VirtualRouter], *, faulty: bool) -> int:
    """How long a hand-over may take: the successor waits for its slowest router. Where another of us is in FAULT it
    may be one that could not resign: its successor waits a master_down_interval."""
    waits = []
    for core in cores:
        one = core.settings
        if faulty:
            waits.append(
                master_down_interval(one.version, LOWEST_PRIORITY, one.advert_interval, one.down_timer_adverts)
            )
        else:
            waits.append(SECOND if one.version == 2 else one.advert_interval)
    return max(waits)
