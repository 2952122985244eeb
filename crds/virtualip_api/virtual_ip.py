"""VirtualIP: what a user applies. `parse_spec` is strict: an unknown field is an error, as `kubectl apply` has it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from virtualip_api.addresses import (
    Family,
    Interface,
    NodeAddress,
    family_of,
    parse_addresses,
    parse_node_addresses,
)
from virtualip_api.duration import MILLISECOND, MINUTE, SECOND, format_duration
from virtualip_api.fields import Fields, read
from virtualip_api.names import API_VERSION, VIRTUAL_IP_KIND, is_interface_name
from virtualip_api.notify import Notify, parse_notify
from virtualip_api.selector import LabelSelector, parse_selector
from virtualip_api.trackers import Tracker, parse_trackers

OWNER_PRIORITY = 255
DEFAULT_PRIORITY = 100
MOST_MEMBERS = 16
LONGEST_PASSWORD = 8
"""RFC 2338, section 5.3.6: PASS is 8 bytes, zero-padded."""
LONGEST_DELAY = 1000 * SECOND
"""keepalived's preempt_delay."""
LONGEST_GARP_REFRESH = 24 * 60 * MINUTE

_V3_STEP = 10 * MILLISECOND
_V3_LONGEST_INTERVAL = 4095 * _V3_STEP
_V2_LONGEST_INTERVAL = 255 * SECOND
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class NodePriority:
    """The base priority of one node, or of those that a selector matches."""

    priority: int
    node_name: str | None = None
    node_selector: LabelSelector | None = None


@dataclass(frozen=True, slots=True)
class Authentication:
    """VRRPv2 PASS (RFC 2338, section 5.3.6): the password from a Secret, or for a static manifest from a file."""

    secret_name: str | None = None
    secret_key: str | None = None
    password_file: str | None = None


@dataclass(frozen=True, slots=True)
class Garp:
    """How a MASTER announces its addresses: gratuitous ARP, unsolicited neighbour advertisements. Durations are
    nanoseconds."""

    repeat: int = 5
    interval: int = 50 * MILLISECOND
    delay: int = 5 * SECOND
    refresh: int = 0
    refresh_repeat: int = 1


@dataclass(frozen=True, slots=True)
class Drain:
    """What makes a node give its VIPs away: effective priority 1, never exclusion."""

    on_cordon: bool = True
    """`kubectl cordon`, and with it `kubectl drain`: the addresses go before the pods do."""
    on_exclude_label: bool = False
    """node.kubernetes.io/exclude-from-external-load-balancers, which control plane nodes often have for good."""


@dataclass(frozen=True, slots=True)
class VirtualIPSpec:
    """`spec` of a VirtualIP. Durations are nanoseconds."""

    addresses: tuple[Interface, ...]
    vrid: int
    version: int = 3
    transport: str = "Multicast"
    strict_peers: bool = False
    node_addresses: tuple[NodeAddress, ...] = ()
    interface: str | None = None
    node_selector: LabelSelector | None = None
    priority: int = DEFAULT_PRIORITY
    node_priorities: tuple[NodePriority, ...] = ()
    advert_interval: int = SECOND
    preempt: bool = True
    fast_preempt: bool = True
    preempt_damping: bool = True
    preempt_delay: int = 0
    startup_delay: int = 0
    down_timer_adverts: int = 3
    authentication: Authentication | None = None
    checksum: str = "PseudoHeader"
    garp: Garp = Garp()
    sync_group: str | None = None
    drain: Drain = Drain()
    trackers: tuple[Tracker, ...] = ()
    notify: tuple[Notify, ...] = ()

    @property
    def heard_by_name(self) -> bool:
        """Whether members hear nobody but those they know."""
        return self.strict_peers or self.transport == "Unicast"

    @property
    def families(self) -> tuple[Family, ...]:
        """Those of its addresses: a virtual router each."""
        return tuple(family for family in Family if self.of_family(family))

    def of_family(self, family: Family) -> tuple[Interface, ...]:
        """Its addresses of one family."""
        return tuple(address for address in self.addresses if family_of(address) is family)


@dataclass(frozen=True, slots=True)
class VirtualIP:
    """A named spec."""

    name: str
    spec: VirtualIPSpec
    generation: int = 0


def parse_spec(value: object) -> VirtualIPSpec:
    """The spec of a VirtualIP; InvalidResource names every field that is wrong."""
    return read(value, "spec", parse_spec_fields)


def parse_virtual_ip(value: object) -> VirtualIP:
    """A whole VirtualIP as `kubectl apply` takes it; InvalidResource names every field that is wrong."""

    return read(value, "", _parse_virtual_ip)


