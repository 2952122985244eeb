"""The settings of one virtual router, as the state machine needs them."""

from dataclasses import dataclass

from virtualip_agent.vrrp.timing import DOWN_TIMER_ADVERTS, MILLISECOND, SECOND, SLOTS


@dataclass(frozen=True, slots=True)
class Garp:
    """How a MASTER announces its addresses: gratuitous ARP, or for IPv6 unsolicited Neighbour Advertisements."""

    repeat: int = 5
    """How many rounds a burst has."""
    interval: int = 50 * MILLISECOND
    """Between the rounds of a burst: a switch that was moving its own tables missed the first."""
    delay: int = 5 * SECOND
    """When a second burst comes; 0: none."""
    refresh: int = 0
    """How often the addresses are announced all the while; 0: never."""
    refresh_repeat: int = 1
    """How many rounds a refresh has."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Durations are nanoseconds, addresses packed."""

    vrid: int
    version: int
    addresses: frozenset[bytes]
    base_priority: int
    advert_interval: int = SECOND
    in_slots: bool = False
    """A MASTER's intervals end at multiples of `slot`, of the clock that `handle` is given: the first after a
    take-over, or after an advertisement out of turn, is by less than a slot shorter, and none is longer."""
    preempt: bool = True
    fast_preempt: bool = True
    preempt_damping: bool = True
    """After many moves by preemption the addresses stay for a while where they are (damping.py)."""
    preempt_delay: int = 0
    """How long a living MASTER of lower priority is left alone."""
    hold_until: int = 0
    """The moment (of the clock that `handle` is given) until which nobody is taken over from but a MASTER that was
    heard and died: the machine has just booted, and its switch port may not forward yet."""
    ask_patience: int = 0
    """How long a first take-over, where no MASTER was heard, waits to be told whether somebody answers for the
    addresses (first_question.py); 0: nobody is asked."""
    down_timer_adverts: int = DOWN_TIMER_ADVERTS
    """How many advertisements may be missed before the MASTER is taken for dead."""
    rank: int = 0
    """Among members of equal base priority: delays by a few milliseconds so that they do not all act at once."""
    draining: bool = False
    garp: Garp = Garp()
    lifetime: int = 30 * SECOND
    """L: how long a dead node's kernel keeps the addresses."""
    authentication: bytes = b""
    """v2 PASS, 8 bytes; empty: none."""
    members: frozenset[bytes] = frozenset()
    """Source addresses of the planned members."""
    group: str = ""
    """Routers of the same group on a node are MASTER together or not at all (sync_group.py); empty: by itself."""
    strict_peers: bool = False
    """Nobody but members is heard; always so with unicast."""
    trackers: frozenset[str] = frozenset()
    """Whose contributions must be known before the router takes part."""
    advertised: frozenset[bytes] = frozenset()
    """Those of the addresses that advertisements name; empty: all of them."""

    @property
    def slot(self) -> int:
        """Nanoseconds."""
        return self.advert_interval // SLOTS if self.in_slots else 1
