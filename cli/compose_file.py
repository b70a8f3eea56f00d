"""A YAML file from a user's disk as plain values, read as Compose reads it: by YAML 1.2, with variables put in.

`22:22` stays a text and is no number of base 60, `on` and `no` stay texts, a key may stand once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

__all__ = ["WrongFile", "read_yaml", "with_variables"]

_CORE = "tag:yaml.org,2002:"
_VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|(?P<plain>[A-Za-z_]\w*)|\{(?P<name>[A-Za-z_]\w*)(?:(?P<how>:?[-?+])(?P<word>[^}]*))?\}|(?P<wrong>))"
)


class WrongFile(ValueError):
    """The file cannot be read; the text says where and why."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core: fewer words are something else than a text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is one word", key.start_mark)
            if key.tag != f"{_CORE}merge" and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value} stands here twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", "~nN\0"),
    ("merge", r"<<", "<"),
):
    _firsts = [*_first.replace("\0", ""), *([""] if "\0" in _first else [])]
    _Loader.add_implicit_resolver(f"{_CORE}{_tag}", re.compile(f"(?:{_pattern})\\Z"), _firsts)


def read_yaml(path: Path) -> Any:
    """The file's value, a tree; JSON is YAML too. Raises WrongFile."""
    try:
        value = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # a subclass of SafeLoader
        json.dumps(value, allow_nan=False)
        return value
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise WrongFile(f"{place}: {error.problem or error.context}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError, TypeError, ValueError) as error:
        raise WrongFile(f"{path}: {error}") from None


def with_variables(value: Any, environ: Mapping[str, str], unset: dict[str, None], path: str = "$") -> Any:
    """The value with every `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME:?message}` and `${NAME:+other}` put in, and
    `$$` for a dollar. Names that are not set are gathered in `unset`, and are empty. Raises WrongFile."""
    if isinstance(value, dict):
        return {key: with_variables(item, environ, unset, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [with_variables(item, environ, unset, f"{path}[{i}]") for i, item in enumerate(value)]
    if not isinstance(value, str) or "$" not in value:
        return value

    def put_in(found: re.Match[str]) -> str:
        if found["dollar"]:
            return "$"
        if found["wrong"] is not None:
            raise WrongFile(f"{path}: {value!r} has a $ that begins no variable; write $$ for a dollar")
        name, how, word = found["plain"] or found["name"], found["how"] or "", found["word"] or ""
        text = environ.get(name)
        is_there = bool(text) if how.startswith(":") else text is not None
        match how[-1:]:
            case "-":
                return (text or "") if is_there else word
            case "+":
                return word if is_there else ""
            case "?" if not is_there:
                raise WrongFile(f"{path}: {name} is not set: {word or 'set it in the environment'}")
        if text is None:
            unset[name] = None
        return text or ""

    return _VARIABLE.sub(put_in, value)
