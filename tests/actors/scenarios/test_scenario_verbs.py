"""Every verb does what it says, in Python as in a file."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from raftyard.actors.scenarios import (
    ScenarioFailed,
    Simulation,
    StepFailed,
    WrongScenario,
    play,
    read_scenario,
)
from raftyard.actors.scenarios.format import VERBS, ClusterShape, DiskShape

ALWAYS = (
    "raft",
    "at-most-one-leader-per-term",
    "committed-never-lost",
    "no-replica-lost",
    "no-replica-twice",
)


@pytest.fixture
def sim() -> Iterator[Simulation]:
    """Five nodes and a leader."""
    with Simulation(seed=1, always=ALWAYS) as made:
        made.eventually("leader is not None")
        made.wait("1s")
        yield made


@pytest.fixture
def disks() -> Iterator[Simulation]:
    with Simulation(
        seed=1, always=(*ALWAYS, "durable-stays-durable"), cluster=ClusterShape(disks=DiskShape())
    ) as made:
        made.eventually("leader is not None")
        made.wait("1s")
        yield made


def cuts(sim: Simulation) -> list[tuple[str, str]]:
    return [(link.source, link.target) for link in sim.view.links if link.cut]


def test_every_verb_of_a_file_is_a_method():
    assert not [verb for verb in VERBS if not callable(getattr(Simulation, verb, None))]


def test_the_example_of_the_package_runs():
    with Simulation(nodes=5, seed=1) as sim:
        sim.eventually("leader is not None")
        sim.submit({"container": {"name": "web", "replicas": 10}}, within="5s")
        with sim.isolate("leader"):
            sim.eventually(
                "count(n.role == 'leader' for n in nodes) == 1 and happened('leader-elected') == 2",
                within="5s",
            )
        sim.settle()
        sim.expect(replicas={"web": 10}, leaders=1, nodes=5)


# -- links


def test_cut_and_restore_by_direction_by_node_and_by_group(sim: Simulation):
    sim.cut(["node_0->node_1", "node_2-node_3"])
    assert cuts(sim) == [("node_0", "node_1"), ("node_2", "node_3"), ("node_3", "node_2")]
    sim.restore("node_2->node_3")
    assert cuts(sim) == [("node_0", "node_1"), ("node_3", "node_2")]
    sim.heal()
    sim.cut("leader->all")
    assert cuts(sim) == [(sim.leader(), name) for name in sim.names() if name != sim.leader()]


def test_a_leader_that_is_isolated_is_replaced(sim: Simulation):
    old = sim.leader()
    with sim.isolate("leader"):
        sim.eventually(lambda view: view.leader not in (None, old), within="3s")
        assert len(cuts(sim)) == 8
    assert cuts(sim) == []


@pytest.mark.parametrize(
    ("shape", "hears"), [("halves", {1, 2}), ("majority", {1, 2}), ("ring", {2}), ("bridge", {2, 4})]
)
def test_partitions_have_their_shapes(sim: Simulation, shape: str, hears: set[int]):
    sim.partition(shape)
    cut = cuts(sim)
    names = sim.names()
    assert sorted(cut) == sorted((b, a) for a, b in cut), "both ways"
    assert {4 - sum(source == name for source, _ in cut) for name in names} == hears


def test_a_partition_by_majority_leaves_the_leader_with_the_few(sim: Simulation):
    leader = sim.leader()
    sim.partition("majority")
    assert sum(source == leader for source, _ in cuts(sim)) == 3
    sim.eventually(lambda view: view.leader not in (None, leader), within="3s")


def test_nodes_that_no_group_names_are_one_more_group(sim: Simulation):
    sim.partition([["node_0", "node_1"]])
    assert len(cuts(sim)) == 12 and ("node_2", "node_3") not in cuts(sim)
    with pytest.raises(StepFailed, match="a node stands in two groups"):
        sim.partition([["node_0"], ["node_0"]])


def policy(sim: Simulation, source: str, target: str):
    from raftyard.actors.messages import DescribeLink, link_actor

    return sim.system.ask(link_actor("0", source, target), DescribeLink()).policy


def test_links_become_slow_and_lossy_in_layers_and_calm_again(sim: Simulation):
    slow = sim.delay("50ms", jitter="5ms", links="node_0-node_1")
    sim.loss("20%")
    sim.duplicate("10%", links="node_0->node_1", for_="1s")
    sim.reorder("30%", links="node_0->node_1")
    found = policy(sim, "node_0", "node_1")
    assert (found.delay_s, found.jitter_s, found.loss, found.duplicate, found.reorder) == (
        0.05,
        0.005,
        0.2,
        0.1,
        0.3,
    )
    assert policy(sim, "node_2", "node_3").loss == 0.2
    slow.undo()
    sim.wait("1s")
    found = policy(sim, "node_0", "node_1")
    assert (found.delay_s, found.loss, found.duplicate, found.reorder) == (0.0, 0.2, 0.0, 0.3)
    sim.heal("node_0")
    assert policy(sim, "node_0", "node_1").loss == 0.0 and policy(sim, "node_2", "node_3").loss == 0.2


# -- nodes


def test_a_crashed_node_is_down_until_it_is_restarted_and_its_replicas_move(sim: Simulation):
    sim.submit({"container": {"name": "web", "replicas": 10}}, within="5s")
    sim.crash("follower")
    (down,) = [node.name for node in sim.view.nodes if node.role == "down"]
    sim.eventually(lambda view: view.service("web").on.get(down) is None and view.service("web").placed == 10)
    sim.wait("5s")
    sim.expect(roles={down: "down"})
    sim.restart(down)
    sim.eventually(roles={down: "follower"}, within="3s")
    sim.settle()


def test_a_crash_for_a_time_ends_by_itself(sim: Simulation):
    sim.crash("leader", for_="2s")
    sim.wait("1s")
    assert sum(node.role == "down" for node in sim.view.nodes) == 1
    sim.eventually("count(n.role == 'down' for n in nodes) == 0", within="2s")
    sim.settle()


def test_a_paused_leader_is_replaced_and_steps_down_when_it_goes_on(sim: Simulation):
    old = sim.leader()
    sim.pause("leader", for_="3s")
    sim.eventually(lambda view: view.leader not in (None, old), within="3s")
    assert sim.view.node(old).role == "leader", "it does not know yet"
    sim.wait("3s")
    sim.eventually(lambda view: view.node(old).role == "follower", within="1s")
    sim.settle()


def test_nodes_join_leave_and_are_replaced(sim: Simulation):
    assert sim.add("spare", capacity=7) == "spare"
    sim.eventually("count(n.role != 'down' for n in nodes) == 6", within="5s")
    sim.remove("node_1")
    sim.eventually(nodes=5, within="5s")
    sim.wipe("node_2")
    sim.settle()
    assert sim.view.node("node_2").applied > 0
    with pytest.raises(StepFailed, match="no node 'node_1'"):
        sim.isolate("node_1")


def test_the_leadership_is_handed_over(sim: Simulation):
    target = next(name for name in sim.names() if name != sim.leader())
    sim.transfer(target)
    assert sim.leader() == target
    sim.cut(f"{sim.leader()}-all")
    with pytest.raises(StepFailed, match="transfer: .* does not lead within 2 s"):
        sim.transfer(next(name for name in sim.names() if name != target), within="2s")
    sim.settle()


# -- disks


def test_disks_get_slow_full_and_lose_their_power(disks: Simulation):
    disks.submit({"container": {"name": "web", "replicas": 5}}, within="5s")
    with disks.disk("all", slow="100ms"):
        before = disks.now
        disks.submit({"container": {"name": "web", "replicas": 6}}, within="5s")
        assert disks.now - before >= 0.2
    disks.disk("one", full=True, for_="3s")
    disks.submit({"container": {"name": "web", "replicas": 7}}, within="5s")
    disks.wait("4s")
    disks.disk("all", lose_power=True)
    disks.settle()
    disks.expect(replicas={"web": 7})
    assert disks.view.happened("storage-failed") > 0


def test_a_flipped_bit_is_found_at_the_next_start(disks: Simulation):
    for replicas in range(1, 9):
        disks.submit({"container": {"name": "web", "replicas": replicas}}, within="5s")
    node = next(name for name in disks.names() if name != disks.leader())
    disks.disk(node, flip_bit=True)
    disks.restart(node)
    disks.wait("2s")
    (failed,) = [event for event in disks.events if event.kind == "storage-failed"]
    assert failed.node == node and failed.data["is_damaged"]
    disks.wipe(node)
    disks.settle()


def test_the_disk_of_a_paused_node_is_broken_and_made_good_at_once(disks: Simulation):
    for replicas in range(1, 9):
        disks.submit({"container": {"name": "web", "replicas": replicas}}, within="5s")
    node = next(name for name in disks.names() if name != disks.leader())
    before = disks.now
    disks.pause(node)
    with disks.disk("all", slow="5ms"):
        pass
    disks.disk(node, flip_bit=True)
    assert disks.now - before < 0.1
    disks.restart(node)
    disks.wait("2s")
    assert [event.node for event in disks.events if event.kind == "storage-failed"] == [node]


def test_a_paused_node_that_loses_its_power_starts_again(disks: Simulation):
    node = next(name for name in disks.names() if name != disks.leader())
    disks.pause(node, for_="10s")
    disks.disk("all", lose_power=True)
    disks.wait("3s")
    disks.expect(f"node({node!r}).role != 'down' and node({node!r}).leader == leader")
    disks.settle()
    assert not [event for event in disks.events if event.kind == "node-resumed"]


def test_disk_faults_need_disks(sim: Simulation):
    with pytest.raises(StepFailed, match="start the cluster with simulated disks"):
        sim.disk("all", full=True)


# -- services, reads, writes


def test_reads_and_writes_make_a_history(sim: Simulation):
    assert sim.read("x") is None
    assert sim.write({"x": 3}, within="5s")
    assert sim.read("x", via="follower", within="2s") == 3
    put, get = sim.history.operations[-2:]
    assert (put.kind, put.argument, put.end is not None, get.result) == ("put", "3", True, "3")


def test_a_write_that_nobody_confirms_is_noted_as_unknown(sim: Simulation):
    sim.isolate("all")
    assert not sim.write({"x": 3})
    assert sim.history.operations[-1].end is None
    with pytest.raises(StepFailed, match="write: not confirmed within 2 s"):
        sim.write({"x": 4}, within="2s")
    with pytest.raises(StepFailed, match="read: .* does not answer within 1 s"):
        sim.read("x", via="node_0", within="1s")
    sim.settle()


@pytest.mark.parametrize(
    ("values", "why"), [({"web": -3}, "-3 is too small"), ({"w w": 3}, "cannot stand in a URL")]
)
def test_a_write_that_is_refused_fails_its_step_at_once(sim: Simulation, values: dict[str, int], why: str):
    before = sim.now
    with pytest.raises(StepFailed, match=f"write: .*{why}"):
        sim.write(values)
    assert sim.now - before < 1


def test_a_write_in_a_cluster_that_is_not_there_fails_its_step(sim: Simulation):
    with sim.acting_in("0.inner"), pytest.raises(StepFailed, match=r"no cluster '0\.inner' now"):
        sim.write({"web": 3})


@pytest.mark.parametrize(
    ("does_nothing", "said"),
    [
        (lambda sim: sim.eventually(), "nothing is expected; write a condition, or replicas"),
        (lambda sim: sim.expect(), "nothing is expected"),
        (lambda sim: sim.expect(replicas={}), "nothing is expected"),
        (lambda sim: sim.never(), "nothing is expected"),
        (lambda sim: sim.clock("node_1"), "nothing happens; add leap or rate"),
        (lambda sim: sim.clock("node_1", rate=0), "write a rate above 0, not 0"),
        (lambda sim: sim.wait(-5), "-5 s is no time that can pass; write 0 or more"),
        (lambda sim: sim.wait(float("nan")), "nan s is no time"),
        (lambda sim: sim.scale({}), "scale: nothing changes; name a service"),
        (lambda sim: sim.update({}), "update: nothing changes"),
        (lambda sim: sim.write({}), "write: nothing changes"),
    ],
)
def test_what_does_nothing_is_no_step_in_python(sim: Simulation, does_nothing, said: str):
    with pytest.raises(ValueError, match=re.escape(said)):
        does_nothing(sim)


def test_a_word_that_is_wrong_in_python_is_answered_with_the_nearest(sim: Simulation):
    with pytest.raises(TypeError, match="unknown word 'replica'; did you mean 'replicas'?"):
        sim.expect(replica={"web": 3})
    with pytest.raises(ValueError, match="deploy: 'stack' is missing: the name of the stack"):
        sim.deploy({})


def test_a_disk_fault_that_does_nothing_is_none(disks: Simulation):
    with pytest.raises(ValueError, match="disk: nothing happens; add slow, full"):
        disks.disk("node_1")


def test_a_read_asks_one_node(sim: Simulation):
    with pytest.raises(StepFailed, match="read: it is asked of one node, not node_0, node_1"):
        sim.read("web", via="all")


@pytest.mark.parametrize("links", ["follower-follower", "one-one", "one->follower", "leader-one", "one-node_2"])
def test_a_link_between_nodes_that_are_drawn_joins_two(sim: Simulation, links: str):
    for _ in range(20):
        pairs = sim.pairs_of(links)
        assert len(pairs) == (1 if ">" in links else 2) and all(a != b for a, b in pairs)


def test_a_link_or_partition_that_cuts_nothing_is_said():
    with Simulation(nodes=2, seed=1) as sim:
        sim.eventually("leader is not None")
        follower = next(name for name in sim.names() if name != sim.leader())
        with pytest.raises(StepFailed, match=f"no link is 'follower-follower' now: {follower} stands on both sides"):
            sim.cut("follower-follower")
        with pytest.raises(StepFailed, match="every node is in one group, so nothing is cut"):
            sim.partition([["all"]])


def test_a_call_without_within_is_only_made(sim: Simulation):
    sim.isolate("all", for_="3s")
    call = sim.submit({"container": {"name": "web", "replicas": 3}})
    assert call in sim.history.accepted and call not in sim.history.executed
    with pytest.raises(StepFailed, match="submit: the call is not executed within 1 s"):
        sim.submit({"container": {"name": "web", "replicas": 4}}, within="1s")
    sim.settle()
    sim.expect(replicas={"web": 4})


def test_a_read_is_asked_again_until_its_time_is_up(sim: Simulation):
    assert sim.write({"x": 3}, within="5s")
    sim.isolate("node_0", for_="2500ms")
    begun = sim.now
    assert sim.read("x", via="node_0", within="5s") == 3
    assert sim.now - begun >= 2.5


def test_a_write_that_is_confirmed_in_the_same_instant_still_has_an_order():
    with Simulation(seed=1, always=("linearizable",)) as sim:
        sim.wait("1s")
        assert sim.write({"x": 3}) and sim.now == 1.0
        (put,) = sim.history.operations
        assert put.end is not None and put.start < put.end


def test_services_are_scaled_and_leave_the_rest_of_their_specs_alone(sim: Simulation):
    sim.update({"web": {"image": "web:1", "replicas": 2}}, within="5s")
    sim.scale({"web": 7}, within="5s")
    service = sim.inside.state().service("web")
    assert (service.spec.image, service.replicas, service.placed) == ("web:1", 7, 7)
    with pytest.raises(StepFailed, match="scale db: no service 'db'"):
        sim.scale({"db": 1})
    with pytest.raises(StepFailed, match="scale: not done within 1 s; now: .*web 500/501"):
        sim.scale({"web": 501}, within="1s")


def test_an_update_replaces_the_replicas_or_says_that_it_was_rolled_back(sim: Simulation):
    policy = {"monitor_s": 1, "parallelism": 0, "failure_action": "rollback"}
    sim.update({"web": {"image": "web:1", "replicas": 4, "update": policy}}, within="5s")
    first = {task.id for task in sim.inside.state().tasks_of("node_0")}
    sim.update({"web": {"image": "web:2"}}, within="10s")
    assert sim.view.service("web").update == "completed"
    assert not first & {task.id for task in sim.inside.state().tasks_of("node_0") if task.desired < 640}
    with pytest.raises(StepFailed, match="update: not done within 20 s"):
        sim.update({"web": {"simulate": {"fails_to_start": True}}}, within="20s")
    sim.expect("service('web').update == 'rollback_completed'")
    with pytest.raises(StepFailed, match="update web: unknown field imge"):
        sim.update({"web": {"imge": "x"}})


def test_services_are_rolled_back_and_deleted(sim: Simulation):
    sim.update({"web": {"image": "web:1", "replicas": 4, "update": {"parallelism": 0, "monitor_s": 0}}}, within="5s")
    sim.update({"web": {"image": "web:2"}}, within="10s")
    sim.rollback("web", within="10s")
    service = sim.inside.state().service("web")
    assert (service.spec.image, sim.view.service("web").update) == ("web:1", "rollback_completed")
    with pytest.raises(StepFailed, match="rollback db: no service 'db'"):
        sim.rollback(["db", "web"])
    sim.update({"db": {"replicas": 3}}, within="5s")
    sim.delete(["web", "db"], within="5s")
    sim.wait("1s")
    assert not sim.view.services and not any(sim.inside.state().tasks_of(node.name) for node in sim.view.nodes)
    with pytest.raises(StepFailed, match="delete web: no service 'web'"):
        sim.delete("web")


JOB = {"mode": "replicated-job", "replicas": 6, "max_concurrent": 2, "simulate": {"run_s": 1}}


@pytest.mark.parametrize("clock", ["virtual", "live"])
def test_scale_and_update_wait_until_a_job_is_done(clock: str):
    run_s = 1 if clock == "virtual" else 0.05
    with Simulation(nodes=3, seed=1, clock=clock, always=()) as sim:
        sim.eventually("leader is not None")
        sim.update({"job": JOB | {"simulate": {"run_s": run_s}}}, within="30s")
        sim.expect("service('job').completed == 6 and service('job').given_up == 0 and service('job').placed == 0")
        sim.update({"all": {"mode": "replicated-job", "replicas": 2, "simulate": {"run_s": run_s}}}, within="30s")
        sim.expect("service('all').completed == 2")
        sim.update({"one": {"mode": "global-job", "simulate": {"run_s": run_s}}}, within="30s")
        sim.expect("service('one').mode == 'global-job' and service('one').completed == 3")
        sim.scale({"job": 8}, within="30s")
        sim.expect("service('job').completed == 8")
        sim.settle("30s")


def test_a_job_that_gives_up_is_done_too_and_one_that_is_not_says_how_far_it_is(sim: Simulation):
    failing = {"mode": "replicated-job", "replicas": 3, "restart": {"max_attempts": 1, "delay_s": 1}}
    sim.update({"bad": failing | {"simulate": {"fails_to_start": True}}}, within="60s")
    sim.expect("service('bad').given_up == 3 and service('bad').completed == 0")
    with pytest.raises(StepFailed, match=r"update: not done within 1\.5 s; now: .* job 2/6 \(2 completed\)"):
        sim.update({"job": JOB}, within="1.5s")
    sim.update({"job": {"labels": {"a": "b"}}}, within="30s")
    sim.expect("service('job').completed == 6")
    sim.update({"job": {"image": "job:2"}})
    sim.rollback("job", within="30s")
    sim.expect("service('job').completed == 6")


def test_a_run_of_a_schedule_is_waited_for_to_its_end(sim: Simulation):
    cron = {"mode": "cron", "schedule": "* * * * *", "replicas": 2, "simulate": {"run_s": 10}}
    sim.update({"tick": cron}, within="5s")
    sim.eventually("service('tick').placed == 2", within="2m")
    sim.update({"tick": {"labels": {"a": "b"}}}, within="20s")
    sim.expect("service('tick').completed == 2")


def test_an_autoscaled_service_is_not_scaled_beyond_its_bounds(sim: Simulation):
    policy = {"min": 2, "max": 4, "metric": "queue", "target": 50}
    sim.update({"web": {"replicas": 2, "autoscale": policy}}, within="5s")
    sim.scale({"web": 3}, within="5s")
    before = sim.now
    for many in (1, 9):
        why = f"scale web: it is autoscaled from 2 to 4 replicas and never has {many}; write a number between"
        with pytest.raises(StepFailed, match=why):
            sim.scale({"web": many}, within="30s")
    assert sim.now - before < 1


def test_a_drained_node_runs_nothing_until_the_drain_ends(sim: Simulation):
    sim.submit({"container": {"name": "web", "replicas": 10}}, within="5s")
    with sim.drain("leader", within="5s"):
        drained = sim.leader()
        assert sim.view.service("web").placed == 10 and drained not in sim.view.service("web").on
        sim.scale({"web": 20}, within="5s")
        assert drained not in sim.view.service("web").on
    sim.wait("1s")
    sim.scale({"web": 100}, within="5s")
    assert sim.view.service("web").on[drained] > 0
    sim.isolate(drained)
    with pytest.raises(StepFailed, match=f"drain: not empty within 1 s: {drained} "):
        sim.drain(drained, within="1s")


def test_a_gentle_drain_moves_a_few_at_a_time_and_the_rest_at_its_deadline(sim: Simulation):
    sim.update({"web": {"replicas": 50, "simulate": {"start_s": 1}}}, within="5s")
    sim.wait("2s")
    with pytest.raises(StepFailed, match="drain: not empty within 3 s: node_1 [678]"):
        sim.drain("node_1", max_parallel=1, within="3s")
    sim.drain("node_2", max_parallel=1, deadline="2s", within="5s")
    sim.drain("node_3", within="1s")
    sim.expect("service('web').placed == 50")
    with pytest.raises(StepFailed, match=r"drain node_3: a number is out of range \(use 0 or more\)"):
        sim.drain("node_3", max_parallel=-1)


@pytest.mark.parametrize("clock", ["virtual", "live"])
def test_labels_settings_and_stacks_stand_in_a_file(clock: str):
    text = """
