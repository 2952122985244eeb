"""Watches every event of every node and knows the rules: written from the RFCs and docs, not from the core.

It keeps, for each node and on that node's clock, what was heard and when. A lenient moment is used on either side: a
take-over must not come before the earliest that any reading of the rules allows, nor after the latest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from group_lan import GroupLan
from virtual_lan import Node
from virtualip_agent.vrrp import effects as fx
from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.settings import Settings
from virtualip_agent.vrrp.timing import MILLISECOND, PUNCTUALITY, SECOND

_OWNER: Final = 255
_ROUNDING: Final = 1000
_REPLY_SPACING: Final = 20 * MILLISECOND
_MOST_MOVES: Final = 4
_RANK_STEP: Final = 2 * MILLISECOND
_OWN_WORK: Final = 50 * MILLISECOND


class Foul(AssertionError):
    """A rule was broken."""


def expected_skew(settings: Settings, priority: int, interval: int) -> int:
    """RFC 3768, section 6.1 (seconds, whatever the interval); RFC 9568, section 6.1 (a part of the interval)."""
    return (256 - priority) * (SECOND if settings.version == 2 else interval) // 256


@dataclass
class Sheet:
    """What one process has heard and said."""

    state: str = ""
    """After the event before."""
    begun: bool = False
    """It was told of its link."""
    leaving: bool = False
    """Stopped or withdrawn: its sync group goes on without it."""
    listening_since: int | None = None
    waiting_earliest: int = 0
    """The last thing that re-arms the timer: entering BACKUP, or a MASTER that is to be waited for."""
    waiting_latest: int = 0
    """The same, or anything that excuses being late."""
    shortest: int = 0
    longest: int = 0
    """Intervals of the advertisements it may wait by."""
    zero_since: int | None = None
    master_resigned_at: int | None = None
    lower_since: int | None = None
    last_priority: int | None = None
    adopted: bool = False
    master_since: int = -1
    said_at: int = 0
    """MASTER: the last advertisement of its own."""
    replied_at: int = -SECOND
    slowest: int = 0
    """MASTER: the longest interval it had since the last advertisement."""
    handing_over: bool = False
    priority: int = 0
    moves: int = 0
    """Take-overs, and rises of the priority that is heard: no fewer than the preemptions that this process saw."""
    stopped_at: int = 0
    """The beginning of the last time in which it did not run."""
    silent_until: int = 0
    """MASTER: it was stopped for so long that it listens before it speaks again."""
    resumed_at: int = 0
    """MASTER: the end of a stop that may have been so long."""
    not_before: int = 0
    """BACKUP: it was stopped when it should have taken over, and listens before it does."""
    slept: bool = False
    """It could not act in time: what it does in this wake-up is late."""


class Referee:
    """An Observer of the LAN."""

    def __init__(self, lan: GroupLan) -> None:
        self._lan = lan
        self.sheets: dict[Node, Sheet] = {}
        self.transitions = 0
        self._mates: dict[Node, list[Node]] = {}
        self._bidden: set[Node] = set()
        """Who was told to take over with its group, by the event that is being handled."""
        self.challenged_at: dict[Node, int] = {}
        """When (on the LAN's clock) each MASTER heard anybody else last."""

    def started(self, node: Node) -> None:
        """A new process."""
        now, interval = self.clock(node), node.settings.advert_interval
        self.sheets[node] = Sheet(
            adopted=node.holds, shortest=interval, longest=interval, slowest=interval, waiting_earliest=now
        )

    def stopped(self, node: Node) -> None:
        """It does not run from now."""
        self.sheets[node].stopped_at = self.clock(node)

    def excuse(self, node: Node) -> None:
        """It was stalled: what it does now may be late."""
        sheet, now = self.sheets[node], self.clock(node)
        waited = now - max(sheet.waiting_earliest, sheet.waiting_latest)
        sheet.waiting_latest = max(sheet.waiting_latest, now)
        sheet.slept = True
        settings = node.settings
        missed, interval = settings.down_timer_adverts + 1, max(sheet.longest, sheet.slowest, settings.advert_interval)
        if sheet.master_resigned_at is not None:
            sheet.master_resigned_at = now + 2 * interval  # if it listens
        if node.router is None:
            return
        if node.core.is_master and now - sheet.said_at > missed * settings.advert_interval:
            sheet.resumed_at = now
            # in which a short stop changes nothing
            listens = sheet.said_at < sheet.silent_until and now - sheet.silent_until <= settings.advert_interval
            if now - sheet.said_at > missed * interval and not sheet.handing_over and not listens:
                sheet.silent_until = now + settings.advert_interval
        rank = settings.rank * _RANK_STEP
        stood_still = now - sheet.stopped_at > 2 * interval + _OWN_WORK
        if node.core.state == "BACKUP" and stood_still and waited > (missed + 1) * interval + rank + _OWN_WORK:
            sheet.not_before = now + 2 * sheet.shortest

    # ---- sync groups

    @property
    def _now(self) -> int:
        return self._lan.segments[0].now

    def group(self, node: Node) -> list[Node]:
        """The routers of its machine that are bound together, itself among them: those that run and are not leaving."""
        if len(self._lan.segments) == 1:
            return [node] if node.router is not None else []
        mates = self._mates.get(node) or self._mates.setdefault(node, self._lan.nodes(node.name))
        return [mate for mate in mates if mate.router is not None and not self.sheets[mate].leaving]

    def expected_priority(self, node: Node) -> int:
        """The lowest base of its group and what all their trackers add, within 1..254; the owner's never changes;
        draining is 1."""
        group = self.group(node) or [node]
        if any(mate.settings.draining for mate in group):
            return 1
        base = min(mate.settings.base_priority for mate in group)
        if base == _OWNER:
            return _OWNER
        return min(254, max(1, base + sum(c.value for mate in group for c in mate.contributions.values())))

    def _speaks(self, node: Node) -> bool:
        """MASTER, and not about to be none."""
        return node.core.is_master and not self.sheets[node].handing_over

    def _all_or_none(self, group: list[Node]) -> None:
        group = [mate for mate in group if self.sheets[mate].begun]
        speaking = [mate for mate in group if self._speaks(mate)]
        faulty = [mate for mate in group if mate.state == "FAULT"]
        if speaking and speaking != group:
            raise Foul(f"{group[0].name}: not MASTER together: {self._states(group)}")
        if faulty and not all(mate in faulty or mate.core.is_master for mate in group):
            raise Foul(f"{group[0].name}: not in FAULT together: {self._states(group)}")

    def _states(self, group: list[Node]) -> str:
        return ", ".join(
            f"{mate.state}{'' if self._speaks(mate) == mate.core.is_master else ' that goes'}" for mate in group
        )

    # ---- every event

    def handled(
        self, node: Node, event: ev.Event, effects: Sequence[fx.Effect], was_master: bool, master: bytes
    ) -> None:
        """Checks one step of one core."""
        core, sheet = node.core, self.sheets[node]
        now = self.clock(node)
        is_master = core.is_master
        if isinstance(event, ev.LinkUp | ev.LinkDown):
            sheet.begun = True
        elif isinstance(event, ev.Stop):
            sheet.leaving = True
        elif isinstance(event, ev.GroupTakesOver):
            self._bidden.add(node)
        self._effects(node, effects, was_master=was_master, is_master=is_master)
        if isinstance(event, ev.Heard) and event.source != node.source:
            if was_master:
                self.challenged_at[node] = self._now
                self._master_heard(node, sheet, event, effects, now)
            else:
                self._other_heard(node, sheet, event, master, now)
        if is_master and not was_master:
            self.transitions += 1
            sheet.moves += 1
            self._took_over(node, sheet, event, effects, now)
        if was_master and not is_master:
            self.transitions += 1
            sheet.moves += 1
            sheet.handing_over = False
            self._waits_anew(node, sheet, now)
        for effect in effects:
            if isinstance(effect, fx.SendAdvertisement):
                self._said(node, sheet, effect.priority, is_master=is_master, now=now)
                if is_master and fx.SendGratuitousArp in map(type, effects):
                    sheet.replied_at = now  # perhaps to one that came too soon after another
            elif isinstance(effect, fx.RemoveAddresses):
                if sheet.adopted:
                    sheet.waiting_latest = now  # it listened for one interval only; now for a whole one
                sheet.adopted = False
            elif isinstance(effect, fx.Transitioned) and effect.entered and effect.state != "MASTER":
                self._waits_anew(node, sheet, now)
        if not isinstance(event, ev.Heard | ev.TimerExpired):
            self._changed(node, sheet, event, now)
        sheet.state = str(core.state)

    def settled(self, node: Node, event: ev.Event) -> None:
        """After what one event meant for a whole sync group."""
        self._bidden.clear()
        if isinstance(event, ev.Heard | ev.TimerExpired):
            self.overdue(node)

    def clock(self, node: Node) -> int:
        """CLOCK_MONOTONIC of this node."""
        return self._now - node.behind

    def _effects(self, node: Node, effects: Sequence[fx.Effect], *, was_master: bool, is_master: bool) -> None:
        kinds = [type(effect) for effect in effects]
        if fx.SendGratuitousArp in kinds and not is_master:
            raise Foul(f"{node.name}: gratuitous ARP from one that is not MASTER")
        for effect in effects:
            if isinstance(effect, fx.SendAdvertisement):
                if not was_master and not is_master:
                    raise Foul(f"{node.name} advertises and is not MASTER")
                if effect.priority not in (0, self.expected_priority(node)):
                    raise Foul(f"{node.name} says {effect.priority}, its priority is {self.expected_priority(node)}")
        if was_master and not is_master and fx.RemoveAddresses not in kinds and fx.Released not in kinds:
            raise Foul(f"{node.name} is MASTER no more and leaves its addresses")

    # ---- BACKUP

    def _other_heard(self, node: Node, sheet: Sheet, event: ev.Heard, master: bytes, now: int) -> None:
        priority, interval = event.advertisement.priority, event.advertisement.interval
        if priority == 0:
            sheet.zero_since, sheet.not_before = now if sheet.zero_since is None else sheet.zero_since, 0
            if event.source == master and sheet.master_resigned_at is None:
                sheet.master_resigned_at = now
            return
        if event.source == master or not master:
            sheet.zero_since = None
        sheet.master_resigned_at, sheet.not_before = None, 0
        sheet.moves += sheet.last_priority is not None and priority > sheet.last_priority
        sheet.last_priority = priority
        sheet.shortest, sheet.longest = min(sheet.shortest, interval), max(sheet.longest, interval)
        own = node.core.priority
        if priority < own and (node.settings.preempt or own == _OWNER):
            sheet.lower_since = now if sheet.lower_since is None else sheet.lower_since
            if node.settings.preempt_delay or self.may_be_damped(node):
                sheet.waiting_latest = now
        else:
            sheet.lower_since = None
            sheet.waiting_earliest = sheet.waiting_latest = now
            if event.source == master == node.core.master:
                sheet.shortest = sheet.longest = interval  # RFC 9568, section 6.4.2: the one to wait by

    def _took_over(self, node: Node, sheet: Sheet, event: ev.Event, effects: Sequence[fx.Effect], now: int) -> None:
        kinds = [type(effect) for effect in effects if not isinstance(effect, fx.Transitioned)]
        if kinds[:3] != [fx.AddAddresses, fx.SendGratuitousArp, fx.SendAdvertisement]:
            raise Foul(f"{node.name} becomes MASTER with {kinds}")
        own = node.core.priority
        sheet.master_since, sheet.silent_until = now, 0
        sheet.said_at, sheet.slowest, sheet.handing_over = now, node.settings.advert_interval, False
        if isinstance(event, ev.GroupTakesOver):
            if not any(self._speaks(mate) for mate in self.group(node) if mate not in self._bidden):
                self._not_too_early(node, sheet, own, now)
            sheet.adopted = False
            return
        starts = not isinstance(event, ev.TimerExpired) or sheet.state == "FAULT"
        if starts:
            if own != _OWNER:
                raise Foul(f"{node.name} becomes MASTER by {event} from {sheet.state or 'the start'}")
            return
        self._not_too_early(node, sheet, own, now)
        self._not_too_late(node, now)
        sheet.adopted = False

    def _not_too_early(self, node: Node, sheet: Sheet, own: int, now: int) -> None:
        settings = node.settings
        if now < sheet.not_before:
            raise Foul(f"{node.name} was stopped, and takes over before it has listened")
        skew = expected_skew(settings, own, sheet.shortest)
        if now - sheet.waiting_earliest >= settings.down_timer_adverts * sheet.shortest + skew:
            return
        if sheet.zero_since is not None and now - sheet.zero_since >= skew:
            return
        if sheet.adopted and now - sheet.waiting_earliest >= settings.advert_interval:
            return
        own_down = settings.down_timer_adverts * settings.advert_interval
        own_down += expected_skew(settings, own, settings.advert_interval)
        fast = settings.fast_preempt and (settings.preempt or own == _OWNER)
        delay = 0 if own == _OWNER else settings.preempt_delay
        if (
            fast
            and sheet.lower_since is not None
            and sheet.listening_since is not None
            and now - sheet.listening_since >= own_down
            and now - sheet.lower_since >= max(skew, 0)
            and (not delay or now - sheet.lower_since >= min(delay, own_down))
        ):
            return
        raise Foul(f"{node.name} becomes MASTER too early")

    def _not_too_late(self, node: Node, now: int) -> None:
        """A sync group is late when the last of it is."""
        fouls = [self._late(mate, self.sheets[mate], now) for mate in self.group(node)]
        if fouls and all(fouls):
            raise Foul(fouls[0])

    def _late(self, node: Node, sheet: Sheet, now: int) -> str:
        if sheet.slept or node.core.is_master:
            return ""
        settings, own = node.settings, node.core.priority
        skew = expected_skew(settings, own, sheet.longest) + settings.rank * _RANK_STEP + _ROUNDING
        waited = now - max(sheet.waiting_earliest, sheet.waiting_latest)
        if waited > settings.down_timer_adverts * sheet.longest + skew:
            return f"{node.name} hears no MASTER to wait for since {waited / SECOND} s and does not take over"
        if sheet.master_resigned_at is not None and now - sheet.master_resigned_at > skew:
            return f"{node.name} heard the MASTER resign and does not take over"
        return ""

    def _waits_anew(self, node: Node, sheet: Sheet, now: int) -> None:
        sheet.waiting_earliest = sheet.waiting_latest = now
        sheet.zero_since = sheet.master_resigned_at = sheet.lower_since = None
        if sheet.last_priority is not None and sheet.last_priority < node.core.priority:
            sheet.lower_since = now  # heard while it was in FAULT
        if sheet.listening_since is None:
            sheet.listening_since = now
        heard = (sheet.shortest, sheet.longest, node.settings.advert_interval)
        sheet.shortest, sheet.longest = min(heard), max(heard)

    def _changed(self, node: Node, sheet: Sheet, event: ev.Event, now: int) -> None:
        """Anything but time and advertisements: from here it may be later than before, and by another interval."""
        sheet.waiting_latest = max(sheet.waiting_latest, now)
        sheet.slowest = max(sheet.slowest, node.settings.advert_interval)
        if not node.core.master or sheet.lower_since is not None:
            # nobody's interval is waited by but its own: not that of one whom it would preempt either
            sheet.shortest = min(sheet.shortest, node.settings.advert_interval)
            sheet.longest = max(sheet.longest, node.settings.advert_interval)
        if sheet.master_resigned_at is not None:
            sheet.master_resigned_at = max(sheet.master_resigned_at, now)
        if isinstance(event, ev.LinkUp | ev.LinkDown):
            sheet.listening_since, sheet.last_priority = now, None
            self._waits_anew(node, sheet, now)
        own = node.core.priority
        if own != sheet.priority and sheet.last_priority is not None and not node.core.is_master:
            if sheet.last_priority >= own:
                sheet.lower_since = None
            elif sheet.lower_since is None:
                sheet.lower_since = now
        sheet.priority = own

    # ---- MASTER

    def _master_heard(self, node: Node, sheet: Sheet, event: ev.Heard, effects: Sequence[fx.Effect], now: int) -> None:
        theirs, own = event.advertisement.priority, node.core.priority
        stays = node.core.is_master
        if theirs:
            sheet.last_priority, interval = theirs, event.advertisement.interval
            sheet.shortest, sheet.longest = min(sheet.shortest, interval), max(sheet.longest, interval)
        wins = theirs > own or (theirs == own and int.from_bytes(event.source) > int.from_bytes(node.source))
        if sheet.handing_over:
            if theirs and stays:
                raise Foul(f"{node.name} was handing over, heard the new MASTER, and stays")
            return
        interval = max(sheet.slowest, node.settings.advert_interval)
        overslept = now - sheet.said_at > node.settings.down_timer_adverts * interval + interval // PUNCTUALITY
        if wins and theirs == own and not overslept and node is not self.group(node)[0]:
            return  # the addresses of the group's first segment decide between equals, as long as that can hear them
        if theirs and (wins or overslept):
            if stays:
                raise Foul(
                    f"{node.name} is MASTER with {own}, heard {theirs} {'' if wins else 'after sleeping'}and stays"
                )
            return
        if not stays and now - sheet.said_at <= node.settings.down_timer_adverts * node.settings.advert_interval:
            raise Foul(f"{node.name} is MASTER with {own}, heard {theirs} and yields")
        asserted = any(isinstance(effect, fx.SendAdvertisement) and effect.priority for effect in effects)
        if stays and not overslept and now - sheet.replied_at >= _REPLY_SPACING and not asserted:
            raise Foul(f"{node.name} is MASTER with {own}, heard {theirs} and does not assert itself")

    def _said(self, node: Node, sheet: Sheet, priority: int, *, is_master: bool, now: int) -> None:
        if priority:
            if is_master:
                self._spoke_in_time(node, sheet, now)
            if is_master and now < sheet.silent_until:
                raise Foul(f"{node.name} is MASTER, was stopped, and speaks before it has listened")
            sheet.handing_over = False
            sheet.said_at, sheet.slowest = now, node.settings.advert_interval
        elif is_master:
            sheet.handing_over, sheet.silent_until = True, 0

    def _spoke_in_time(self, node: Node, sheet: Sheet, now: int) -> None:
        late = now - max(sheet.said_at, sheet.resumed_at) - sheet.slowest
        if late > 0 and not sheet.slept and not sheet.handing_over:
            raise Foul(f"{node.name} is MASTER and advertises {late / MILLISECOND} ms late")

    def carried_out(self, node: Node) -> None:
        """Everything of a wake-up was done: addresses are held by the MASTER alone, and a sync group is of one mind."""
        group = self.group(node)
        if len(group) > 1 and node is group[0]:
            self._all_or_none(group)
        if node.router is not None and node.holds and not node.core.is_master and not self.sheets[node].adopted:
            raise Foul(f"{node.name} is {node.core.state} and holds the address")

    def overdue(self, node: Node) -> None:
        """Should it have acted by now?"""
        sheet, now = self.sheets[node], self.clock(node)
        core = node.core
        if core.is_master:
            self._spoke_in_time(node, sheet, now)
        elif core.state == "BACKUP" and sheet.listening_since is not None and self.takes_part(node):
            self._not_too_late(node, now)

    def may_be_damped(self, node: Node) -> bool:
        """Whether it may have seen so many moves that it does not preempt for a while."""
        moves = max((self.sheets[mate].moves for mate in self.group(node)), default=0)
        return node.settings.preempt_damping and moves >= _MOST_MOVES and self.expected_priority(node) != _OWNER

    def takes_part(self, node: Node) -> bool:
        """Link up, nothing failed, every tracker known; and so with the others of its group."""
        return all(
            mate.link
            and mate.contributions.keys() >= mate.settings.trackers
            and not any(value.fault for value in mate.contributions.values())
            for mate in self.group(node) or [node]
        )
