"""Logs, health and the HTTP server around the operator's work."""

import json
import logging
import socket
import urllib.error
import urllib.request

import pytest
from click.testing import CliRunner

from virtualip_operator.aggregation import View, aggregate
from virtualip_operator.cli import main
from virtualip_operator.conditions import Condition
from virtualip_operator.health import Health
from virtualip_operator.http_server import health_app, metrics_app, serve, split_address
from virtualip_operator.logs import REPEAT, Seldom, configure
from virtualip_operator.metrics import Metrics


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def record(name: str) -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, "", 0, "again", (), None)


def test_kopfs_client_speaks_seldom_and_others_always() -> None:
    clock = Clock()
    seldom = Seldom(clock)
    watching, ours = record("kopf._cogs.clients.watching"), record("virtualip_operator.workers")
    assert [seldom.filter(watching) for _ in range(3)] == [True, False, False]
    assert [seldom.filter(ours) for _ in range(3)] == [True, True, True]
    clock.now += REPEAT
    assert seldom.filter(watching)


def test_logs_are_json_lines_where_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    root, kopfs = logging.getLogger(), logging.getLogger("kopf")
    before = root.handlers[:], root.level, kopfs.level
    try:
        configure("json", "info")
        logging.getLogger("virtualip_operator").info("web: %s", "moved")
        line = json.loads(capsys.readouterr().err)
        assert (line["message"], line["severity"]) == ("web: moved", "info")
    finally:
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        kopfs.setLevel(before[2])


def get(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=5.0) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_health_is_that_of_the_loops_and_of_nothing_else() -> None:
    clock = Clock()
    health = Health(clock)
    health.beat("worker-0", within=10.0)
    health.beat("loop", within=60.0)
    port = serve("127.0.0.1:0", {"/healthz": health_app(health), "/metrics": metrics_app(Metrics().registry)})
    assert get(port, "/healthz") == (200, "ok\n")
    clock.now = 11.0
    assert get(port, "/healthz") == (503, "late: worker-0\n")
    assert get(port, "/metrics")[0] == 200
    assert get(port, "/other")[0] == 404


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
@pytest.mark.parametrize(("address", "hosts"), [(":0", ("127.0.0.1", "[::1]")), ("[::1]:0", ("[::1]",))])
def test_a_pod_of_either_family_is_asked_for_its_health(address: str, hosts: tuple[str, ...]) -> None:
    health = Health(Clock())
    port = serve(address, {"/healthz": health_app(health)})
    assert [get(port, "/healthz", host) for host in hosts] == [(200, "ok\n")] * len(hosts)


def test_metrics_follow_the_master_and_forget_what_is_gone() -> None:
    metrics = Metrics()
    metrics.watch_queue(lambda: 3.0)
    view = View(1, (), Condition("Accepted", "True", "Planned", ""), ("a",), {}, frozenset(("a",)), {})
    result = aggregate(view, {}, 0.0)

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(name, {"virtualip": "web", **labels})

    for master in ("a", "b"):
        result.status["master"] = master
        metrics.saw("web", result)
    assert value("virtualip_master", node="a") is None
    assert value("virtualip_master", node="b") == 1
    assert value("virtualip_condition", type="Accepted") == 1
    assert value("virtualip_condition", type="Ready") == -1
    assert value("virtualip_silent_nodes") == 1
    assert metrics.registry.get_sample_value("virtualip_queue_depth") == 3
    metrics.forget("web")
    metrics.forget("web")  # each replica forgets what it may never have known
    assert value("virtualip_master", node="b") is None
    assert value("virtualip_silent_nodes") is None


def test_a_replica_that_leads_no_more_shows_nothing_that_it_knew() -> None:
    metrics = Metrics()
    leads = True
    metrics.watch_leadership(lambda: leads)
    view = View(1, (), Condition("Accepted", "True", "Planned", ""), ("a",), {}, frozenset(), {})
    result = aggregate(view, {}, 0.0)
    metrics.saw("web", result)

    def shown() -> tuple[float | None, float | None]:
        value = metrics.registry.get_sample_value
        return value("virtualip_leading"), value("virtualip_condition", {"virtualip": "web", "type": "TrackersHealthy"})

    assert shown() == (1, 1)
    leads = False
    metrics.forget_all()
    metrics.saw("web", result)  # a turn that was under way
    assert shown() == (0, None)


@pytest.mark.parametrize("address", ["9475", "host:", "host:port", "host:70000"])
def test_an_address_is_host_and_port(address: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        split_address(address)
    assert split_address("[::1]:80") == ("::1", 80)
    refusal = CliRunner().invoke(main, ["--metrics-address", address])
    assert (refusal.exit_code, "is not HOST:PORT" in refusal.output) == (2, True)


def test_every_option_has_its_environment_variable() -> None:
    shown = {option.name: option.envvar for option in main.params}
    assert shown == {name: f"VIRTUALIP_{str(name).upper()}" for name in shown}
