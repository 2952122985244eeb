"""The article's scenarios on real nodes, by `kubectl apply -f` of deploy/sample. Runs as it is by KUBECONFIG."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
import yaml

from article import SAMPLES, sample_documents
from hands import Hands
from house import NAMESPACE, REPOSITORY, House
from virtualip_agent.reporter.outbox import BURST
from virtualip_api.status import parse_time

pytestmark = [pytest.mark.nodes, pytest.mark.timeout(300)]

TARGET = "198.51.100.1"
"""What is pinged: an address on the node's own lo, so that a test may take it away on any cluster."""
SCRIPTS = "/etc/virtualip/scripts"


@pytest.fixture
def hands(house: House) -> Iterator[Hands]:
    with Hands(house) as ours:
        yield ours


@contextmanager
def applied(house: House, name: str, replace: Mapping[str, str] = {}) -> Iterator[None]:
    """The sample, as it is where the nodes are the article's, else with the cluster's names and addresses."""
    documents = sample_documents(name, replace)
    text = "---\n".join(yaml.safe_dump(document) for document in documents)
    if not house.own:
        adapt(house, documents[1]["spec"])
        text = "---\n".join(yaml.safe_dump(document) for document in documents)
    if house.own and not replace:
        house.kubectl("apply", "-f", str(SAMPLES / f"{name}.yaml"))
    else:
        house.kubectl("apply", "-f", "-", stdin=text)
    try:
        yield
    finally:
        house.kubectl("delete", "-f", "-", "--ignore-not-found", stdin=text)
        house.wait_gone("web")


def adapt(house: House, spec: dict[str, Any]) -> None:
    del spec["interface"]
    spec["addresses"] = [f"{house.vip}/32"]
    for entry, node in zip(spec["nodePriorities"], house.nodes, strict=False):
        entry["nodeName"] = node
    names = {"key": "kubernetes.io/hostname", "operator": "In", "values": house.nodes}
    spec["nodeSelector"] = {"matchExpressions": [names]}


def entry(house: House, node: str) -> dict[str, Any]:
    """What the status says of a node; {} where nothing."""
    return next((it for it in house.status("web").get("nodes", []) if it["node"] == node), {})


def wait_entry(house: House, node: str, **wanted: Any) -> dict[str, Any]:
    """Waits until a node's entry has these values."""

    def found(status: dict[str, Any]) -> dict[str, Any]:
        return next((it for it in status.get("nodes", []) if it["node"] == node), {})

    status = house.wait("web", lambda status: wanted.items() <= found(status).items())
    return found(status)


def wait_master(house: House, node: str, priority: int) -> dict[str, Any]:
    """Waits until `kubectl get vip` would show this node and priority, the address being there and nowhere else."""
    house.wait("web", lambda status: (status.get("master"), status.get("priority")) == (node, priority))
    deadline = time.monotonic() + 10
    while house.holders() != [node]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return wait_entry(house, node, state="MASTER")


def advertisement(house: House, node: str, priority: int) -> str:
    """One as tcpdump prints it on the node; '' on clusters of others, which may not have it."""
    if house.own is None:
        return ""
    command = ["timeout", "10", "tcpdump", "-lnni", "eth0", "-c", "1", f"vrrp and ip[22] == {priority}"]
    return house.own.node(node).run(*command).strip()


def agent_image(house: House) -> str:
    """An image that the nodes have."""
    agent = house.get("-n", NAMESPACE, "daemonset", "virtualip-agent")["spec"]["template"]["spec"]
    return str(agent["containers"][0]["image"])


@contextmanager
def container(house: House, node: str, program: str) -> Iterator[None]:
    """A pod on a node that runs this Python."""
    spec = {
        "nodeName": node,
        "containers": [{"name": "it", "image": agent_image(house), "command": ["python3", "-c", program]}],
        "tolerations": [{"operator": "Exists"}],
        "terminationGracePeriodSeconds": 1,
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "contained", "namespace": "default"}, "spec": spec}
    house.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(pod))
    try:
        yield
    finally:
        house.kubectl("-n", "default", "delete", "pod", "contained")


