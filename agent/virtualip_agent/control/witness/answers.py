"""What it means that somebody answers for an address. Pure.

A MASTER must be the only one; a member that answers beside it holds the address too; whoever is no member is a
stranger. A member that answers and is not heard: protocol 112 is filtered between us.
"""

from collections.abc import Callable, Mapping
from ipaddress import IPv6Address
from typing import Final

from virtualip_agent.control.witness.post import IPAddress, Post
from virtualip_api.status import Observation, ObservationKind

Answers = Mapping[IPAddress, frozenset[str]]
"""Address -> the hardware addresses that answered for it."""

_VIRTUAL_MAC: Final = {4: "00:00:5e:00:01:", 6: "00:00:5e:00:02:"}
"""RFC 9568, section 7.3; the VRID follows. keepalived with use_vmac and FRR answer with it."""


def judge(
    post: Post, answers: Answers, owners: Mapping[str, IPAddress], hears: Callable[[IPAddress], bool | None]
) -> frozenset[Observation]:
    """What is wrong with those answers.

    owners: hardware address -> address of its own, of the members and of the MASTER that is heard. hears: whether
    advertisements of a member arrive at vrrp; None where that is not known yet.
    """
    holders: dict[IPAddress, IPAddress] = {}
    found: set[Observation] = set()
    for address in sorted(answers.keys() & post.addresses, key=str):
        for hardware in sorted(answers[address]):
            holder = owners.get(hardware)
            if hardware == virtual_mac(post):
                holder = post.master or holder
            if holder is None:
                known = "is no member" if post.members else "is not the MASTER that is heard"
                found.add(Observation(ObservationKind.STRANGER, hardware, f"answers for {address} and {known}"))
            else:
                holders.setdefault(holder, address)
    for holder, address in holders.items():
        observation = _member(post, holder, address, holders, hears)
        if observation is not None:
            found.add(observation)
    return frozenset(found)


def _member(
    post: Post,
    holder: IPAddress,
    address: IPAddress,
    holders: Mapping[IPAddress, IPAddress],
    hears: Callable[[IPAddress], bool | None],
) -> Observation | None:
    if post.is_master:
        heard = hears(holder)
        if heard is None:
            return None
        if heard:
            text = f"holds {address} beside {post.source}, which hears it"
            return Observation(ObservationKind.TWO_HOLDERS, str(holder), text)
    elif post.master is not None:
        if holder == post.master:
            return None
        master = "which answers too" if post.master in holders else "which does not answer"
        text = f"holds {address} beside the MASTER {post.master}, {master}"
        return Observation(ObservationKind.TWO_HOLDERS, str(holder), text)
    text = f"answers for {address}, but its advertisements do not arrive at {post.source}: protocol 112 is filtered"
    return Observation(ObservationKind.FILTERED, str(holder), text)


def virtual_mac(post: Post) -> str:
    """The virtual router's own hardware address."""
    return f"{_VIRTUAL_MAC[post.version]}{post.vrid:02x}"


def solicited_node(address: IPv6Address) -> IPv6Address:
    """The group where an address is asked for (RFC 4291, section 2.7.1)."""
    return IPv6Address(int(IPv6Address("ff02::1:ff00:0")) | int(address) & 0xFFFFFF)
