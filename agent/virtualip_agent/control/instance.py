"""One VirtualIP as this node is to run it, wherever it came from."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from virtualip_agent.desired_file import decode
from virtualip_api.errors import FieldError, InvalidResource
from virtualip_api.trackers import PodReadyTracker
from virtualip_api.virtual_ip import LONGEST_PASSWORD, VirtualIPSpec, base_priority, parse_virtual_ip


class Source(StrEnum):
    """Where an instance was declared."""

    DESIRED = "Desired"
    """In the API: a file that the reporter wrote."""
    MANIFEST = "Manifest"
    """In a file of the node's own administrator."""


@dataclass(frozen=True, slots=True)
class WireIdentity:
    """What the other members see of a virtual router; two that agree in this can take over from one another."""

    vrid: int
    version: int
    transport: str
    addresses: frozenset[IPv4Address | IPv6Address]
    advert_interval: int
    password: bytes


@dataclass(frozen=True, slots=True)
class Instance:
    """A spec with everything resolved that depends on the node."""

    name: str
    source: Source
    spec: VirtualIPSpec
    base_priority: int
    password: bytes = field(default=b"", repr=False)
    """VRRPv2 PASS as the user gave it, at most 8 bytes; empty: no authentication."""
    rank: int = 0
    draining: bool = False
    members: tuple[str, ...] = ()
    """Source addresses of the other members, of both families, as far as the plan or the manifest knows them."""
    own_addresses: tuple[str, ...] = ()
    """The same of this node."""
    named_addresses: tuple[str, ...] = ()
    """Those of them that nodeAddresses names: it is advertised from these, and from nothing else."""
    unknown_to: tuple[str, ...] = ()
    """Members who would not hear this node yet: it stays silent."""
    revision: int = 0
    """Of the plan, where that is to be reported: members who are heard by name alone wait for it."""
    alone: bool = False
    """The plan knows no other member. (A manifest knows none either, but assumes that there are others.)"""
    generation: int = 0
    origin: str = field(default="", compare=False, repr=False)
    """JSON from which `last_good` makes it again. Holds the password."""

    @property
    def wire_identity(self) -> WireIdentity:
        """What must be equal for a take-over of a manifest by a VirtualIP of the same name."""
        return WireIdentity(
            vrid=self.spec.vrid,
            version=self.spec.version,
            transport=self.spec.transport,
            addresses=frozenset(address.ip for address in self.spec.addresses),
            advert_interval=self.spec.advert_interval,
            password=self.password.ljust(LONGEST_PASSWORD, b"\0"),
        )


def from_desired(content: bytes, node: str) -> Instance:
    """The instance of a desired file; InvalidResource where it is not for this node or cannot be run."""
    desired = decode(content)
    member, spec = desired.member, desired.member.spec
    errors = []
    if member.node != node:
        errors.append(FieldError("member.node", f"{member.node!r} is another node; this is {node!r}"))
    password = b""
    if spec.authentication is not None:
        if spec.authentication.password_file is not None:
            errors.append(
                FieldError("member.spec.authentication.passwordFile", "is for static manifests only; use secretKeyRef")
            )
        elif desired.password is None:
            errors.append(FieldError("member.spec.authentication.secretKeyRef", "the password is not known yet"))
        elif len(desired.password) > LONGEST_PASSWORD:
            errors.append(
                FieldError("member.spec.authentication.secretKeyRef", f"is longer than {LONGEST_PASSWORD} bytes")
            )
        else:
            password = desired.password
    if errors:
        raise InvalidResource(tuple(errors))
    others = [peer for peer in member.peers if peer.node != node]
    own = tuple(str(address) for peer in member.peers if peer.node == node for address in peer.addresses)
    return Instance(
        name=desired.name,
        source=Source.DESIRED,
        spec=spec,
        base_priority=member.base_priority,
        password=password,
        rank=member.rank,
        draining=member.draining,
        members=tuple(str(address) for peer in others for address in peer.addresses),
        own_addresses=own,
        # as far as the others know it: until they do, the one before serves
        named_addresses=tuple(address for address in _named(spec, node) if address in own),
        unknown_to=member.unknown_to,
        revision=member.revision if spec.heard_by_name else 0,
        alone=not others,
        generation=member.generation,
        origin=content.decode(),
    )


def from_manifest(document: object, read_password: Callable[[VirtualIPSpec], bytes], node: str) -> Instance:
    """The instance of a document of a static manifest; InvalidResource names what is wrong, and the fields that only
    the API can answer. What `read_password` raises comes through."""
    virtual_ip = parse_virtual_ip(document)
    spec = virtual_ip.spec
    errors = []
    if spec.node_selector is not None:
        errors.append(_needs_the_api("spec.nodeSelector"))
    for index, entry in enumerate(spec.node_priorities):
        if entry.node_selector is not None:
            errors.append(_needs_the_api(f"spec.nodePriorities[{index}].nodeSelector"))
    for index, tracker in enumerate(spec.trackers):
        if isinstance(tracker.check, PodReadyTracker):
            errors.append(_needs_the_api(f"spec.trackers[{index}].podReady"))
    if spec.authentication is not None and spec.authentication.secret_name is not None:
        errors.append(_needs_the_api("spec.authentication.secretKeyRef"))
    others = [entry for entry in spec.node_addresses if entry.node_name != node]
    own = _named(spec, node)
    if spec.heard_by_name and not (others and own):
        field = "transport: Unicast" if spec.transport == "Unicast" else "strictPeers"
        problem = f"in a static manifest {field} needs the other members there, and {node}, by which they hear this one"
        errors.append(FieldError("spec.nodeAddresses", problem))
    if errors:
        raise InvalidResource(tuple(errors))
    password = read_password(spec)
    return Instance(
        name=virtual_ip.name,
        source=Source.MANIFEST,
        spec=spec,
        base_priority=base_priority(spec, node),
        password=password,
        members=tuple(str(address) for entry in others for address in entry.addresses),
        own_addresses=own,
        named_addresses=own,
        generation=virtual_ip.generation,
        origin=json.dumps({"document": document, "password": password.hex()}, default=str),
    )


def from_origin(source: Source, origin: str, node: str) -> Instance:
    """The instance that had this origin. InvalidResource, ValueError, KeyError or TypeError where it is none."""
    if source is Source.DESIRED:
        return from_desired(origin.encode(), node)
    remembered: dict[str, Any] = json.loads(origin)
    password = bytes.fromhex(remembered["password"])
    return from_manifest(remembered["document"], lambda _: password, node)


def _named(spec: VirtualIPSpec, node: str) -> tuple[str, ...]:
    """This node's part of nodeAddresses."""
    return tuple(str(one) for entry in spec.node_addresses if entry.node_name == node for one in entry.addresses)


def _needs_the_api(path: str) -> FieldError:
    return FieldError(path, "needs the API, which a static manifest does without")
