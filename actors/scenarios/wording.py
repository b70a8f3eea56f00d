"""What a wrong value is called in a user's words, and which of several types a value was meant to be."""

from __future__ import annotations

import re
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

__all__ = ["choice_of", "in_words", "plainly", "shown", "words_for"]


def choice_of(value: Any, kinds: tuple[Any, ...]) -> Any:
    """Which of several types a value means; None where it may be none of them or several."""
    fitting = [kind for kind in kinds if _fits(value, kind)]
    if fitting:
        return fitting[0]
    left = [kind for kind in kinds if kind is not type(None)]
    if not isinstance(value, list | dict):
        # A number in place of a time was not meant to be a mapping.
        left = [kind for kind in left if not _is_struct(kind) and get_origin(kind) not in (list, dict)] or left
    return left[0] if len(left) == 1 else None


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value has the shape of a type, right or wrong as it may be inside."""
    plain = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    origin = get_origin(plain) or plain
    if origin in (Union, UnionType):
        return any(_fits(value, one) for one in get_args(plain))
    match value:
        case None:
            return origin is type(None)
        case dict():
            return origin is dict or _is_struct(origin)
        case list():
            return origin is list
        case str():
            return origin in (str, Literal)
        case bool():
            return origin is bool
        case int():
            return origin in (int, float)
        case _:
            return origin is float


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


def words_for(kind: Any) -> str:
    """What a type wants, as a user would say it: `a list of lists, halves, majority, ring or bridge`."""
    if get_origin(kind) is Annotated:
        extra: dict[str, Any] = next((meta.extra for meta in kind.__metadata__ if meta.extra), {})
        return str(extra.get("means") or extra.get("expects") or words_for(get_args(kind)[0]))
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, UnionType):
        return _either([words_for(one) for one in inner if one is not type(None)])
    if origin is Literal:
        return _either([str(word) for word in inner])
    if _is_struct(origin):
        return f"a mapping with {', '.join(field.encode_name for field in msgspec.structs.fields(origin))}"
    if origin is list:
        return "a list of lists" if get_origin(inner[0]) is list else "a list"
    return _WORDS.get(origin, "something else")


_WORDS: dict[Any, str] = {
    str: "a text",
    int: "a whole number",
    bool: "true or false",
    float: "a number",
    list: "a list",
    dict: "a mapping",
    type(None): "nothing",
}
_IN_ERRORS = {
    "str": str,
    "int": int,
    "bool": bool,
    "float": float,
    "array": list,
    "object": dict,
    "null": type(None),
}


def _either(words: list[str]) -> str:
    if any(", " in word for word in words):
        return ", or ".join(words)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def plainly(error: msgspec.ValidationError, value: Any) -> str:
    """What msgspec says is wrong, in these words."""
    text = re.sub(r" - at `.*`$", "", str(error), flags=re.DOTALL)
    return re.sub(r", got .*", "", in_words(text), flags=re.DOTALL) + f", got {shown(value)}"


def in_words(text: str) -> str:
    """A message in which types stand by their names: `str | null` is a text."""
    return re.sub(r"`([a-z]+(?: \| [a-z]+)*)`", _in_words, text).replace("Expected", "expected")


def _in_words(found: re.Match[str]) -> str:
    names = [name for name in found[1].split(" | ") if name != "null" or found[1] == "null"]
    return _either([_WORDS[_IN_ERRORS[name]] if name in _IN_ERRORS else name for name in names])
