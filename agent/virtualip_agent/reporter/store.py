"""What only the API can say about an absent Member: whether its VirtualIP and the CRDs are still there."""

from virtualip_agent.reporter.api import METADATA_ONLY, Api, ApiError
from virtualip_agent.reporter.entry import VIRTUAL_IPS_PATH
from virtualip_agent.reporter.withdrawal import Owner
from virtualip_api.names import GROUP, MEMBER_PLURAL, VIRTUAL_IP_PLURAL

_CRDS_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

GONE: tuple[str, ...] = ()
"""What `crds` returns where one of them is absent or being deleted."""


def crds(api: Api) -> tuple[str, ...]:
    """The uids of both CRDs, which change when one is deleted and made again; or GONE. ApiError."""
    uids = []
    for plural in (VIRTUAL_IP_PLURAL, MEMBER_PLURAL):
        try:
            metadata = api.get(f"{_CRDS_PATH}/{plural}.{GROUP}", accept=METADATA_ONLY)["metadata"]
        except ApiError as error:
            if error.status == 404:
                return GONE
            raise
        # Set before the first of its objects is deleted, and never taken back.
        if metadata.get("deletionTimestamp"):
            return GONE
        uids.append(str(metadata["uid"]))
    return tuple(uids)


def owner(api: Api, virtual_ip: str) -> Owner:
    """What has become of a VirtualIP."""
    try:
        metadata = api.get(f"{VIRTUAL_IPS_PATH}/{virtual_ip}").get("metadata") or {}
    except ApiError as error:
        # A 404 without the object's name is the whole path's: the CRD is gone, and that says nothing of the object.
        return Owner.GONE if error.absent_name == virtual_ip else Owner.UNKNOWN
    return Owner.GONE if metadata.get("deletionTimestamp") else Owner.PRESENT
