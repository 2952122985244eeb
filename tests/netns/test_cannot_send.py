"""A MASTER whose advertisements the kernel does not take."""

from article import VIP, fast
from machine import Machine

SILENCE = "table inet f { chain o { type filter hook output priority 0; ip protocol 112 drop; }\n}"
UNSENT = "advertisements cannot be sent: Operation not permitted"


def test_a_master_that_a_packet_filter_silences_says_so_once_and_when_it_is_over(
    servers: tuple[Machine, Machine],
) -> None:
    one, two = servers
    for server in servers:
        server.manifest("web.yaml", fast())
        server.start_engine()
        one.wait_state("web", "MASTER")
    two.wait("web", lambda entry: entry["reason"] == "LowerPriority")
    message = one.wait_state("web", "MASTER")["message"]
    one.host.run("nft -f -", stdin=SILENCE)
    entry = one.wait("web", lambda entry: UNSENT in entry["message"])
    assert (entry["state"], entry["message"]) == ("MASTER", f"{message}; {UNSENT}")
    assert two.wait_state("web", "MASTER")["reason"] == "MasterDown"
    two.wait("web", lambda entry: bool(entry.get("observations")), 60)  # by then some hundred more have failed
    assert one.log().count("cannot be sent") == 1
    assert one.host.has(VIP)
    one.host.run("nft delete table inet f")
    assert one.wait("web", lambda entry: entry["message"] == message, 30)["state"] == "MASTER"
    assert one.log().count("advertisements are sent again") == 1
    two.wait_state("web", "BACKUP")
