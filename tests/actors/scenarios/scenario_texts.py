"""Scenario texts under test."""

from __future__ import annotations

from textwrap import dedent

from raftyard.actors.scenarios import Outcome, Scenario, play, read_scenario

ISOLATION = """\
scenario: a leader is isolated and its service survives
version: 1
seed: 42                       # optional; --seed overrides, and a run prints the one it used
clock: virtual                 # or live
cluster: {nodes: 5, capacity: 100}
always: [raft, no-replica-lost, at-most-one-leader-per-term]     # checked after every event
steps:
  - eventually: count(n.role == 'leader' for n in nodes) == 1
    within: 5s
  - submit: {containers: [{description: web, replicas: 10}]}
  - isolate: leader
    for: 4s                    # undone by itself
  - cut: [node_1-node_2, node_1->node_3]      # "-" both ways, "->" one way
    at: 8s                     # from the start of the scenario
  - partition: [[node_0, node_1], [node_2, node_3, node_4]]
  - heal: all
  - expect: {replicas: {web: 10}}
"""


def scenario(steps: str, head: str = "") -> Scenario:
    """A scenario of these steps."""
    body = "\n".join("  " + line for line in dedent(steps).strip().splitlines())
    return read_scenario(
        f"scenario: test\nversion: 1\nseed: 1\n{dedent(head)}\nsteps:\n{body}\n", "test.yaml"
    )


def played(steps: str, head: str = "", **options: int) -> Outcome:
    """Play steps on the virtual clock; `head` adds sections."""
    return play(scenario(steps, head), **options)