scenario: labels decide where a stack goes
version: 1
cluster: {nodes: 3, capacity: 10}
steps:
  - eventually: leader is not None
    within: 10s
  - label: {node_1: {zone: a, rack: r1}, all: {disk: ssd}}
  - label: {node_1: {rack: null}}
  - update: {web: {replicas: 6, priority: 90, placement: {constraints: [node.labels.zone == a]}}}
    within: 10s
  - expect: service('web').on['node_1'] == 6
  - update: {racked: {replicas: 1, placement: {constraints: [node.labels.rack == r1]}}}
  - update: {fast: {replicas: 1, placement: {constraints: [node.labels.disk == ssd]}}}
    within: 10s
  - expect: service('racked').placed == 0
  - deploy: {stack: shop, services: {a: {image: 'a:1', deploy: {replicas: 20}}, b: {image: 'b:1'}}}
  - settings: {preemption: true}
  - scale: {web: 10}
    within: 10s
  - drain: {of: node_2, max_parallel: 2, deadline: 100ms}
    within: 10s
  - undeploy: shop
    within: 10s
  - expect: len(services) == 3
"""
    outcome = play(read_scenario(text, "labels"), seed=1, clock=clock)
    assert outcome.passed, outcome.failure


def test_labels_are_changed_one_by_one_also_those_of_a_node_that_is_down(sim: Simulation):
    sim.label({"follower": {"zone": "b"}, "node_3": {"zone": "a", "rack": "r"}})
    sim.crash("node_3")
    sim.wait("5s")
    sim.label({"node_3": {"zone": None, "disk": "ssd"}})
    record = next(node for node in sim.inside.state().nodes() if node.name == "node_3")
    assert dict(record.labels) == {"rack": "r", "disk": "ssd"}
    with pytest.raises(StepFailed, match="label node_3: 'a b' cannot name a label"):
        sim.label({"node_3": {"a b": "c"}})
    with pytest.raises(StepFailed, match="no node 'node_9'"):
        sim.label({"node_9": {"a": "b"}})


def test_settings_are_answered_and_a_stack_that_is_not_there_is_said(sim: Simulation):
    assert sim.settings(preemption=True)["preemption"] is True
    assert sim.settings()["preemption"] is True
    with pytest.raises(StepFailed, match="undeploy shop: no stack 'shop'"):
        sim.undeploy("shop")


# -- clocks


def test_a_clock_that_leaps_lets_its_node_ask_around_and_no_term_gets_two_leaders(sim: Simulation):
    follower = next(name for name in sim.names() if name != sim.leader())
    before = sim.inside.member(follower).context.now()
    sim.clock(follower, leap="1m")
    assert sim.inside.member(follower).context.now() - before == 60
    sim.wait("5s")
    sim.expect(leaders=1)
    sim.crash(follower, for_="1s")
    sim.wait("3s")
    assert sim.inside.member(follower).context.now() > sim.now + 59, "the next incarnation has the same clock"


def test_a_clock_that_is_too_fast_rings_early_and_is_set_right_without_going_back(sim: Simulation):
    node = sim.leader()
    heartbeats = sim.orchestrator_settings.raft.heartbeat_ms
    clock = sim.inside.member(node).context
    fault = sim.clock(node, rate=2.0)
    began = clock.now()
    sim.wait(1)
    assert clock.now() - began == pytest.approx(2.0), heartbeats
    fault.undo()
    shown = clock.now()
    sim.wait(1)
    assert clock.now() - shown == pytest.approx(1.0)
    sim.clock("all", rate=3.0, for_="2s")
    sim.settle()


def test_of_clock_faults_that_overlap_the_last_one_counts_until_it_ends(sim: Simulation):
    node = sim.leader()
    clock = sim.inside.member(node).context

    def rate() -> float:
        began = clock.now(), sim.now
        sim.wait("500ms")
        return round((clock.now() - began[0]) / (sim.now - began[1]), 3)

    sim.clock(node, rate=3.0, for_="2s")
    outer = sim.clock(node, rate=2.0)
    assert rate() == 2.0
    sim.wait("2s")
    assert rate() == 2.0, "the first has ended, the second has not"
    sim.clock(node, rate=5.0, for_="1s")
    sim.clock(node, leap="1s", for_="100ms")
    assert rate() == 5.0, "a leap changes no rate, nor does its end"
    sim.wait("1s")
    assert rate() == 2.0
    outer.undo()
    assert rate() == 1.0
    sim.clock(node, rate=2.0)
    sim.calm()
    assert rate() == 1.0


def test_a_call_that_is_refused_fails_its_step(sim: Simulation):
    with pytest.raises(StepFailed, match="submit: the number of replicas is missing"):
        sim.submit({"container": {"name": "web"}})


# -- conditions and targets


def test_expectations_say_what_is_otherwise(sim: Simulation):
    for expected, why in (
        ({"replicas": {"web": 3}}, "web has 0 replicas, not 3"),
        ({"leaders": 2}, "1 nodes lead, not 2"),
        ({"nodes": 4}, "there are 5 nodes, not 4"),
        ({"leader": "node_9"}, "leads, not node_9"),
        ({"roles": {sim.leader(): "follower"}}, "is leader, not follower"),
    ):
        with pytest.raises(StepFailed, match=why):
            sim.expect(**expected)


def test_groups_are_as_large_as_they_say(sim: Simulation):
    sizes = {
        word: len(sim.nodes_of(word)) for word in ("leader", "follower", "one", "minority", "majority", "all")
    }
    assert sizes == {"leader": 1, "follower": 1, "one": 1, "minority": 2, "majority": 3, "all": 5}
    assert sim.nodes_of("leader") != sim.nodes_of("follower")
    assert 1 <= len(sim.nodes_of("random")) <= 5
    assert sim.nodes_of(["node_1", "all"])[0] == "node_1"


def test_without_a_leader_the_step_says_what_to_do():
    with (
        Simulation(seed=1) as sim,
        pytest.raises(StepFailed, match="wait for it with `eventually: leader is not None`"),
    ):
        sim.isolate("leader")


def test_a_cluster_that_does_not_settle_breaks_the_promise_to_converge():
    sim = Simulation(seed=1)
    with (
        pytest.raises(ScenarioFailed, match="converges: not in order 0.1 s after everything was healed"),
        sim,
    ):
        sim.settle("0.1s")


# -- the live clock


def test_the_same_verbs_work_in_real_time():
    with Simulation(
        nodes=3, seed=1, clock="live", always=("at-most-one-leader-per-term", "linearizable", "raft")
    ) as sim:
        sim.eventually("leader is not None", within="5s")
        old = sim.leader()
        sim.submit({"container": {"name": "web", "replicas": 6}}, within="5s")
        sim.isolate("leader", for_="2s")
        sim.eventually(lambda view: view.leader not in (None, old), within="5s")
        sim.crash(old, for_="0.3s")
        sim.pause("follower", for_="0.3s")
        assert sim.write({"x": 2}, within="5s")
        assert sim.read("x", within="5s") == 2
        sim.settle("20s")
        sim.expect(replicas={"web": 6, "x": 2}, leaders=1)
        assert sim.watch.not_watched == ["raft"]


def test_a_rebalance_moves_replicas_to_a_node_that_joined(sim):
    sim.submit({"container": {"name": "web", "replicas": 60}}, within="5s")
    sim.add("late")
    assert len(sim.rebalance(4, dry_run=True)["moves"]) == 4
    done = sim.rebalance(4, max_parallel=2, within="5s")
    assert (done["state"], done["moved"]) == ("ended", 4)
    assert sim.view.service("web").on["late"] == 4
    sim.rebalance()
    sim.eventually("service('web').on['late'] == 10", within="5s")
    assert sim.rebalance()["state"] == "even"


def test_a_rebalance_that_takes_too_long_says_how_far_it_is(sim):
    sim.submit({"container": {"name": "web", "replicas": 60}}, within="5s")
    sim.add("late")
    with pytest.raises(StepFailed, match="not done within 0.01 s: .* of 10 moved"):
        sim.rebalance(within="10ms")


def test_a_rebalance_stands_in_a_file_too():
    scenario = read_scenario(
        """
