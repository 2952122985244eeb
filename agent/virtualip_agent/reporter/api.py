"""The API server, as little of it as a reporter needs: JSON requests with both time-outs, and a watch.

Only the client's transport and its credentials are used (kubernetes.client.ApiClient): any group by its path, Secrets
and Leases included, and none of the generated API classes (CoreV1Api alone costs 20 MiB).
"""

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kubernetes.client.api_client import ApiClient
from kubernetes.client.configuration import Configuration
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from kubernetes.config.incluster_config import load_incluster_config
from kubernetes.config.kube_config import load_kube_config
from urllib3.exceptions import HTTPError, ReadTimeoutError

log = logging.getLogger(__name__)

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
METADATA_ONLY = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"

CONNECT_TIMEOUT = 3.0
READ_TIMEOUT = 10.0
WATCH_QUIET = 90.0
"""Seconds without a byte on a watch; the API server sends a bookmark about once a minute."""

_KEEPALIVE = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    # A watch sends nothing, so only this notices that the API server's address has moved to another machine.
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]


class ApiError(Exception):
    """A request that failed. `status` is HTTP's, or 0 where the API server could not be reached.

    The text holds what the API server said about it, never an object: a Secret may be in one."""

    def __init__(self, status: int, reason: str, *, absent_name: str = "") -> None:
        super().__init__(f"{status} {reason}" if status else reason)
        self.status = status
        self.absent_name = absent_name
        """With 404: the name of the object that is absent; '' where the whole path is (its CRD is gone)."""

    @property
    def outage(self) -> bool:
        """Nobody answers, or not with an opinion: try again, all of it."""
        return self.status == 0 or self.status == 429 or self.status >= 500


