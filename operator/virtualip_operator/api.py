"""The API server, as little of it as the operator needs: JSON by path, every request with both time-outs.

Only the client's transport and credentials are used, none of its generated API classes (CoreV1Api costs 20 MiB).
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kubernetes.client.api_client import ApiClient
from kubernetes.client.configuration import Configuration
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from kubernetes.config.incluster_config import load_incluster_config
from kubernetes.config.kube_config import load_kube_config
from urllib3.exceptions import HTTPError

from virtualip_api.names import API_VERSION, GROUP, MEMBER_PLURAL, VIRTUAL_IP_PLURAL

VIRTUAL_IPS = f"/apis/{API_VERSION}/{VIRTUAL_IP_PLURAL}"
MEMBERS = f"/apis/{API_VERSION}/{MEMBER_PLURAL}"
NODES = "/api/v1/nodes"
CRDS = tuple(
    f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.{GROUP}"
    for plural in (VIRTUAL_IP_PLURAL, MEMBER_PLURAL)
)
FIELD_MANAGER = "virtualip-operator"

APPLY = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"

_CONNECT_TIMEOUT = 3.0
_READ_TIMEOUT = 10.0
_POOL = 8
"""Connections kept: one for each worker, the watch of Leases, and the resync."""

LASTING = frozenset({400, 403, 413, 422})
"""HTTP status of what is refused again each time."""


class ApiError(Exception):
    """A request that failed. `status` is HTTP's, or 0 where the API server could not be reached."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}" if status else message)
        self.status = status


class CannotConfigure(Exception):
    """There are no credentials to talk to an API server with."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Where the API server is and who asks."""

    server: str
    ca_path: str | None
    certificate_path: str | None
    key_path: str | None
    authorization: str
    """The whole header's value; '' for none."""
    insecure: bool


class Api:
    """Requests from any thread, with the pod's ServiceAccount, or where there is none as KUBECONFIG says."""

    def __init__(self) -> None:
        configuration = Configuration()
        try:
            if "KUBERNETES_SERVICE_HOST" in os.environ and "KUBECONFIG" not in os.environ:
                load_incluster_config(client_configuration=configuration)
            else:
                load_kube_config(client_configuration=configuration)
        except (ConfigException, OSError) as error:
            raise CannotConfigure(str(error)) from error
        configuration.retries = False  # the queue has back-off
        configuration.connection_pool_maxsize = _POOL
        self._client = ApiClient(configuration)
        self._client.user_agent = FIELD_MANAGER

    def credentials(self) -> Credentials:
        """What it talks with, for another client in this process; the token as it is now."""
        configuration = self._client.configuration
        return Credentials(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            certificate_path=configuration.cert_file,
            key_path=configuration.key_file,
            authorization=configuration.get_api_key_with_prefix("BearerToken") or "",
            insecure=not configuration.verify_ssl,
        )

    def get(self, path: str) -> dict[str, Any]:
        """The object, or the complete list, at `path`, as of now (a quorum read); ApiError."""
        return self._request("GET", path)

    def find(self, collection: str, name: str) -> dict[str, Any] | None:
        """The object of that name; None where a list made now has none. (A 404 of GET may also mean that the API
        server does not serve the kind, which says nothing about the object.) ApiError."""
        found = self._request("GET", collection, {"fieldSelector": f"metadata.name={name}"})["items"]
        return found[0] if found else None

    def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Creates an object in the collection at `path`; ApiError, 409 where it is there."""
        return self._request("POST", path, body=body, content_type="application/json")

    def replace(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Replaces an object whose resourceVersion is still the body's; ApiError, 409 where it is not."""
        return self._request("PUT", path, body=body, content_type="application/json")

    def apply(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """A forced server-side apply in the operator's name; ApiError."""
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return self._request("PATCH", path, query, body, APPLY)

    def json_patch(self, path: str, operations: list[dict[str, Any]]) -> dict[str, Any]:
        """A JSON patch, all of it or nothing; ApiError, 422 where one of its tests fails."""
        return self._request("PATCH", path, {"fieldManager": FIELD_MANAGER}, operations, JSON_PATCH)

    def delete(self, path: str, metadata: Mapping[str, Any]) -> None:
        """Deletes the object if it still is as that metadata says; ApiError, 409 where it is not."""
        still = {key: metadata[key] for key in ("uid", "resourceVersion")}
        self._request("DELETE", path, body={"preconditions": still}, content_type="application/json")

    def watch(self, path: str, version: str, seconds: int, quiet: float) -> Iterator[tuple[str, dict[str, Any]]]:
        """Events (type, object) after a list's resourceVersion until the server ends the watch after `seconds`.

        ApiError where it fails, or where nothing is heard for `quiet` seconds; 410: list again."""
        query = {"watch": "true", "resourceVersion": version, "timeoutSeconds": str(seconds)}
        response = self._send("GET", path, query, None, "", (_CONNECT_TIMEOUT, quiet))
        try:
            if response.status != 200:
                raise _error_of(response)
            yield from _events(response)
        except (HTTPError, OSError) as error:
            raise ApiError(0, _said(error)) from None
        finally:
            response.response.close()

    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = "",
    ) -> dict[str, Any]:
        response = self._send(method, path, query or {}, body, content_type, (_CONNECT_TIMEOUT, _READ_TIMEOUT))
        if not 200 <= response.status <= 299:
            raise _error_of(response)
        try:
            answer = json.loads(response.read())
        except (HTTPError, OSError, ValueError) as error:
            raise ApiError(0, _said(error)) from None
        return dict(answer)

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: object,
        content_type: str,
        timeout: tuple[float, float],
    ) -> Any:
        headers = {"Accept": "application/json"} | ({"Content-Type": content_type} if content_type else {})
        try:
            request = self._client.param_serialize(
                method,
                path,
                query_params=list(query.items()),
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
            )
            return self._client.call_api(*request, _request_timeout=timeout)
        except (HTTPError, OSError, ApiException, ConfigException) as error:
            raise ApiError(0, _said(error)) from None


def _error_of(response: Any) -> ApiError:
    try:
        message = str(json.loads(response.read()).get("message") or response.reason)
    except (HTTPError, OSError, ValueError, AttributeError):
        message = str(response.reason)
    return ApiError(response.status, message[:500])


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


def _events(response: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    buffer = b""
    for chunk in response.response.stream(amt=None, decode_content=True):
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in filter(None, lines):
            event = json.loads(line)
            if event["type"] == "ERROR":
                raise ApiError(int(event["object"].get("code") or 0), str(event["object"].get("message")))
            yield event["type"], event["object"]
