"""From an instance to what vrrp runs. Pure."""

from dataclasses import replace
from ipaddress import ip_address

from virtualip_agent.control.families import group_of, router_name
from virtualip_agent.control.frames import advertised, advertisement_payload, announcement
from virtualip_agent.control.instance import Instance
from virtualip_agent.ipc import Garp, RouterConfig
from virtualip_agent.vrrp.timing import LOWEST_PRIORITY, master_down_interval
from virtualip_api.addresses import Family, family_of
from virtualip_api.duration import MILLISECOND, SECOND
from virtualip_api.virtual_ip import LONGEST_PASSWORD

REFRESH_PERIOD = SECOND
"""How often vrrp refreshes the lifetime of its addresses."""
ASK_PATIENCE = 300 * MILLISECOND
"""What a first take-over may wait for the segment's answer: witness/first_look.py needs 200 ms where nobody answers."""
SHORTEST_LIFETIME = 3
LIFETIME_ALONE = 30
"""Where the plan knows nobody who could take over: a stall should not cost the address."""


def lifetime(instance: Instance) -> int:
    """L, in seconds: how long the kernel keeps the addresses without a refresh.

    Shorter than the slowest take-over, and the old node would let go before the new one answers.
    """
    if instance.alone:
        return LIFETIME_ALONE
    spec = instance.spec
    slowest = master_down_interval(spec.version, LOWEST_PRIORITY, spec.advert_interval, spec.down_timer_adverts)
    return max(SHORTEST_LIFETIME, -(-(slowest + REFRESH_PERIOD) // SECOND))


def compile_routers(instance: Instance) -> dict[str, RouterConfig]:
    """What vrrp runs for a VirtualIP, by the router's name: one, or one for each family, which move as one."""
    spec = instance.spec
    if len(spec.families) == 1:
        return {instance.name: compile_router(instance)}
    group = group_of(instance.name, spec.sync_group)
    halves = {
        router_name(instance.name, family): replace(spec, addresses=spec.of_family(family), sync_group=group)
        for family in spec.families
    }
    return {name: compile_router(replace(instance, name=name, spec=half)) for name, half in halves.items()}


def _sources(instance: Instance, family: Family) -> tuple[str, ...] | None:
    """The addresses that the router may advertise from; None: whichever is best."""
    spec = instance.spec
    named = _of_family(instance.named_addresses, family)
    if named:
        return named
    if spec.heard_by_name:
        return _of_family(instance.own_addresses, family)  # the others hear no other
    return None


def _of_family(addresses: tuple[str, ...], family: Family) -> tuple[str, ...]:
    return tuple(address for address in addresses if family_of(ip_address(address)) is family)


def compile_router(instance: Instance) -> RouterConfig:
    """One router of addresses of one family, frames included (scapy: some hundred microseconds an address)."""
    spec = instance.spec
    (family,) = spec.families
    return RouterConfig(
        name=instance.name,
        vrid=spec.vrid,
        version=spec.version,
        interface=spec.interface,
        addresses=tuple(str(address) for address in spec.addresses),
        base_priority=instance.base_priority,
        advert_interval=spec.advert_interval,
        preempt=spec.preempt,
        fast_preempt=spec.fast_preempt,
        preempt_damping=spec.preempt_damping,
        preempt_delay=spec.preempt_delay,
        startup_delay=spec.startup_delay,
        ask_patience=ASK_PATIENCE,
        down_timer_adverts=spec.down_timer_adverts,
        rank=instance.rank,
        draining=instance.draining,
        garp=Garp(
            repeat=spec.garp.repeat,
            interval=spec.garp.interval,
            delay=spec.garp.delay,
            refresh=spec.garp.refresh,
            refresh_repeat=spec.garp.refresh_repeat,
        ),
        lifetime=lifetime(instance),
        authentication=instance.password.ljust(LONGEST_PASSWORD, b"\0") if instance.password else b"",
        members=_of_family(instance.members, family),
        sources=_sources(instance, family),
        alone=instance.alone,
        unknown_to=instance.unknown_to,
        strict_peers=spec.strict_peers,
        transport=spec.transport,
        checksum=spec.checksum,
        group=spec.sync_group or "",
        trackers=tuple(tracker.name for tracker in spec.trackers),
        advertised=tuple(str(address) for address in advertised(spec.addresses)),
        advertisement=advertisement_payload(instance),
        announcements=tuple(announcement(address.ip) for address in spec.addresses),
        generation=instance.generation,
    )
