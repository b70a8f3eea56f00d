"""Verbs that ask the cluster something: what they do while nobody can answer yet."""

from __future__ import annotations

import pytest
from scenario_texts import played

from raftyard.actors.scenarios import Simulation, told


@pytest.mark.parametrize("verb", ["add: spare", "remove: follower", "wipe: follower", "drain: follower", "add: node_9"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_verb_asks_again_while_the_leader_is_not_known_to_the_cluster_yet(verb: str, seed: int):
    outcome = played(f"- eventually: leader is not None\n- {verb}", seed=seed)
    assert outcome.passed, told(outcome)


def test_a_verb_that_no_leader_answers_for_seconds_says_so():
    outcome = played("- eventually: leader is not None\n- isolate: all\n- wait: 3s\n- add: spare")
    assert outcome.failure is not None and "has no leader at the moment" in outcome.failure.reason
    assert 4.5e9 < outcome.failure.t_ns < 6.5e9


@pytest.mark.parametrize("nodes", [0, -1, 1001])
def test_a_simulation_without_nodes_or_with_too_many_is_refused(nodes: int):
    with pytest.raises(ValueError, match=f"a cluster has 1 to 1000 nodes, not {nodes}"):
        Simulation(nodes=nodes)
