"""Scenario files: what can be read, and where and how each mistake is named."""

from __future__ import annotations

from textwrap import dedent

import pytest
from scenario_texts import ISOLATION, scenario

from raftyard.actors.scenarios import CHECKERS, WrongScenario, json_schema, read_scenario, read_scenario_file
from raftyard.actors.scenarios.format import FOR_ALL, MODIFIERS, VERBS


def mistakes(text: str) -> list[str]:
    with pytest.raises(WrongScenario) as caught:
        read_scenario(dedent(text), "f.yaml")
    return [str(mistake) for mistake in caught.value.mistakes]


def step_mistake(step: str, head: str = "") -> str:
    """The only mistake in a file of one step, from its line on; the step is in line 5."""
    (found,) = mistakes(f"scenario: t\nversion: 1\n{head or 'seed: 1'}\nsteps:\n{step}\n")
    return found.removeprefix("f.yaml:")


def test_the_example_of_the_design_is_read():
    read = read_scenario(ISOLATION)
    assert read.title == "a leader is isolated and its service survives"
    assert (read.seed, read.clock, read.cluster.nodes) == (42, "virtual", 5)
    assert [step.verb for step in read.steps] == "eventually submit isolate cut partition heal expect".split()
    assert (read.steps[2].for_, read.steps[3].at, read.steps[0].within) == ("4s", "8s", "5s")
    assert [(step.line, step.column) for step in read.steps][:2] == [(8, 5), (10, 5)]


@pytest.mark.parametrize(
    ("step", "mistake"),
    [
        ("- heel: all", "5:3: unknown word 'heel'; did you mean 'heal'?"),
        ("- isolate: leeder", "5:12: no node 'leeder'; did you mean 'leader'?"),
        ("- isolate: leader\n  for: 4", "6:8: 4 is not a time with its unit, such as 250ms, 5s or 2m"),
        ("- wait: 12:30:00", "5:9: '12:30:00' is not a time with its unit, such as 250ms, 5s or 2m"),
        ("- isolate: leader\n  crash: one", "5:3: a step has exactly one verb, found isolate, crash"),
        ("- for: 4s", "5:3: a step has exactly one verb, found none"),
        ("- cut: node_1->node_7", "5:8: no node 'node_7'; did you mean 'node_4'?"),
        ("- cut: [node_1-node_2, node_x-all]", "5:24: no node 'node_x'; did you mean 'node_4'?"),
        ("- loss: 5", "5:9: 5 is not a share from 0% to 100%, such as 5%"),
        ("- loss: {share: 101%}", "5:17: '101%' is not a share from 0% to 100%, such as 5%"),
        ("- delay: {by: 5ms, jiter: 1ms}", "5:20: unknown word 'jiter'; did you mean 'jitter'?"),
        ("- delay: {jitter: 1ms}", "5:10: 'by' is missing"),
        (
            "- partition: quarters",
            "5:14: 'quarters' is not known here; known are halves, majority, ring, bridge",
        ),
        ("- partition: [[node_0], [nod_1]]", "5:26: no node 'nod_1'; did you mean 'node_1'?"),
        (
            "- expect: leader is not None\n  within: 5s",
            "6:3: expect takes no 'within'; use `eventually`, which waits",
        ),
        ("- wait: 5s\n  for: 5s", "6:3: wait takes no 'for'; it takes at, name, repeat"),
        ("- expect: {replicas: {web: ten}}", "5:28: expected a whole number, got 'ten'"),
        ("- expect: {}", "5:11: nothing is expected; add replicas, leader, leaders, nodes or roles"),
        (
            "- expect: {roles: {node_1: boss}}",
            "5:28: 'boss' is not known here; known are leader, follower, candidate",
        ),
        ("- expect: count(n.rol == 1 for n in nodes)", "5:11: unknown attribute 'rol'; did you mean 'role'?"),
        ("- submit: {containers: [{description: web}]}", "5:25: the number of replicas is missing"),
        (
            "- submit: {containers: [{name: web, replica: 3}]}",
            "5:37: unknown field replica; did you mean replicas?",
        ),
        ("- disk: {full: true}", "5:9: disk faults need simulated disks; add `disks: {}` to `cluster`"),
        ("- clock: {of: leader}", "5:10: nothing happens; add leap or rate"),
        ("- clock: {leap: 5}", "5:17: 5 is not a time with its unit"),
        ("- clock: {rate: 0}", "5:17: expected a number >= 0.1, got 0"),
        ("- scale: {web: lots}", "5:16: expected a whole number, got 'lots'"),
        ("- update: {web: {imge: x}}", "5:18: unknown field imge; did you mean image?"),
        ("- update: {web: 3}", "5:17: expected an object; send what is to change"),
        ("- drain: nobody", "5:10: no node 'nobody'"),
        ("- transfer: all", "5:13: the leadership goes to one node; name it, or write follower"),
        ("- add: a b", "5:8: 'a b' is not a name for a node; use letters, digits, _ and ."),
        (
            "- isolate: leader\n  repeat: {times: 2, evry: 1s}",
            "6:22: unknown word 'evry'; did you mean 'every'?",
        ),
        (
            "- isolate: leader\n  isolate: one",
            "6:3: the key 'isolate' stands here twice, first in line 5; keep one",
        ),
        (
            "- isolate: &a leader\n- heal: *a",
            "5:12: an alias (*name) stands for this; aliases are not supported",
        ),
        ("- isolate: !x leader", "5:12: the tag !x is not supported; write plain text"),
        ("- isolate: []", "5:12: the list is empty, so nothing is meant; name a node"),
        ("- cut: []", "5:8: the list is empty, so nothing is meant; name links"),
        ("- cut: node_0-node_0", "5:8: a link joins two nodes, and 'node_0-node_0' names one; for all links of it"),
        ("- cut: node_0-node_1-node_2", "5:8: 'node_0-node_1-node_2' is no link; write a-b for both directions"),
        ("- partition: []", "5:14: no group has a node; name the nodes of at least one"),
        ("- partition: [[node_0, node_1], [node_1]]", "5:34: node_1 stands in two groups; name each node once"),
        ("- partition: [[all], [node_1]]", "5:16: all leaves nobody for another group"),
        ("- partition: [[all]]", "5:16: all leaves nobody for another group"),
        (
            "- partition: [[node_0, node_1, node_2, node_3, node_4]]",
            "5:14: every node is in one group, so nothing is cut; leave one out, or make two groups",
        ),
        ("- scale: {}", "5:10: nothing changes; write {SERVICE: REPLICAS}"),
        ("- write: {}", "5:10: nothing changes; write {SERVICE: REPLICAS}"),
        ("- update: {}", "5:11: nothing changes; write {SERVICE: {FIELD: VALUE}}"),
        ("- write: {w w: 3}", "5:11: 'w w' is not a name that a service can have; use letters, digits"),
        ("- read: w w", "5:9: 'w w' is not a name that a service can have"),
        ("- read: {key: web, via: all}", "5:25: one node is asked; name it, or write leader, follower or one"),
        ("- read: {key: web, via: [node_1]}", "5:25: expected one node: its name, or leader, follower or one"),
        ("- eventually: {replicas: {}}", "5:26: nothing is expected here; add one, or leave it out"),
        ("- expect: {leaders: 1, roles: {}}", "5:31: nothing is expected here"),
        (
            "- never: happened('leader-elcted') > 0",
            "5:10: no event is of the kind 'leader-elcted'; did you mean 'leader-elected'?",
        ),
        ("""- expect: node("node_9").role == 'down'""", "5:11: no node 'node_9'; did you mean 'node_4'?"),
        ("- never: is_cut('node_0', 'nod_1')", "5:10: no node 'nod_1'; did you mean 'node_1'?"),
        ("- just words", "5:3: a step is a mapping: one verb and its modifiers, such as `- isolate: leader`"),
    ],
)
def test_a_mistake_in_a_step_is_named_with_its_place_and_the_right_word(step: str, mistake: str):
    assert step_mistake(step).startswith(mistake)


