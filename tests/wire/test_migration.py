"""docs/keepalived.md, "From keepalived, and back": node by node, the address answering all the while."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import peers
from article import VIP, manifest
from client import Prober
from machine import Machine
from peers import Keepalived, Setup
from segment import Segment, unavailable

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(bool(unavailable()), reason=unavailable() or "-"),
    pytest.mark.skipif(bool(peers.missing()), reason=f"not installed: {peers.missing()}"),
]

PASSWORD = "12345"
PRIORITIES = {"server1": 244, "server2": 240}
VERSIONS = {"v2-PASS": ({"version": 2, "password": PASSWORD}, "1s"), "v3": ({"version": 3, "interval": 100}, "100ms")}


class Site:
    """Two nodes with the same configuration for either program, and a client."""

    def __init__(self, directory: Path, way: dict[str, Any], interval: str) -> None:
        self.lan = Segment()
        self.client = self.lan.host("192.168.122.50", "client")
        self.ours: dict[str, Machine] = {}
        self.theirs: dict[str, Keepalived] = {}
        password = directory / "password"
        password.write_text(f"{PASSWORD}\n")
        file = str(password) if "password" in way else None
        for number, (name, priority) in enumerate(PRIORITIES.items(), 1):
            host = self.lan.host(f"192.168.122.10{number}", name)
            self.ours[name] = Machine(host, directory)
            self.ours[name].manifest(
                "web.yaml", manifest(password_file=file, version=way["version"], advertInterval=interval)
            )
            self.theirs[name] = Keepalived(host, directory, Setup(priority=priority, **way))

    def holders(self) -> list[str]:
        return [name for name, machine in self.ours.items() if machine.host.has(VIP)]

    def to_ours(self, name: str, state: str) -> None:
        """A node's keepalived is ended, then our agent started."""
        self.theirs[name].stop()
        self.ours[name].start_engine()
        heard = {"LowerPriority"} if state == "BACKUP" else {"MasterResigned", "HigherPriority", "MasterDown"}
        self.ours[name].wait("web", lambda entry: entry["state"] == state and entry["reason"] in heard)

    def to_theirs(self, name: str, *, master: bool) -> None:
        """A node's agent is ended, then its keepalived started."""
        self.ours[name].stop_engine()
        theirs = self.theirs[name]
        earlier = len(theirs.log())
        theirs.start()
        deadline = time.monotonic() + 15
        while "Entering BACKUP STATE" not in theirs.log()[earlier:]:
            assert time.monotonic() < deadline, theirs.log()
            time.sleep(0.02)
        theirs.wait(master=master)

    def close(self) -> None:
        for peer in self.theirs.values():
            peer.close()
        for machine in self.ours.values():
            machine.close()
        self.lan.close()


@pytest.fixture
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    made = Site(tmp_path, *request.param)
    yield made
    made.close()


@pytest.mark.parametrize("site", VERSIONS.values(), ids=VERSIONS.keys(), indirect=True)
def test_from_keepalived_and_back_the_address_answers_all_the_while(site: Site) -> None:
    for peer in site.theirs.values():
        peer.start()
    site.theirs["server1"].wait(master=True)
    with Prober(site.client, VIP) as prober:
        began = prober.wait_for_answer()
        site.to_ours("server2", "BACKUP")
        assert site.holders() == ["server1"]
        site.to_ours("server1", "MASTER")
        site.ours["server2"].wait_state("web", "BACKUP")
        assert site.holders() == ["server1"]

        site.to_theirs("server2", master=False)
        site.to_theirs("server1", master=True)
        site.theirs["server2"].wait(master=False)
        assert site.holders() == ["server1"]
    gap = prober.result.longest_gap(since=began)
    print(f"from keepalived to virtualip and back: longest gap {gap.ms:.1f} ms (noise {prober.result.noise_ms:.1f} ms)")
    assert gap.ms < max(300, prober.result.noise_ms * 1.5)  # keepalived's resignation costs it its skew_time
    assert [complaint for peer in site.theirs.values() for complaint in peer.complaints()] == []
