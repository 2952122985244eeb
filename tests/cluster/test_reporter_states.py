"""States out, against a real API server: what `status.nodes` says of this node, and its Lease."""

import signal
import time

import pytest

from reporter_harness import Scene, eventually, never
from virtualip_agent.reporter.outbox import BURST
from virtualip_api.names import member_name
from virtualip_api.status import parse_time

pytestmark = pytest.mark.apiserver


def test_what_control_says_is_in_the_status(scene: Scene) -> None:
    scene.api.virtual_ip("web")
    scene.control.set("web", state="MASTER", priority=254, reason="HighestPriority", message="244 + apache 10")
    entry = eventually(scene.entry)
    assert entry == {
        "node": scene.reporter.node,
        "observedGeneration": 1,
        "state": "MASTER",
        "priority": 254,
        "reason": "HighestPriority",
        "message": "244 + apache 10",
    }
    scene.control.withdraw("web")
    eventually(lambda: scene.entry() == {})


def test_the_lease_is_renewed_while_control_answers_and_not_after(scene: Scene) -> None:
    first = eventually(scene.renewed)
    lease = scene.lease()
    assert lease is not None
    assert lease["spec"]["holderIdentity"] == scene.reporter.node
    assert lease["spec"]["leaseDurationSeconds"] == 30
    second = eventually(lambda: scene.renewed() > first and scene.renewed())
    scene.control.close()
    never(lambda: scene.renewed() != second, 12)
    scene.control.open()
    eventually(lambda: scene.renewed() > second)


def test_the_last_states_are_published_after_sigterm(scene: Scene) -> None:
    scene.api.virtual_ip("web")
    scene.control.set("web", state="MASTER")
    eventually(lambda: scene.entry().get("state") == "MASTER")
    scene.reporter.signal(signal.SIGTERM)
    time.sleep(0.3)  # the hand-over
    scene.control.set("web", state="BACKUP", reason="Stopping")
    scene.control.close()
    assert scene.reporter.wait() == 0
    assert scene.entry()["state"] == "BACKUP"


def test_a_change_is_visible_within_300_ms_and_a_burst_ends_with_the_last(scene: Scene) -> None:
    scene.api.virtual_ip("web")
    scene.control.set("web", priority=1)
    eventually(scene.entry)
    with scene.api.watching("web") as seen:
        begun = time.monotonic()
        for priority in range(100, 200):
            scene.control.set("web", priority=priority)
            time.sleep(0.01)
        ended = time.monotonic()
        eventually(lambda: seen() and seen()[-1][1] == 199)
        moments = [moment for moment, priority in seen() if priority >= 100]
    assert moments[0] - begun < 0.3
    assert moments[-1] - ended < 0.3
    assert len(moments) <= 5 * (ended - begun) + BURST + 1


def test_a_tracker_that_flaps_at_20_hz_cannot_flood_the_api_and_its_last_state_arrives(scene: Scene) -> None:
    seconds, changes = 6.0, 0
    scene.api.virtual_ip("web")
    scene.control.set("web", priority=1)
    eventually(scene.entry)
    with scene.api.watching("web") as seen:
        begun = time.monotonic()
        while (elapsed := time.monotonic() - begun) < seconds or changes % 2 == 0:
            changes += 1
            healthy = changes % 2 == 0
            # another text each time: at five writes a second of twenty changes the same one could come by each time
            message = f"value {changes}"
            tracker = {"name": "app", "healthy": healthy, "contribution": 5 * healthy, "message": message}
            scene.control.set("web", priority=244 + 5 * healthy, message=message, trackers=[tracker])
            time.sleep(0.05)
        ended = time.monotonic()
        eventually(lambda: scene.entry().get("message") == f"value {changes}")
        time.sleep(1)
        writes = [moment for moment, priority in seen() if priority > 1]
    entry = scene.entry()
    assert entry["trackers"] == [{"name": "app", "healthy": False, "contribution": 0, "message": f"value {changes}"}]
    print(
        f"{changes} changes in {elapsed:.1f} s: {len(writes)} writes, the last {writes[-1] - ended:.2f} s after the end"
    )
    assert 20 <= len(writes) <= 5 * (ended - begun) + BURST + 1
    assert writes[-1] - ended < 0.3


def test_an_outage_ends_with_what_is_true_then(scene: Scene) -> None:
    for name in ("db", "web"):
        scene.api.virtual_ip(name)
        scene.control.set(name, state="MASTER")
    eventually(lambda: scene.entry("web") and scene.entry("db"))
    scene.api.cluster.stop_api_servers()
    scene.control.set("web", state="FAULT")
    time.sleep(1)
    scene.control.set("web", state="BACKUP", priority=7)
    scene.api.cluster.start_api_servers()
    eventually(lambda: scene.entry("web").get("priority") == 7)
    assert scene.entry("web")["state"] == "BACKUP"
    assert scene.reporter.log.read_text().count("API server does not answer") == 1
    assert scene.reporter.log.read_text().count("API server answers again") == 1


def test_an_emptied_status_is_filled_again(scene: Scene) -> None:
    scene.api.virtual_ip("web")
    scene.control.set("web", state="MASTER")
    eventually(scene.entry)
    time.sleep(0.3)
    scene.api.cluster.kubectl(
        "patch", "virtualip", "web", "--subresource=status", "--type=merge", "-p", '{"status":null}'
    )
    assert scene.entry() == {}
    eventually(scene.entry, 14)


def test_a_virtual_ip_that_is_made_anew_shows_the_entry_with_its_new_member(scene: Scene) -> None:
    scene.api.virtual_ip("web")
    scene.api.member("web", scene.reporter.node)
    scene.control.set("web", state="MASTER")
    eventually(scene.entry)
    scene.api.delete("virtualip", "web")
    scene.api.virtual_ip("web")
    assert scene.entry() == {}
    scene.api.delete("virtualipmember", member_name("web", scene.reporter.node))
    scene.api.member("web", scene.reporter.node)
    eventually(scene.entry, 2)


def test_a_virtual_ip_that_comes_after_its_state_gets_the_entry(scene: Scene) -> None:
    scene.control.set("web", state="MASTER")
    time.sleep(1)
    assert not scene.reporter.logged("refuses")
    scene.api.virtual_ip("web")
    eventually(scene.entry, 14)


def test_an_entry_whose_vip_went_while_the_reporter_was_away_is_removed(scene: Scene) -> None:
    for name in ("db", "web"):
        scene.api.virtual_ip(name)
        scene.control.set(name)
    eventually(lambda: scene.entry("web") and scene.entry("db"))
    scene.control.close()
    assert scene.reporter.stop() == 0
    scene.control.states.pop("web")
    scene.control.open()
    scene.reporter.start()
    eventually(lambda: scene.entry("web") == {})
    assert scene.entry("db")


def test_steady_state_writes_one_lease_and_nothing_else(scene: Scene) -> None:
    for number in range(20):
        scene.api.virtual_ip(f"vip-{number}")
        scene.control.set(f"vip-{number}")
    eventually(lambda: all(scene.entry(f"vip-{number}") for number in range(20)))
    time.sleep(0.5)
    before = [scene.api.get("virtualip", f"vip-{number}") for number in range(20)]
    first = scene.renewed()
    eventually(lambda: scene.renewed() > first)
    second = scene.renewed()
    eventually(lambda: scene.renewed() > second)
    assert 9 < parse_time(scene.renewed()) - parse_time(second) < 12
    assert [scene.api.get("virtualip", f"vip-{number}") for number in range(20)] == before
    assert scene.reporter.resident_kilobytes() < 56 * 1024
