"""Putting the addresses of virtual routers on the node's interfaces, and taking them off again, in batches."""

import errno
import logging
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Interface, ip_address
from typing import NamedTuple

from virtualip_agent.realtime.interfaces import Interfaces, Vip, is_link_local
from virtualip_agent.realtime.route_socket import Change, RouteSocket
from virtualip_agent.realtime.router import RunningRouter
from virtualip_agent.rtnetlink import Address

log = logging.getLogger(__name__)

Place = tuple[int, bytes]
"""Interface index and packed address."""


class Refusal(NamedTuple):
    """Why a router cannot have its addresses."""

    reason: str
    """AddressInUse or KernelRefused."""
    message: str


class AddressKeeper:
    """Reconciles: what is wanted against what the kernel's tables say, never against what was once asked for."""

    def __init__(self, routes: RouteSocket) -> None:
        self._routes = routes

    @property
    def _interfaces(self) -> Interfaces:
        return self._routes.interfaces

    def add(self, routers: Sequence[RunningRouter]) -> dict[str, Refusal]:
        """Has every address of these routers on its interface, all in one batch; the refusals by router's name."""
        refused: dict[str, Refusal] = {}
        changes: list[Change] = []
        owners: list[RunningRouter] = []
        for router in routers:
            refusal = self._foreign(router)
            if refusal is not None:
                refused[router.name] = refusal
                continue
            wanted = [self._add_change(router, address) for address in router.addresses]
            changes += wanted
            owners += [router] * len(wanted)
        results = self._routes.change(changes)
        if errno.EEXIST in results:
            self._routes.resynchronise()
        for router, change, result in zip(owners, changes, results, strict=True):
            if result == errno.EEXIST and not self._routes.behind:
                # our table was old; what the kernel has now decides
                refusal = self._foreign(router)
                result = 0 if refusal is not None else self._routes.change([change._replace(exclusive=False)])[0]
                if refusal is not None:
                    refused[router.name] = refusal
            if result:
                hint = " (the capability NET_ADMIN)" if result == errno.EPERM else ""
                text = f"{ip_address(change.address.ip)}: {os.strerror(result)}{hint}"
                refused.setdefault(router.name, Refusal("KernelRefused", text))
        return refused

    def remove(
        self, routers: Collection[RunningRouter], everybody: Iterable[RunningRouter], keep: Collection[Place] = ()
    ) -> None:
        """Takes off what is ours of these routers' addresses, but for those to keep, and what another MASTER of
        `everybody` here has by now: an address may have moved between VirtualIPs by an edit."""
        names = {router.name for router in routers}
        others = [router for router in everybody if router.core.is_master and router.name not in names]
        kept = {(other.index, ip) for other in others for ip in other.packed}.union(keep)
        self._routes.change(
            [Change(found, add=False) for found in self._held(routers) if (found.index, found.ip) not in kept]
        )

    def refresh(self, routers: Iterable[RunningRouter]) -> None:
        """Renews the lifetimes, all in one batch: touching one address of a node delays the expiry of the others.

        Only what the tables show is renewed: a refresh must not bring back what somebody took away.
        """
        self._routes.change(
            [Change(found, add=True, lifetime=router.lifetime) for router in routers for found in self._held([router])]
        )

    def give_way(self, routers: Collection[RunningRouter]) -> None:
        """No address of a MASTER's is to be a subnet's primary before the node's own: it goes on as /32 instead."""
        masters = [router for router in routers if router.core.is_master]
        for index in {router.index for router in masters}:
            usurpers = self._interfaces.usurpers(index)
            if not usurpers:
                continue
            lifetimes = {
                address.ip.packed: router.lifetime
                for router in masters
                if router.index == index
                for address in router.addresses
            }
            changes: list[Change] = []
            for found in usurpers:
                if found.ip in lifetimes:
                    log.warning("%s came before the node's own address: it is there as /32 now", ip_address(found.ip))
                    anew = Change(replace(found, prefix_length=32), add=True, lifetime=lifetimes[found.ip])
                    changes += (anew, Change(found, add=False))
            self._routes.change(changes)

    def _held(self, routers: Iterable[RunningRouter]) -> Iterator[Address]:
        for router in routers:
            if router.link is not None:
                for ip in router.packed:
                    found = self._interfaces.ours_on(router.link.index, ip)
                    if found is not None:
                        yield found

    def missing(self, router: RunningRouter) -> bool:
        """Whether an address that the router should have is not there."""
        link = router.link
        return link is not None and any(self._interfaces.ours_on(link.index, ip) is None for ip in router.packed)

    def adoptable(self, router: RunningRouter) -> bool:
        """Whether an earlier process of this agent left the router's addresses on the interface."""
        return any(self._held([router]))

    def is_free_again(self, router: RunningRouter) -> bool:
        """Whether nobody else's address is in the way any more of one that waits for that."""
        return router.core.fitness.waits_for_address and self._foreign(router) is None

    def _foreign(self, router: RunningRouter) -> Refusal | None:
        """The same IP anywhere on this node that is not ours, whatever its prefix; a link-local one there alone."""
        for ip in router.packed:
            for holder in self._interfaces.holders(ip):
                elsewhere = router.link is None or holder.index != router.link.index
                if elsewhere and is_link_local(holder.ip):
                    continue
                if not self._interfaces.is_ours(holder):
                    link = self._interfaces.links.get(holder.index)
                    where = link.name if link else f"interface {holder.index}"
                    text = f"{ip_address(holder.ip)}/{holder.prefix_length} is on {where} already and is not ours"
                    return Refusal("AddressInUse", text)
        return None

    def _add_change(self, router: RunningRouter, address: Vip) -> Change:
        assert router.link is not None
        index = router.link.index
        found = self._interfaces.ours_on(index, address.ip.packed)
        if found is not None:
            return Change(found, add=True, lifetime=router.lifetime)
        prefix_length: int = address.max_prefixlen
        # IPv6 never goes on with its prefix: a /64 takes the node's own on-link route with it when it expires
        if isinstance(address, IPv4Interface) and self._interfaces.subnet_has_primary(index, address):
            prefix_length = address.network.prefixlen
        new = Address(index, address.ip.packed, prefix_length)
        return Change(new, add=True, exclusive=True, lifetime=router.lifetime)
