"""Which of two VirtualIPs goes on that want the same VRID or the same address of a segment. Pure.

A VRID is one virtual router's on a segment (RFC 9568, section 5.2.3), an address is one holder's. Whoever has it goes
on, whatever the other is edited to; of two that both have it, or neither, the older. The operator sees no interfaces:
what may be one segment counts as one, and naming the interface of both says that it is not. Two that have no node in
common are not looked at here: whether they share a segment is heard on the wire only.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network, ip_interface
from typing import Any

from virtualip_api.virtual_ip import VirtualIPSpec

_NODES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Ask:
    """What a VirtualIP takes of a segment."""

    vrid: int
    interface: str | None
    addresses: frozenset[IPv4Address | IPv6Address]
    networks: frozenset[IPv4Network | IPv6Network]
    """Of the addresses that were given with their subnet's prefix; a /32 or /128 tells of none."""

    @property
    def families(self) -> set[int]:
        """4, 6 or both: a VRID of IPv4 is another than that of IPv6."""
        return {address.version for address in self.addresses}


def _ask(vrid: int, interface: str | None, addresses: Iterable[IPv4Interface | IPv6Interface]) -> Ask:
    given = list(addresses)
    return Ask(
        vrid=vrid,
        interface=interface or None,
        addresses=frozenset(address.ip for address in given),
        networks=frozenset(address.network for address in given if address.network.num_addresses > 1),
    )


def ask_of(spec: VirtualIPSpec) -> Ask:
    """What a spec asks for."""
    return _ask(spec.vrid, spec.interface, spec.addresses)


@dataclass(frozen=True, slots=True)
class Claim:
    """Who takes it."""

    ask: Ask
    nodes: frozenset[str]


def running_claims(members: Iterable[Mapping[str, Any]]) -> tuple[Claim, ...]:
    """What nodes have been told, from the specs of a VirtualIP's Members: more than one while an edit is under way."""
    nodes: dict[Ask, set[str]] = {}
    for member in members:
        told = member.get("spec") or {}
        try:
            ask = _ask(told["vrid"], told.get("interface"), map(ip_interface, told.get("addresses") or ()))
        except (KeyError, ValueError):
            continue  # of another version of this operator, or by somebody's hand
        nodes.setdefault(ask, set()).add(member["node"])
    return tuple(Claim(ask, frozenset(found)) for ask, found in nodes.items())


@dataclass
class Claimant:
    """A VirtualIP among others."""

    name: str
    created: str
    """metadata.creationTimestamp: RFC 3339 in seconds, so that texts compare as times."""
    running: tuple[Claim, ...] = ()
    ask: Ask | None = None
    """None: its spec cannot be followed, or it is being deleted."""
    select: Callable[[], frozenset[str]] = frozenset
    """The nodes that it would take now; asked only where that decides."""

    @cached_property
    def wanted(self) -> Claim | None:
        """What it would take now; None where it cannot take anything."""
        nodes = self.select() if self.ask else frozenset()
        return Claim(self.ask, nodes) if self.ask and nodes else None

    @property
    def age(self) -> tuple[str, str]:
        """The older is the lesser."""
        return self.created, self.name

    def asks(self) -> list[Ask]:
        """All that it has or wants."""
        return [*(claim.ask for claim in self.running), *([self.ask] if self.ask else ())]


@dataclass(frozen=True, slots=True)
class Clash:
    """Why a VirtualIP cannot have what it wants, and whose that is."""

    reason: str
    message: str
    rival: str


def alike(some: Iterable[Ask], others: Iterable[Ask]) -> bool:
    """Whether one of these asks for something that one of those does, on whatever nodes."""
    others = list(others)
    return any(_same(one, other) for one in some for other in others)


