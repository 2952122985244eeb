"""HTTP trackers against servers that behave and servers that do not. Real sockets, real TLS."""

import asyncio
import contextlib
import datetime
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tried import Tried
from virtualip_agent.control.trackers.base import Check
from virtualip_agent.control.trackers.http import MOST_FIELDS, MOST_INTERIM, request, start_http
from virtualip_api.duration import MILLISECOND
from virtualip_api.trackers import HttpTracker

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
ROOT = Path("/")


class Server:
    """Answers each connection by `handler`; keeps the requests."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.requests: list[bytes] = []
        self.server_names: list[str | None] = []
        self.port = 0
        self._tasks: set[asyncio.Task[None] | None] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(task := asyncio.current_task())
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
                self.requests.append(await reader.readuntil(b"\r\n\r\n"))
                await self.handler(reader, writer)
        finally:
            writer.transport.abort()
            self._tasks.discard(task)

    async def end(self) -> None:
        """Whatever still answers ends."""
        tasks = [task for task in self._tasks if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)


def answer(status: str, *more: bytes) -> Handler:
    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nok".encode())
        for part in more:
            writer.write(part)
            await writer.drain()

    return handle


@contextlib.asynccontextmanager
async def serving(
    handler: Handler, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Server]:
    server = Server(handler)
    if tls is not None:
        tls.sni_callback = lambda _socket, name, _context: server.server_names.append(name)
    listener = await asyncio.start_server(server.serve, host, 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield server
        await server.end()


def tried(url: str, timeout: int = 2000, **fields: Any) -> Tried:
    settings: dict[str, Any] = {"interval": 100 * MILLISECOND, "timeout": timeout * MILLISECOND, "fall": 1}
    check = HttpTracker(url, **(settings | fields))
    return Tried(lambda report: start_http(check, report, ROOT))


@pytest.mark.parametrize(
    ("status", "wanted", "passed"),
    [
        ("200 OK", ((200, 299),), True),
        ("204", ((200, 299),), True),
        ("503 Service Unavailable", ((200, 299),), False),
        ("302 Found\r\nLocation: http://127.0.0.1:1/", ((200, 299),), False),
        ("302 Found\r\nLocation: http://127.0.0.1:1/", ((302, 302),), True),
        ("401 Unauthorized", ((200, 299), (401, 401)), True),
    ],
)
async def test_the_status_decides_and_a_redirect_is_an_answer_like_any_other(
    status: str, wanted: Any, passed: bool
) -> None:
    async with serving(answer(status)) as server, tried(f"http://127.0.0.1:{server.port}/", status=wanted) as one:
        assert await one.first() == Check(passed, f"status {status[:3]}")
        await one.more_reports(2)


async def test_it_follows_a_server_that_breaks_and_heals() -> None:
    async with serving(answer("200 OK")) as server, tried(f"http://127.0.0.1:{server.port}/readyz") as one:
        await one.becomes(True)
        server.handler = answer("500 Internal Server Error")
        assert await one.becomes(False) == "status 500"
        server.handler = answer("200 OK")
        assert await one.becomes(True) == "status 200"


async def test_ipv6() -> None:
    async with serving(answer("200 OK"), host="::1") as server, tried(f"http://[::1]:{server.port}/") as one:
        await one.becomes(True)
        assert f"Host: [::1]:{server.port}\r\n".encode() in server.requests[0]


def test_the_request_is_plain_and_the_host_can_be_another() -> None:
    sent = request(HttpTracker("http://192.0.2.1:8080/a?b=c"))
    assert sent.startswith(b"GET /a?b=c HTTP/1.1\r\nHost: 192.0.2.1:8080\r\n")
    assert sent.endswith(b"Connection: close\r\n\r\n")
    assert b"Host: web.example.com\r\n" in request(HttpTracker("http://192.0.2.1", host="web.example.com"))


async def test_a_server_that_trickles_is_given_up_after_the_time_limit_in_all() -> None:
    async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for letter in b"HTTP/1.1 200 OK\r\n":
            writer.write(bytes([letter]))
            await writer.drain()
            await asyncio.sleep(0.05)

    async with serving(trickle) as server, tried(f"http://127.0.0.1:{server.port}/", timeout=300) as one:
        assert await one.first() == Check(False, "no answer within 300ms")


async def test_a_huge_body_is_not_read() -> None:
    sent = 0

    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while sent < 1 << 30:
            writer.write(bytes(1 << 16))
            await writer.drain()
            sent += 1 << 16

    async with serving(flood) as server, tried(f"http://127.0.0.1:{server.port}/") as one:
        await one.becomes(True)
        await one.more_reports(2)
    assert sent < 64 << 20


@pytest.mark.parametrize("line", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\0" * 100_000 + b"\n", b"HTTP/1.1 2000 OK\r\n", b""])
async def test_what_is_not_http_is_a_failure(line: bytes) -> None:
    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(line)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with serving(speak) as server, tried(f"http://127.0.0.1:{server.port}/") as one:
        result = await one.first()
        assert isinstance(result, Check)
        assert not result.passed
        assert result.message in ("the answer is not HTTP", "Connection reset by peer")


EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize(
    ("said", "result"),
    [
        (EARLY_HINTS + b"HTTP/1.1 200 OK\r\n\r\n", Check(True, "status 200")),
        (CONTINUE + EARLY_HINTS + b"HTTP/1.1 503 Service Unavailable\r\n\r\n", Check(False, "status 503")),
        (EARLY_HINTS * MOST_INTERIM + b"HTTP/1.1 200 OK\r\n\r\n", Check(True, "status 200")),
        (EARLY_HINTS * (MOST_INTERIM + 1) + b"HTTP/1.1 200 OK\r\n\r\n", Check(False, "the answer is not HTTP")),
        (CONTINUE[:-2] + b"A: b\r\n" * (MOST_FIELDS + 1), Check(False, "the answer is not HTTP")),
        (EARLY_HINTS, Check(False, "the answer is not HTTP")),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", Check(False, "status 101")),
    ],
    ids=["103", "100 and 103", "as many as are skipped", "too many", "too long", "no final one", "101"],
)
async def test_rfc9110_15_2_the_final_answer_counts_and_not_what_comes_before_it(said: bytes, result: Check) -> None:
    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        writer.write_eof()
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with serving(speak) as server, tried(f"http://127.0.0.1:{server.port}/") as one:
        assert await one.first() == result


async def test_a_refused_connection_is_said() -> None:
    async with tried("http://127.0.0.1:1/") as one:
        assert await one.first() == Check(False, "Connection refused")


# ---- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Self-signed, for api.example.com and 127.0.0.1; key and certificate in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "api.example.com")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("api.example.com"), x509.IPAddress(ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + made.public_bytes(encoding))
    return path


@pytest.fixture
async def secure(certificate: Path) -> AsyncIterator[Server]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with serving(answer("200 OK"), tls=context) as server:
        yield server


async def test_a_certificate_of_nobody_known_is_a_failure_unless_it_is_not_verified(secure: Server) -> None:
    url = f"https://127.0.0.1:{secure.port}/readyz"
    async with tried(url) as one:
        assert "certificate: self-signed certificate" in await one.becomes(False)
    async with tried(url, insecure_skip_verify=True) as one:
        assert await one.becomes(True) == "status 200"


async def test_its_authority_may_be_in_a_file_which_may_come_later(
    secure: Server, certificate: Path, tmp_path: Path
) -> None:
    authorities = tmp_path / "ca.crt"
    async with tried(f"https://127.0.0.1:{secure.port}/", ca_file=str(authorities)) as one:
        assert await one.becomes(False) == f"{authorities} missing"
        nothing = tmp_path / "nothing"
        nothing.write_text("no certificate")
        authorities.symlink_to(nothing)
        await one.until(lambda tried: tried.results[-1] == Check(False, f"{authorities} holds no certificate"))
        authorities.unlink()
        authorities.symlink_to(certificate)
        assert await one.becomes(True) == "status 200"


async def test_the_servers_name_is_what_is_asked_for_and_verified(secure: Server, certificate: Path) -> None:
    url = f"https://127.0.0.1:{secure.port}/"
    async with tried(url, ca_file=str(certificate), server_name="api.example.com") as one:
        await one.becomes(True)
        assert secure.server_names[-1] == "api.example.com"
    async with tried(url, ca_file=str(certificate), server_name="other.example.com") as one:
        assert "certificate: Hostname mismatch" in await one.becomes(False)


async def test_a_server_that_never_finishes_its_tls_handshake_is_given_up() -> None:
    async def hang(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    async with serving(hang) as server, tried(f"https://127.0.0.1:{server.port}/", timeout=300) as one:
        assert await one.first() == Check(False, "no answer within 300ms")


async def test_plain_http_where_tls_is_asked_for_is_a_failure() -> None:
    async def at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.transport.abort()

    async with await asyncio.start_server(at_once, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        async with tried(f"https://127.0.0.1:{port}/") as one:
            message = await one.becomes(False)
            assert message.startswith("TLS:") or message == "Connection reset by peer"
