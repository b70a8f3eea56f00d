"""Conditions on a cluster: a small part of Python, checked when it is read and compiled once.

    compiled = Expression("count(n.role == 'leader' for n in nodes) == 1")
    compiled(view)

What is not named here cannot be written: no other names, no attributes with underscores, no calls but those below, no
powers, and products and remainders of numbers only, so that no text can grow without bound.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .document import nearest
from .views import LinkView, NodeView, ServiceView, View

__all__ = ["Expression", "WrongExpression"]

MAX_LENGTH = 2_000
MAX_LOOPS = 3


class WrongExpression(ValueError):
    """What is wrong, and `column`, counted from 0, where."""

    def __init__(self, message: str, column: int = 0) -> None:
        super().__init__(message)
        self.column = column


def _count(values: Iterable[Any]) -> int:
    return sum(1 for value in values if value)


def _times(left: Any, right: Any) -> Any:
    return _number(left) * _number(right)


def _remainder(left: Any, right: Any) -> Any:
    return _number(left) % _number(right)


def _number(value: Any) -> Any:
    if not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    return value


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs, "all": all, "any": any, "count": _count, "len": len, "max": max, "min": min,
    "set": set, "sorted": sorted, "sum": sum,
}  # fmt: skip
_QUESTIONS = ("node", "service", "happened", "is_cut")
"""Methods of the view that can be called."""
_VALUES = ("nodes", "services", "links", "leader", "now")
"""What the view has."""
_ATTRIBUTES = tuple(
    name
    for cls in (NodeView, ServiceView, LinkView)
    for name in vars(cls) | getattr(cls, "__annotations__", {})
    if not name.startswith("_")
)

_PLAIN = (
    ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.UAdd, ast.BinOp, ast.Add, ast.Sub,
    ast.Div, ast.FloorDiv, ast.Compare, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn, ast.Is,
    ast.IsNot, ast.IfExp, ast.List, ast.Tuple, ast.Set, ast.GeneratorExp, ast.ListComp, ast.SetComp, ast.comprehension,
    ast.Load, ast.Store, ast.Mult, ast.Mod, ast.Subscript,
)  # fmt: skip


class Expression:
    """One condition. Raises WrongExpression when it is made; call it with a View."""

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        if len(self.text) > MAX_LENGTH:
            raise WrongExpression(f"longer than {MAX_LENGTH} characters; split it")
        try:
            tree = ast.parse(self.text, mode="eval")
            _check(tree)
            self.nodes = _named(tree, "node", "is_cut")
            """Those that it names."""
            self.kinds = _named(tree, "happened")
            """Those of events that it names."""
            used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
            self._values = tuple(name for name in (*_VALUES, *_QUESTIONS) if name in used)
            self._evaluate = _compiled(tree, self._values)
        except SyntaxError as error:
            raise WrongExpression(f"not a condition: {error.msg}", max(0, (error.offset or 1) - 1)) from None
        except RecursionError:
            raise WrongExpression("nested too deeply; split the condition") from None
        except (ValueError, MemoryError) as error:
            if isinstance(error, WrongExpression):
                raise
            raise WrongExpression(f"not a condition: {error}") from None

    def __call__(self, view: View) -> Any:
        """Its value now. Raises what Python raises, such as TypeError for a comparison with None."""
        return self._evaluate(*(getattr(view, name) for name in self._values))

    def __str__(self) -> str:
        return self.text


def _compiled(tree: ast.Expression, values: tuple[str, ...]) -> Callable[..., Any]:
    """A function of these values."""
    names = [ast.arg(arg=name) for name in values]
    body = _Guarded().visit(tree).body
    made = ast.Expression(
        ast.Lambda(ast.arguments(posonlyargs=[], args=names, kwonlyargs=[], kw_defaults=[], defaults=[]), body)
    )
    code = compile(ast.fix_missing_locations(made), "<condition>", "eval")
    functions = {**_FUNCTIONS, "_times": _times, "_remainder": _remainder, "__builtins__": {}}
    evaluate: Callable[..., Any] = eval(code, functions)
    return evaluate


def _named(tree: ast.Expression, *questions: str) -> tuple[str, ...]:
    """The texts that these questions are asked with."""
    return tuple(
        dict.fromkeys(
            argument.value
            for call in ast.walk(tree)
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in questions
            for argument in call.args
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
        )
    )


def _check(tree: ast.Expression) -> None:
    bound = dict(_reads(tree.body, ()))
    called = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    consumed = {value for node in ast.walk(tree) for value in _consumed(node)}
    if sum(isinstance(node, ast.comprehension) for node in ast.walk(tree)) > MAX_LOOPS:
        raise WrongExpression(f"more than {MAX_LOOPS} loops; split the condition")
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) if name.startswith("_"):
                raise WrongExpression(
                    f"{name}: names with underscores in front are not allowed", node.col_offset
                )
            case ast.Name(id=name, ctx=ast.Store()) if name in (*_VALUES, *_FUNCTIONS, *_QUESTIONS):
                raise WrongExpression(
                    f"{name} has a meaning already; name the variable otherwise", node.col_offset
                )
            case ast.Name(id=name, ctx=ast.Load()):
                known = (*_VALUES, *_QUESTIONS, *_FUNCTIONS, *sorted(bound[node]))
                if name not in known:
                    raise WrongExpression(f"unknown name {name!r}{nearest(name, known)}", node.col_offset)
                if name in (*_QUESTIONS, *_FUNCTIONS) and node not in called:
                    raise WrongExpression(f"{name} is always true; call it: {name}(...)", node.col_offset)
            case ast.Name():
                pass
            case ast.Attribute(ctx=ast.Store()) | ast.Subscript(ctx=ast.Store()):
                raise WrongExpression("a loop needs a name for its variable", node.col_offset)
            case ast.comprehension(is_async=1):
                raise WrongExpression("async is not allowed in a condition", node.target.col_offset)
            case ast.GeneratorExp() if node not in consumed:
                raise WrongExpression("a generator is always true; write any(...) or all(...)", node.col_offset)
            case ast.Attribute(attr=name):
                if name not in _ATTRIBUTES:
                    hint = nearest(name, dict.fromkeys(_ATTRIBUTES))
                    raise WrongExpression(f"unknown attribute {name!r}{hint}", node.col_offset)
            case ast.Call(func=ast.Name(id=name), keywords=[]) if name in (*_FUNCTIONS, *_QUESTIONS):
                if any(isinstance(argument, ast.Starred) for argument in node.args):
                    raise WrongExpression("* is not allowed here", node.col_offset)
            case ast.Call():
                raise WrongExpression(
                    f"only these can be called, without keywords: {', '.join((*_FUNCTIONS, *_QUESTIONS))}",
                    node.col_offset,
                )
            case ast.Constant(value=value) if value is None or isinstance(value, str | int | float):
                pass
            case _ if isinstance(node, _PLAIN):
                pass
            case _:
                what = type(node).__name__
                raise WrongExpression(f"{what} is not allowed in a condition", getattr(node, "col_offset", 0))


def _reads(node: ast.AST, bound: tuple[str, ...]) -> Iterator[tuple[ast.AST, tuple[str, ...]]]:
    """The names that are read, each with the loop variables that there are in its place."""
    match node:
        case ast.Name(ctx=ast.Load()):
            yield node, bound
        case ast.GeneratorExp() | ast.ListComp() | ast.SetComp():
            for loop in node.generators:
                yield from _reads(loop.iter, bound)
                bound += tuple(name.id for name in ast.walk(loop.target) if isinstance(name, ast.Name))
                for test in loop.ifs:
                    yield from _reads(test, bound)
            yield from _reads(node.elt, bound)
        case _:
            for inner in ast.iter_child_nodes(node):
                yield from _reads(inner, bound)


def _consumed(node: ast.AST) -> list[ast.expr]:
    """What is gone through here; elsewhere only that it is there would count."""
    match node:
        case ast.Call():
            return node.args
        case ast.comprehension():
            return [node.iter]
        case ast.Compare():
            pairs = zip(node.ops, node.comparators, strict=True)
            return [value for sign, value in pairs if isinstance(sign, ast.In | ast.NotIn)]
    return []


class _Guarded(ast.NodeTransformer):
    """Products and remainders become calls that look at their operands."""

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        guard = "_times" if isinstance(node.op, ast.Mult) else "_remainder"
        if not isinstance(node.op, ast.Mult | ast.Mod):
            return node
        called = ast.Call(func=ast.Name(id=guard, ctx=ast.Load()), args=[node.left, node.right], keywords=[])
        return ast.copy_location(called, node)