def test_s1_the_vip_is_where_httpd_runs_and_returns(house: House, hands: Hands) -> None:
    first, second = house.nodes[:2]
    pid = hands.process(first, "httpd")
    hands.process(second, "httpd")
    with applied(house, "s1"):
        assert wait_master(house, first, 254)["message"] == "244 + apache 10"
        wait_entry(house, second, priority=250, reason="LowerPriority")
        killed = time.time()
        hands.run(first, f"kill {pid}")
        moved = wait_master(house, second, 250)
        took = parse_time(moved["lastTransitionTime"]) - killed
        print(f"S1: httpd killed -> {second} has the VIP after {took * 1000:.0f} ms: {house.status('web')['lastMove']}")
        assert wait_entry(house, first, state="BACKUP")["priority"] == 244
        began = time.time()
        hands.process(first, "httpd")
        moved = wait_master(house, first, 254)
        print(f"S1: httpd started -> it is back after {parse_time(moved['lastTransitionTime']) - began:.2f} s")


def test_s1_a_containers_process_counts_as_any(house: House, hands: Hands) -> None:
    first, second = house.nodes[:2]
    hands.process(second, "httpd")
    with applied(house, "s1"):
        wait_master(house, second, 250)
        with container(house, first, "import ctypes, time; ctypes.CDLL(None).prctl(15, b'httpd'); time.sleep(3600)"):
            wait_master(house, first, 254)
        wait_master(house, second, 250)


def test_s2_the_number_in_the_file_is_added_and_seen_on_the_wire(house: House, hands: Hands) -> None:
    # a path that the agent's pod has without the overlay host-files
    path = "/etc/virtualip/my_app/vrrp_track_file"
    first = house.nodes[0]
    hands.file(first, path, "5\n")
    with applied(house, "s2", {"/var/run/my_app/vrrp_track_file": path}):
        assert wait_master(house, first, 249)["message"] == "244 + app 5"
        line = advertisement(house, first, 249)
        print(f"S2: {line}")
        assert not line or "VRRPv2, Advertisement, vrid 51, prio 249, authtype simple, intvl 1s, length 20" in line
        hands.file(first, path, "6\n")
        wait_master(house, first, 250)
        assert not line or "prio 250" in advertisement(house, first, 250)
        times = []
        with house.watching("web", f".status.nodes[?(@.node=='{first}')].message") as seen:
            for value in (1, 2, 3, 4, 5):
                hands.run(first, f"echo {value} > {path}")
                began = time.monotonic()
                while seen()[-1] != f"244 + app {value}":
                    assert time.monotonic() < began + 10, seen()
                    time.sleep(0.005)
                times.append(time.monotonic() - began)
                time.sleep(1)  # a burst would be spread
    print(f"S2: file written -> seen with kubectl get --watch after {max(times) * 1000:.0f} ms at most")
    assert max(times) < (0.3 if house.own else 2)


@contextmanager
def overlay(house: House, name: str) -> Iterator[None]:
    """The agent as deploy/overlays/NAME has it, and back."""
    agent, image = ("-n", NAMESPACE, "rollout"), agent_image(house)
    documents = yaml.safe_load_all(house.kubectl("kustomize", str(REPOSITORY / "deploy/overlays" / name)))
    (wanted,) = (document for document in documents if document["kind"] == "DaemonSet")
    for container in wanted["spec"]["template"]["spec"]["containers"]:
        container["image"] = image
    house.kubectl("replace", "-f", "-", stdin=yaml.safe_dump(wanted))
    try:
        house.kubectl(*agent, "status", "daemonset/virtualip-agent", "--timeout=180s", timeout=190)
        yield
    finally:
        house.kubectl(*agent, "undo", "daemonset/virtualip-agent")
        house.kubectl(*agent, "status", "daemonset/virtualip-agent", "--timeout=180s", timeout=190)


def test_s2_with_the_overlay_host_files_the_path_is_the_hosts(house: House, hands: Hands) -> None:
    path = "/var/run/my_app/vrrp_track_file"
    first = house.nodes[0]
    hands.file(first, path, "5\n")
    with overlay(house, "host-files"), applied(house, "s2"):
        wait_master(house, first, 249)
        hands.file(first, path, "6\n")
        wait_master(house, first, 250)
        hands.run(first, f"rm {path}")
        assert wait_master(house, first, 244)["trackers"][0]["message"] == "missing: counts as 0"


