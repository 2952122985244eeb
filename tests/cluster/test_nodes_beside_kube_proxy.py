"""A VIP beside kube-proxy: Services at the VIP before and after it moves, in iptables and in nftables mode.

docs/beside.md says what of this a user has to set.
"""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import yaml

import web_asker
from barecluster import ClusterError
from client import Prober, ProbeResult
from hands import Hands
from house import NAMESPACE, ClusterClient, House, Status
from node_daemon import NodeDaemon
from web_pods import (
    DOORS,
    EXTERNAL_IP,
    LOCAL_EXTERNAL_IP,
    LOCAL_NODE_PORT,
    NODE_PORT,
    SELECTOR,
    Door,
    place,
    web_pods,
)

pytestmark = [pytest.mark.nodes, pytest.mark.power, pytest.mark.timeout(300)]

WORKING: Mapping[str, Mapping[str, object]] = {
    "iptables": {"mode": "iptables"},
    "nftables": {"mode": "nftables", "nodePortAddresses": ["0.0.0.0/0", "::/0"]},
}
"""What makes NodePorts answer at a VIP, by kube-proxy's mode; docs/beside.md says the same."""
ASKED_EVERY = 0.04
ONE_QUESTION = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=1).read().decode())"


@contextmanager
def vip_on_the_first(house: House) -> Iterator[str]:
    """The VIP is applied, and where it belongs: whoever was the first to know of it may have had it before."""
    with house.applied("web"):
        yield house.wait_master("web", house.nodes[0])


@contextmanager
def kube_proxies(house: House, settings: Mapping[str, object]) -> Iterator[None]:
    """kube-proxy of every node with these settings over its own; then as it was."""

    def changed(words: list[str]) -> list[str]:
        stock = Path(words[1].removeprefix("--config="))
        file = stock.with_suffix(".test.yaml")
        file.write_text(yaml.safe_dump(yaml.safe_load(stock.read_text()) | dict(settings)))
        return [words[0], f"--config={file}"]

    with ExitStack() as stack:
        for node in house.cluster.nodes:
            stack.enter_context(NodeDaemon(node, "kube-proxy").restarted(changed))
        yield


def answer(house: House, address: str, port: int) -> str:
    """The node whose pod answers, and the client's address as that pod sees it; empty: nobody does."""
    url = f"http://{address}:{port}/"
    try:
        return house.cluster.run_in_client(sys.executable, "-c", ONE_QUESTION, url).strip()
    except ClusterError:
        return ""


def wait_for_answer(house: House, address: str, port: int, timeout: float = 15.0) -> None:
    deadline = time.monotonic() + timeout
    while not answer(house, address, port):
        assert time.monotonic() < deadline, f"{address}:{port} does not answer"


def wait_for_silence(house: House, door: Door, timeout: float = 15.0) -> None:
    """Until nobody has answered three times in a row: while kube-proxy starts, the rules of before go on."""
    deadline = time.monotonic() + timeout
    while any(answer(house, house.vip, door.port) for _ in range(3)):
        assert time.monotonic() < deadline, f"{door} still answers"


@contextmanager
def asking(client: ClusterClient, house: House, doors: Sequence[Door] = DOORS) -> Iterator[dict[Door, ProbeResult]]:
    """A client at each of these doors, all of which answer by now; what they saw is there after the end of `with`."""
    results: dict[Door, ProbeResult] = {}
    with ExitStack() as stack:
        probers = {door: Prober(client, f"{house.vip}:{door.port}", ASKED_EVERY, web_asker.__file__) for door in doors}
        for prober in probers.values():
            stack.enter_context(prober)
            prober.wait_for_answer()
        yield results
        for door, prober in probers.items():
            results[door] = prober.stop()


