"""A hostile neighbour floods the segment with VRRP that passes the kernel's filter.

The MASTER goes on speaking, and the BACKUP goes on hearing it.
"""

import time
from itertools import pairwise
from pathlib import Path

import pytest

from bare_vrrp import BareVrrp, router
from flood import KINDS, Flood
from segment import Segment, unavailable
from stolen_time import StolenTime

pytestmark = [pytest.mark.netns, pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "-")]

ADDRESSES = {4: "192.168.122.200/24", 6: "2001:db8::200/64"}
SECONDS = 2.0
DOWN = 0.3
"""Seconds: three intervals."""


@pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_master_misses_no_advertisement_in_a_flood(tmp_path: Path, kind: str, family: int) -> None:
    """Adverts every 100 ms, seen where they leave; no gap of more than one and a half intervals."""
    with Segment() as lan:
        host, hostile = lan.host("192.168.122.101"), lan.host("192.168.122.66", "hostile")
        host.enable_ipv6("2001:db8::101/64")
        with StolenTime() as stolen, BareVrrp(host, tmp_path) as vrrp:
            vrrp.set(router([ADDRESSES[family]], priority=200))
            source = vrrp.wait(state="MASTER").source
            expression = f"{'ip' if family == 4 else 'ip6'} proto 112 and src host {source}"
            with lan.capture(host, expression) as capture:
                capture.wait_for(source, count=3)
                began = time.time()
                with Flood(hostile, kind, family) as flood:
                    time.sleep(SECONDS)
                ended = time.time()
                capture.wait_for(source, count=len(capture.lines) + 3)
                counters = vrrp.statistics()
            times = [float(line.split()[0]) for line in capture.lines]
            assert vrrp.wait().state == "MASTER"
    gap, at = max((after - before, before - began) for before, after in pairwise(times))
    rate = flood.sent / (ended - began)
    print(
        f"{rate:.0f} packets a second, {counters['received']} read: longest gap {gap * 1000:.1f} ms, {at:.2f} s after, "
        f"stolen {stolen.ms:.1f} ms"
    )
    print({name: count for name, count in counters.items() if "received_from" not in name})
    assert flood.sent > 20_000
    assert gap < 0.1 + max(0.05, stolen.ms * 1.5e-3)
    # nor do answers to the flood alone keep it from falling silent: no timer waited for the reading to end
    assert counters["process_latest_timer_us"] < max(50_000, stolen.ms * 1500)


@pytest.mark.parametrize("family", [4, 6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize(
    ("kind", "planned"), [*((kind, False) for kind in KINDS), ("losers", True)], ids=[*KINDS, "losers-beside-members"]
)
def test_a_backup_does_not_take_over_in_a_flood_that_it_cannot_read(
    tmp_path: Path, kind: str, family: int, planned: bool
) -> None:
    """Whoever is MASTER, or a planned member, has a queue of its own in the kernel; see realtime/ports.py."""
    owns = {4: ["192.168.122.101", "192.168.122.102"], 6: ["fe80::101", "fe80::102"]}[family]
    with Segment() as lan:
        hosts = [lan.host("192.168.122.101"), lan.host("192.168.122.102")]
        hostile = lan.host("192.168.122.66", "hostile")
        for host, own in zip(hosts, owns, strict=True):
            host.enable_ipv6(f"2001:db8::{host.address.rpartition('.')[2]}/64")
            if family == 6:
                host.run("ip -6 addr flush dev eth0 scope link")
                host.run(f"ip addr add {own}/64 dev eth0")
        members = {"members": tuple(owns) if planned else ()}
        with BareVrrp(hosts[0], tmp_path) as master, BareVrrp(hosts[1], tmp_path) as backup:
            master.set(router([ADDRESSES[family]], priority=200, change=members))
            master.wait(state="MASTER")
            backup.set(router([ADDRESSES[family]], priority=100, change=members))
            backup.wait(reason="LowerPriority")
            began, before = time.time(), backup.statistics()
            of_master = master.statistics()
            with Flood(hostile, kind, family, urgent=True) as flood:
                time.sleep(SECONDS)
            rate = flood.sent / (time.time() - began)
            after = backup.statistics()
            speaker = master.statistics()
            assert speaker["transitions"] == of_master["transitions"]
    silent, late = (counters["process_latest_timer_us"] / 1000 for counters in (speaker, after))
    lost = after["process_lost_in_socket"] - before["process_lost_in_socket"]
    heard = after[f"received_from_{owns[0]}"] - before[f"received_from_{owns[0]}"]
    print(
        f"{rate:.0f} packets a second, {lost} lost in the queue; {heard} of the MASTER's heard, which was late by "
        f"{silent:.0f} ms at most, the BACKUP by {late:.0f} ms"
    )
    assert lost > 0, "no flood: everything was read"
    assert after["process_lost_of_known"] == 0
    # one that has stood still for that long is silent, whoever floods: then it is right to take over
    fell_silent = silent > DOWN * 1000 and speaker["process_latest_timer_us"] > of_master["process_latest_timer_us"]
    assert after["transitions"] == before["transitions"] or fell_silent
