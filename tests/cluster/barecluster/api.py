"""The few questions the harness itself asks the API server, without starting a kubectl for each."""

import http.client
import json
import ssl
from pathlib import Path
from typing import Any


class Api:
    """The API server at a port of the loopback interface, asked as admin."""

    def __init__(self, port: int, pki: Path) -> None:
        self._port = port
        self._tls = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self._tls.load_cert_chain(pki / "admin.crt", pki / "admin.key")

    def get(self, path: str) -> Any:
        """The JSON at a path; None when nobody answers within 2 s, or the answer is not 200."""
        body = self._get(path)
        return None if body is None else json.loads(body)

    def ready(self) -> bool:
        """Whether the API server serves."""
        return self._get("/readyz") is not None

    def ready_nodes(self) -> dict[str, str]:
        """The nodes whose condition Ready is True: their names, and which boot of theirs said so."""
        nodes = self.get("/api/v1/nodes") or {"items": []}
        return {
            node["metadata"]["name"]: node["status"]["nodeInfo"]["bootID"]
            for node in nodes["items"]
            for condition in node["status"].get("conditions", ())
            if condition["type"] == "Ready" and condition["status"] == "True"
        }

    def _get(self, path: str) -> bytes | None:
        connection = http.client.HTTPSConnection("127.0.0.1", self._port, context=self._tls, timeout=2)
        try:
            connection.request("GET", path, headers={"Accept": "application/json"})
            answer = connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        return body if answer.status == 200 else None