def test_a_file_that_flaps_at_20_hz_does_not_flood_the_api_and_its_last_number_arrives(
    house: House, hands: Hands
) -> None:
    path = "/etc/virtualip/my_app/vrrp_track_file"
    first = house.nodes[0]
    hands.file(first, path, "5\n")
    flap = f"i=0; while test $i -lt 120; do i=$((i + 1)); echo $((i % 7)) > {path}; sleep 0.05; done; echo 9 > {path}"
    with applied(house, "s2", {"/var/run/my_app/vrrp_track_file": path}):
        wait_master(house, first, 249)
        with house.watching("web", ".metadata.resourceVersion", f".status.nodes[?(@.node=='{first}')].message") as seen:
            began = time.monotonic()
            hands.run(first, flap)
            took = time.monotonic() - began
            house.wait("web", lambda status: status.get("priority") == 253, timeout=2)
            time.sleep(1)
            lines = seen()
    entries = [before_ != after for before_, after in pairwise(line.split(maxsplit=1)[1] for line in lines)]
    print(f"120 changes in {took:.1f} s: {len(lines) - 1} writes of the object, {sum(entries)} of them the agent's")
    assert sum(entries) <= 5 * (took + 1) + BURST
    assert len(lines) <= 2 * (5 * (took + 1) + BURST)
    assert lines[-1].endswith("244 + app 9")


def test_s5_the_interface_goes_down_and_the_vip_to_the_other_node(house: House, hands: Hands) -> None:
    first, second = house.nodes[:2]
    for node in (first, second):
        hands.interface(node, "ens9")
    with applied(house, "s5"):
        wait_master(house, first, 249)
        wait_entry(house, second, priority=245, reason="LowerPriority")
        hands.run(first, "ip link set ens9 down")
        wait_master(house, second, 245)
        down = wait_entry(house, first, priority=244)
        assert (down["trackers"][0]["healthy"], down["trackers"][0]["message"]) == (False, "down")
        hands.run(first, "ip link set ens9 up")
        wait_master(house, first, 249)


def test_s6_a_ping_that_fails_is_fault_after_three_and_answered_again_the_vip_returns(
    house: House, hands: Hands
) -> None:
    first, second = house.nodes[:2]
    for node in house.nodes:
        hands.file(node, f"{SCRIPTS}/ping.sh", (SAMPLES / "scripts/ping.sh").read_text(), "755")
        hands.address(node, f"{TARGET}/32")
    with applied(house, "s6", {"192.168.122.1]": f"{TARGET}]"}):
        wait_master(house, first, 244)
        wait_entry(house, second, state="BACKUP", reason="LowerPriority")
        dropped = time.time()
        hands.run(first, f"ip addr del {TARGET}/32 dev lo")
        fault = wait_entry(house, first, state="FAULT", reason="TrackerFailed")
        after = parse_time(fault["lastTransitionTime"]) - dropped
        print(f"S6: ping dropped -> FAULT after {after:.1f} s: {fault['message']}")
        assert after > 2  # three failures in a row, one a second
        wait_master(house, second, 240)
        hands.address(first, f"{TARGET}/32")
        wait_master(house, first, 244)


def test_s6_with_the_overlay_host_scripts_a_script_sees_the_host_as_keepaliveds_would(
    house: House, hands: Hands
) -> None:
    first = house.nodes[0]
    # the host's own programs, files and users; the agent's image has no machine-id
    body = "#!/bin/sh\nstat -f -c %T /etc/virtualip/scripts > /dev/null && echo $(id -un) on $(cat /etc/machine-id)\n"
    for node in house.nodes:
        hands.file(node, f"{SCRIPTS}/ping.sh", body, "755")
    with overlay(house, "host-scripts"), applied(house, "s6"):
        message = wait_master(house, first, 244)["trackers"][0]["message"]
        assert message == f"exit code 0: nobody on {hands.run(first, 'cat /etc/machine-id').strip()}"
        print(f"S6, overlay host-scripts: {message}")


