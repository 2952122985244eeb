"""A resource that cannot be accepted: every field that is wrong, by its path."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field, e.g. `spec.trackers[1].weight: 300 is not within -254..254`."""

    path: str
    problem: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


class InvalidResource(ValueError):
    """Raised with all the errors of a resource, not the first one only."""

    def __init__(self, errors: tuple[FieldError, ...]) -> None:
        super().__init__("; ".join(map(str, errors)))
        self.errors = errors
