"""Each way to install, on nodes: it comes up, a VIP has a MASTER, and it goes away as the page says."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from barecluster import image
from certificate import write_certificate
from chart import write_chart
from hands import Hands
from house import NAMESPACE, OVERLAY, House
from rendering import kustomized

pytestmark = [pytest.mark.nodes, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def bare(house: House) -> Iterator[House]:
    """The cluster without virtualip; as it was, at the end."""
    remove(house)
    yield house
    house.install()


def remove(house: House) -> None:
    house.kubectl("delete", "-k", str(OVERLAY), "--ignore-not-found", "--timeout=120s", timeout=130)


def wait_until_it_runs(house: House) -> None:
    """All agents, and the operator. (`rollout status` would wait for minReadySeconds too.)"""
    nodes = len(house.get("nodes")["items"])
    ready = f"--for=jsonpath={{.status.numberReady}}={nodes}"
    house.kubectl("-n", NAMESPACE, "wait", ready, "daemonset/virtualip-agent", "--timeout=180s", timeout=190)
    house.kubectl("-n", NAMESPACE, "rollout", "status", "deployment/virtualip-operator", "--timeout=60s", timeout=70)


def test_one_install_yaml(bare: House, tmp_path: Path) -> None:
    path = tmp_path / "install.yaml"
    path.write_text(kustomized("default", image.TAG))
    bare.kubectl("apply", "-f", str(path))
    wait_until_it_runs(bare)
    with bare.applied("web"):
        pass
    bare.kubectl("delete", "-f", str(path), "--timeout=120s", timeout=130)


SCRIPT = "/etc/virtualip/scripts/where.sh"
TRACKED = "/tmp/virtualip-test/number"


@pytest.mark.long
@pytest.mark.parametrize("overlay", ["host-files", "host-scripts"])
def test_an_overlay_shows_the_host(bare: House, overlay: str) -> None:
    # not by a rolling update, which would take its time
    bare.kubectl(
        "-n", NAMESPACE, "delete", "daemonset", "virtualip-agent", "--ignore-not-found", "--cascade=foreground"
    )
    bare.kubectl("apply", "-f", "-", stdin=kustomized(overlay, image.TAG))
    wait_until_it_runs(bare)
    first = bare.nodes[0]
    with Hands(bare) as hands:
        hands.file(first, TRACKED, "7")
        # succeeds on the host only: the agent's own root directory has no such file
        hands.file(first, SCRIPT, f"#!/bin/sh\ntest -e {TRACKED}\n", mode="755")
        trackers = [
            {"name": "number", "file": {"path": TRACKED}},
            {"name": "where", "script": {"command": [SCRIPT], "interval": "1s"}, "weight": 1},
        ]
        with bare.applied("web", trackers=trackers):
            score = 244 + 7 + (overlay == "host-scripts")
            bare.wait("web", lambda status: (status.get("master"), status.get("priority")) == (first, score))


def in_operator(house: House, *command: str) -> str:
    """What a command prints in the newest of the operator's pods: those of before are still there while they end."""
    pods = house.get("-n", NAMESPACE, "pods", "-l", "app.kubernetes.io/component=operator")["items"]
    newest = max(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))["metadata"]["name"]
    return house.kubectl("-n", NAMESPACE, "exec", newest, "--", *command)


def scraped(house: House, *options: str) -> str:
    """What is at /metrics and then HTTP's status, asked within the operator's pod."""
    return in_operator(house, "curl", "-sk", "-w", "%{http_code}", *options)


def test_metrics_are_the_pods_own_until_an_overlay_gives_them_to_who_may_read_them(bare: House, tmp_path: Path) -> None:
    rollout = ("-n", NAMESPACE, "rollout", "status", "deployment/virtualip-operator", "--timeout=120s")
    bare.kubectl("apply", "-f", "-", stdin=kustomized("default", image.TAG))
    bare.kubectl(*rollout, timeout=130)
    assert scraped(bare, "http://127.0.0.1:9475/metrics").endswith("200")
    # its address is the one that its host name has
    with pytest.raises(AssertionError, match="exit code 7"):  # curl's: connection refused
        in_operator(bare, "sh", "-c", "curl -s http://$(hostname -i):9475/metrics")

    write_certificate(tmp_path, "virtualip-operator-metrics")
    files = (f"--cert={tmp_path / 'tls.crt'}", f"--key={tmp_path / 'tls.key'}")
    bare.kubectl("-n", NAMESPACE, "create", "secret", "tls", "virtualip-metrics-tls", *files)
    bare.kubectl("apply", "-f", "-", stdin=kustomized("metrics", image.TAG))
    bare.kubectl(*rollout, timeout=130)
    token = bare.kubectl("create", "token", "default").strip()
    ours = ("-H", f"Authorization: Bearer {token}", "https://127.0.0.1:9475/metrics")
    assert scraped(bare, "https://127.0.0.1:9475/metrics").endswith("401")
    assert scraped(bare, *ours).endswith("403")
    reader = ("clusterrolebinding", "test-metrics-reader")
    bare.kubectl("create", *reader, "--clusterrole=virtualip-metrics-reader", "--serviceaccount=default:default")
    try:
        # refusals are remembered for a minute; another token of the same account is asked about
        another = bare.kubectl("create", "token", "default", "--duration=20m").strip()
        answer = scraped(bare, "-H", f"Authorization: Bearer {another}", "https://127.0.0.1:9475/metrics")
        assert "virtualip_queue_depth" in answer
        assert answer.endswith("200")
    finally:
        bare.kubectl("delete", *reader)


@pytest.mark.long
def test_helm_installs_upgrades_the_crds_and_leaves_them_at_the_end(
    bare: House, helm_program: Path, tmp_path: Path
) -> None:
    remove(bare)
    chart = tmp_path / "virtualip"
    write_chart(chart)
    repository, _, tag = image.TAG.rpartition(":")
    common = [f"--kubeconfig={bare.kubeconfig}", "-n", NAMESPACE]
    values = f"image.repository={repository},image.tag={tag}"

    def helm(*words: str) -> None:
        done = subprocess.run([helm_program, *common, *words], capture_output=True, text=True, timeout=190, check=False)
        assert done.returncode == 0, done.stderr

    def short_names() -> list[str]:
        names: list[str] = bare.get("crd", "virtualips.virtualip.dev")["spec"]["names"]["shortNames"]
        return names

    helm("install", "virtualip", str(chart), "--create-namespace", f"--set={values}")
    wait_until_it_runs(bare)
    with bare.applied("web"):
        master = bare.wait_master("web", bare.nodes[0])
        crds = chart / "templates/crds.yaml"
        crds.write_text(crds.read_text().replace("    - vip\n", "    - vip\n    - vrrp\n", 1))
        before = bare.transitions("web")
        helm("upgrade", "virtualip", str(chart), f"--set={values}")
        assert short_names() == ["vip", "vrrp"]
        helm("rollback", "virtualip", "1")
        assert short_names() == ["vip"]
        # neither changed a pod
        bare.wait_master("web", master)
        assert bare.transitions("web") == before
        helm("uninstall", "virtualip", "--wait")
        assert bare.get("virtualip", "web")["spec"]["vrid"] == 51
        helm("install", "virtualip", str(chart), f"--set={values}")
        wait_until_it_runs(bare)
        bare.wait_master("web", master)
    helm("uninstall", "virtualip", "--wait")
    remove(bare)  # what that leaves: the CRDs and the namespace
