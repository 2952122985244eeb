"""Maintenance of nodes: cordon, drain, a planned move and a shutdown take the VIP along without a gap a client sees."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import pytest

from client import Prober
from house import ClusterClient, House

if TYPE_CHECKING:
    from segment import Host

pytestmark = [pytest.mark.nodes, pytest.mark.timeout(300)]


@contextmanager
def asked(client: ClusterClient, house: House, what: str) -> Iterator[Prober]:
    """A client asks the VIP every millisecond meanwhile, and never waits longer than 50 ms for an answer."""
    with Prober(cast("Host", client), house.vip) as prober:
        began = prober.wait_for_answer()
        yield prober
    gap = prober.result.longest_gap(since=began)
    print(f"{what}: longest gap {gap.ms:.1f} ms (noise {prober.result.noise_ms:.1f} ms)")
    assert gap.ms < max(50, prober.result.noise_ms * 1.5)


@contextmanager
def cordons(house: House) -> Iterator[None]:
    """Whatever is cordoned inside is uncordoned in the end."""
    try:
        yield
    finally:
        house.kubectl("uncordon", *house.nodes)


def moves(house: House) -> list[tuple[str, str]]:
    """Every change of MASTER that the status tells of, the newest first."""
    return [(move.get("from", ""), move["to"]) for move in house.status("web").get("lastMoves", [])]


@pytest.mark.parametrize("preempt", [True, False])
def test_every_node_cordoned_somebody_holds_it_and_nothing_goes_round(
    own_house_only: House, cluster_client: ClusterClient, preempt: bool
) -> None:
    house = own_house_only
    with house.applied("web", preempt=preempt) as master, cordons(house):
        with asked(cluster_client, house, f"all cordoned, preempt: {preempt}"):
            for number, node in enumerate([master, *(node for node in house.nodes if node != master)], 1):
                house.kubectl("cordon", node)
                house.wait("web", lambda status, n=number: _draining(status) == n)  # type: ignore[misc]
            holder = house.wait_master("web")
            before = moves(house)
            time.sleep(5)  # fifty intervals, in which it would go round
            assert (house.holders(), moves(house)) == ([holder], before)
            house.kubectl("uncordon", master)
            # By the rules of preemption: where it is allowed the one that does not drain is the better one.
            house.wait("web", lambda status: _draining(status) == len(house.nodes) - 1)
            house.wait_master("web", master if preempt else holder)
        house.kubectl("uncordon", *house.nodes)
        house.wait("web", lambda status: _draining(status) == 0)


def _draining(status: dict[str, object]) -> int:
    nodes = cast("list[dict[str, object]]", status.get("nodes", []))
    return sum(entry.get("message") == "draining" for entry in nodes)


@pytest.mark.power
def test_a_node_that_is_shut_down_hands_over_and_takes_it_back_when_it_has_booted(
    own_house_only: House, cluster_client: ClusterClient
) -> None:
    """Without graceful node shutdown: every process gets SIGTERM at about the same time, the network goes last."""
    house = own_house_only
    assert house.own is not None
    node = house.own.node(house.nodes[0])
    with house.applied("web"), asked(cluster_client, house, "systemctl reboot"):
        node.shut_down()
        house.wait("web", lambda status: status.get("master") == house.nodes[1])
        node.power_on()
        house.own.wait_for_nodes()
        house.wait_master("web", node.name, timeout=90)