def test_s8_every_transition_is_told_with_the_four_arguments(house: House, hands: Hands) -> None:
    first = house.nodes[0]
    for node in house.nodes:
        for name in ("ping.sh", "notify.sh"):
            hands.file(node, f"{SCRIPTS}/{name}", (SAMPLES / "scripts" / name).read_text(), "755")
        hands.address(node, f"{TARGET}/32")
    log = ("-n", NAMESPACE, "exec", house.agent(first), "-c", "control", "--")  # its /tmp is where commands write
    house.kubectl(*log, "rm", "-f", "/tmp/vrrp.log")

    def told(*states: str) -> list[str]:
        wanted = [f"INSTANCE VI_1 has transitioned to the {state} state with a priority of 244" for state in states]
        deadline = time.monotonic() + 30
        while (lines := house.kubectl(*log, "sh", "-c", "cat /tmp/vrrp.log || true").splitlines()) != wanted:
            assert time.monotonic() < deadline, lines
            time.sleep(0.2)
        return lines

    with applied(house, "s8", {"192.168.122.1]": f"{TARGET}]"}):
        wait_master(house, first, 244)
        told("BACKUP", "MASTER")
        hands.run(first, f"ip addr del {TARGET}/32 dev lo")
        wait_entry(house, first, state="FAULT")
        told("BACKUP", "MASTER", "FAULT")
        hands.address(first, f"{TARGET}/32")
        wait_master(house, first, 244)
        print("\n".join(told("BACKUP", "MASTER", "FAULT", "BACKUP", "MASTER")))


def test_an_api_servers_readyz_is_healthy_where_its_certificate_is_not_verified_and_a_failure_where_it_is(
    house: House,
) -> None:
    address = house.get("-n", "default", "service", "kubernetes")["spec"]["clusterIP"]
    http = {"url": f"https://{address}:443/readyz"}
    trackers = [
        {"name": "api", "http": http | {"insecureSkipVerify": True}, "weight": 10},
        {"name": "verified", "http": http, "weight": 5},
    ]
    with house.applied("web", trackers=trackers):
        wait_entry(house, house.nodes[0], state="MASTER", priority=254)

        def both() -> list[tuple[bool, str]]:
            found = entry(house, house.nodes[0]).get("trackers", [])
            return [(tracker["healthy"], tracker["message"].partition(":")[0]) for tracker in found]

        deadline = time.monotonic() + 10
        while both() != [(True, "status 200"), (False, "certificate")]:
            assert time.monotonic() < deadline, both()
            time.sleep(0.1)


def nginx(image: str, node: str) -> dict[str, Any]:
    """A pod of the ingress that is Ready as long as a file is there."""
    container = {
        "name": "nginx",
        "image": image,
        "command": ["sh", "-c", "touch /tmp/ready; exec sleep 3600"],
        "readinessProbe": {"exec": {"command": ["cat", "/tmp/ready"]}, "periodSeconds": 1, "failureThreshold": 1},
    }
    metadata = {"name": f"nginx-{node}", "namespace": "ingress", "labels": {"app": "nginx"}}
    tolerations = [{"operator": "Exists"}]
    spec = {"nodeName": node, "containers": [container], "tolerations": tolerations, "terminationGracePeriodSeconds": 1}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def test_the_vip_is_where_a_pod_is_ready(house: House) -> None:
    role, resource = sample_documents("pod-ready")
    if not house.own:
        resource["spec"]["addresses"] = [f"{house.vip}/32"]
    house.kubectl("create", "namespace", "ingress")
    try:
        pods = [nginx(agent_image(house), node) for node in house.nodes[:2]]
        house.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all([*pods, role, resource]))
        ready = {"name": "nginx", "healthy": True, "contribution": 10, "message": "Ready"}

        def settled(status: dict[str, Any], node: str) -> bool:
            found: dict[str, Any] = next((it for it in status.get("nodes", []) if it["node"] == node), {})
            (tracker,) = found.get("trackers") or ({},)
            return (status.get("master"), status.get("priority")) == (node, 110) and ready.items() <= tracker.items()

        status = house.wait("ingress", lambda status: any(settled(status, node) for node in house.nodes[:2]), 60)
        first = status["master"]
        second = next(node for node in house.nodes[:2] if node != first)
        house.kubectl("-n", "ingress", "exec", f"nginx-{first}", "--", "rm", "/tmp/ready")
        began = time.monotonic()
        status = house.wait("ingress", lambda status: settled(status, second))
        print(f"podReady: not ready -> moved after {time.monotonic() - began:.1f} s: {status['lastMove']}")
    finally:
        house.kubectl("delete", "virtualip", "ingress", "--ignore-not-found")
        house.kubectl("delete", "namespace", "ingress", "--wait=false")
