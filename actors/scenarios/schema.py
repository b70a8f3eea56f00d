"""The JSON Schema of scenario files, for editors that complete and check while one types."""

from __future__ import annotations

from typing import Any

import msgspec

from .checkers import CHECKERS
from .format import FAULTS, FOR_ALL, MODIFIERS, VERBS, Chaos, ClusterShape

__all__ = ["json_schema"]

_TEMPLATE = "#/$defs/{name}"


def json_schema() -> dict[str, Any]:
    """JSON Schema 2020-12; a step has one verb, with the modifiers that it takes."""
    kinds = [ClusterShape, Chaos, *MODIFIERS.values(), *(verb.argument for verb in VERBS.values())]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_TEMPLATE)
    _say_what_types_do_not(components)
    cluster, chaos, *rest = schemas
    modifiers = dict(zip(MODIFIERS, rest, strict=False))
    arguments = dict(zip(VERBS, rest[len(MODIFIERS) :], strict=True))
    steps = [_step(name, argument, modifiers) for name, argument in arguments.items()]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A Raftyard scenario",
        "type": "object",
        "required": ["scenario", "version"],
        "anyOf": [{"required": ["chaos"]}, {"required": ["steps"], "properties": {"steps": {"minItems": 1}}}],
        "additionalProperties": False,
        "properties": {
            "scenario": {"type": "string", "description": "The title: what happens, and what is promised."},
            "version": {"const": 1},
            "about": {"type": "string", "description": "What to watch."},
            "seed": {"type": ["integer", "null"]},
            "clock": {"enum": ["virtual", "live"]},
            "cluster": cluster,
            "always": {
                "type": "array",
                "description": "Promises that are watched after every event, by name, or conditions.",
                "items": {"anyOf": [{"enum": list(CHECKERS)}, {"type": "string", "pattern": "[^\\w-]"}]},
            },
            "steps": {"type": "array", "items": {"oneOf": steps}},
            "chaos": chaos,
        },
        "$defs": components,
    }


_NOT_ALL_LEFT_OUT = {
    "ClockFault": ("leap", "rate"),
    "ClusterSettings": ("preemption",),
    "DiskFault": ("slow", "full", "failing", "lose_power", "flip_bit"),
    "Expectation": ("replicas", "leader", "leaders", "nodes", "roles"),
}
"""Of these fields a mapping has one at least."""


def _say_what_types_do_not(components: dict[str, Any]) -> None:
    """What the reader asks beside them, as far as a schema can say it."""
    for name, fields in _NOT_ALL_LEFT_OUT.items():
        components[name]["anyOf"] = [
            {"required": [field], "properties": {field: {"not": {"type": "null"}}}} for field in fields
        ]
    components["Chaos"]["properties"]["faults"]["propertyNames"] = {"enum": list(FAULTS)}


def _step(name: str, argument: dict[str, Any], modifiers: dict[str, dict[str, Any]]) -> dict[str, Any]:
    verb = VERBS[name]
    allowed = (*FOR_ALL, *verb.modifiers)
    return {
        "type": "object",
        "required": [name],
        "additionalProperties": False,
        "properties": {name: argument | {"description": verb.summary}}
        | {word: modifiers[word] for word in allowed},
    }
