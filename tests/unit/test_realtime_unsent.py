"""What is told of advertisements that cannot be sent: the first, what changes, and the end."""

import pytest

from virtualip_agent.realtime.unsent import QUIET, Unsent

ONE, TWO = "192.0.2.1", "192.0.2.2"


def test_each_peer_that_cannot_be_reached_is_named_with_its_reason() -> None:
    unsent = Unsent()
    assert not unsent.troubles
    unsent.failed("web", ONE, "No route to host", 0)
    unsent.failed("web", TWO, "No route to host", 0)
    assert unsent.message("web") == f"advertisements to {ONE}, {TWO} cannot be sent: No route to host"
    unsent.failed("web", TWO, "Operation not permitted", 1)
    assert unsent.message("web") == (
        f"advertisements to {ONE} cannot be sent: No route to host; "
        f"advertisements to {TWO} cannot be sent: Operation not permitted"
    )
    assert unsent.message("api") == ""
    unsent.forget("web")
    assert (unsent.message("web"), unsent.troubles) == ("", {})


def test_what_fails_now_and_then_is_one_trouble_that_ends_after_ten_quiet_seconds(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    unsent = Unsent()
    for now in range(0, 3 * QUIET, QUIET // 10):
        unsent.failed("web", "", "No buffer space available", now)
        assert unsent.take_changed() == ({"web"} if now == 0 else set())
        unsent.sent("web", "", now + 1)
    last = 3 * QUIET - QUIET // 10
    unsent.sent("web", "", last + QUIET - 1)
    assert unsent.message("web") == "advertisements cannot be sent: No buffer space available"
    unsent.sent("web", "", last + QUIET)
    assert unsent.take_changed() == {"web"}
    assert unsent.message("web") == ""
    assert [record.getMessage() for record in caplog.records] == [
        "web: advertisements cannot be sent: No buffer space available",
        "web: advertisements are sent again",
    ]
