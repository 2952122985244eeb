"""The counters of a running router, and what it sends."""

from types import SimpleNamespace
from typing import Any

import pytest

from virtualip_agent import ipc
from virtualip_agent.realtime.router import RunningRouter, parse_addresses, settings_of
from virtualip_agent.rtnetlink import Link
from virtualip_agent.vrrp import events as ev
from virtualip_agent.vrrp.packet import Advertisement, checksum, parse, pseudo_header, stamp
from virtualip_agent.vrrp.virtual_router import VirtualRouter

SOURCE, GROUP = bytes([192, 0, 2, 1]), bytes([224, 0, 0, 18])
TEMPLATE = bytes([0x31, 51, 0, 1, 0, 100, 0, 0, 192, 0, 2, 10])


def router(**fields: Any) -> RunningRouter:
    config = ipc.RouterConfig("web", 51, 3, None, ("192.0.2.10/32",), 100, 10**9, advertisement=TEMPLATE, **fields)
    sender: Any = SimpleNamespace(source=SOURCE)
    link: Any = SimpleNamespace(index=1)
    core = VirtualRouter(settings_of(config))
    return RunningRouter(config, core, parse_addresses(config), link=link, sender=sender)


@pytest.mark.parametrize("form", ["PseudoHeader", "RFC9568"])
def test_the_checksum_is_of_the_form_that_was_asked_for(form: str) -> None:
    ((sent, _),) = router(checksum=form).advertisements(200)
    summed = sent if form == "RFC9568" else pseudo_header(SOURCE, GROUP, len(sent)) + sent
    assert (sent[2], checksum(summed)) == (200, 0)


def test_what_was_received_is_counted_by_peer_and_by_the_form_of_its_checksum() -> None:
    counting = router()
    counting.peer(SOURCE).received += 2
    counting.peer(SOURCE, bare_checksum=True).received += 3
    counting.peer(bytes([192, 0, 2, 2])).received += 1
    statistics = counting.statistics()
    assert statistics["received"] == 6
    assert statistics["received_from_192.0.2.1"] == 5
    assert statistics["received_rfc9568_checksum"] == 3
    assert statistics["received_pseudo_header_checksum"] == 3


def test_what_trackers_contribute_is_known_until_they_say_otherwise_and_in_the_order_of_the_spec() -> None:
    running = router(trackers=("script", "file"))
    running.contribute({"file": ipc.Contribution(5)})
    decided = [running.decided]
    running.contribute({"script": ipc.Contribution(7)})
    assert [(name, it.value) for name, it in running.contributions.items()] == [("script", 7), ("file", 5)]
    assert [*decided, running.decided] == [False, True]
    # an edit replaces file: old and new are told together first, and then the old is forgotten
    running.contribute({"script": ipc.Contribution(7), "file": ipc.Contribution(5), "new": ipc.Contribution(1)})
    assert list(running.contributions) == ["script", "file", "new"]
    running.config = router(trackers=("script", "new")).config
    assert list(running.contribute({"script": ipc.Contribution(0)})) == ["script", "new"]


def test_the_master_and_the_members_of_its_family_are_those_that_must_be_heard_whoever_else_speaks() -> None:
    running = router(members=("192.0.2.1", "192.0.2.2", "2001:db8::2"))
    members = (SOURCE, bytes([192, 0, 2, 2]))
    before = running.acquaintances
    stranger = bytes([192, 0, 2, 99])
    payload = stamp(TEMPLATE, 200, stranger, GROUP)
    advertisement = parse(payload, stranger, GROUP)
    assert isinstance(advertisement, Advertisement)
    running.core.handle(ev.LinkUp(SOURCE), 0)
    running.core.handle(ev.Heard(advertisement, stranger), 1)
    assert [before, running.acquaintances] == [members, (stranger, *members)]


def test_nobody_is_told_by_arp_on_what_is_not_ethernet(caplog: pytest.LogCaptureFixture) -> None:
    running = router(announcements=(bytes(42),))
    running.attach(Link(1, "eth0", bytes(6), up=True, running=True), None)
    assert len(running.announcements()) == 1
    running.attach(Link(2, "tun0", b"", up=True, running=True, ethernet=False), None)
    assert running.announcements() == ()
    assert "tun0 is not Ethernet" in caplog.text