scenario: a node joins and gets its share
version: 1
seed: 1
cluster: {nodes: 3}
always: [raft, no-replica-lost, no-replica-twice, converges]
steps:
  - eventually: leader is not None
  - submit: {container: {name: web, replicas: 40}}
    within: 5s
  - add: late
  - rebalance: 3
    within: 5s
  - expect: service('web').on['late'] == 3
  - rebalance: {max_moves: 100, max_parallel: 4}
    within: 5s
  - expect: service('web').on['late'] == 10 and happened('rebalance-ended') == 2
"""
    )
    assert play(scenario).failure is None


def test_a_stack_is_deployed_and_what_left_its_document_goes(sim):
    web = {"image": "shop:1", "deploy": {"replicas": 4}, "depends_on": ["db"]}
    made = sim.deploy({"stack": "shop", "services": {"web": web, "db": {}}}, within="5s")
    assert (made["placed"], made["pending"]) == (5, 0)
    sim.expect(replicas={"shop_web": 4, "shop_db": 1})
    sim.deploy({"stack": "shop", "services": {"web": web | {"depends_on": []}}})
    sim.eventually("count(s.name == 'shop_db' for s in services) == 0", within="5s")


def test_a_stack_that_does_not_fit_says_how_much_waits(sim):
    huge = {"stack": "shop", "services": {"web": {"deploy": {"replicas": 9999}}}}
    with pytest.raises(StepFailed, match=r"deploy: \d+ replicas wait after 1 s"):
        sim.deploy(huge, within="1s")


def test_a_stack_stands_in_a_file_too():
    scenario = read_scenario(
        """
