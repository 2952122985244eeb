"""Label selectors, with Kubernetes' meaning (matchLabels and matchExpressions, all of them)."""

from collections.abc import Mapping
from dataclasses import dataclass

from virtualip_api.fields import Fields

_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One of matchExpressions."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether labels meet it; NotIn is met by an absent label too, as in Kubernetes."""
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":
                return labels.get(self.key) not in self.values
            case "Exists":
                return self.key in labels
            case _:
                return self.key not in labels


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """Everything must match; an empty selector matches all."""

    match_labels: tuple[tuple[str, str], ...] = ()
    match_expressions: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        return all(labels.get(key) == value for key, value in self.match_labels) and all(
            requirement.matches(labels) for requirement in self.match_expressions
        )


def parse_selector(fields: Fields) -> LabelSelector:
    """A LabelSelector as written in a resource."""
    labels = fields.string_map("matchLabels")
    requirements = []
    for expression in fields.children("matchExpressions", 16):
        requirement = Requirement(
            key=expression.text("key"),
            operator=expression.choice("operator", _OPERATORS),
            values=expression.texts("values", 64),
        )
        if requirement.operator in ("In", "NotIn") and not requirement.values:
            expression.error("values", f"is required with {requirement.operator}")
        if requirement.operator in ("Exists", "DoesNotExist") and requirement.values:
            expression.error("values", f"must be absent with {requirement.operator}")
        expression.finish()
        requirements.append(requirement)
    fields.finish()
    return LabelSelector(tuple(sorted(labels.items())), tuple(requirements))
