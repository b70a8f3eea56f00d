"""Scenarios in clusters of clusters: verbs act where they are told to, and promises are watched in every cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from raftyard.actors.scenarios import ScenarioFailed, Simulation, StepFailed, WrongScenario, read_scenario

INNER = "0.inner"
ALWAYS = ("raft", "no-replica-lost", "no-replica-twice", "capacity-never-exceeded", "calls-executed-once")


@pytest.fixture
def sim() -> Iterator[Simulation]:
    """Five nodes, and a cluster of three in them with nine replicas."""
    with Simulation(seed=1, always=ALWAYS) as made:
        made.eventually("leader is not None")
        made.submit({"container": {"name": "inner", "replicas": 3, "slots": 20, "cluster": {}}}, within="5s")
        with made.acting_in(INNER):
            made.eventually("leader is not None")
            made.submit({"container": {"name": "web", "replicas": 9}}, within="5s")
        made.settle()
        yield made


def test_verbs_act_and_conditions_look_in_the_cluster_that_is_named(sim: Simulation):
    with sim.acting_in(INNER):
        assert sim.names() == ["node_0.1", "node_1.2", "node_2.3"]
        sim.expect(replicas={"web": 9}, nodes=3)
        old = sim.leader()
        with sim.isolate("leader"):
            sim.eventually(lambda view: view.leader not in (None, old))
        assert [link for link in sim.view.links if link.cut] == []
    sim.expect(replicas={"inner": 3}, nodes=5)
    assert not sim.view.service("web").replicas


def test_a_fault_is_undone_where_it_was_made_whatever_is_acted_on_meanwhile(sim: Simulation):
    with sim.acting_in(INNER):
        sim.crash("node_0.1", for_="2s")
        sim.cut("node_1.2-node_2.3", for_="2s")
    sim.crash("node_4", for_="1s")
    sim.wait("3s")
    with sim.acting_in(INNER):
        assert [link for link in sim.view.links if link.cut] == []
        sim.eventually("node('node_0.1').role in ('leader', 'follower')")


def test_a_fault_whose_cluster_goes_meanwhile_ends_all_the_same(sim: Simulation):
    with sim.acting_in(INNER):
        sim.cut("node_0.1", for_="20s")
        sim.loss("10%", for_="20s")
        sim.begin_drain("node_1.2", for_="20s")
        sim.pause("node_2.3", for_="20s")
        sim.clock("node_2.3", rate=1.1, for_="20s")
        sim.crash("node_1.2", for_="20s")
    sim.delete("inner", within="15s")
    sim.wait("20s")
    ended = [event.data["verb"] for event in sim.events if event.kind == "fault-ended"]
    assert ended == ["cut", "loss", "drain", "pause", "clock", "crash"]
    sim.settle()


def test_settling_mends_and_awaits_nested_clusters_too(sim: Simulation):
    with sim.acting_in(INNER):
        sim.cut("node_0.1")
        sim.crash("node_1.2")
    assert "0.inner" in (sim.why_unsettled() or "")
    sim.settle()
    assert sim.why_unsettled() is None


def test_an_update_and_a_scaling_of_the_service_change_the_nodes(sim: Simulation):
    sim.scale({"inner": 5})
    sim.settle()
    with sim.acting_in(INNER):
        sim.expect(nodes=5, replicas={"web": 9})
    sim.update({"inner": {"reservations": {"slots": 30}, "update": {"monitor_s": 0.5}}}, within="60s")
    sim.settle()
    with sim.acting_in(INNER):
        sim.expect(nodes=5, replicas={"web": 9})
        assert {node.capacity for node in sim.view.nodes} == {30}


def test_a_promise_that_is_broken_in_a_nested_cluster_is_noticed(sim: Simulation):
    with sim.acting_in(INNER):
        agent = sim.inside.agent("node_1.2")
    assert agent is not None
    agent._running = agent._running[1:]
    with pytest.raises(ScenarioFailed, match=r"web replica \d, said to run on node_1\.2, does not run"):
        sim.wait("15s")
    sim.watch.broken = None  # it has been told
    agent._version = -1


def test_a_service_call_that_a_nested_cluster_only_claims_to_have_executed_is_noticed(sim: Simulation):
    with sim.acting_in(INNER):
        sim.history.executed["never-made"] = None
    with pytest.raises(ScenarioFailed, match="never-made was reported as executed"):
        sim.end()
    sim.watch.broken = None  # it has been told


def test_a_nested_cluster_that_goes_early_is_judged_by_what_it_did(sim: Simulation):
    with sim.acting_in(INNER):
        sim.history.executed["never-made"] = None
    sim.delete("inner", within="15s")
    with pytest.raises(ScenarioFailed, match="never-made was reported as executed"):
        sim.wait("3s")
    sim.watch.broken = None  # it has been told


def test_a_nested_cluster_that_is_made_again_is_judged_by_a_history_of_its_own():
    inner = {"container": {"name": "inner", "replicas": 3, "cluster": {}}}
    with Simulation(nodes=3, seed=1, always=("calls-executed-once", "linearizable", "converges")) as sim:
        sim.eventually("leader is not None")
        for _ in range(2):
            sim.submit(inner, within="5s")
            with sim.acting_in(INNER):
                sim.eventually("leader is not None", within="30s")
                assert sim.read("web", within="5s") is None
                sim.write({"web": 1}, within="10s")
                assert sim.read("web", within="5s") == 1
            sim.delete("inner", within="30s")
            sim.wait("5s")
        sim.submit(inner, within="5s")
        sim.settle()


def test_a_file_names_the_cluster_with_in_and_its_nodes_need_not_be_known():
    text = "scenario: x\nversion: 1\nsteps:\n  - cut: node_0.1-node_1.2\n"
    with pytest.raises(WrongScenario, match=r"no node 'node_0\.1'"):
        read_scenario(text)
    made = "  - submit: {container: {name: inner, replicas: 3, cluster: {}}}\n"
    inside = text.replace("  - cut", f"{made}  - cut") + "    in: 0.inner\n"
    assert read_scenario(inside).steps[1].in_ == "0.inner"
    with pytest.raises(WrongScenario, match=r"6:9: no cluster '0\.iner'.*did you mean '0\.inner'") as caught:
        read_scenario(inside.replace("0.inner", "0.iner") + "  - isolate: leeder\n")
    assert len(caught.value.mistakes) == 2
    with pytest.raises(WrongScenario, match=r"no cluster '0\.inner'; known are 0; an earlier step makes one"):
        read_scenario(text + "    in: 0.inner\n")


def test_a_cluster_that_is_not_there_fails_the_step(sim: Simulation):
    with sim.acting_in("0.other"), pytest.raises(ScenarioFailed):
        sim.submit({"container": {"name": "web", "replicas": 9}}, within="5s")
    for verb in (lambda: sim.isolate("all"), lambda: sim.cut("all"), lambda: sim.expect("leader is None"), sim.add):
        with sim.acting_in("0.other"), pytest.raises(StepFailed, match=r"no cluster '0\.other' now"):
            verb()
