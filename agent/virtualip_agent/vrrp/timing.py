"""skew_time and master_down_interval, in nanoseconds."""

from typing import Final

SECOND: Final = 1_000_000_000
MILLISECOND: Final = 1_000_000
LOWEST_PRIORITY: Final = 1
SLOTS: Final = 4
"""In an interval. A MASTER advertises where one begins, so that many routers share a wake-up: what a wake-up costs by
itself is several times what an advertisement does (docs/performance.md)."""
PUNCTUALITY: Final = 16
"""What is so small a part of an interval late, and is no advertisement, is in time; a divisor of all of them."""
DOWN_TIMER_ADVERTS: Final = 3
"""RFC 9568, section 6.1: Active_Down_Interval is 3 intervals and the skew_time."""


def skew_time(version: int, priority: int, advert_interval: int) -> int:
    """How much later than others a router of this priority acts.

    v2: (256 - priority) / 256 seconds, whatever the interval (RFC 3768, section 6.1).
    v3: (256 - priority) * interval / 256, not rounded to centiseconds (RFC 9568, section 6.1).
    """
    unit = SECOND if version == 2 else advert_interval
    return (256 - priority) * unit // 256


def master_down_interval(
    version: int, priority: int, advert_interval: int, down_timer_adverts: int = DOWN_TIMER_ADVERTS
) -> int:
    """How long the MASTER may be silent before it is taken for dead: 3 intervals (or what keepalived's
    down_timer_adverts says instead) and the skew_time."""
    return down_timer_adverts * advert_interval + skew_time(version, priority, advert_interval)
