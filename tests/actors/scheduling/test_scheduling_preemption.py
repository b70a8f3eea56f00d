"""Who is placed first, and who has to go: priorities with and without preemption."""

import os
import random

import numpy as np
import pytest
from control_loop import ControlLoop

from raftyard.actors.scheduling.preempting import plan_preemption
from raftyard.actors.state import commands as c
from raftyard.actors.state.machine import ClusterState
from raftyard.actors.state.needs import needs_of
from raftyard.actors.state.runs import REPORT, expand, unpack

SEED = int(os.environ.get("RAFTYARD_SEED", "1"))


def full(nodes=3, capacity=4, on=True, **priorities):
    """Nodes that are full of the services named, in that order, as evenly as it goes."""
    loop = ControlLoop(nodes, capacity)
    each = nodes * capacity // len(priorities)
    for name, priority in priorities.items():
        loop.put(name, replicas=each, priority=priority)
    loop.settle()
    if on:
        assert loop.do(c.ChangeSettings(preemption=True)).ok
    return loop


def preempt(loop):
    """Plans until nobody can go; the outcomes."""
    outcomes = []
    while (plan := plan_preemption(loop.state)) is not None:
        outcomes.append(loop.do(c.PlaceTasks(term=loop.term, made_at=loop.index, plan=plan)))
        loop.settle()
        assert len(outcomes) < 50, "preemption does not come to rest"
    return outcomes


def placed(loop):
    return {service.name: service.placed for service in loop.state.services()}


def reason(loop, name):
    return next(pending.reason for pending in loop.state.pending() if pending.service == name)


def test_what_waits_is_placed_by_priority_and_then_by_age():
    loop = ControlLoop(1, 2)
    for name, priority in (("old", 50), ("low", 10), ("high", 90), ("young", 50)):
        loop.put(name, replicas=2, priority=priority)
    order = []
    for node in range(1, 5):
        loop.settle()
        order += [name for name, many in placed(loop).items() if many and name not in order]
        loop.add(f"m{node}", 2)
    assert order == ["high", "old", "young", "low"]


def test_without_the_setting_nobody_has_to_go():
    loop = full(on=False, low=0)
    loop.put("high", replicas=2, priority=100)
    loop.settle()
    assert plan_preemption(loop.state) is None
    loop.do(c.ChangeSettings(preemption=True))
    assert plan_preemption(loop.state) is not None
    loop.do(c.ChangeSettings(preemption=False))
    assert plan_preemption(loop.state) is None


@pytest.mark.parametrize(("priority", "goes"), [(60, True), (59, False), (50, False)])
def test_a_victim_is_lower_by_ten_or_more(priority, goes):
    loop = full(low=50)
    loop.put("high", replicas=1, priority=priority)
    loop.settle()
    assert bool(preempt(loop)) == goes


def test_victims_wait_with_the_reason_and_are_placed_when_there_is_room():
    loop = full(low=20)
    loop.put("high", replicas=2, priority=60)
    loop.settle()
    (outcome,) = preempt(loop)
    told = {event.kind: event.data for event in outcome.events}
    assert (told["tasks-preempted"]["service"], told["tasks-preempted"]["by"]) == ("low", "high")
    assert told["tasks-preempted"]["replicas"] == told["tasks-placed"]["replicas"] == 2
    assert placed(loop) == {"low": 10, "high": 2}
    assert reason(loop, "low").startswith("preempted by high; no room: 2 of 12 replicas wait")
    other = ClusterState()
    other.restore(loop.state.snapshot())
    assert other.digest() == loop.state.digest()
    assert other.pending() == loop.state.pending()
    loop.put("high", replicas=0, priority=60)
    loop.settle()
    assert placed(loop) == {"low": 12, "high": 0}
    loop.put("low", replicas=13, priority=20)
    loop.settle()
    assert reason(loop, "low").startswith("no room")


def test_the_lowest_go_first_and_no_more_than_are_needed():
    loop = full(middle=40, low=20, lowest=5)
    loop.put("high", replicas=6, priority=60)
    loop.settle()
    preempt(loop)
    assert placed(loop) == {"middle": 4, "low": 2, "lowest": 0, "high": 6}


def test_one_large_victim_is_better_than_two_small_ones():
    loop = ControlLoop(2, 2)
    loop.node("n1", availability="pause")
    loop.put("small", replicas=2, priority=15)
    loop.settle()
    loop.node("n1", availability="active")
    loop.put("large", replicas=1, priority=20, reservations={"slots": 2})
    loop.settle()
    loop.do(c.ChangeSettings(preemption=True))
    loop.put("high", replicas=1, priority=60, reservations={"slots": 2})
    loop.settle()
    preempt(loop)
    assert placed(loop) == {"small": 2, "large": 0, "high": 1}


