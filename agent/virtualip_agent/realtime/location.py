"""Where a virtual router runs: its interface, and the socket of the source address that it sends from."""

import socket
from collections.abc import Collection

from virtualip_agent import ipc
from virtualip_agent.realtime.interfaces import Interfaces
from virtualip_agent.realtime.listeners import Listeners
from virtualip_agent.realtime.ports import Ports
from virtualip_agent.realtime.router import RunningRouter, parse_addresses
from virtualip_agent.realtime.vrrp_sockets import Sender
from virtualip_agent.rtnetlink import Link
from virtualip_agent.vrrp.events import LinkDown


def locate(
    router: RunningRouter, interfaces: Interfaces, listeners: Listeners, ports: Ports
) -> tuple[Link | None, Sender | LinkDown]:
    """The interface, and what to send by or why that cannot be."""
    config = router.config
    link, problem = interfaces.find(config.interface, router.addresses)
    if link is None:
        return None, LinkDown("NoInterface", problem)
    if not link.usable:
        return link, LinkDown("LinkDown", f"{link.name} is {'down' if not link.up else 'without carrier'}")
    if router.unicast and not router.unicast_peers and not (config.alone and router.core.is_master):
        # never to the group instead: nobody there would expect it. Who holds it when all other Nodes are deleted goes
        # on: no agent of theirs has a plan
        family = "IPv4" if router.family == socket.AF_INET else "IPv6"
        return link, LinkDown("NoPeers", f"transport is Unicast, and no other member has an {family} address")
    if config.unknown_to:
        who = f"{', '.join(config.unknown_to)} {'has' if len(config.unknown_to) == 1 else 'have'}"
        return link, LinkDown("NotYetKnown", f"{who} not taken the plan that names this node: nobody would hear it")
    among = router.sources
    if among is not None and not among:
        return link, LinkDown("NoSource", "the other members know no address of this node from which to hear it")
    source = interfaces.source(link.index, router.addresses, router.unicast_peers, among)
    if source is None and among is not None:
        named = " or ".join(config.sources or ())
        return link, LinkDown("NoSource", f"{named}, from which it is to advertise, cannot be used on {link.name}")
    if source is None:
        unusable = "" if router.unicast else interfaces.unusable_source(link.index, router.addresses)
        if unusable:
            return link, LinkDown("LinkDown", f"{link.name} has no link-local address to send from: {unusable}")
        return link, LinkDown("NoInterface", f"{link.name} has no address of its own to advertise from")
    holder = listeners.holder(link.index, router.family, config.vrid)
    if holder is not None and holder is not router:
        return link, LinkDown("VRIDInUse", f"VRID {config.vrid} on {link.name} is {holder.name}'s")
    try:
        return link, ports.open(link, source, config.vrid)
    except OSError as error:
        return link, LinkDown("NoInterface", f"{link.name}: {error.strerror}")


def stays(router: RunningRouter, config: ipc.RouterConfig, interfaces: Interfaces) -> bool:
    """Whether the configuration means the interface on which it runs: a name may be given or left out."""
    if config.interface == router.config.interface:
        return True
    link, _ = interfaces.find(config.interface, parse_addresses(config))
    return link is not None and link.index == router.index


def concerns(router: RunningRouter, changed: Collection[int], *, subnets: bool) -> bool:
    """Whether it may run elsewhere, or otherwise, after changes of these interfaces (`subnets`: of their addresses)."""
    here = router.sender is None or router.index in changed or router.core.fitness.waits_for_address
    return here or (subnets and router.config.interface is None)
