"""`kubectl vip move`: the two annotations of a planned move, and what has become of it. Pure."""

import math

from kubectl_vip.picture import Picture
from virtualip_api.move import PlannedMove
from virtualip_api.names import MOVE_TO_ANNOTATION, MOVE_UNTIL_ANNOTATION


def lasting(to: str, now: float, seconds: float) -> PlannedMove:
    """One that begins `now`, seconds since the epoch, and ends no earlier than asked: annotations have no fractions."""
    return PlannedMove(to, math.ceil(now + seconds))


def annotations(move: PlannedMove) -> list[str]:
    """As `kubectl annotate` takes them. ValueError or OverflowError where no calendar has its end."""
    return [f"{MOVE_TO_ANNOTATION}={move.to}", f"{MOVE_UNTIL_ANNOTATION}={move.end}", "--overwrite"]


WITHOUT = [f"{MOVE_TO_ANNOTATION}-", f"{MOVE_UNTIL_ANNOTATION}-"]


def is_made(picture: Picture, move: PlannedMove) -> bool:
    """Whether the node has it, and keeps it until then."""
    return picture.status.get("master") == move.to and move.text in picture.condition("Accepted")["message"]


def refusal(picture: Picture, move: PlannedMove) -> str:
    """Why the operator does not make it; '' where it has not said so."""
    accepted = picture.condition("Accepted")
    about = f"[{MOVE_TO_ANNOTATION}]: {move.to} "
    return accepted["message"] if "MoveNotMade" in accepted["reason"] and about in accepted["message"] else ""