@pytest.mark.parametrize(
    ("others", "left"),
    [
        # name: (replicas, slots, priority). The large one alone is fewer; two of the lowest are as few, and lower.
        ({"small": (2, 1, 15), "large": (1, 2, 20)}, {"small": 2, "large": 0}),
        ({"two": (1, 2, 0), "one": (1, 1, 0), "other": (1, 2, 20)}, {"two": 0, "one": 0, "other": 1}),
    ],
)
def test_on_one_node_the_fewest_go_and_of_as_few_the_lowest(others, left):
    slots = sum(replicas * size for replicas, size, _ in others.values())
    loop = ControlLoop(1, slots)
    for name, (replicas, size, priority) in others.items():
        loop.put(name, replicas=replicas, priority=priority, reservations={"slots": size})
    loop.settle()
    loop.do(c.ChangeSettings(preemption=True))
    # One that is lower still cannot make anybody go in its turn.
    loop.put("high", replicas=1, priority=60, reservations={"slots": 2 if "small" in others else 3})
    loop.settle()
    preempt(loop)
    assert placed(loop) == {**left, "high": 1}


def test_a_victim_of_which_another_makes_room_enough_stays():
    """Two lowest together give less than is lacking; with the large one they are not needed."""
    loop = ControlLoop(1, 6)
    loop.put("lowest", replicas=2, priority=0)
    loop.put("large", replicas=1, priority=20, reservations={"slots": 4})
    loop.settle()
    loop.do(c.ChangeSettings(preemption=True))
    loop.put("high", replicas=1, priority=60, reservations={"slots": 4})
    loop.settle()
    preempt(loop)
    assert placed(loop) == {"lowest": 2, "large": 0, "high": 1}


def test_who_had_to_go_may_make_somebody_else_go_who_is_lower_still():
    loop = full(nodes=2, capacity=2, middle=40, low=20)
    loop.put("high", replicas=2, priority=60, placement={"constraints": ["node.name == n0"]})
    loop.settle()
    preempt(loop)
    assert placed(loop)["high"] == 2
    assert placed(loop)["middle"] == 2
    assert reason(loop, "low").startswith("preempted by")


def test_a_constraint_a_port_and_most_replicas_a_node_are_kept():
    loop = full(low=20)
    spec = {"replicas": 3, "priority": 60, "ports": [{"published": 80}]}
    loop.put("high", placement={"constraints": ["node.name != n0"], "max_replicas_per_node": 1}, **spec)
    loop.settle()
    preempt(loop)
    assert loop.state.load_distribution("high") == {"n1": 1, "n2": 1}
    assert placed(loop)["low"] == 10


def test_one_that_needs_a_port_makes_only_its_holder_go():
    loop = ControlLoop(1, 10)
    loop.put("web", replicas=1, priority=10, ports=[{"published": 80}])
    loop.put("other", replicas=3, priority=0)
    loop.settle()
    loop.do(c.ChangeSettings(preemption=True))
    loop.put("high", replicas=1, priority=60, ports=[{"published": 80}])
    loop.settle()
    preempt(loop)
    assert placed(loop) == {"web": 0, "other": 3, "high": 1}


def test_a_gpu_is_taken_from_who_holds_it():
    loop = ControlLoop(2, 10)
    loop.node("n1", resources={"gpus": 2})
    loop.put("web", replicas=20, priority=0)
    loop.put("train", replicas=2, priority=20, reservations={"gpus": 1})
    loop.put("web", replicas=18, priority=0)
    loop.settle()
    assert placed(loop) == {"web": 18, "train": 2}
    loop.do(c.ChangeSettings(preemption=True))
    loop.put("infer", replicas=1, priority=80, reservations={"gpus": 1})
    loop.settle()
    preempt(loop)
    assert placed(loop) == {"web": 18, "train": 1, "infer": 1}


def test_a_global_service_gets_its_place_on_every_node():
    loop = full(low=20)
    loop.put("agent", mode="global", priority=90)
    loop.settle()
    preempt(loop)
    assert placed(loop) == {"low": 9, "agent": 3}


def test_the_nodes_of_a_nested_cluster_stay_where_others_have_to_go():
    loop = ControlLoop(3, 4)
    loop.put("inner", replicas=2, priority=0, cluster={}, reservations={"slots": 4})
    loop.settle()
    loop.put("low", replicas=4, priority=20)
    loop.settle()
    loop.do(c.ChangeSettings(preemption=True))
    loop.put("high", replicas=3, priority=90, reservations={"slots": 4})
    loop.settle()
    preempt(loop)
    assert placed(loop) == {"inner": 2, "low": 0, "high": 1}
    assert not reason(loop, "high").startswith("preempted")


def test_nobody_has_to_go_for_what_waits_for_something_else():
    loop = full(low=20)
    loop.put("high", replicas=1, priority=60, depends_on={"absent": "started"})
    loop.settle()
    assert plan_preemption(loop.state) is None


@pytest.mark.parametrize("few", [0, 1_000])
def test_nobody_has_to_go_where_all_of_them_would_not_be_enough(few, monkeypatch):
    """few: up to so many tasks they are all looked through, else those of the nodes in question, here of none."""
    monkeypatch.setattr("raftyard.actors.state.reading.FEW_TASKS", few)
    loop = full(low=20)
    loop.put("high", replicas=1, priority=60, reservations={"slots": 5})
    loop.settle()
    assert plan_preemption(loop.state) is None


