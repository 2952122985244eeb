"""/metrics and /healthz. Two addresses: metrics are for the pod itself or for who may see them, while the kubelet asks
from outside and shows no token."""

import contextlib
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from virtualip_operator.health import Health

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _Certificate:
    """That of a directory (tls.crt, tls.key: a Secret as it is mounted), read anew when it changes. OSError."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._read = 0.0
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.refresh()

    def refresh(self) -> None:
        """What connections from now on are shown."""
        certificate, key = self._directory / "tls.crt", self._directory / "tls.key"
        changed = certificate.stat().st_mtime
        if changed != self._read:
            self.context.load_cert_chain(certificate, key)
            self._read = changed


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, host: str, port: int, certificate: _Certificate | None) -> None:
        self._certificate = certificate
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Handler)
        if certificate:
            # the handshake is the business of each connection's own thread: nobody waits for somebody else's
            self.socket = certificate.context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def server_bind(self) -> None:
        """Both families at ::, as a pod's own address may be of either."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(self.server_address[0] != "::"))
        super().server_bind()

    def get_request(self) -> Any:
        """A connection, for which a renewed certificate counts already."""
        if self._certificate:
            with contextlib.suppress(OSError):  # half renewed: the old one, until it is whole
                self._certificate.refresh()
        return super().get_request()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing: who breaks off a connection must not fill the log. (An application's error is logged.)"""


class _Handler(WSGIRequestHandler):
    timeout = 10.0
    """Seconds for somebody who connects and says nothing."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        """Says nothing."""


def health_app(health: Health) -> Application:
    """200 while every loop lives; 503 with the names of those that do not."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        late = health.late()
        start_response("503 Service Unavailable" if late else "200 OK", [("Content-Type", "text/plain")])
        return [f"late: {', '.join(late)}\n".encode() if late else b"ok\n"]

    return app


def metrics_app(registry: CollectorRegistry) -> Application:
    """Prometheus' exposition."""
    return make_wsgi_app(registry)


def serve(address: str, apps: dict[str, Application], certificate: Path | None = None) -> int:
    """Serves the applications by their paths at HOST:PORT, in a thread of its own; the port. By TLS where the directory
    of a certificate is given. OSError.

    Without HOST: at every address of either family, as a pod's own may be of IPv6 alone."""

    def route(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        app = apps.get(environ.get("PATH_INFO", ""))
        if app is None:
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"not here\n"]
        return app(environ, start_response)

    host, port = split_address(address)
    if not host and socket.has_dualstack_ipv6():
        host = "::"
    server = _Server(host, port, _Certificate(certificate) if certificate else None)
    server.set_app(route)
    threading.Thread(target=server.serve_forever, name=f"http {address}", daemon=True).start()
    return int(server.server_address[1])


def split_address(address: str) -> tuple[str, int]:
    """HOST:PORT; ValueError where it is none."""
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{address!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def is_loopback(address: str) -> bool:
    """Whether nobody outside the pod (or machine) can connect to HOST:PORT."""
    host, _ = split_address(address)
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