scenario: a stack outlives its leader
version: 1
seed: 1
cluster: {nodes: 3}
always: [raft, no-replica-lost, no-replica-twice, converges]
steps:
  - eventually: leader is not None
  - deploy: {stack: shop, services: {web: {deploy: {replicas: 6}, depends_on: [db]}, db: {}}}
    within: 5s
  - crash: leader
  - eventually: {replicas: {shop_web: 6, shop_db: 1}}
"""
    )
    assert play(scenario).failure is None


@pytest.mark.parametrize(
    ("deploy", "told"),
    [
        ("{services: {web: {}}}", "'stack' is missing"),
        ("{stack: shop, services: {web: {imge: a}}}", "unknown key imge; did you mean image?"),
        ("{stack: shop}", "a stack has at least one service"),
    ],
)
def test_what_is_wrong_with_a_stack_in_a_file_is_told_where_it_stands(deploy, told):
    with pytest.raises(WrongScenario, match=re.escape(told)):
        read_scenario(f"scenario: a\nversion: 1\nsteps:\n  - deploy: {deploy}\n")


def test_of_two_drains_of_a_node_the_last_one_ends_it():
    with Simulation(nodes=3, seed=1) as sim:
        sim.eventually("leader is not None")
        sim.submit({"container": {"name": "web", "replicas": 6}}, within="5s")
        with sim.drain("node_1", within="20s"):
            sim.drain("node_1", for_="1s")
            sim.wait("3s")
            sim.scale({"web": 12}, within="20s")
            sim.expect("node('node_1').load == 0")
        sim.scale({"web": 30}, within="20s")
        sim.expect("node('node_1').load > 0")


def drained(sim: Simulation) -> list[str]:
    state = sim.inside.state()
    assert state is not None
    return [node.name for node in state.nodes() if node.availability != "active"]


@pytest.mark.parametrize("verb", ["drain", "begin_drain"])
def test_a_drain_that_ends_while_nobody_leads_ends_when_somebody_does(verb: str):
    with Simulation(nodes=3, seed=1) as sim:
        sim.eventually("leader is not None")
        getattr(sim, verb)("node_1", for_="2s")
        sim.wait("1s")
        assert drained(sim) == ["node_1"]
        sim.partition([["node_0"], ["node_1"], ["node_2"]], for_="15s")
        sim.wait("20s")
        assert drained(sim) == []


def test_a_newer_drain_holds_where_an_older_one_could_not_be_ended():
    with Simulation(nodes=3, seed=1) as sim:
        sim.eventually("leader is not None")
        sim.drain("node_1", for_="2s")
        sim.partition([["node_0"], ["node_1"], ["node_2"]], for_="15s")
        sim.wait("14s")
        newer = sim.begin_drain("node_1")
        sim.wait("10s")
        assert drained(sim) == ["node_1"]
        newer.undo()
        sim.wait("1s")
        assert drained(sim) == []


def test_settling_ends_drains_too():
    with Simulation(nodes=3, seed=1) as sim:
        sim.eventually("leader is not None")
        held = sim.drain("node_1")
        sim.drain("node_2", for_="60s")
        sim.isolate("leader")
        sim.settle()
        assert drained(sim) == []
        held.undo()
        sim.drain("node_1", for_="1s")
        sim.partition([["node_0"], ["node_1"], ["node_2"]])
        sim.wait("10s")
        sim.settle()
        assert drained(sim) == []


def test_a_pause_that_a_crash_ended_makes_no_later_one_longer(sim: Simulation):
    sim.pause("node_0", for_="20s")
    sim.crash("node_0", for_="500ms")
    sim.wait("2s")
    sim.pause("node_0", for_="1s")
    sim.wait("1s")
    assert [event.t_ns for event in sim.events if event.kind == "node-resumed"] == [sim.now_ns]


def test_faults_of_a_node_that_was_wiped_make_no_later_ones_longer(disks: Simulation):
    disks.isolate("node_4", for_="60s")
    disks.loss("10%", links="node_4", for_="60s")
    disks.pause("node_4", for_="60s")
    disks.disk("node_4", slow="20ms", for_="60s")
    disks.begin_drain("node_4", for_="60s")
    disks.wipe("node_4")
    disks.eventually(roles={"node_4": "follower"})
    disks.cut("node_4-node_0", for_="1s")
    disks.loss("20%", links="node_4-node_0", for_="1s")
    disks.pause("node_4", for_="500ms")
    disks.drain("node_4", for_="1s")
    disks.wait("2s")
    assert cuts(disks) == [] and drained(disks) == []
    assert policy(disks, "node_4", "node_0").loss == 0.0
    assert [event.kind for event in disks.events if event.kind in ("node-paused", "node-resumed")][-1] == "node-resumed"
    disks.settle()


def test_a_disk_is_as_slow_as_the_faults_since_the_wipe_say(disks: Simulation):
    disks.disk("node_4", slow="20ms", for_="60s")
    disks.wipe("node_4")
    disks.eventually(roles={"node_4": "follower"})
    disks.disk("node_4", full=False, for_="1s")
    front = disks.inside.front
    assert front is not None
    faults = front._home.storage("node_4").faults
    assert faults.sync_ms < 20
