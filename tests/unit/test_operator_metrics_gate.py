"""Metrics over the network: for whom the API server knows and lets; by a certificate that may be renewed."""

import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest

from certificate import write_certificate
from virtualip_operator.api import ApiError
from virtualip_operator.http_server import is_loopback, metrics_app, serve
from virtualip_operator.metrics import Metrics
from virtualip_operator.metrics_gate import KEPT, MOST_KEPT, Gate, guarded

if TYPE_CHECKING:
    from virtualip_operator.api import Api

PROMETHEUS = {"username": "system:serviceaccount:monitoring:prometheus", "groups": ["system:authenticated"]}


class FakeApiServer:
    """Who has which token, and who may get /metrics."""

    def __init__(self) -> None:
        self.users: dict[str, dict[str, Any]] = {"good": PROMETHEUS, "other": {"username": "other"}}
        self.readers = {PROMETHEUS["username"]}
        self.away = False
        self.asked = 0

    def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        self.asked += 1
        if self.away:
            raise ApiError(0, "away")
        spec = body["spec"]
        if path.endswith("tokenreviews"):
            user = self.users.get(spec["token"])
            return {"status": {"authenticated": True, "user": user} if user else {}}
        assert spec["nonResourceAttributes"] == {"path": "/metrics", "verb": "get"}
        return {"status": {"allowed": spec["user"] in self.readers}}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def api() -> FakeApiServer:
    return FakeApiServer()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate(api: FakeApiServer, clock: Clock) -> Gate:
    return Gate(cast("Api", api), clock)


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("", 401),
        ("Basic good", 401),
        ("Bearer ", 401),
        ("Bearer forged", 401),
        ("Bearer other", 403),
        ("bearer good", 200),
    ],
)
def test_a_token_that_is_known_and_permitted(gate: Gate, header: str, status: int) -> None:
    assert gate.status(header) == status


def test_the_answer_holds_for_a_minute_and_then_the_api_server_is_asked_again(
    gate: Gate, api: FakeApiServer, clock: Clock
) -> None:
    assert [gate.status("Bearer good") for _ in range(3)] == [200, 200, 200]
    assert api.asked == 2  # whose token, whether permitted
    del api.users["good"]
    clock.now += KEPT
    assert gate.status("Bearer good") == 401


def test_without_an_api_server_those_it_knew_go_on_until_their_minute_is_over(
    gate: Gate, api: FakeApiServer, clock: Clock
) -> None:
    gate.status("Bearer good")
    api.away = True
    assert (gate.status("Bearer good"), gate.status("Bearer other")) == (200, 503)
    clock.now += KEPT
    assert gate.status("Bearer good") == 503
    api.away = False
    assert gate.status("Bearer good") == 200


def test_somebody_who_tries_many_tokens_does_not_fill_the_memory(gate: Gate) -> None:
    for number in range(3 * MOST_KEPT):
        gate.status(f"Bearer {number}")
    assert len(gate._known) <= MOST_KEPT


def scrape(port: int, token: str) -> tuple[int, str]:
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    request = urllib.request.Request(f"https://127.0.0.1:{port}/metrics", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=5.0, context=trusting) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def shown(port: int) -> bytes:
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", port), timeout=5.0))


def test_a_scrape_by_tls_with_the_certificate_of_the_day(gate: Gate, tmp_path: Path) -> None:
    first = write_certificate(tmp_path, "one")
    apps = {"/metrics": guarded(metrics_app(Metrics().registry), gate)}
    port = serve("127.0.0.1:0", apps, tmp_path)
    status, text = scrape(port, "good")
    assert (status, "virtualip_queue_depth" in text) == (200, True)
    assert scrape(port, "forged")[0] == 401
    assert shown(port) == first

    renewed = write_certificate(tmp_path, "two")
    assert shown(port) == renewed
    (tmp_path / "tls.crt").write_text("half")
    assert shown(port) == renewed
    assert scrape(port, "good")[0] == 200


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("localhost:1", True),
        ("[::1]:1", True),
        ("0.0.0.0:1", False),
        (":1", False),
        ("[::]:1", False),
    ],
)
def test_only_loopback_addresses_are_nobody_elses(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback
