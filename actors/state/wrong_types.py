"""A value of the wrong type in a user's JSON body: exactly where it stands, and what may stand there instead."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import msgspec

__all__ = ["exact_path", "structs", "type_at", "what_is_right"]

_SOME_KEY = "[...]"
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]|(\[\.\.\.\])", re.ASCII)


def exact_path(root: Any, body: Any, path: str) -> str:
    """The path with the key of the value that is wrong, where msgspec says only `$.env[...]`."""
    above, found, below = path.partition(_SOME_KEY)
    if not found:
        return path
    values, wanted = body, type_at(root, above + _SOME_KEY)
    for field, index, _ in _STEP.findall(above):
        values = values[int(index)] if index else values[field]
    for key, value in values.items():
        try:
            msgspec.convert(value, wanted)
        except msgspec.ValidationError:
            return f"{above}.{str(key)[:100]}{below}"
    return path


def type_at(root: Any, path: str) -> Any:
    """The type of what stands at `$.ports[0].target` or `$.env[...]`; Any where nothing is known of it."""
    found: Any = root
    for field, *_ in _STEP.findall(path):
        found = _field(found, field) if field else _element(found)
    return found


def what_is_right(wanted: Any) -> str:
    """What to write for a value of this type; empty where it says too little."""
    if isinstance(wanted, msgspec.StructMeta):
        return f"write an object; its fields are {', '.join(wanted.__struct_fields__)}"
    if get_origin(wanted) is dict:
        return f'write an object, for example {{"name": {_example(get_args(wanted)[1])}}}'
    if get_origin(wanted) is tuple:
        return f"write a list, for example [{_example(get_args(wanted)[0])}]"
    if get_origin(wanted) is Literal:
        return f"use {', '.join(word for word in get_args(wanted) if word)}"
    simple = {int: "write a whole number, for example 3", str: "write it in double quotes", bool: "use true or false"}
    if wanted in simple:
        return simple[wanted]
    if wanted is float:
        return "write a number, for example 0.5"
    return next((told for told in map(what_is_right, get_args(wanted)) if told), "")


def structs(wanted: Any) -> Iterator[Any]:
    """The structs that a type may be, or be made of."""
    if isinstance(wanted, msgspec.StructMeta):
        yield wanted
    for argument in get_args(wanted):
        yield from structs(argument)


def _field(wanted: Any, name: str) -> Any:
    for struct in structs(wanted):
        for field in msgspec.structs.fields(struct):
            if field.encode_name == name:
                return field.type
    return Any


def _element(wanted: Any) -> Any:
    arguments = get_args(wanted)
    match get_origin(wanted):
        case of if of is dict:
            return arguments[1]
        case of if of in (tuple, list):
            return arguments[0]
    return next((found for found in map(_element, arguments) if found is not Any), Any)


def _example(wanted: Any) -> str:
    if isinstance(wanted, msgspec.StructMeta):
        fields = [field for struct in structs(wanted) for field in msgspec.structs.fields(struct)]
        shown = [field for field in fields if field.required] or fields[:1]
        return "{" + ", ".join(f'"{field.encode_name}": {_example(field.type)}' for field in shown) + "}"
    if get_origin(wanted) is Literal:
        return f'"{get_args(wanted)[0]}"'
    if wanted in (int, float):
        return "3"
    return next((_example(one) for one in get_args(wanted)), '"text"')
