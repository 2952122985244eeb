"""/metrics and /healthz. Two addresses: metrics are for the node or a sidecar, while the kubelet asks from outside."""

import socket
import socketserver
import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from virtualip_operator.health import Health

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _ServerOfIPv6(_Server):
    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(self.server_address[0] != "::"))
        super().server_bind()


class _Handler(WSGIRequestHandler):
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


def serve(address: str, apps: dict[str, Application]) -> int:
    """Serves the applications by their paths at HOST:PORT, in a thread of its own; the port. OSError.

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
    server = (_ServerOfIPv6 if ":" in host else _Server)((host, port), _Handler)
    server.set_app(route)
    threading.Thread(target=server.serve_forever, name=f"http {address}", daemon=True).start()
    return int(server.server_address[1])


def split_address(address: str) -> tuple[str, int]:
    """HOST:PORT; ValueError where it is none."""
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{address!r} is not HOST:PORT")
    return host.strip("[]"), int(port)