class Contest:
    """All VirtualIPs, and what becomes of each beside the others."""

    def __init__(self, claimants: Iterable[Claimant]) -> None:
        self._by_age = sorted(claimants, key=lambda claimant: claimant.age)
        self._verdicts: dict[str, Clash | None] = {}

    def clash_of(self, claimant: Claimant) -> Clash | None:
        """Who has, or gets, what this one wants; None where it may have it."""
        if claimant.name not in self._verdicts:
            self._verdicts[claimant.name] = self._judge(claimant)
        return self._verdicts[claimant.name]

    def _judge(self, claimant: Claimant) -> Clash | None:
        for other in self._by_age:
            if other.name == claimant.name or not claimant.ask or not alike((claimant.ask,), other.asks()):
                continue
            mine = claimant.wanted
            lost = self._lost(claimant, mine, other) if mine else None
            if mine and lost:
                return _clash(mine, lost, other.name, mutual=_wants_of(other, claimant.running))
        return None

    def _lost(self, claimant: Claimant, mine: Claim, other: Claimant) -> Claim | None:
        """The claim of the other's that goes before this one's."""
        held = [claim for claim in other.running if _meet(mine, claim)]
        if held:
            both_have_it = any(_meet(own, claim) for own in claimant.running for claim in held)
            return held[0] if not both_have_it or other.age < claimant.age else None
        theirs = other.wanted
        if theirs is None or not _meet(mine, theirs) or other.age > claimant.age:
            return None
        if any(_meet(own, theirs) for own in claimant.running):
            return None
        # It counts only if it gets what it wants. Each step leads to an older one, so there is an end.
        return theirs if self.clash_of(other) is None else None


def _meet(one: Claim, other: Claim) -> bool:
    return _same(one.ask, other.ask) and not one.nodes.isdisjoint(other.nodes)


def _same(one: Ask, other: Ask) -> bool:
    return bool(_addresses_of_both(one, other)) or _same_router(one, other)


def _same_router(one: Ask, other: Ask) -> bool:
    return one.vrid == other.vrid and not one.families.isdisjoint(other.families) and _one_segment(one, other)


def _addresses_of_both(one: Ask, other: Ask) -> list[IPv4Address | IPv6Address]:
    if one.addresses.isdisjoint(other.addresses):
        return []
    # A link-local address is another one on each interface; all else is one wherever on a node it is.
    segment = _one_segment(one, other)
    return sorted(
        (ip for ip in one.addresses & other.addresses if segment or not ip.is_link_local),
        key=lambda ip: (ip.version, int(ip)),
    )


def _one_segment(one: Ask, other: Ask) -> bool:
    """Whether nothing says that they are on different ones."""
    if one.interface and other.interface:
        return one.interface == other.interface
    if one.networks and other.networks:
        return any(
            mine.version == theirs.version and mine.overlaps(theirs)
            for mine in one.networks
            for theirs in other.networks
        )
    return True


def _wants_of(other: Claimant, running: Iterable[Claim]) -> bool:
    """Whether the other waits for what these have: each would wait for the other for ever."""
    theirs = other.wanted
    return theirs is not None and any(_meet(theirs, claim) for claim in running)


def _clash(mine: Claim, theirs: Claim, rival: str, *, mutual: bool) -> Clash:
    shared = sorted(mine.nodes & theirs.nodes)
    more = len(shared) - _NODES_SHOWN
    where = ", ".join(shared[:_NODES_SHOWN]) + (f" and {more} more" if more > 0 else "")
    addresses = _addresses_of_both(mine.ask, theirs.ask)
    swap = ", which wants what this one has: give one of them something else in between" if mutual else ""
    if addresses:
        shown = ", ".join(map(str, addresses[:_NODES_SHOWN]))
        message = f"spec.addresses: {shown} on {where} is VirtualIP {rival}'s{swap}"
        return Clash("AddressInUse", message, rival)
    message = f"spec.vrid: {mine.ask.vrid} on {where} is VirtualIP {rival}'s{swap}"
    if not (mine.ask.interface and theirs.ask.interface):
        message += "; if they are on different segments, name spec.interface in both"
    return Clash("VRIDInUse", message, rival)
