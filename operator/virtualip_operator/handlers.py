"""kopf's part: it watches, and these handlers hand on what changed. Nothing is done here that could fail.

on.event alone: it writes nothing to users' objects (timers, daemons and on.create would: finalizers, annotations). A
failed on.event is never retried, hence the queue.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import kopf

from virtualip_api.names import GROUP, MEMBER_PLURAL, VERSION, VIRTUAL_IP_PLURAL
from virtualip_operator.api import Credentials
from virtualip_operator.store import Store
from virtualip_operator.work_queue import WorkQueue

TOKEN_LIFETIME = timedelta(minutes=10)
"""After which the token is read again: the kubelet renews its file when a fifth of an hour at least is left of it."""


def make_registry(store: Store, queue: WorkQueue, credentials: Callable[[], Credentials]) -> kopf.OperatorRegistry:
    """Handlers that tell the store and enqueue the names for which it was news."""
    registry = kopf.OperatorRegistry()

    async def login(**_: Any) -> kopf.ConnectionInfo:
        return connection_info(credentials())

    kopf.on.login(registry=registry)(login)
    resources: tuple[tuple[tuple[str, ...], Callable[[Any, bool], set[str]]], ...] = (
        ((GROUP, VERSION, VIRTUAL_IP_PLURAL), store.saw_virtual_ip),
        ((GROUP, VERSION, MEMBER_PLURAL), store.saw_member),
        (("v1", "nodes"), store.saw_node),
    )
    for resource, saw in resources:

        def handler(event: Any, saw: Callable[[Any, bool], set[str]] = saw, **_: Any) -> None:
            for name in saw(event["object"], event["type"] == "DELETED"):
                queue.add(name)

        kopf.on.event(*resource, id=resource[-1], registry=registry)(_asynchronous(handler))
    return registry


def _asynchronous(handler: Callable[..., None]) -> Any:
    # kopf would run a plain function in a thread pool; this takes microseconds.
    async def run(**kwargs: Any) -> None:
        handler(**kwargs)

    return run


def connection_info(found: Credentials) -> kopf.ConnectionInfo:
    """The credentials as kopf wants them."""
    scheme, _, token = found.authorization.partition(" ")
    return kopf.ConnectionInfo(
        server=found.server,
        ca_path=found.ca_path,
        certificate_path=found.certificate_path,
        private_key_path=found.key_path,
        insecure=found.insecure,
        scheme=scheme or None,
        token=token or None,
        expiration=datetime.now(UTC) + TOKEN_LIFETIME if token else None,
    )


class _ForEver:
    """Delays between requests that fail, without end: kopf ends the process when they run out.

    Each request iterates anew."""

    def __iter__(self) -> Iterator[float]:
        yield from (0.5, 1.0, 2.0, 4.0)
        while True:
            yield 5.0


def make_settings() -> kopf.OperatorSettings:
    """kopf's settings for an operator that outlives its API server."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False  # Events are the narrator's
    settings.networking.error_backoffs = _ForEver()
    settings.networking.connect_timeout = 3.0
    settings.networking.request_timeout = 20.0
    # A watch that outlived its CRD (deleted and applied again) brings nothing any more and says nothing of it: each
    # ends after a while and goes on where it was. By aiohttp's time-out, which is raised where kopf reads. kopf's own
    # for inactivity is a cancellation that may hit whoever handles an event just then, and nobody watches any more.
    settings.watching.client_timeout = 20.0
    settings.watching.inactivity_timeout = 1e9
    settings.process.ultimate_exiting_timeout = None  # kopf may be started again in the same process
    return settings
