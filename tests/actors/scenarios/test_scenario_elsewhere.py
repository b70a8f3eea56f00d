"""Scenarios on a cluster that ran before: what somebody else had done to it is so again at the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from raftyard.actors import OrchestratorSettings, start_orchestrator
from raftyard.actors.messages import (
    ORCHESTRATOR,
    DescribeLinkRequest,
    LinkPolicy,
    ListClusters,
    SetConnections,
    SetLinkPolicyRequest,
    UpdateNodeRequest,
    cluster_actor,
)
from raftyard.actors.scenarios import ScenarioFailed, Simulation
from raftyard.actors.system import System

SLOW = LinkPolicy(delay_s=0.03)


def door(system: System, cluster: str) -> None:
    start_orchestrator(system, OrchestratorSettings(nodes=4))
    system.ask(ORCHESTRATOR, ListClusters(), 10.0)


@pytest.fixture
def sim() -> Iterator[Simulation]:
    with Simulation(clock="live", always=(), door=door) as made:
        made.eventually("leader is not None and count(n.leader == leader for n in nodes) == 4")
        yield made


def told(sim: Simulation, message: Any) -> Any:
    """What somebody else asks of the cluster, behind the scenario's back."""
    return sim.system.ask(cluster_actor("0"), message, 10.0)


def cut(sim: Simulation) -> set[tuple[str, str]]:
    return {(link.source, link.target) for link in sim.view.links if link.cut}


def policy(sim: Simulation, source: str, target: str) -> LinkPolicy:
    return told(sim, DescribeLinkRequest(source=source, target=target)).status.policy


def availability(sim: Simulation, node: str) -> str:
    return str(told(sim, UpdateNodeRequest(node=node, body={}))["availability"])


def test_a_link_that_was_cut_before_is_cut_after_the_last_of_two_faults(sim: Simulation):
    told(sim, SetConnections(matrix={"node_1": {"node_2": 0}}))
    with sim.isolate("node_2"):
        with sim.cut("node_1-node_2"):
            assert len(cut(sim)) == 6
        assert len(cut(sim)) == 6
    assert cut(sim) == {("node_1", "node_2")}


def test_a_link_is_as_slow_as_it_was_before_after_the_last_of_two_faults(sim: Simulation):
    told(sim, SetLinkPolicyRequest(source="node_1", target="node_3", policy=SLOW))
    with sim.loss("1%", links="node_1->node_3"):
        with sim.delay("5ms", links="node_1-node_3"):
            assert policy(sim, "node_1", "node_3") == LinkPolicy(delay_s=0.005, loss=0.01)
        assert policy(sim, "node_1", "node_3") == LinkPolicy(delay_s=0.03, loss=0.01)
    assert policy(sim, "node_1", "node_3") == SLOW
    assert policy(sim, "node_3", "node_1") == LinkPolicy()


@pytest.mark.parametrize("before", ["active", "pause", "drain"])
def test_a_node_is_for_what_it_was_for_after_the_last_of_two_drains(sim: Simulation, before: str):
    told(sim, UpdateNodeRequest(node="node_2", body={"availability": before}))
    with sim.drain("node_2"):
        with sim.begin_drain("node_2"):
            assert availability(sim, "node_2") == "drain"
        assert availability(sim, "node_2") == "drain"
    assert availability(sim, "node_2") == before


def test_settling_ends_drains_of_this_scenario_and_no_others(sim: Simulation):
    told(sim, UpdateNodeRequest(node="node_3", body={"availability": "drain"}))
    sim.drain(["node_2", "node_3"])
    sim.settle()
    assert availability(sim, "node_2") == "active" and availability(sim, "node_3") == "drain"


def test_a_gentle_drain_of_somebody_else_is_as_gentle_afterwards(sim: Simulation):
    body = {"availability": "drain", "drain": {"max_parallel": 2, "deadline_s": 900.0}}
    told(sim, UpdateNodeRequest(node="node_2", body=body))
    with sim.drain("node_2"):
        assert told(sim, UpdateNodeRequest(node="node_2", body={}))["drain"]["max_parallel"] == 0
    drain = told(sim, UpdateNodeRequest(node="node_2", body={}))["drain"]
    assert drain["max_parallel"] == 2 and 800 < drain["deadline_in_s"] <= 900


def test_healing_leaves_what_somebody_else_did_and_restore_does_not(sim: Simulation):
    told(sim, SetConnections(matrix={"node_1": {"node_2": 0}, "node_3": {"node_2": 0}}))
    told(sim, SetLinkPolicyRequest(source="node_1", target="node_3", policy=SLOW))
    sim.isolate("node_1")
    sim.delay("1ms")
    sim.heal()
    assert cut(sim) == {("node_1", "node_2"), ("node_3", "node_2")}
    assert policy(sim, "node_1", "node_3") == SLOW
    sim.restore("node_1-node_2")
    with sim.isolate("node_1"):
        pass
    assert cut(sim) == {("node_3", "node_2")}


def test_a_cluster_that_somebody_else_broke_cannot_be_judged_and_stays_as_it_is(sim: Simulation):
    matrix = {node: {"node_2": 0} for node in ("node_0", "node_1", "node_3")}
    told(sim, SetConnections(matrix=matrix))
    told(sim, UpdateNodeRequest(node="node_3", body={"availability": "pause"}))
    sim.eventually("node('node_2').role == 'candidate'")
    with pytest.raises(ScenarioFailed, match="cannot be judged") as failed:
        sim.settle("100ms")
    sim.watch.broken = None  # so that leaving the block does not say it again
    said = ", ".join(f"{node}->node_2 is cut" for node in matrix)
    assert f"not by this scenario {said}, node_3 is on pause; mend that first" in str(failed.value)
    assert cut(sim) == {(node, "node_2") for node in matrix}


def test_a_cluster_that_is_in_order_all_the_same_is_judged(sim: Simulation):
    told(sim, UpdateNodeRequest(node="node_3", body={"availability": "pause"}))
    sim.isolate("node_1")
    sim.settle("20s")
    assert cut(sim) == set()