def told(what: str, results: Mapping[Door, ProbeResult]) -> dict[Door, float]:
    """The longest gap of each door, ms; printed too."""
    gaps = {door: result.longest_gap_ms for door, result in results.items()}
    for door, gap in gaps.items():
        share = len(results[door].answers) / results[door].sent
        print(f"{what}, {door.kind}, {door.policy}: longest gap {gap:.0f} ms, answered {share:.1%}")
    return gaps


@pytest.fixture(scope="module")
def served(house: House) -> Iterator[House]:
    """A pod on each of two nodes, of which the first is to be the MASTER, and the Services."""
    if house.own is None:
        pytest.skip("changes kube-proxy's settings: only on our own cluster")
    with web_pods(house):
        place(house, house.nodes)
        yield house


@pytest.fixture(scope="module", params=list(WORKING))
def proxied(served: House, request: pytest.FixtureRequest) -> Iterator[tuple[str, House]]:
    """kube-proxy in each mode, with the setting that docs/beside.md asks for."""
    with kube_proxies(served, WORKING[request.param]):
        for node in served.cluster.nodes:
            wait_for_answer(served, node.address, NODE_PORT.port)
        yield request.param, served


@pytest.mark.long  # a question that a busy machine answers late counts as unanswered
def test_every_service_goes_on_when_the_agent_of_the_master_is_stopped(
    proxied: tuple[str, House], cluster_client: ClusterClient
) -> None:
    """The noise that is told beside it: what the same pods keep a client waiting at a node that has nothing to do with
    the VIP, while an agent starts."""
    mode, house = proxied
    elsewhere = f"{house.cluster.node(house.nodes[2]).address}:{NODE_PORT.port}"
    with vip_on_the_first(house) as master:
        with (
            Prober(cluster_client, elsewhere, ASKED_EVERY, web_asker.__file__) as prober,
            asking(cluster_client, house) as results,
        ):
            prober.wait_for_answer()
            house.kubectl("-n", NAMESPACE, "delete", "pod", house.agent(master), "--wait=false")
            house.wait("web", lambda status: status["master"] == house.nodes[1])
        house.wait_master("web", master, timeout=60)
    noise = prober.result.longest_gap_ms
    gaps = told(f"{mode}: agent stopped (noise {noise:.0f} ms)", results)
    assert all(gap < 200 for gap in gaps.values())


def test_a_pod_sees_the_client_or_the_nodes_own_address_never_the_vip(proxied: tuple[str, House]) -> None:
    _, house = proxied
    client = house.cluster.run_in_client("ip", "-4", "-o", "addr", "show", "dev", "eth0").split()[3].partition("/")[0]
    with vip_on_the_first(house) as master:
        gateways = {house.cluster.node(master).address, f"10.244.{house.nodes.index(master) + 1}.1"}
        for door in (EXTERNAL_IP, LOCAL_EXTERNAL_IP):
            wait_for_answer(house, house.vip, door.port)
        seen = {answer(house, house.vip, EXTERNAL_IP.port).split()[1] for _ in range(12)}
        seen_local = {answer(house, house.vip, LOCAL_EXTERNAL_IP.port).split()[1] for _ in range(3)}
    assert seen <= gateways
    assert seen_local == {client}


@pytest.mark.long
def test_every_service_goes_on_after_a_power_cut(proxied: tuple[str, House], cluster_client: ClusterClient) -> None:
    mode, house = proxied
    dead = house.cluster.node(house.nodes[0])
    with vip_on_the_first(house):
        try:
            with asking(cluster_client, house) as results:
                dead.power_off()
                house.wait("web", lambda status: status["master"] == house.nodes[1])
                time.sleep(2)
        finally:
            dead.power_on()
            house.cluster.wait_for_nodes()
        # anew: the pod of before the cut is shown as ready for a while, and does not run
        place(house, house.nodes[1:])
        place(house, house.nodes)
    gaps = told(f"{mode}: power cut", results)
    assert all(gap < 1000 for gap in gaps.values())


