"""Rules about nodes: `node.labels.zone == a`, `node.labels.rack in (r1, r2)`, `node.labels.disks > 3`.

Swarm's `==` and `!=`, and Nomad's `<`, `<=`, `>`, `>=`, `is set` and `is not set` with `in` and `not in` beside them.
Values are compared without regard to case; a label that a node has not is the empty text, which is not set, and neither
smaller nor larger than anything.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from operator import ge, gt, le, lt

import msgspec

ATTRIBUTES = (
    "node.name",
    "node.id",
    "node.hostname",
    "node.platform.os",
    "node.platform.arch",
    "node.gpu_model",
)
LABELS = "node.labels."
HINT = (
    'for example "node.labels.zone == a"; the operators are ==, !=, <, <=, >, >=, in (a, b), not in (a, b), is set and '
    "is not set"
)
_RULE = re.compile(
    r"([\w.\-/]+)\s*(==|!=|<=|>=|<|>|\bnot\s+in\b|\bin\b|\bis\s+not\s+set\b|\bis\s+set\b)\s*(.*)",
    re.ASCII | re.DOTALL,
)
"""Of a rule without spaces around it: to look for its end would be to look through many spaces again and again."""
LONGEST = 2_000
_ORDERS: dict[str, Callable[[float, float], bool]] = {"<": lt, "<=": le, ">": gt, ">=": ge}
_LISTS = ("in", "not in")
_WITHOUT_VALUE = ("is set", "is not set")


class Constraint(msgspec.Struct, frozen=True):
    """One rule; `values` has one value, those in the brackets, or none where the operator takes none."""

    attribute: str
    operator: str
    values: tuple[str, ...]

    def is_met(self, value: str) -> bool:
        """Whether a node with this value of the attribute will do."""
        match self.operator:
            case "==" | "in":
                return value.casefold() in self.values
            case "!=" | "not in":
                return value.casefold() not in self.values
            case "is set":
                return value != ""
            case "is not set":
                return value == ""
            case _:
                return _is_ordered(value, self.operator, self.values[0])


def read(rule: str) -> Constraint:
    """A rule as a user says it. Raises ValueError that says what is wrong."""
    if len(rule) > LONGEST:
        raise ValueError(f"{rule[:80]!r}... has {len(rule)} characters; a constraint has at most {LONGEST}")
    parsed = parse(rule)
    if parsed.operator in _LISTS:
        found = _taken_apart(rule)
        assert found is not None, "a rule was parsed that is none"
        text = found[3][1:-1] if found[3][:1] == "(" and found[3][-1:] == ")" else found[3]
        if "(" in text or ")" in text:
            raise ValueError(f"the brackets of {rule[:80]!r} do not match")
    return parsed


def parse(rule: str) -> Constraint:
    """A rule that was agreed on: older ones may lack a bracket. Raises ValueError that says what is wrong."""
    found = _taken_apart(rule)
    if found is None:
        raise ValueError(f"{rule[:80]!r} is not a constraint")
    attribute, operator, text = found[1], " ".join(found[2].split()), found[3]
    fault = fault_of_attribute(attribute)
    if fault:
        raise ValueError(fault)
    if operator in _WITHOUT_VALUE:
        if text:
            raise ValueError(f"{text[:40]!r} stands behind {operator}, which ends a constraint")
        return Constraint(attribute, operator, ())
    values = text.strip("()").split(",") if operator in _LISTS else [text]
    values = [value.strip().casefold() for value in values]
    if not all(values):
        raise ValueError(f"{rule[:80]!r} has no value")
    if operator in _ORDERS and _number(values[0]) is None:
        raise ValueError(f"{values[0][:40]!r} is not a number, which {operator} compares")
    return Constraint(attribute, operator, tuple(values))


def _taken_apart(rule: str) -> re.Match[str] | None:
    """Attribute, operator, values."""
    return _RULE.fullmatch(rule.strip(string.whitespace))


def fault_of_attribute(attribute: str) -> str:
    """Why no node has such an attribute; empty where it may."""
    if attribute in ATTRIBUTES or (attribute.startswith(LABELS) and attribute != LABELS):
        return ""
    return f"{attribute[:80]!r} is no attribute of a node; there are {', '.join(ATTRIBUTES)} and {LABELS}NAME"


def value_of(
    attribute: str, name: str, labels: Mapping[str, str], os: str, arch: str, gpu_model: str = ""
) -> str:
    """The attribute of a node; the empty text where it has none."""
    if attribute.startswith(LABELS):
        return labels.get(attribute[len(LABELS) :], "")
    match attribute:
        case "node.platform.os":
            return os
        case "node.platform.arch":
            return arch
        case "node.gpu_model":
            return gpu_model
        case _:
            return name


def _is_ordered(value: str, operator: str, bound: str) -> bool:
    number, limit = _number(value), _number(bound)
    if number is None or limit is None:
        return False
    return _ORDERS[operator](number, limit)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return None if number != number else number
