"""Reading a mapping that a user wrote: every value checked, every error with the path of its field."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, TypeVar, cast

from virtualip_api.duration import format_duration, parse_duration
from virtualip_api.errors import FieldError, InvalidResource

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")


class _Required:
    pass


REQUIRED: Final = _Required()


class Fields:
    """One mapping of a resource. A wrong field is noted and its default (or a harmless value) returned, so that one
    reading finds all errors; `finish` notes what was never asked for as unknown, and `raise_errors` raises."""

    def __init__(self, value: object, path: str, errors: list[FieldError] | None = None) -> None:
        self.path = path
        self.errors: list[FieldError] = [] if errors is None else errors
        self._asked: set[str] = set()
        if isinstance(value, Mapping):
            self._values: Mapping[str, object] = value
        else:
            self.error("", f"{_shown(value)} is not a mapping")
            self._values = {}

    def error(self, name: str, problem: str) -> None:
        """Notes that the field `name` (or with '' the mapping itself) is wrong."""
        self.errors.append(FieldError(self._path_of(name), problem))

    def _path_of(self, name: str) -> str:
        return ".".join(filter(None, (self.path, name)))

    def has(self, name: str) -> bool:
        """Whether the field is given and not null."""
        return self._values.get(name) is not None

    def _take(self, name: str, default: object) -> tuple[object, bool]:
        self._asked.add(name)
        value = self._values.get(name)
        if value is not None:
            return value, True
        if default is REQUIRED:
            self.error(name, "is required")
        return None, False

    def integer(self, name: str, low: int, high: int, default: int | _Required = REQUIRED) -> int:
        """A whole number within low..high."""
        fallback = low if isinstance(default, _Required) else default
        value, given = self._take(name, default)
        if not given:
            return fallback
        if isinstance(value, bool) or not isinstance(value, int):
            self.error(name, f"{_shown(value)} is not a whole number")
            return fallback
        if not low <= value <= high:
            self.error(name, f"{value} is not within {low}..{high}")
            return fallback
        return value

    def boolean(self, name: str, default: bool) -> bool:
        """true or false."""
        value, given = self._take(name, default)
        if not given:
            return default
        if not isinstance(value, bool):
            self.error(name, f"{_shown(value)} is not true or false")
            return default
        return value

    def text(self, name: str, default: str | _Required | None = REQUIRED, longest: int = 253) -> str:
        """A string that is not empty; '' stands for an optional one that is absent."""
        value, given = self._take(name, default)
        if not given:
            return "" if isinstance(default, _Required) or default is None else default
        if not isinstance(value, str):
            self.error(name, f"{_shown(value)} is not a string")
            return ""
        if not value or len(value) > longest:
            self.error(name, "is empty" if not value else f"has {len(value)} characters; {longest} are allowed")
            return ""
        return value

    def choice(self, name: str, choices: tuple[str, ...], default: str | _Required = REQUIRED) -> str:
        """One of a few words."""
        value = self.text(name, default)
        if value and value not in choices:
            self.error(name, f"{_shown(value)} is not one of {', '.join(choices)}")
            return choices[0] if isinstance(default, _Required) else default
        return value

    def duration(self, name: str, low: int, high: int, default: int | _Required = REQUIRED) -> int:
        """Nanoseconds of a duration string within low..high."""
        fallback = low if isinstance(default, _Required) else default
        value, given = self._take(name, default)
        if not given:
            return fallback
        if not isinstance(value, str):
            self.error(name, f"{_shown(value)} is not a duration such as 1s or 100ms")
            return fallback
        try:
            nanoseconds = parse_duration(value)
        except ValueError as error:
            self.error(name, str(error))
            return fallback
        if not low <= nanoseconds <= high:
            self.error(name, f"{value} is not within {format_duration(low)}..{format_duration(high)}")
            return fallback
        return nanoseconds

    def child(self, name: str) -> "Fields | None":
        """The mapping under `name`, or None where it is absent."""
        value, given = self._take(name, None)
        return Fields(value, self._path_of(name), self.errors) if given else None

    def items(self, name: str, longest: int, *, required: bool = False) -> list[tuple[str, object]]:
        """The elements of a list with their paths."""
        value, given = self._take(name, REQUIRED if required else None)
        if not given:
            return []
        if not isinstance(value, list | tuple):
            self.error(name, f"{_shown(value)} is not a list")
            return []
        if required and not value:
            self.error(name, "is empty")
        if len(value) > longest:
            self.error(name, f"has {len(value)} elements; {longest} are allowed")
        return [(f"{self._path_of(name)}[{index}]", element) for index, element in enumerate(value)]

    def children(self, name: str, longest: int) -> "Iterator[Fields]":
        """The mappings in the list under `name`."""
        for path, element in self.items(name, longest):
            yield Fields(element, path, self.errors)

    def texts(self, name: str, longest: int, *, required: bool = False) -> tuple[str, ...]:
        """A list of strings."""
        found = []
        for path, element in self.items(name, longest, required=required):
            if isinstance(element, str):
                found.append(element)
            else:
                self.errors.append(FieldError(path, f"{_shown(element)} is not a string"))
        return tuple(found)

    def string_map(self, name: str) -> dict[str, str]:
        """A mapping of strings to strings, such as labels."""
        value, given = self._take(name, None)
        if not given:
            return {}
        if not isinstance(value, Mapping) or not all(isinstance(v, str) for v in value.values()):
            self.error(name, f"{_shown(value)} is not a mapping of strings")
            return {}
        return {str(key): cast("str", item) for key, item in value.items()}

    def ignore(self, name: str) -> None:
        """Allows the field and does not look at it."""
        self._asked.add(name)

    def finish(self) -> None:
        """Notes every field that nobody asked for."""
        for name in self._values:
            if name not in self._asked:
                self.error(str(name), "unknown field")

    def raise_errors(self) -> None:
        """Raises InvalidResource where anything was noted."""
        if self.errors:
            raise InvalidResource(tuple(self.errors))


def read(value: object, path: str, parse: Callable[[Fields], T]) -> T:
    """Parses a whole mapping with `parse`; InvalidResource with every error, unknown fields included."""
    fields = Fields(value, path)
    result = parse(fields)
    fields.finish()
    fields.raise_errors()
    return result


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
