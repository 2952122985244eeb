"""Who may read the metrics over the network: whoever the API server knows by token and lets `get` /metrics.

The convention of Kubernetes' own components (TokenReview, then SubjectAccessReview for the path), so that what a
Prometheus has already to scrape those is enough here.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from virtualip_operator.api import Api, ApiError
from virtualip_operator.http_server import Application

PATH: Final = "/metrics"
KEPT: Final = 60.0
"""Seconds that an answer of the API server is good for: less than a token that was taken back may hurt, more than the
interval between two scrapes."""
MOST_KEPT: Final = 100
"""Answers; more tokens than that are somebody trying."""

_TOKEN_REVIEWS: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
_ACCESS_REVIEWS: Final = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
_SAID: Final = {
    401: ("401 Unauthorized", b"a bearer token is needed that the API server knows\n"),
    403: ("403 Forbidden", b"needs the verb get on the non-resource URL /metrics\n"),
    503: ("503 Service Unavailable", b"the API server cannot be asked who this is\n"),
}


class Gate:
    """Asks the API server, and remembers."""

    def __init__(self, api: Api, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[bytes, tuple[int, float]] = {}
        """By digest of the token: HTTP's status and until when it holds."""

    def status(self, authorization: str) -> int:
        """For a header's value: 200, 401 (nobody), 403 (somebody who may not), 503 (cannot be known now)."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return 401
        key, now = hashlib.sha256(token.strip().encode()).digest(), self._clock()
        with self._lock:
            status, until = self._known.get(key, (0, 0.0))
        if now < until:
            return status
        try:
            status = self._asked(token.strip())
        except ApiError:
            return 503
        with self._lock:
            if len(self._known) >= MOST_KEPT:
                self._known.clear()
            self._known[key] = (status, now + KEPT)
        return status

    def _asked(self, token: str) -> int:
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        answer = self._api.create(_TOKEN_REVIEWS, review).get("status", {})
        if not answer.get("authenticated"):
            return 401
        user = answer["user"]
        subject = {
            "user": user.get("username", ""),
            "uid": user.get("uid", ""),
            "groups": user.get("groups", []),
            "extra": user.get("extra", {}),
            "nonResourceAttributes": {"path": PATH, "verb": "get"},
        }
        access = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": subject}
        return 200 if self._api.create(_ACCESS_REVIEWS, access).get("status", {}).get("allowed") else 403


def guarded(app: Application, gate: Gate) -> Application:
    """The application for those whom the gate lets in."""

    def guard(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        status = gate.status(environ.get("HTTP_AUTHORIZATION", ""))
        if status == 200:
            return app(environ, start_response)
        line, body = _SAID[status]
        headers = [("Content-Type", "text/plain")]
        start_response(line, [*headers, ("WWW-Authenticate", "Bearer")] if status == 401 else headers)
        return [body]

    return guard