def test_in_nftables_mode_by_default_a_node_port_is_not_answered_at_the_vip(served: House) -> None:
    """Its default is `primary`: the node's address by the Node object (kube-proxy's NodePortAddresses)."""
    house = served
    with vip_on_the_first(house) as master, kube_proxies(house, {"mode": "nftables", "nodePortAddresses": []}):
        wait_for_answer(house, house.cluster.node(master).address, NODE_PORT.port)
        wait_for_answer(house, house.vip, EXTERNAL_IP.port)
        wait_for_silence(house, NODE_PORT)


def test_in_nftables_mode_a_range_is_looked_up_when_kube_proxy_starts_and_not_after_a_failover(served: House) -> None:
    """Only a full synchronisation, once an hour, looks at the node's addresses again."""
    house = served
    second = house.nodes[1]
    with vip_on_the_first(house), kube_proxies(house, {"mode": "nftables", "nodePortAddresses": [f"{house.vip}/32"]}):
        wait_for_answer(house, house.vip, NODE_PORT.port)
        house.apply("web", nodePriorities=[{"nodeName": second, "priority": 250}], priority=240)
        house.wait_master("web", second)
        wait_for_answer(house, house.vip, EXTERNAL_IP.port)
        wait_for_silence(house, NODE_PORT)


def test_with_local_policy_the_vip_has_to_be_where_a_pod_is_and_pod_ready_sees_to_it(
    served: House, cluster_client: ClusterClient
) -> None:
    house = served
    first, second = house.nodes[:2]
    doors = (LOCAL_NODE_PORT, LOCAL_EXTERNAL_IP)
    binding = ("rolebinding", "virtualip-agent-pods")
    house.kubectl("-n", NAMESPACE, "create", *binding, "--clusterrole=virtualip-agent-pods",
                  f"--serviceaccount={NAMESPACE}:virtualip-agent")  # fmt: skip
    tracker = {"name": "web", "podReady": {"namespace": NAMESPACE, "selector": {"matchLabels": SELECTOR}}, "weight": 10}
    try:
        with kube_proxies(house, WORKING["nftables"]), vip_on_the_first(house):
            wait_for_answer(house, house.vip, LOCAL_NODE_PORT.port)
            place(house, [second])
            house.wait_master("web", first)
            for door in doors:
                wait_for_silence(house, door)
            assert answer(house, house.vip, EXTERNAL_IP.port)

            house.apply("web", trackers=[tracker])
            house.wait_master("web", second)
            for door in doors:
                assert answer(house, house.vip, door.port).split()[0] == second
            place(house, [first, second])
            house.wait_master("web", first)
            with asking(cluster_client, house, doors) as results:
                place(house, [second])
                house.wait_master("web", second)
                time.sleep(1)
        told("nftables: the last pod of the MASTER is deleted", results)
    finally:
        house.kubectl("-n", NAMESPACE, "delete", *binding)
        place(house, house.nodes)


def test_an_address_on_kube_ipvs0_keeps_a_node_from_taking_over_and_the_status_says_so(own_house_only: House) -> None:
    """IPVS mode puts externalIPs there on all nodes that do not have them; an interface of that name stands for it."""
    house = own_house_only
    second = house.nodes[1]
    with vip_on_the_first(house) as first, Hands(house) as hands:
        hands.interface(second, "kube-ipvs0")
        hands.run(second, f"ip addr add {house.vip}/32 dev kube-ipvs0")
        priorities = dict(zip(house.nodes, (244, 250, 236), strict=False))
        house.apply("web", nodePriorities=[{"nodeName": n, "priority": p} for n, p in priorities.items()])

        def refused(status: Status) -> bool:
            return any(entry["node"] == second and entry["reason"] == "AddressInUse" for entry in status["nodes"])

        entry = next(entry for entry in house.wait("web", refused)["nodes"] if entry["node"] == second)
        assert entry["state"] == "FAULT"
        assert "kube-ipvs0" in entry["message"]
        assert house.status("web")["master"] == first
