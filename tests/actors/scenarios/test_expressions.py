"""Conditions: what can be said, what cannot, and what they see."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from raftyard.actors.scenarios.expressions import Expression, WrongExpression

NODES = [
    SimpleNamespace(name=f"node_{number}", role=role, term=3, load=number)
    for number, role in enumerate(("leader", "follower", "down"))
]
VIEW = SimpleNamespace(
    nodes=NODES,
    leader="node_0",
    now=1.5,
    services=[],
    links=[],
    node=lambda name: next(node for node in NODES if node.name == name),
    service=lambda name: SimpleNamespace(name=name, placed=10, on={"node_0": 10}),
    happened=lambda kind: 2,
    is_cut=lambda source, target: False,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("count(n.role == 'leader' for n in nodes) == 1", True),
        ("leader == 'node_0' and not is_cut('node_0', 'node_1')", True),
        ("sum(n.load for n in nodes) * 2 + 1", 7),
        ("[n.name for n in nodes if n.role != 'down']", ["node_0", "node_1"]),
        ("all(a.term == b.term for a in nodes for b in nodes)", True),
        ("service('web').on['node_0'] == service('web').placed", True),
        ("node('node_1').role in ('follower', 'candidate')", True),
        ("happened('leader-elected') <= 2 if now > 1 else False", True),
        ("max(n.load for n in nodes) - min(n.load for n in nodes) <= 2", True),
        ("7 % 4 // 2 == 1 and -1 < abs(-1)", True),
        ("len(set(n.term for n in nodes)) == 1", True),
        ("leader in (a.name for a in nodes for b in [a.role] if b == 'leader')", True),
    ],
)
def test_conditions_are_python(text: str, value: object):
    assert Expression(text)(VIEW) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "count(n.role == 'leader' for n in node) == 1 and nods",
            "unknown name 'nods'; did you mean 'nodes'?",
        ),
        ("nodes[0].rolle", "unknown attribute 'rolle'; did you mean 'role'?"),
        ("__import__('os')", "only these can be called"),
        ("nodes.__class__", "unknown attribute '__class__'"),
        ("(lambda: 1)()", "only these can be called"),
        ("lambda: 1", "Lambda is not allowed"),
        ("2 ** 100", "Pow is not allowed"),
        ("1 << 100", "LShift is not allowed"),
        ("f'{leader}'", "JoinedStr is not allowed"),
        ("leader := 1", "not a condition"),
        ("count(1 for leader in nodes)", "leader has a meaning already"),
        ("count(nodes for nodes in nodes)", "nodes has a meaning already"),
        ("_ == 1", "names with underscores"),
        ("max(*nodes)", "is not allowed"),
        ("sorted(nodes, key=len)", "without keywords"),
        ("count(1 for a in nodes for b in nodes for c in nodes for d in nodes)", "more than 3 loops"),
        ("leader ==", "not a condition"),
        ("1" * 3000, "longer than 2000"),
        ("b'x'", "not allowed"),
        ("'a' 'b' if", "not a condition"),
        ("count(1 for n in nodes) == 1 and n.term > 0", "unknown name 'n'"),
        ("[a for a in b for b in nodes]", "unknown name 'b'"),
        ("count(1 for a in nodes if b for b in nodes)", "unknown name 'b'"),
        ("(n.role == 'leader' for n in nodes)", "a generator is always true; write any"),
        ("leader is None or not (n for n in nodes)", "a generator is always true"),
        ("happened", "happened is always true; call it: happened"),
        ("leader is not None and any", "any is always true"),
        ("[n async for n in nodes]", "async is not allowed"),
        ("[1 for nodes[0].role in nodes]", "a loop needs a name for its variable"),
    ],
)
def test_what_is_not_allowed_is_named(text: str, why: str):
    with pytest.raises(WrongExpression, match=why.replace("(", r"\(").replace("?", r"\?")):
        Expression(text)


def test_what_is_nested_too_deeply_is_named():
    with pytest.raises(WrongExpression, match="nested too deeply"):
        Expression("not " * 480 + "leader")


@pytest.mark.parametrize("text", ["'a' * 1000000000", "[1] * 1000000000", "'%1000000000d' % 1"])
def test_no_text_grows_without_bound(text: str):
    with pytest.raises(TypeError, match="is not a number"):
        Expression(text)(VIEW)