def test_a_condition_may_name_a_node_that_a_later_step_adds():
    scenario("- never: node('spare').role == 'leader'\n- add: spare", "always: [node('spare').term >= 0]")
    scenario("- add: {capacity: 5}\n  repeat: 3\n- isolate: node_7\n- expect: node('node_7').role != 'leader'")
    assert step_mistake("- never: node('spar').role == 'leader'\n- add: spare").endswith("did you mean 'spare'?")


def test_a_node_that_is_added_is_known_from_there_on():
    assert scenario("- add: spare\n- isolate: spare").steps[1].argument == "spare"
    assert step_mistake("- isolate: spare\n- add: spare").startswith("5:12: no node 'spare'")


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (
            "scenario: t\nversion: 1\nchaos: {for: 1s, every: 0.0s}",
            "f.yaml:3:25: no time passes between faults; write more than 0s",
        ),
        (
            "scenario: t\nversion: 1\nchaos: {for: 0s}",
            "f.yaml:3:14: no time passes, so nothing happens; write more than 0s, or leave chaos out",
        ),
        ("", "f.yaml:1:1: a scenario is a mapping that begins with `scenario: TITLE`"),
        ("scenario: [", "f.yaml:2:1: not YAML: did not find expected node content"),
        ("scenario: t\nsteps: []", "f.yaml:1:1: the version is missing; add `version: 1`"),
        ("version: 1\nsteps: []", "f.yaml:1:1: the title is missing; begin with `scenario: TITLE`"),
        ("scenario: t\nversion: 2\nsteps: []", "f.yaml:2:10: this program reads version 1"),
        ("scenario: t\nversion: 1\nsteps: []", "f.yaml:3:8: nothing happens; add a step or `chaos:`"),
        ("scenario: t\nversion: 1\nchaos:", "f.yaml:3:7: expected a mapping with for, every, lasting"),
        ("scenario: t\nversion: 1", "f.yaml:1:1: nothing happens; add `steps:` or `chaos:`"),
        (
            "scenario: t\nversion: 1\nstep: []\nsteps: []",
            "f.yaml:3:1: unknown section 'step'; did you mean 'steps'?",
        ),
        (
            "scenario: t\nversion: 1\nclock: real\nsteps: []",
            "f.yaml:3:8: 'real' is not known here; known are virtual, live",
        ),
        (
            "scenario: t\nversion: 1\nalways: [raff]\nsteps: []",
            "f.yaml:3:10: unknown promise 'raff'; did you mean 'raft'?",
        ),
        (
            "scenario: t\nversion: 1\ncluster: {nodes: 0}\nsteps: []",
            "f.yaml:3:18: expected a whole number >= 1, got 0",
        ),
        (
            "scenario: t\nversion: 1\nchaos: {for: 5s, faults: {cutt: 1}}",
            "f.yaml:3:27: no random fault 'cutt'; did you mean",
        ),
        (
            'scenario: t\nversion: 1\ncluster: {wall_clock: "0000-01-01T00:00Z"}\nsteps: [wait: 1s]',
            "f.yaml:3:23: '0000-01-01T00:00Z' is not a date and time in UTC",
        ),
        (
            f"scenario: t\nversion: 1\ncluster: {{raft: {{election_max: {'9' * 400}s}}}}\nsteps: [wait: 1s]",
            "f.yaml:3:32: '999",
        ),
        ("scenario: t\nversion: 1\nchaos: {every: 1s}", "f.yaml:3:8: 'for' is missing"),
    ],
)
def test_a_mistake_outside_of_steps_is_named(text: str, mistake: str):
    assert mistakes(text)[0].startswith(mistake)


