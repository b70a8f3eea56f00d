"""The pure folders give the same answer in every process: no hash, no address, no console decides anything."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(
    file for room in ("raft", "state", "scheduling") for file in (ROOT / "actors" / room).rglob("*.py")
)
# hash() of a str differs from process to process, id() from run to run; the others reach the world.
BANNED_CALLS = {"hash", "id", "open", "input", "print", "exec", "eval", "__import__"}


def is_set(node: ast.expr) -> bool:
    """Whether an expression is plainly a set: a display, a comprehension, or a call of set() or frozenset()."""
    called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
    return isinstance(node, ast.Set | ast.SetComp) or called in {"set", "frozenset"}


def breaches(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in BANNED_CALLS:
            yield f"line {node.lineno}: calls {node.func.id}()"
        if isinstance(node, ast.For | ast.comprehension) and is_set(node.iter):
            yield f"line {node.iter.lineno}: iterates over a set, whose order differs from process to process"


def test_the_pure_folders_do_not_depend_on_hash_order() -> None:
    texts = {file: file.read_text(encoding="utf-8") for file in FILES}
    assert not [
        f"{file.relative_to(ROOT)} {text}" for file, source in texts.items() for text in breaches(source)
    ]


@pytest.mark.parametrize(
    "source", ["hash('a')", "for x in {1, 2}: f(x)", "[x for x in set(y)]", "key = id(node)"]
)
def test_a_breach_is_found(source: str) -> None:
    assert list(breaches(source))


@pytest.mark.parametrize("source", ["sorted({1, 2})", "x in {1, 2}", "def id(): ...", "self.hash(x)"])
def test_what_has_an_order_passes(source: str) -> None:
    assert not list(breaches(source))
