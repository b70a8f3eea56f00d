"""Every key of the format with every kind of wrong value: a clean answer, with a place and in the format's words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
import yaml

from raftyard.actors.scenarios import WrongScenario, read_scenario
from raftyard.actors.scenarios.format import MODIFIERS, VERBS

WRONG: dict[str, Any] = {
    "true": True, "5": 5, "[]": [], "{}": {}, "x": "x", "null": None,
    "empty": "", "-1": -1, "0.5": 0.5, "huge": 10**30, "[5]": [5], "[[x]]": [["x"]],
    "{a: b}": {"a": "b"}, "{5: 5}": {5: 5},
}  # fmt: skip
SPEC = {
    "image": "web:1", "replicas": 3, "command": ["run"], "env": {"A": "b"}, "labels": {"a": "b"},
    "reservations": {"cpu_milli": 100, "memory_mib": 10, "slots": 1}, "restart": {"condition": "any"},
    "ports": [{"target": 80, "published": 8080}], "placement": {"constraints": ["node.id == node_1"]},
    "update": {"parallelism": 2, "monitor_s": 1, "failure_action": "rollback"},
    "simulate": {"demand": {"cpu_milli": 120}, "fails_to_start": False},
    "autoscale": {"min": 2, "max": 10, "metric": "cpu", "target": 60, "stabilisation_s": {"down": 60}},
}  # fmt: skip
ARGUMENTS: dict[str, list[Any]] = {
    "cut": ["node_0-node_1", ["node_0->node_1", "leader"]],
    "restore": ["all"],
    "delay": ["5ms", {"by": "5ms", "jitter": "1ms", "links": ["node_0-node_1"]}],
    "loss": ["5%", {"share": "5%", "links": "all"}],
    "duplicate": ["5%", {"share": "5%", "links": "all"}],
    "reorder": ["5%", {"share": "5%", "links": "all"}],
    "partition": ["halves", [["node_0"], ["node_1", "node_2"]]],
    "isolate": ["leader", ["node_0", "node_1"]],
    "heal": ["all"],
    "crash": ["one"],
    "restart": ["all"],
    "pause": ["one"],
    "resume": ["all"],
    "wipe": ["node_3"],
    "add": ["spare", {"name": "other", "capacity": 5}],
    "remove": ["spare"],
    "drain": ["node_1", {"of": ["node_1", "leader"], "max_parallel": 1, "deadline": "5s"}],
    "label": [{"node_1": {"zone": "a", "rack": None}, "all": {"disk": "ssd"}}],
    "settings": [{"preemption": True}],
    "submit": [
        {"containers": [{"name": "web", "replicas": 3}]},
        {"container": {"name": "inner", "replicas": 3, "cluster": {}}},
    ],
    "deploy": [{"stack": "shop", "services": {"web": {"image": "a:1", "deploy": {"replicas": 2}, "environment": {}}}}],
    "undeploy": ["shop", ["shop", "blog"]],
    "scale": [{"web": 3}],
    "update": [{"web": SPEC}],
    "rollback": ["web", ["web", "db"]],
    "delete": ["web", ["web", "db"]],
    "rebalance": [10, {"max_moves": 10, "max_parallel": 2}],
    "transfer": ["follower"],
    "write": [{"web": 3}],
    "read": ["web", {"key": "web", "via": "node_1"}],
    "disk": [{"of": "node_1", "slow": "1s", "full": True, "failing": "5%", "lose_power": True, "flip_bit": True}],
    "clock": [{"of": ["node_1"], "leap": "1s", "rate": 1.1}],
    "wait": ["1s"],
    "eventually": ["leader is not None", {"replicas": {"web": 3}, "leader": "node_1", "leaders": 1, "nodes": 5}],
    "never": ["leader is None"],
    "expect": ["leader is not None", {"roles": {"node_1": "leader"}}],
    "log": ["here"],
}  # fmt: skip
WORDS = {"at": "1s", "for": "1s", "within": "1s", "name": "a step", "repeat": {"times": 2, "every": "1s"}, "in": "0"}


def steps() -> Iterator[dict[str, Any]]:
    for verb, arguments in ARGUMENTS.items():
        for argument in arguments:
            allowed = ("at", "name", "repeat", "in", *VERBS[verb].modifiers)
            yield {verb: argument, **{word: WORDS[word] for word in allowed}}


FULL: dict[str, Any] = {
    "scenario": "everything that can be said",
    "version": 1,
    "about": "a text",
    "seed": 5,
    "clock": "virtual",
    "cluster": {
        "nodes": 5,
        "capacity": 100,
        "disks": {"sync": "1ms", "jitter": "1ms"},
        "links": {"delay": "1ms", "jitter": "1ms", "loss": "1%", "duplicate": "1%", "reorder": "1%"},
        "raft": {
            "heartbeat": "100ms", "election_min": "400ms", "election_max": "800ms", "pre_vote": True,
            "check_quorum": True, "lease_reads": False, "storage_patience": "2s", "snapshot_entries": 100,
            "snapshot_bytes": 9_000, "keep_entries": 10, "keep_bytes": 900,
        },
        "wall_clock": "2026-03-28T23:59Z",
    },
    "always": ["raft", "leader is None or leader is not None"],
    "steps": list(steps()),
    "chaos": {
        "for": "5s", "every": "1s", "lasting": "2s", "faults": {"cut": 3}, "only": [1], "clients": 1, "settle": "9s",
    },
}  # fmt: skip


class _Plain(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Writes what stands in two places twice: a scenario has no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def as_text(file: dict[str, Any]) -> str:
    return yaml.dump(file, Dumper=_Plain, sort_keys=False)


def ways(value: Any, so_far: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield so_far
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from ways(item, (*so_far, key))


def with_wrong(way: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """A file with only the step in question, so that thousands of them are read soon."""
    made = deepcopy({**FULL, "steps": []})
    if way[0] == "steps" and len(way) > 1:
        made = {"scenario": "t", "version": 1, "cluster": {"disks": {}}}
        made["steps"] = [{"add": "spare"}, deepcopy(FULL["steps"][way[1]])]
        way = ("steps", 1, *way[2:])
    at: Any = made
    for key in way[:-1]:
        at = at[key]
    at[way[-1]] = deepcopy(value)
    return made


def test_the_full_file_says_everything_and_is_right():
    assert set(ARGUMENTS) == set(VERBS) and set(WORDS) == set(MODIFIERS)
    read_scenario(as_text(FULL), "full.yaml")


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_value_is_taken_or_refused_with_its_place_and_never_an_exception(wrong: str):
    refused = 0
    for way in ways(FULL):
        if not way:
            continue
        text = as_text(with_wrong(way, WRONG[wrong]))
        try:
            read_scenario(text, "f.yaml")
        except WrongScenario as error:
            refused += 1
            for mistake in error.mistakes:
                assert re.match(r"f\.yaml:\d+:\d+: \S", str(mistake)), (way, mistake)
                no_words = re.search(r"`(str|int|array|object|bool|float|null)\b|regex|Error\b|<class", mistake.message)
                assert no_words is None, (way, mistake)
        except Exception as error:
            error.add_note(f"{way} is {wrong}")
            raise
    assert refused > 50


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("cluster: {disks: yes}", "3:18: expected a mapping with sync, jitter, got 'yes'"),
        (
            "cluster: {raft: {election_min: 2s}}",
            "3:17: the times must be whole milliseconds with 0ms < heartbeat < election_min <= election_max, not 100ms",
        ),
        ("cluster: {raft: {lease_reads: true, check_quorum: false}}", "3:31: lease_reads needs check_quorum: true"),
        ("cluster: {disks: true}", "3:18: expected a mapping with sync, jitter, got true"),
        (
            "steps:\n  - partition: {a: b}",
            "4:16: expected a list of lists, or halves, majority, ring or bridge, got a mapping",
        ),
        ("steps:\n  - partition: [node_0]", "4:17: expected a list, got 'node_0'"),
        ("steps:\n  - isolate: 5", "4:14: expected a node, a list of nodes, or a word for some, such as leader, got 5"),
        ("steps:\n  - isolate: [node_0, 5]", "4:23: expected a node, a list of nodes, or a word for some"),
        (
            "steps:\n  - add: leader",
            "4:10: 'leader' is not a name for a node; use letters, digits, _ and ., and no word such as leader or all",
        ),
        ("cluster: {capacity: 0}\nsteps: [{wait: 1s}]", "3:21: expected a whole number >= 1, got 0"),
        ("steps:\n  - cut: {a: b}", "4:10: expected links, such as a-b, a->b, a node or all, or a list of them"),
        ("steps:\n  - expect: 5", "4:13: expected a condition, got 5"),
        ("steps:\n  - settings: {}", "4:15: nothing changes; add preemption"),
        ("steps:\n  - settings: {premption: true}", "4:16: unknown word 'premption'; did you mean 'preemption'?"),
        ("steps:\n  - drain: {of: node_1, deadline: 5}", "4:35: 5 is not a time"),
        ("steps:\n  - drain: {max_parallel: 1}", "4:12: 'of' is missing"),
        ("steps:\n  - label: {node_1: {}}", "4:12: nothing changes; write {NODE: {LABEL: VALUE}}, and null for"),
        ("steps:\n  - label: {nod_1: {zone: a}}", "4:13: no node 'nod_1'; did you mean 'node_1'?"),
        ("steps:\n  - label: {node_1: {zone: 1}}", "4:28: expected a text, got 1"),
        ("steps:\n  - label: {node_1: {'a b': c}}", "4:21: 'a b' cannot name a label; write at least one letter"),
        ("steps:\n  - undeploy: 5", "4:15: expected a stack's name, or a list of names, got 5"),
        ("steps:\n  - add: {name: a b}", "4:17: 'a b' is not a name for a node; use letters, digits, _ and ."),
    ],
)
def test_what_is_right_is_said_in_words_of_the_format_beside_all_other_mistakes(text: str, mistake: str):
    with pytest.raises(WrongScenario) as caught:
        read_scenario(f"scenario: t\nversion: 1\n{text}\nstep: []\nchaos: {{for: 1s}}\n", "f.yaml")
    first, *others = (str(one) for one in caught.value.mistakes)
    assert first.startswith(f"f.yaml:{mistake}")
    assert any("unknown section 'step'" in other for other in others)
