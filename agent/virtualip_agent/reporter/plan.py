"""A VirtualIPMember as it arrives, and whether its plan may replace the one that runs. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from virtualip_agent.desired_file import DesiredVirtualIP, encode
from virtualip_agent.reporter.entry import Remark
from virtualip_api.errors import InvalidResource
from virtualip_api.member import MemberSpec, parse_member_spec
from virtualip_api.names import member_name

_FILE_SAFE_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""A VirtualIP's name, as the CRD has it. It becomes a file's name here, so it is checked here too."""


@dataclass(frozen=True, slots=True)
class SecretKey:
    """Where a password is, in the agent's own namespace."""

    name: str
    key: str


@dataclass(frozen=True, slots=True)
class Plan:
    """One of this node's Members."""

    name: str
    """The VirtualIP's."""
    uid: str
    created: str
    """metadata.creationTimestamp; RFC 3339, so that the order of texts is that of times."""
    raw: Mapping[str, Any]
    """Its spec, as the API gave it."""
    spec: MemberSpec | None
    """None where this version does not understand all of it: then `problem` says what."""
    problem: str = ""

    @property
    def secret(self) -> SecretKey | None:
        """The Secret that its password is in."""
        authentication = self.spec.spec.authentication if self.spec else None
        if authentication is None or not (authentication.secret_name and authentication.secret_key):
            return None
        return SecretKey(authentication.secret_name, authentication.secret_key)


@dataclass(frozen=True, slots=True)
class Password:
    """What became of a password: its value, or why there is none."""

    value: bytes | None = field(default=None, repr=False)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """The plan in the desired file that lies there now."""

    desired: DesiredVirtualIP = field(repr=False)
    uid: str = ""
    """Of its Member; '' where that is not known any more."""
    created: str = ""


def read_plan(member: Mapping[str, Any], node: str) -> Plan | None:
    """The plan in a Member, or None where it is not one of this node's (labels can be wrong, or hashed alike)."""
    metadata = member.get("metadata") or {}
    raw = member.get("spec") or {}
    name = raw.get("virtualIP")
    if raw.get("node") != node or not isinstance(name, str) or not _FILE_SAFE_NAME.fullmatch(name):
        return None
    if metadata.get("name") != member_name(name, node):
        return None
    identity = (name, str(metadata.get("uid", "")), str(metadata.get("creationTimestamp", "")), raw)
    try:
        spec = parse_member_spec(raw)
    except InvalidResource as error:
        return Plan(*identity, spec=None, problem=str(error))
    return Plan(*identity, spec=spec)


def content_for(plan: Plan, running: Running | None, password: Password | None) -> bytes | Remark:
    """The desired file for a plan; or, where what runs must stay, the remark that says why."""
    spec = plan.spec
    if spec is None:
        return Remark("UnsupportedField", f"newer than this agent: {plan.problem}{_still_runs(running)}")
    if not spec.peers:
        return Remark("EmptyPlan", f"the plan names no members{_still_runs(running)}")
    if running is not None and _is_older(plan, spec, running):
        return Remark("OlderPlan", f"revision {spec.revision} is older than what runs{_still_runs(running)}")
    if plan.secret is None:
        return encode(plan.name, dict(plan.raw), None)
    if password is None or password.value is None:
        problem = password.problem if password else "not read yet"
        # Never a file without it: the VIP would run, and believe others, unauthenticated.
        return Remark("SecretMissing", f"Secret {plan.secret.name}: {problem}{_still_runs(running)}")
    return encode(plan.name, dict(plan.raw), password.value)


def _is_older(plan: Plan, spec: MemberSpec, running: Running) -> bool:
    # Revisions count within one Member; of two Members the one created later is the newer.
    if not running.uid or plan.uid == running.uid:
        return spec.revision < running.desired.member.revision
    return plan.created < running.created


def _still_runs(running: Running | None) -> str:
    return "" if running is None else f" (runs on with generation {running.desired.member.generation})"
