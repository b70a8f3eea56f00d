"""What a wrong value is called in a user's words, and which of several types a value was meant to be."""

from __future__ import annotations

import re
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

__all__ = ["choice_of", "plainly", "shown"]


def choice_of(value: Any, kinds: tuple[Any, ...]) -> Any:
    """Which of several types a value means."""
    if value is None and type(None) in kinds:
        return type(None)
    for kind in kinds:
        plain = get_args(kind)[0] if get_origin(kind) is Annotated else kind
        plain = get_origin(plain) or plain
        is_struct = isinstance(plain, type) and issubclass(plain, msgspec.Struct)
        if isinstance(value, dict) and (is_struct or plain is dict):
            return kind
        if isinstance(value, list) and (plain is list or get_origin(plain) in (Union, UnionType)):
            return kind
    left = [kind for kind in kinds if not _is_struct(kind) and kind is not type(None)]
    if not isinstance(value, list | dict):
        left = [kind for kind in left if get_origin(kind) not in (list, dict)] or left
    return left[0] if len(left) == 1 else Union[tuple(left or kinds)]  # noqa: UP007 - made from a tuple


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def shown(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case str():
            return repr(value[:60])
        case list():
            return "a list"
        case dict():
            return "a mapping"
        case _:
            return str(value)


def plainly(error: msgspec.ValidationError, value: Any) -> str:
    text = str(error).split(" - at `")[0]
    words = {"`str`": "a text", "`int`": "a whole number", "`bool`": "true or false", "`array`": "a list"}
    words |= {"`object`": "a mapping", "`null`": "nothing", "`float`": "a number", "Expected": "expected"}
    for python, plain in words.items():
        text = text.replace(python, plain)
    return re.sub(r", got .*", "", text) + f", got {shown(value)}"
