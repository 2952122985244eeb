"""Whether an advertisement counts, given our settings and who sent it.

A planned member that differs in password, interval or address list still counts as life and priority: an edit that has
reached half of the nodes must not make two MASTERs. From anybody else the RFC's rules hold; with strict_peers nothing
that anybody else says counts.
"""

from typing import NamedTuple

from virtualip_agent.vrrp.packet import Advertisement, Drop
from virtualip_agent.vrrp.settings import Settings


class Verdict(NamedTuple):
    """`drop` says why it does not count; `mismatch` what differs from our settings, for a person to read."""

    drop: Drop | None
    mismatch: str = ""


ACCEPTED = Verdict(None)


def judge(advertisement: Advertisement, source: bytes, settings: Settings) -> Verdict:
    """RFC 3768, section 7.1 and RFC 9568, section 7.1, but for what packet.parse has seen to."""
    if settings.strict_peers and source not in settings.members:
        return Verdict(Drop.UNKNOWN_SENDER)
    if advertisement.version != settings.version:
        return Verdict(Drop.VERSION)
    differences: list[tuple[str, Drop | None]] = []
    if advertisement.authentication != settings.authentication:
        differences.append(("password", Drop.AUTHENTICATION))
    if settings.version == 2 and advertisement.interval != settings.advert_interval:
        differences.append((f"interval {advertisement.interval // 1_000_000_000}s", Drop.INTERVAL))
    if advertisement.addresses != (settings.advertised or settings.addresses):
        differences.append(("addresses", None))
    if not differences:
        return ACCEPTED
    mismatch = ", ".join(text for text, _ in differences)
    if source in settings.members:
        return Verdict(None, mismatch)
    return Verdict(next((drop for _, drop in differences if drop is not None), None), mismatch)
