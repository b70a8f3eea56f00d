"""YAML with places: plain values, and for each of them the line and column where it stands.

Stricter than YAML: a key may stand once, yes/no/on/off are texts, and aliases are refused, because a short file could
stand for a huge one. Numbers with colons (12:30:00) are texts too, so that no time loses its unit unnoticed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

import msgspec
import yaml

__all__ = ["Document", "Mistake", "Path", "WrongScenario", "nearest"]

Path = tuple[str | int, ...]
"""The way to a value: keys and positions in lists."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_CORE = "tag:yaml.org,2002:"


class Mistake(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One thing that is wrong in a file; lines and columns are counted from 1."""

    line: int
    column: int
    message: str
    file: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class WrongScenario(ValueError):
    """A scenario that cannot be played: every mistake that was found, in the order of the file."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(sorted(mistakes))
        super().__init__("\n".join(str(mistake) for mistake in self.mistakes))


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean "heal"?`, or what there is where nothing is near."""
    words = list(known)
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(words)}"


class Document:
    """A YAML text as plain `value`; `mistake(path, message)` says where something in it is wrong."""

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self.mistakes: list[Mistake] = []
        self._keys: dict[Path, tuple[int, int]] = {}
        self._values: dict[Path, tuple[int, int]] = {}
        self._seen: set[int] = set()
        try:
            node = yaml.compose(text, Loader=_LOADER)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = (1, 1) if mark is None else (mark.line + 1, mark.column + 1)
            raise WrongScenario(
                [self._mistake(place, f"not YAML: {error.problem or error.context}")]
            ) from None
        except yaml.YAMLError as error:
            raise WrongScenario([self._mistake((1, 1), f"not YAML: {error}")]) from None
        self.value = None if node is None else self._build(node, ())

    def wrong(self, path: Path, message: str, *, key: bool = False) -> None:
        """Note a mistake at a value, or at its key."""
        self.mistakes.append(self._mistake(self.place(path, key=key), message))

    def place(self, path: Path, *, key: bool = False) -> tuple[int, int]:
        """Line and column of a value (or its key), or of the nearest thing around it."""
        if key and path in self._keys:
            return self._keys[path]
        while path and path not in self._values:
            path = path[:-1]
        return self._values.get(path, (1, 1))

    def _mistake(self, place: tuple[int, int], message: str) -> Mistake:
        return Mistake(file=self.file, line=place[0], column=place[1], message=message)

    def _build(self, node: yaml.Node, path: Path) -> Any:
        place = (node.start_mark.line + 1, node.start_mark.column + 1)
        self._values[path] = place
        if id(node) in self._seen:
            # What stands here instead is not known, so nothing else can be said of the file.
            self.mistakes.append(
                self._mistake(
                    place, "an alias (*name) stands for this; aliases are not supported, write it out"
                )
            )
            raise WrongScenario(self.mistakes)
        self._seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._build(item, (*path, at)) for at, item in enumerate(node.value)]
        return self._scalar(node, place)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            if not isinstance(key_node, yaml.ScalarNode):
                self.mistakes.append(self._mistake(place, "a key is a word, not a list or a mapping"))
                continue
            key = key_node.value
            if key in found:
                first = self._keys[(*path, key)]
                self.mistakes.append(
                    self._mistake(
                        place, f"the key {key!r} stands here twice, first in line {first[0]}; keep one"
                    )
                )
                continue
            self._keys[(*path, key)] = place
            found[key] = self._build(value_node, (*path, key))
        return found

    def _scalar(self, node: yaml.Node, place: tuple[int, int]) -> Any:
        text, tag = str(node.value), node.tag.removeprefix(_CORE)
        if tag == "null":
            return None
        if tag == "bool" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if tag in ("int", "float") and ":" not in text:
            try:
                return int(text.replace("_", ""), 0) if tag == "int" else float(text.replace("_", ""))
            except ValueError:
                return text
        if tag in ("int", "float", "str", "bool", "timestamp", "merge", "value"):
            return text
        self.mistakes.append(self._mistake(place, f"the tag {node.tag} is not supported; write plain text"))
        raise WrongScenario(self.mistakes)
