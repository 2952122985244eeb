"""What a VirtualIP needs for itself on a node, by which two are told that cannot run beside each other there.

A node knows its interfaces, so this is sharper than the operator's rule for a whole segment."""

from virtualip_api.virtual_ip import VirtualIPSpec


def claims(spec: VirtualIPSpec) -> dict[object, str]:
    """Each of them, with the words for it: a VRID of a family on an interface, an address."""
    where = f" on {spec.interface}" if spec.interface else ""
    return {
        **{(spec.interface, family, spec.vrid): f"VRID {spec.vrid}{where}" for family in spec.families},
        **{address.ip: f"address {address.ip}" for address in spec.addresses},
    }
