"""`kubectl vip move`: the two annotations of a planned move, and what has become of it. Pure."""

import math
from datetime import UTC, datetime

from kubectl_vip.picture import Picture
from virtualip_api.names import MOVE_TO_ANNOTATION, MOVE_UNTIL_ANNOTATION


def until(now: float, seconds: float) -> str:
    """The moment so long after `now`, seconds since the epoch, as the annotation has it. ValueError or OverflowError
    where no calendar has it."""
    return datetime.fromtimestamp(math.ceil(now + seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def annotations(to: str, end: str) -> list[str]:
    """As `kubectl annotate` takes them."""
    return [f"{MOVE_TO_ANNOTATION}={to}", f"{MOVE_UNTIL_ANNOTATION}={end}", "--overwrite"]


WITHOUT = [f"{MOVE_TO_ANNOTATION}-", f"{MOVE_UNTIL_ANNOTATION}-"]


def is_made(picture: Picture, to: str, end: str) -> bool:
    """Whether the node has it, and keeps it until then."""
    return (
        picture.status.get("master") == to and f"moved to {to} until {end}" in picture.condition("Accepted")["message"]
    )


def refusal(picture: Picture, to: str) -> str:
    """Why the operator does not make it; '' where it has not said so."""
    accepted = picture.condition("Accepted")
    about = f"[{MOVE_TO_ANNOTATION}]: {to} "
    return accepted["message"] if "MoveNotMade" in accepted["reason"] and about in accepted["message"] else ""
