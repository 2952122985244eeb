"""The firewall of docs/beside.md, loaded on both nodes."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bare_vrrp import BareVrrp, router
from segment import Segment

PAGE = (Path(__file__).parents[2] / "docs/beside.md").read_text()
(RULES,) = re.findall(r"^```nftables\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
VIPS = {"IPv4": "192.168.122.200/32", "IPv6": "2001:db8::200/128"}

families = pytest.mark.parametrize("family", VIPS)


@pytest.fixture
def two(lan: Segment, tmp_path: Path) -> Iterator[tuple[BareVrrp, BareVrrp]]:
    with ExitStack() as stack:
        hosts = [lan.host(f"192.168.122.10{number}") for number in (1, 2)]
        for number, host in enumerate(hosts, 1):
            host.enable_ipv6(f"2001:db8::10{number}/64")
        one, other = (stack.enter_context(BareVrrp(host, tmp_path)) for host in hosts)
        yield one, other


def elect(two: tuple[BareVrrp, BareVrrp], rules: str, family: str) -> None:
    for vrrp, priority in zip(two, (200, 100), strict=True):
        vrrp.host.run("nft -f -", stdin=rules)
        vrrp.set(router([VIPS[family]], priority))


@families
def test_it_lets_an_election_through(two: tuple[BareVrrp, BareVrrp], family: str) -> None:
    elect(two, RULES, family)
    one, other = two
    one.wait(state="MASTER")
    assert other.wait(reason="LowerPriority").state == "BACKUP"


@families
def test_without_its_two_lines_for_vrrp_both_are_master(two: tuple[BareVrrp, BareVrrp], family: str) -> None:
    lines = RULES.splitlines(keepends=True)
    others = [line for line in lines if "vrrp" not in line]
    assert len(lines) - len(others) == 2
    elect(two, "".join(others), family)
    for vrrp in two:
        vrrp.wait(state="MASTER")
