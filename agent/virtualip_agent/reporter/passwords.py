"""VRRPv2 passwords from Secrets of the agent's own namespace. Their values go into desired files and nowhere else."""

import base64
import binascii

from virtualip_agent.reporter.api import Api, ApiError
from virtualip_agent.reporter.plan import Password, SecretKey
from virtualip_api.virtual_ip import LONGEST_PASSWORD


def read_password(api: Api, namespace: str, secret: SecretKey) -> Password:
    """The password, or why there is none. ApiError where the API server does not say: that is no news of it."""
    try:
        answer = api.get(f"/api/v1/namespaces/{namespace}/secrets/{secret.name}")
    except ApiError as error:
        if error.status != 404:
            raise
        return Password(problem="not found")
    return password_in(answer.get("data"), secret.key)


def password_in(data: object, key: str) -> Password:
    """The password under `key` of a Secret's data. One line end at its end is not part of it: files end so."""
    encoded = data.get(key) if isinstance(data, dict) else None
    if not isinstance(encoded, str):
        return Password(problem=f"has no key {key}")
    try:
        value = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return Password(problem=f"key {key} is not base64")
    value = value.removesuffix(b"\n").removesuffix(b"\r")
    if not value:
        return Password(problem=f"key {key} is empty")
    if len(value) > LONGEST_PASSWORD:
        return Password(problem=f"key {key} has {len(value)} bytes; VRRPv2 takes {LONGEST_PASSWORD}")
    return Password(value)