def _parse_virtual_ip(fields: Fields) -> VirtualIP:
    if fields.text("apiVersion") not in ("", API_VERSION):
        fields.error("apiVersion", f"is not {API_VERSION}")
    if fields.text("kind") not in ("", VIRTUAL_IP_KIND):
        fields.error("kind", f"is not {VIRTUAL_IP_KIND}")
    fields.ignore("status")
    name, generation = "", 0
    metadata = fields.child("metadata")
    if metadata is None:
        fields.error("metadata", "is required")
    else:
        name = metadata.text("name")
        if name and not _NAME.fullmatch(name):
            metadata.error("name", f"{name!r} is not a lower-case DNS label (a-z, 0-9, '-', at most 63 characters)")
        generation = metadata.integer("generation", 0, 2**63 - 1, 0)
    spec_fields = fields.child("spec")
    if spec_fields is None:
        fields.error("spec", "is required")
        return VirtualIP(name, VirtualIPSpec(addresses=(), vrid=1), generation)
    spec = parse_spec_fields(spec_fields)
    spec_fields.finish()
    return VirtualIP(name, spec, generation)


def parse_spec_fields(fields: Fields) -> VirtualIPSpec:
    """A spec inside another resource that is being read."""
    version = fields.integer("version", 2, 3, 3)
    spec = VirtualIPSpec(
        addresses=parse_addresses(fields),
        vrid=fields.integer("vrid", 1, 255),
        version=version,
        transport=fields.choice("transport", ("Multicast", "Unicast"), "Multicast"),
        strict_peers=fields.boolean("strictPeers", False),
        node_addresses=parse_node_addresses(fields),
        interface=_parse_interface(fields),
        node_selector=_child_selector(fields, "nodeSelector"),
        priority=fields.integer("priority", 1, 254, DEFAULT_PRIORITY),
        node_priorities=_parse_node_priorities(fields),
        advert_interval=_parse_advert_interval(fields, version),
        preempt=fields.boolean("preempt", True),
        fast_preempt=fields.boolean("fastPreempt", True),
        preempt_damping=fields.boolean("preemptDamping", True),
        preempt_delay=fields.duration("preemptDelay", 0, LONGEST_DELAY, 0),
        startup_delay=fields.duration("startupDelay", 0, LONGEST_DELAY, 0),
        down_timer_adverts=fields.integer("downTimerAdverts", 1, 100, 3),
        authentication=_parse_authentication(fields, version),
        checksum=_parse_checksum(fields, version),
        garp=_parse_garp(fields),
        sync_group=_parse_sync_group(fields),
        drain=_parse_drain(fields),
        trackers=parse_trackers(fields),
        notify=parse_notify(fields),
    )
    _refuse_contradictions(spec, fields)
    return spec


def _refuse_contradictions(spec: VirtualIPSpec, fields: Fields) -> None:
    """What is wrong in two fields together is named with both."""
    over_ipv6 = Family.IPV6 in spec.families
    if over_ipv6 and spec.version != 3:
        fields.error("addresses", "IPv6 needs version: 3 (version 2 is IPv4 alone, RFC 3768, section 1)")
    if spec.checksum == "RFC9568" and spec.families == (Family.IPV6,):
        fields.error("checksum", "RFC9568 is about IPv4, and addresses are all of IPv6 (RFC 9568, section 5.2.8)")
    multicast = spec.transport == "Multicast"
    if over_ipv6 and multicast and spec.strict_peers and not spec.node_addresses:
        fields.error(
            "strictPeers",
            "with addresses of IPv6 and transport: Multicast it needs nodeAddresses: members advertise from link-local "
            "addresses, which no plan knows",
        )
    for index, entry in enumerate(spec.node_addresses):
        for address in entry.addresses:
            where = f"nodeAddresses[{index}].addresses"
            if any(address == virtual.ip for virtual in spec.addresses):
                fields.error(where, f"{address} is one of addresses: nobody advertises from a virtual one")
            if multicast and address.version == 6 and not address.is_link_local:
                fields.error(
                    where,
                    f"{address} is not link-local, as transport: Multicast needs it (RFC 9568, section 5.1.2.1)",
                )


def _parse_interface(fields: Fields) -> str | None:
    name = fields.text("interface", None)
    if name and not is_interface_name(name):
        fields.error("interface", f"{name!r} is not an interface's name")
    return name or None


def _parse_checksum(fields: Fields, version: int) -> str:
    checksum = fields.choice("checksum", ("PseudoHeader", "RFC9568"), "PseudoHeader")
    if checksum == "RFC9568" and version != 3:
        fields.error(
            "checksum", "RFC9568 needs version: 3 (version 2 never sums a pseudo-header, RFC 3768, section 5.3.8)"
        )
    return checksum