class CannotConfigure(Exception):
    """There are no credentials to talk to an API server with."""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One event: ADDED, MODIFIED, DELETED, BOOKMARK."""

    kind: str
    object: Mapping[str, Any]


class Api:
    """Requests to one API server, from any thread. Logs once when it goes away and once when it is back."""

    def __init__(self, kubeconfig: Path | None = None) -> None:
        configuration = Configuration()
        try:
            if kubeconfig is None:
                # Its token file is read again every minute, so a rotated token is taken up (the CA at each connection).
                load_incluster_config(client_configuration=configuration)
            else:
                load_kube_config(str(kubeconfig), client_configuration=configuration)
        except (ConfigException, OSError) as error:
            raise CannotConfigure(str(error)) from error
        configuration.retries = False  # ours have back-off, and urllib3 would wrap the error
        configuration.socket_options = _KEEPALIVE
        self._client = ApiClient(configuration)
        self._client.user_agent = "virtualip-reporter"
        self._lock = threading.Lock()
        self._away_since: float | None = None
        self._longest_away = 0.0

    def take_long_outage(self, seconds: float) -> bool:
        """Whether an outage of at least `seconds` has ended since this was last asked."""
        with self._lock:
            longest, self._longest_away = self._longest_away, 0.0
        return longest >= seconds

    def get(self, path: str, query: Mapping[str, str] | None = None, *, accept: str = "") -> dict[str, Any]:
        """The object at `path`; ApiError."""
        return self._request("GET", path, query, accept=accept)

    def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Creates an object in the collection at `path`; ApiError (409 where it is there)."""
        return self._request("POST", path, None, body, "application/json")

    def merge(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """A merge patch; ApiError (409 where the body's resourceVersion is not the object's)."""
        return self._request("PATCH", path, None, body, MERGE)

    def apply(self, path: str, body: Mapping[str, Any], manager: str) -> dict[str, Any]:
        """A forced server-side apply; ApiError."""
        return self._request("PATCH", path, {"fieldManager": manager, "force": "true"}, body, APPLY)

    def watch(
        self,
        path: str,
        query: Mapping[str, str],
        seconds: int,
        opened: Callable[[Callable[[], None]], object] = lambda _end: None,
    ) -> Iterator[WatchEvent]:
        """Events until the server ends the watch after `seconds`, or nothing was heard for WATCH_QUIET. `opened` is
        given what ends it from another thread.

        ApiError where it fails; with status 410 the caller must list again."""
        everything = {**query, "watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        response = self._send("GET", path, everything, None, "", "", (CONNECT_TIMEOUT, WATCH_QUIET))
        try:
            if response.status != 200:
                raise self._error_of(response)
            opened(response.response.shutdown)
            yield from _events(response)
        except ReadTimeoutError:
            return
        except (HTTPError, OSError) as error:
            raise self._away(error) from None
        finally:
            response.response.close()

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "",
        accept: str = "",
    ) -> dict[str, Any]:
        response = self._send(method, path, query, body, content_type, accept, (CONNECT_TIMEOUT, READ_TIMEOUT))
        try:
            content = response.read()
        except (HTTPError, OSError) as error:
            raise self._away(error) from None
        if not 200 <= response.status <= 299:
            raise self._error_of(response)
        try:
            answer = json.loads(content)
        except ValueError:
            raise ApiError(0, f"{method} {path}: the answer is not JSON") from None
        if not isinstance(answer, dict):
            raise ApiError(0, f"{method} {path}: the answer is not an object")
        return answer

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
        content_type: str,
        accept: str,
        timeout: tuple[float, float],
    ) -> Any:
        headers = {"Accept": accept or "application/json"}
        if content_type:
            headers["Content-Type"] = content_type
        try:
            request = self._client.param_serialize(
                method,
                quote(path),
                query_params=list((query or {}).items()),
                header_params=headers,
                # The client writes it as JSON whatever the content type; JSON is YAML.
                body=None if body is None else dict(body),
                auth_settings=["BearerToken"],
            )
            response = self._client.call_api(*request, _request_timeout=timeout)
        except (HTTPError, OSError, ApiException, ConfigException) as error:
            raise self._away(error) from None
        if response.status < 500:
            self._back()
        return response

    def _error_of(self, response: Any) -> ApiError:
        try:
            status = json.loads(response.read())
        except (HTTPError, OSError, ValueError):
            status = {}
        if not isinstance(status, dict):
            status = {}
        details = status.get("details")
        name = details.get("name", "") if isinstance(details, dict) else ""
        absent_name = str(name) if response.status == 404 and status.get("reason") == "NotFound" else ""
        said = str(status.get("message") or status.get("reason") or response.reason or "refused")
        error = ApiError(response.status, said[:300], absent_name=absent_name)
        if error.status >= 500:
            self._away(error)
        return error

    def _away(self, error: Exception) -> ApiError:
        with self._lock:
            first = self._away_since is None
            if first:
                self._away_since = time.monotonic()
        if first:
            log.warning("API server does not answer, what runs goes on: %s", _said(error))
        return ApiError(0, _said(error))

    def _back(self) -> None:
        with self._lock:
            since, self._away_since = self._away_since, None
            if since is not None:
                self._longest_away = max(self._longest_away, time.monotonic() - since)
        if since is not None:
            log.info("API server answers again after %.1f s", time.monotonic() - since)


def _said(error: Exception) -> str:
    # A reason of the client's own exceptions; never their bodies.
    text = str(error.reason if isinstance(error, ApiException) else error)
    return f"{type(error).__name__}: {text.splitlines()[0][:200]}" if text else type(error).__name__


def _events(response: Any) -> Iterator[WatchEvent]:
    buffer = bytearray()
    for chunk in response.response.stream(amt=None, decode_content=True):
        buffer += chunk
        *lines, rest = buffer.split(b"\n")
        buffer = bytearray(rest)
        for line in lines:
            if not line:
                continue
            try:
                event = json.loads(line)
                kind, thing = event["type"], event["object"]
            except (ValueError, KeyError, TypeError):
                raise ApiError(0, "the watch sent what is not an event") from None
            if kind == "ERROR":
                raise ApiError(int(thing.get("code") or 0), str(thing.get("reason") or "watch failed"))
            yield WatchEvent(kind, thing)