def test_nodes_of_a_cluster_that_runs_may_have_dashes_in_their_names():
    names = ("web-1", "web-2")
    steps = "steps: [cut: web-1, restore: web-1->web-2, delay: {by: 5ms, links: [web-2, leader->web-1]}]"
    assert len(read_scenario(f"scenario: t\nversion: 1\n{steps}", nodes=names).steps) == 3
    with pytest.raises(WrongScenario, match="'web-1-web-2' is no link; .* where names have dashes write a->b"):
        read_scenario("scenario: t\nversion: 1\nsteps: [cut: web-1-web-2]", nodes=names)


def test_every_mistake_of_a_file_is_found_at_once_in_its_order():
    found = mistakes(
        """\
        scenario: t
        version: 1
        cluster: {nodes: many, capcity: 3}
        steps:
          - isolate: leeder
          - heel: all
        """
    )
    assert [mistake.split(":")[1] for mistake in found] == ["3", "3", "5", "6"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "always: [raf, 'leader = 1', 3]\nsteps: [{wait: 1s}]",
            ["unknown promise 'raf'", "not a condition", "expected a text, got 3"],
        ),
        (
            "chaos: {for: soon, every: 0s, clients: x, faults: {cutt: 1, crash: -1, disk: 1}}",
            [
                "'soon' is not a time",
                "no time passes between faults",
                "expected a whole number, got 'x'",
                "no random fault 'cutt'",
                "expected a number >= 0.0, got -1",
                "disk faults need",
            ],
        ),
        ("steps:\n  - expect: {leader: nod_1, leaders: x}", ["no node 'nod_1'", "expected a whole number, got 'x'"]),
        ("steps:\n  - label: {nod_1: {a: 1}}", ["no node 'nod_1'", "expected a text, got 1"]),
        ("steps:\n  - disk: {slow: 5}", ["disk faults need simulated disks", "5 is not a time"]),
        ("steps:\n  - {heel: all, for: 4}", ["unknown word 'heel'", "4 is not a time"]),
        ("steps:\n  - {isolate: nod_1, crash: one}", ["a step has exactly one verb", "no node 'nod_1'"]),
        ("cluster: {nodes: 7, capcity: 3, disks: {}}\nsteps:\n  - disk: {of: node_6, full: true}", ["unknown word"]),
        ("steps:\n  - update: {w w: {}, web: {imge: x}}", ["'w w' is not a name", "unknown field imge"]),
    ],
)
def test_every_mistake_is_found_also_beside_others_and_none_that_only_follows(text: str, found: list[str]):
    told = mistakes(f"scenario: t\nversion: 1\n{text}")
    for one, expected in zip(told, found, strict=True):
        assert expected in one


def test_a_file_that_cannot_be_read_is_a_mistake_too(tmp_path):
    with pytest.raises(WrongScenario, match="missing.yaml:1:1: cannot be read: No such file"):
        read_scenario_file(tmp_path / "missing.yaml")


def test_the_json_schema_has_every_verb_with_its_modifiers_and_every_promise():
    schema = json_schema()
    steps = schema["properties"]["steps"]["items"]["oneOf"]
    assert [step["required"] for step in steps] == [[verb] for verb in VERBS]
    for step, (name, verb) in zip(steps, VERBS.items(), strict=True):
        assert set(step["properties"]) == {name, *FOR_ALL, *verb.modifiers}
    assert schema["properties"]["always"]["items"]["anyOf"][0]["enum"] == list(CHECKERS)
    assert {word for verb in VERBS.values() for word in verb.modifiers} < set(MODIFIERS)
