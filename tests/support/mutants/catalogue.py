"""The mutants, and who must kill each: the tests of the RFCs' sentences, the simulator, or both of them.

The simulator's nodes share a subnet, a codec and (with version 2) an interval of a second: it cannot see everything.
"""

from typing import Final, NamedTuple

RFC: Final = "rfc"
SIMULATOR: Final = "simulator"
BOTH: Final = (RFC, SIMULATOR)


class Mutant(NamedTuple):
    """`old` is in the module exactly once and becomes `new`."""

    name: str
    module: str
    old: str
    new: str
    killers: tuple[str, ...] = BOTH


UNCHANGED: Final = Mutant("none", "", "", "")
"""The core as it is: nobody may find fault with it."""

MUTANTS: Final = (
    # ---- 6.1: the arithmetic
    Mutant("skew sign", "timing", "(256 - priority) * unit // 256", "priority * unit // 256"),
    Mutant("v2 skew uses the interval", "timing", "SECOND if version == 2 else advert_interval", "advert_interval",
           (RFC,)),
    Mutant("v3 skew in seconds", "timing", "SECOND if version == 2 else advert_interval", "SECOND"),
    Mutant("skew rounded to centiseconds", "timing", "* unit // 256", "* unit // 256 // 10_000_000 * 10_000_000"),
    Mutant("no skew in master_down_interval", "master_watch", "settings.down_timer_adverts * interval + skew",
           "settings.down_timer_adverts * interval"),
    Mutant("one advertisement less is waited for", "master_watch", "settings.down_timer_adverts * interval + skew",
           "(settings.down_timer_adverts - 1) * interval + skew"),
    # ---- 6.4.1: Initialize
    Mutant("the owner listens first", "virtual_router", "if self.priority == OWNER and not asks_first:", "if False:",
           (RFC,)),
    # ---- 6.4.2: BACKUP
    Mutant("timer re-armed on a lower priority", "master_watch", "            if not delay:\n",
           "            if False:\n"),
    Mutant("missing preempt", "preemption", "settings.preempt or own_priority == OWNER", "own_priority == OWNER"),
    Mutant("nopreempt is ignored", "preemption", "settings.preempt or own_priority == OWNER", "True"),
    Mutant("the owner does not preempt", "preemption", "settings.preempt or own_priority == OWNER", "settings.preempt"),
    Mutant("equal priority preempts", "master_watch", "if priority < own_priority and preempts(",
           "if priority <= own_priority and preempts("),
    Mutant("a higher priority does not re-arm the timer", "master_watch",
           "        self._heard_at = now\n        if foremost:", "        if foremost:"),
    Mutant("priority 0 ignored", "master_watch", "                self._resigned_at = now\n", "                pass\n"),
    Mutant("priority 0 repeated re-arms the timer", "master_watch",
           "if self._resigned_at is None and self.master in", "if self.master in"),
    Mutant("priority 0 taken back is not believed", "master_watch",
           "        self._resigned_at = None\n        self._master_priority", "        self._master_priority"),
    Mutant("learns no interval", "master_watch",
           "self.interval, self._interval_is_ours = advertisement.interval, False", "pass"),
    Mutant("takes over without the addresses", "virtual_router",
           "effects += (fx.AddAddresses(), fx.SendGratuitousArp(first=True))\n        self._advertise",
           "effects += (fx.SendGratuitousArp(first=True),)\n        self._advertise"),
    Mutant("takes over without gratuitous ARP", "virtual_router",
           "effects += (fx.AddAddresses(), fx.SendGratuitousArp(first=True))\n        self._advertise",
           "effects += (fx.AddAddresses(),)\n        self._advertise"),
    Mutant("takes over and advertises an interval later", "virtual_router",
           "fx.SendGratuitousArp(first=True))\n        self._advertise(now, effects)",
           "fx.SendGratuitousArp(first=True))\n        self._schedule.advertised(self.settings, now)"),
    # ---- 6.4.3: MASTER
    Mutant("an interval waits for the end of its slot", "master_schedule", "at - at % settings.slot",
           "at + -at % settings.slot", (SIMULATOR,)),
    Mutant("missing tie-break", "priority", " or (priority == own_priority and source > own_source)", ""),
    Mutant("the lower address wins a tie", "priority", "source > own_source", "source < own_source"),
    Mutant("equal priority makes a MASTER yield", "priority", "return priority > own_priority or",
           "return priority >= own_priority or"),
    Mutant("address compare signed", "priority", "source > own_source",
           "int.from_bytes(source, signed=True) > int.from_bytes(own_source, signed=True)", (RFC,)),
    Mutant("address compared as text", "priority", "source > own_source",
           "'.'.join(map(str, source)) > '.'.join(map(str, own_source))", (RFC,)),
    Mutant("nopreempt keeps a MASTER from yielding", "virtual_router",
           "elif outranks(priority, event.source, self.priority, self.fitness.source):",
           "elif self.settings.preempt and outranks(priority, event.source, self.priority, self.fitness.source):"),
    Mutant("no reply to priority 0", "virtual_router", "self._resignation_heard(now, effects)", "pass"),
    Mutant("no reply to a lower priority", "virtual_router",
           "learned the loser's address\n            self._reply(now, effects)",
           "learned the loser's address\n            pass"),
    Mutant("yields and keeps the addresses", "virtual_router",
           "-> None:\n        effects.append(fx.RemoveAddresses())\n        self._become_backup",
           "-> None:\n        self._become_backup"),
    Mutant("yields and does not learn the interval", "virtual_router",
           "self.settings, now)\n        self._watch.learn(event.advertisement)\n\n    def _master_expired",
           "self.settings, now)\n\n    def _master_expired", (RFC,)),
    Mutant("advertises every other interval", "master_schedule", "self._advertise_at + settings.advert_interval",
           "self._advertise_at + 2 * settings.advert_interval"),
    Mutant("advertises every other interval when nothing else happens", "short_cuts", "then = due + steady.interval",
           "then = due + 2 * steady.interval"),
    Mutant("stops without priority 0", "hand_over", "if not self._left or now < self._say_at:", "if True:"),
    Mutant("overslept and does not yield", "virtual_router", "elif self._schedule.overslept(self.settings, now):",
           "elif False:", (SIMULATOR,)),
    Mutant("speaks at once after a long sleep", "master_schedule", "return now < self._listens_until", "return False",
           (SIMULATOR,)),
    Mutant("a time in which it did not run is the MASTER's silence", "master_watch",
           "self._not_before = now + 2 * self.interval", "pass", (SIMULATOR,)),
    Mutant("a group takes over before it has read all its segments", "router_memory",
           "            self._account_for_sleep(now)\n            return", "            return", (SIMULATOR,)),
    # ---- sync groups
    Mutant("one yields alone", "sync_group", "return self._tell_all(masters, ev.GroupYields(), now)", "return []",
           (SIMULATOR,)),
    Mutant("all take over when one would", "sync_group", "all(members[name].willing(now)",
           "any(members[name].willing(now)", (SIMULATOR,)),
    Mutant("fault of one is fault of that one", "sync_group", "            fault=fault,\n", "            fault=None,\n",
           (SIMULATOR,)),
    Mutant("each speaks with its own base", "sync_group", "effective=_priority(members),",
           "effective=_priority({name: members[name]}),", (SIMULATOR,)),
    # ---- 7.1: receiving
    Mutant("its own address is heard", "reception", "if event.source == own_source:", "if False:", (RFC,)),
    Mutant("any version is heard", "acceptance", "if advertisement.version != settings.version:", "if False:", (RFC,)),
    Mutant("v2: any interval is heard", "acceptance",
           "if settings.version == 2 and advertisement.interval != settings.advert_interval:", "if False:", (RFC,)),
    Mutant("v2: any password will do", "acceptance", "if advertisement.authentication != settings.authentication:",
           "if False:", (RFC,)),
    Mutant("the reserved nibble is part of the interval", "packet", "(field & 0x0FFF)", "field", (RFC,)),
    Mutant("the checksum is not looked at", "packet", "        return Drop.CHECKSUM", "        pass", (RFC,)),
    Mutant("v2 sums the pseudo-header", "packet", "if payload[0] >> 4 == 3 and not", "if not", (RFC,)),
    Mutant("v3 over IPv6 goes without the pseudo-header", "packet", "bare = size != _IPV6 and not checksum(payload)",
           "bare = not checksum(payload)", (RFC,)),
    Mutant("only one form of the v3 checksum is known", "packet", "bare = size != _IPV6 and not checksum(payload)",
           "bare = version == 2 and not checksum(payload)", (RFC,)),
    Mutant("any type is an advertisement", "packet", "if kind & 0x0F != _ADVERTISEMENT:", "if False:", (RFC,)),
    Mutant("an empty address list will do", "packet", "if not count:", "if False:", (RFC,)),
    Mutant("an interval of zero will do", "packet", "if not interval:", "if False:", (RFC,)),
    Mutant("a list that is cut short will do", "packet", "if len(payload) < length:", "if False:", (RFC,)),
)  # fmt: skip
