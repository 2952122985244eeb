"""When the absence of a Member is believed. Pure; the most important file of this room.

A VIP is taken off this node for one reason only: somebody meant it. Every other way a Member can be absent (no API, no
right to ask, no CRD, another or an older database, a slip of the hand that the operator repairs) keeps what runs.

**A VIP is withdrawn when all of these hold:**

1. *This very Member is gone.* Either its DELETED came through the watch, with the uid that we run. Or two complete,
   successful lists at least GRACE apart lack it, neither with a resourceVersion older than the last one we saw.
2. *The place it was in is the same, and whole.* Asked after the Member was missed: both CRDs are there, not being
   deleted, with the uids they had when the Member was last seen (deleting a CRD deletes its objects, with DELETED
   events; one made anew is empty). And where lists are all we have, our Lease is not older than the one we wrote last
   (a database restored from a backup has an older one, even where etcd's `--bump-revision` hides that from the
   resourceVersion); a watch that lives to bring a DELETED has not changed its database.
3. *It stays gone.* The VirtualIP is gone too, or is being deleted; or the Member had the operator's mark that its node
   takes no part any more: at once after a DELETED. Otherwise (Members deleted by hand, which the operator makes again
   in a moment): only when a complete list at least GRACE later lacks the Member too.

One thing ends what is kept so: where the API as it is now plans another VirtualIP with its address or VRID for this
node, and has done so for GIVE_WAY without knowing the old one, somebody has given it another name.

Whatever could not be asked leaves it as it is, to be asked again. Where 2 fails, or a list is older than the last one,
the absence says nothing, then or later: the VIP is kept until its Member is seen again.
"""

from dataclasses import dataclass, replace
from enum import Enum, auto

GRACE = 10_000_000_000
"""Nanoseconds. The operator makes a deleted Member again within a second or two; this leaves time for its restart."""

GIVE_WAY = 600_000_000_000
"""Nanoseconds: who restores a cluster from a backup and what was made since by hand has so long for the latter."""


@dataclass(frozen=True, slots=True)
class Held:
    """What is known of the Member behind a VIP that runs here."""

    uid: str = ""
    """'' for a file whose Member was never seen by this version: nothing can withdraw it until one is."""
    trusted: bool = False
    """The Member was seen in the database as it is now, so its absence there can mean something."""
    absences: int = 0
    missed_at: int = 0
    """Monotonic nanoseconds of the last absence that counted."""
    deleted: bool = False
    """DELETED came through the watch."""
    meant: bool = False
    """And the Member had the operator's mark: its node takes no part any more."""


class Owner(Enum):
    """What a GET of the VirtualIP said."""

    PRESENT = auto()
    GONE = auto()
    """404 for this object, or it has a deletionTimestamp."""
    UNKNOWN = auto()


class Store(Enum):
    """Whether the database is the one in which the Member was seen (point 2 above)."""

    SAME = auto()
    CHANGED = auto()
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class Probe:
    """Asked after the absence: first the VirtualIP, then the store, so that a CRD deletion cannot slip in between."""

    owner: Owner
    store: Store


class Verdict(Enum):
    """What to do about an absent Member."""

    WITHDRAW = auto()
    KEEP = auto()
    """The absence means nothing: forget it, and what was known of the Member."""
    WAIT = auto()
    """Look again."""


def seen(uid: str) -> Held:
    """The Member is there: in a list, or ADDED or MODIFIED in the watch."""
    return Held(uid=uid, trusted=True)


def deleted(held: Held, uid: str, now: int, *, meant: bool = False) -> Held:
    """DELETED in the watch. One of another uid is not the Member that we run."""
    if not uid or uid != held.uid:
        return held
    return Held(uid=uid, trusted=True, absences=1, missed_at=now, deleted=True, meant=meant)


def missing(held: Held, now: int) -> Held:
    """A complete, successful list, not older than the last, lacks the Member."""
    if not held.trusted or (held.absences and now - held.missed_at < GRACE):
        return held
    return replace(held, absences=held.absences + 1, missed_at=now)


def distrust(held: Held) -> Held:
    """The database was replaced: what is absent from it says nothing until the Member is seen there."""
    return Held(uid=held.uid)


def verdict(held: Held, probe: Probe) -> tuple[Verdict, str]:
    """What to do about `held`, and why."""
    if not held.absences:
        return Verdict.WAIT, "nothing is missing"
    if probe.store is Store.CHANGED:
        return Verdict.KEEP, "the CRDs or the whole database are not those that the plan was in"
    if probe.store is Store.UNKNOWN or probe.owner is Owner.UNKNOWN:
        return Verdict.WAIT, "the API server did not say all of it"
    if held.deleted and probe.owner is Owner.GONE:
        return Verdict.WITHDRAW, "its VirtualIP was deleted"
    if held.absences < 2 and not held.meant:
        return Verdict.WAIT, "it may be made again"
    if probe.owner is Owner.GONE:
        return Verdict.WITHDRAW, "its VirtualIP is gone"
    return Verdict.WITHDRAW, "its VirtualIP no longer selects this node"


def is_older(resource_version: str, last: str) -> bool:
    """Whether a list is from before the last thing seen (a restored etcd). What cannot be compared counts as older."""
    if not last:
        return False
    if not (resource_version.isdecimal() and last.isdecimal()):
        return True
    return int(resource_version) < int(last)