def test_a_plan_that_comes_late_makes_nobody_go():
    loop = full(low=20)
    loop.put("high", replicas=2, priority=60)
    loop.settle()
    late = plan_preemption(loop.state)
    loop.put("low", replicas=12, priority=55)
    outcome = loop.do(c.PlaceTasks(term=loop.term, made_at=loop.index, plan=late))
    assert placed(loop) == {"low": 12, "high": 0}
    assert "tasks-preempted" not in [event.kind for event in outcome.events]


def test_many_are_made_room_for_in_plans_of_a_bounded_size():
    loop = full(nodes=5, capacity=20, low=20)
    loop.put("high", replicas=60, priority=60)
    loop.settle()
    outcomes = preempt(loop)
    assert len(outcomes) == 5
    assert placed(loop) == {"low": 40, "high": 60}


def random_cluster(seed):
    rng = random.Random(f"preemption/{seed}")
    loop = ControlLoop()
    for number in range(rng.randrange(1, 5)):
        loop.add(f"n{number}", rng.randrange(2, 12))
        if rng.random() < 0.4:
            loop.node(f"n{number}", labels={"zone": rng.choice("ab")}, resources={"cpu_milli": 1_000, "gpus": 2})
    for number in range(rng.randrange(2, 7)):
        spec = {"replicas": rng.randrange(1, 10), "priority": rng.choice((0, 5, 12, 30, 50, 55, 90))}
        spec["reservations"] = {"slots": rng.randrange(1, 4), "cpu_milli": rng.choice((0, 100, 500))}
        if rng.random() < 0.2:
            spec["reservations"]["gpus"] = 1
        if rng.random() < 0.2:
            spec["ports"] = [{"published": 80}]
        if rng.random() < 0.3:
            spec["placement"] = {"constraints": ["node.labels.zone != a"], "max_replicas_per_node": rng.randrange(3)}
        loop.put(f"s{number}", **spec)
        if rng.random() < 0.7:
            loop.settle()
    loop.settle()
    loop.do(c.ChangeSettings(preemption=True))
    return loop


@pytest.mark.parametrize("seed", range(SEED, SEED + 80))
def test_every_victim_is_lower_and_needed_and_it_comes_to_rest_with_nobody_left_who_could_go(seed):
    """seed: RAFTYARD_SEED=N begins there."""
    loop = random_cluster(seed)
    for _ in range(60):
        plan = plan_preemption(loop.state)
        if plan is None:
            break
        before = {service.name: service for service in loop.state.services()}
        *victims, own = plan.services
        by = before[own.service]
        assert all(before[part.service].spec.priority + 10 <= by.spec.priority for part in victims)
        assert all(not one_less_is_enough(loop, plan, part) for part in victims)
        loop.do(c.PlaceTasks(term=loop.term, made_at=loop.index, plan=plan))
        assert loop.state.service(by.name).placed > by.placed
        loop.settle()
    else:
        raise AssertionError("preemption does not come to rest")
    for record in loop.state.services():
        if record.pending:
            assert not could_take(loop, record), record


def one_less_is_enough(loop, plan, part):
    """Whether the replicas would start too if the first victim of this part stayed."""
    trial = ClusterState()
    trial.restore(loop.state.snapshot())
    runs = unpack(part.retires, 2, REPORT)
    ids = expand(runs[:, 0], runs[:, 1])[1:]
    fewer = c.ServicePlan(
        service=part.service,
        retires=np.column_stack((ids, np.ones_like(ids))).astype(REPORT).tobytes(),
        preempted_by=part.preempted_by,
    )
    parts = tuple(fewer if one is part else one for one in plan.services)
    name = plan.services[-1].service
    full_trial = ClusterState()
    full_trial.restore(loop.state.snapshot())
    for state, services in ((trial, parts), (full_trial, plan.services)):
        command = c.PlaceTasks(term=loop.term, made_at=0, plan=c.Plan(services=services))
        state.apply(state.applied_index + 1, loop.term, command)
    return trial.service(name).placed >= full_trial.service(name).placed


def could_take(loop, record):
    """By hand: whether on some node everything that is lower, taken away, would leave room for one more."""
    state = loop.state
    room, table = state.room(), state.node_table()
    for lower in state.services():
        if lower.spec.priority + 10 <= record.spec.priority:
            tasks = state.wanted(lower.name)
            for kind in set(tasks.needs.tolist()):
                gone = np.bincount(tasks.nodes[tasks.needs == kind], minlength=table.ready.size)
                room.take(state.needs(kind), -gone)
    may = table.allowed(record.spec.placement) & (room.fits(needs_of(record.spec)) > 0)
    if record.spec.placement.max_replicas_per_node:
        may &= state.held_by_node(record.name) < record.spec.placement.max_replicas_per_node
    return bool(may.any())
