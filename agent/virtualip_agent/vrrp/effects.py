"""What a virtual router wants done. Effects of one `handle` are carried out in this order, for all routers of a tick
together, whatever their order in the list:

1. RemoveAddresses, AddAddresses: the kernel first, because an address that could not be added means not MASTER
   (the rest of that router's effects is then dropped and AddressesRefused comes back);
2. SendGratuitousArp: the neighbours next, so that the old MASTER lets go only when we answer;
3. SendAdvertisement;
4. Transitioned, Released: telling others is last.
"""

from dataclasses import dataclass

from virtualip_api.status import State


@dataclass(frozen=True, slots=True)
class AddAddresses:
    """Have every address of the virtual router on the interface, with the lifetime; exclusive where it is new."""


@dataclass(frozen=True, slots=True)
class RemoveAddresses:
    """Have none of them there."""


@dataclass(frozen=True, slots=True)
class SendGratuitousArp:
    """One gratuitous ARP for each address."""

    first: bool = False
    """The round of the take-over itself: not paced."""


@dataclass(frozen=True, slots=True)
class SendAdvertisement:
    """Priority 0 resigns."""

    priority: int


@dataclass(frozen=True, slots=True)
class Transitioned:
    """The state, or what is reported about it, is new."""

    state: State
    reason: str
    message: str
    takeover: int = -1
    """Nanoseconds from the last sign of the MASTER before; -1 where there was none."""
    entered: bool = True
    """False where only priority, reason or message changed and the state is the same."""


@dataclass(frozen=True, slots=True)
class Released:
    """After Stop: nothing is held any more (or it is left to its lifetime); the router may be forgotten."""


Effect = AddAddresses | RemoveAddresses | SendGratuitousArp | SendAdvertisement | Transitioned | Released