def _parse_garp(spec: Fields) -> Garp:
    fields = spec.child("garp")
    if fields is None:
        return Garp()
    garp = Garp(
        repeat=fields.integer("repeat", 1, 20, 5),
        interval=fields.duration("interval", MILLISECOND, 10 * SECOND, 50 * MILLISECOND),
        delay=fields.duration("delay", 0, LONGEST_DELAY, 5 * SECOND),
        refresh=fields.duration("refresh", 0, LONGEST_GARP_REFRESH, 0),
        refresh_repeat=fields.integer("refreshRepeat", 1, 20, 1),
    )
    if 0 < garp.refresh < SECOND:
        fields.error("refresh", f"{format_duration(garp.refresh)} is not 0s (never) or within 1s..24h")
    fields.finish()
    return garp


def _parse_sync_group(fields: Fields) -> str | None:
    name = fields.text("syncGroup", None, longest=63)
    if name and not _NAME.fullmatch(name):
        fields.error("syncGroup", f"{name!r} is not a lower-case DNS label (a-z, 0-9, '-', at most 63 characters)")
    return name or None


def _parse_drain(spec: Fields) -> Drain:
    fields = spec.child("drain")
    if fields is None:
        return Drain()
    drain = Drain(on_cordon=fields.boolean("onCordon", True), on_exclude_label=fields.boolean("onExcludeLabel", False))
    fields.finish()
    return drain


def _child_selector(fields: Fields, name: str) -> LabelSelector | None:
    child = fields.child(name)
    return None if child is None else parse_selector(child)


def _parse_node_priorities(spec: Fields) -> tuple[NodePriority, ...]:
    found: list[NodePriority] = []
    for fields in spec.children("nodePriorities", 64):
        entry = NodePriority(
            priority=fields.integer("priority", 1, OWNER_PRIORITY),
            node_name=fields.text("nodeName", None) or None,
            node_selector=_child_selector(fields, "nodeSelector"),
        )
        if (entry.node_name is None) == (entry.node_selector is None):
            fields.error("", "needs exactly one of nodeName and nodeSelector")
        if entry.priority == OWNER_PRIORITY and entry.node_name is None:
            fields.error("priority", "255 (address owner) needs nodeName: only one node can own an address")
        elif entry.priority == OWNER_PRIORITY and any(other.priority == OWNER_PRIORITY for other in found):
            fields.error("priority", "255 (address owner) is given to two nodes")
        fields.finish()
        found.append(entry)
    return tuple(found)


def _parse_advert_interval(fields: Fields, version: int) -> int:
    if version == 2:
        interval = fields.duration("advertInterval", SECOND, _V2_LONGEST_INTERVAL, SECOND)
        if interval % SECOND:
            fields.error("advertInterval", "with version 2 it is in whole seconds (RFC 3768, section 5.3.7)")
        return interval
    interval = fields.duration("advertInterval", _V3_STEP, _V3_LONGEST_INTERVAL, SECOND)
    if interval % _V3_STEP:
        fields.error("advertInterval", "with version 3 it is in steps of 10ms (RFC 9568, section 5.2.7)")
    return interval


def _parse_authentication(spec: Fields, version: int) -> Authentication | None:
    fields = spec.child("authentication")
    if fields is None:
        return None
    fields.choice("type", ("PASS",))
    if version != 2:
        fields.error("", "needs version: 2 (VRRPv3 has no authentication, RFC 9568, section 9)")
    secret = fields.child("secretKeyRef")
    name = key = None
    if secret is not None:
        name, key = secret.text("name"), secret.text("key")
        secret.finish()
    password_file = fields.text("passwordFile", None, longest=4096) or None
    if password_file is not None and not password_file.startswith("/"):
        fields.error("passwordFile", f"{password_file!r} is not an absolute path")
    if (secret is None) == (password_file is None):
        fields.error("", "needs exactly one of secretKeyRef and passwordFile")
    fields.finish()
    return Authentication(secret_name=name, secret_key=key, password_file=password_file)


def base_priority(spec: VirtualIPSpec, node_name: str, labels: Mapping[str, str] | None = None) -> int:
    """A node's base priority: the first of nodePriorities that matches it, else `priority`."""
    for entry in spec.node_priorities:
        if entry.node_name == node_name:
            return entry.priority
        if entry.node_selector is not None and labels is not None and entry.node_selector.matches(labels):
            return entry.priority
    return spec.priority
