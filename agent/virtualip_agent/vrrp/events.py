"""What can happen to a virtual router."""

from collections.abc import Mapping
from dataclasses import dataclass

from virtualip_agent.vrrp.group_view import GroupView
from virtualip_agent.vrrp.packet import Advertisement
from virtualip_agent.vrrp.priority import Contribution
from virtualip_agent.vrrp.settings import Settings


@dataclass(frozen=True, slots=True)
class Heard:
    """A well-formed advertisement for this VRID arrived."""

    advertisement: Advertisement
    source: bytes
    """Packed source address."""


@dataclass(frozen=True, slots=True)
class TimerExpired:
    """`deadline` has passed."""


@dataclass(frozen=True, slots=True)
class ContributionsChanged:
    """The whole map of trackers, as it is now."""

    contributions: Mapping[str, Contribution]


@dataclass(frozen=True, slots=True)
class SettingsChanged:
    """An edit, applied in place."""

    settings: Settings


@dataclass(frozen=True, slots=True)
class LinkUp:
    """The interface exists, is up and running, and we have a source address on it."""

    source: bytes
    """Packed."""
    adopted: bool = False
    """The addresses are on it already, tagged as ours: an earlier process of this agent left them."""


@dataclass(frozen=True, slots=True)
class LinkDown:
    """The interface cannot be used."""

    reason: str
    """A word for the status: LinkDown, NoInterface, NoSource, NoPeers ..."""
    message: str


@dataclass(frozen=True, slots=True)
class AddressesRefused:
    """AddAddresses failed: the kernel said no, or somebody else's address is there."""

    reason: str
    """AddressInUse or KernelRefused."""
    message: str


@dataclass(frozen=True, slots=True)
class AddressesFree:
    """The address that AddressesRefused was about is gone."""


@dataclass(frozen=True, slots=True)
class SegmentAnswered:
    """The segment was asked who has our addresses."""

    by: str
    """Who answered, for a person; empty: nobody."""


@dataclass(frozen=True, slots=True)
class AddressesRemoved:
    """Somebody took one of our addresses off the interface while we are MASTER."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Hand over and end."""

    withdrawn: bool = False
    """True: the VIP is to be gone from this node whatever happens. False: the agent ends; where no other MASTER
    appears the addresses are left to their lifetime, so that a restart finds them."""


@dataclass(frozen=True, slots=True)
class GroupChanged:
    """The others are not what they were. None: there are none."""

    group: GroupView | None


@dataclass(frozen=True, slots=True)
class GroupTakesOver:
    """Everyone of the group is to be MASTER now."""

    elected: bool = True
    """Whether one of them at least is so by election: then nobody is there to whom a draining node could give it."""


@dataclass(frozen=True, slots=True)
class GroupYields:
    """Another of the group is MASTER no more: hand over."""


Event = (
    Heard
    | TimerExpired
    | ContributionsChanged
    | SettingsChanged
    | LinkUp
    | LinkDown
    | AddressesRefused
    | AddressesFree
    | SegmentAnswered
    | AddressesRemoved
    | GroupChanged
    | GroupTakesOver
    | GroupYields
    | Stop
)
