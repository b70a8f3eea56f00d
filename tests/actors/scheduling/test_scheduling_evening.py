"""Plans that even out a running cluster: what moves, what stays, and that every plan can be carried out."""

import os
import random

import pytest
from control_loop import ControlLoop

from raftyard.actors.scheduling.evening import even_plan, even_slices
from raftyard.actors.state import commands as c

SEED = int(os.environ.get("RAFTYARD_SEED", "1"))


def grown(**spec):
    """Five full nodes, and one that has just joined."""
    loop = ControlLoop(5, 20)
    loop.put("web", replicas=100, **spec)
    loop.settle()
    loop.add("n5", 20)
    return loop


def begin(loop, plan, max_parallel=1):
    outcome = loop.do(
        c.StartRebalance(
            made_at=plan.made_at,
            max_parallel=max_parallel,
            cost_before=plan.cost_before,
            cost_after=plan.cost_after,
            moves=plan.moves,
        )
    )
    assert outcome.ok, outcome


def carry_out(loop, plan, max_parallel=1):
    """Until it has ended, with agents that do what they are told."""
    begin(loop, plan, max_parallel)
    for _ in range(2 * len(plan.moves) + 2):
        loop.settle()
        if not loop.state.rebalance().is_under_way:
            return loop.state.rebalance()
        assert loop.state.rebalance_is_due()
        loop.do(c.GoOnRebalance(term=loop.term))
        assert loop.state.rebalance().count("moving") <= max_parallel
        for node in loop.state.nodes():
            loop.all_run(node.name)
    raise AssertionError(f"not done: {loop.state.rebalance()}")


def test_a_node_that_joined_gets_its_share():
    loop = grown()
    plan = even_plan(loop.state, 100)
    assert (plan.cost_before, plan.cost_after) == (75.0, 0.0)
    assert {move.target for move in plan.moves} == {5}
    done = carry_out(loop, plan, max_parallel=4)
    assert done.count("moved") == len(plan.moves) == 15
    assert set(loop.state.load_distribution("web").values()) == {17, 15}


def test_at_most_so_many_move_and_each_of_the_first_gains():
    plan = even_plan(grown().state, 4)
    assert len(plan.moves) == 4
    assert plan.cost_after == plan.cost_before - 4 * 5.0  # a slot of twenty is five percent of a node


def test_an_even_cluster_is_left_alone():
    loop = ControlLoop(5, 20)
    loop.ask(web=50, db=13)
    assert even_plan(loop.state, 100).moves == ()
    assert even_plan(ControlLoop(1, 20).state, 100).moves == ()
    assert even_plan(ControlLoop().state, 100).moves == ()


def test_the_plan_after_a_plan_is_empty():
    loop = grown()
    carry_out(loop, even_plan(loop.state, 100), 5)
    assert even_plan(loop.state, 100).moves == ()


@pytest.mark.parametrize("change", ["pause", "drain", "down", "label"])
def test_nothing_moves_where_it_may_not_be(change):
    loop = grown(placement={"constraints": ["node.labels.no != x"]})
    if change == "down":
        loop.status("n5", "down")
    elif change == "label":
        loop.node("n5", labels={"no": "x"})
    else:
        loop.node("n5", availability=change)
    assert even_plan(loop.state, 100).moves == ()


@pytest.mark.parametrize("spec", [{"mode": "global"}, {"mode": "replicated-job", "replicas": 40}])
def test_what_belongs_to_its_node_and_what_would_lose_its_work_stays(spec):
    loop = ControlLoop(2, 40)
    loop.put("web", **spec)
    loop.settle()
    loop.add("n2", 40)
    assert even_plan(loop.state, 100).moves == ()


def test_what_holds_a_gpu_stays_with_it_and_the_rest_moves():
    loop = ControlLoop(1, 20)
    loop.node("n0", resources={"gpus": 4})
    loop.put("train", replicas=4, reservations={"gpus": 1})
    loop.put("web", replicas=12)
    loop.settle()
    loop.add("n1", 20)
    loop.node("n1", resources={"gpus": 4})
    plan = even_plan(loop.state, 100)
    assert [move.service for move in plan.moves] == ["web"] * 8
    assert plan.cost_after == 0.0


@pytest.mark.parametrize(
    "placement",
    [{"profile": "binpack"}, {"affinities": [{"constraint": "node.name == n0", "weight": 50}]}],
)
def test_what_is_where_it_is_for_another_reason_than_evenness_stays(placement):
    loop = grown(placement=placement)
    assert even_plan(loop.state, 100).moves == ()


def test_replicas_of_a_service_that_is_being_updated_stay():
    loop = grown(image="a")
    loop.put("web", replicas=100, image="b")
    assert even_plan(loop.state, 100).moves == ()


def test_most_replicas_a_node_and_ports_are_kept():
    loop = ControlLoop(2, 20)
    for number in range(8):
        loop.put(f"s{number}", replicas=2, ports=[{"published": 80 + number}], placement={"max_replicas_per_node": 1})
    loop.settle()
    loop.add("n2", 20)
    plan = even_plan(loop.state, 100)
    done = carry_out(loop, plan)
    assert done.count("moved") == len(plan.moves) == 4
    assert all(max(loop.state.load_distribution(f"s{number}").values()) == 1 for number in range(8))


def test_no_more_of_a_service_come_to_one_node_than_it_may_have():
    loop = ControlLoop(3, 10)
    loop.put("web", replicas=6, placement={"max_replicas_per_node": 2})
    loop.settle()
    loop.add("n3", 40)  # its share would be four
    plan = even_plan(loop.state, 100)
    assert carry_out(loop, plan).count("moved") == len(plan.moves) == 2


def test_what_is_spread_over_zones_moves_within_its_zone():
    loop = ControlLoop(4, 20)
    for number in range(4):
        loop.node(f"n{number}", labels={"zone": "ab"[number % 2]})
    loop.put("web", replicas=40, placement={"preferences": ["node.labels.zone"]})
    loop.settle()
    for name, zone in (("n4", "a"), ("n5", "c")):
        loop.add(name, 20)
        loop.node(name, labels={"zone": zone})
    plan = even_plan(loop.state, 100)
    assert plan.moves
    assert {(move.source, move.target) for move in plan.moves} <= {(0, 4), (2, 4)}


def test_where_no_move_alone_helps_two_change_places():
    """Ten and four: a large one alone would make it five and nine."""
    loop = ControlLoop(2, 10)
    loop.node("n1", availability="pause")
    loop.put("large", replicas=2, reservations={"slots": 5})
    loop.settle()
    loop.node("n1", availability="active")
    loop.put("small", replicas=2, reservations={"slots": 2})
    loop.settle()
    assert (loop.state.load_of("n0"), loop.state.load_of("n1")) == (10, 4)
    plan = even_plan(loop.state, 10)
    done = carry_out(loop, plan)
    assert done.count("moved") == 2
    assert (loop.state.load_of("n0"), loop.state.load_of("n1")) == (7, 7)


def test_a_large_cluster_is_looked_at_where_it_is_fullest(monkeypatch):
    monkeypatch.setattr("raftyard.actors.scheduling.evening.MOST_TASKS", 10)
    monkeypatch.setattr("raftyard.actors.scheduling.evening.MOST_A_SOURCE", 2)
    monkeypatch.setattr("raftyard.actors.state.reading.FEW_TASKS", 1)
    loop = grown()
    plan = even_plan(loop.state, 100)
    assert len(plan.moves) == 10  # two of each of the five
    assert carry_out(loop, plan).count("moved") == 10


def test_the_search_is_made_in_slices_and_does_not_look_at_what_happens_meanwhile():
    loop = grown()
    slices = even_slices(loop.state, 100)
    for _ in range(3):
        next(slices)
    loop.remove("n5")
    found = []

    def rest():
        found.append((yield from slices))

    list(rest())
    assert len(found[0].moves) == 15


def random_cluster(seed):
    rng = random.Random(f"evening/{seed}")
    loop = ControlLoop()
    for number in range(rng.randrange(1, 7)):
        loop.add(f"n{number}", rng.choice((10, 20, 30)))
        if rng.random() < 0.5:
            loop.node(f"n{number}", labels={"zone": rng.choice("ab")}, resources={"cpu_milli": 4_000})
    for number in range(rng.randrange(1, 6)):
        place = {}
        if rng.random() < 0.3:
            place["constraints"] = ["node.labels.zone != a"]
        if rng.random() < 0.3:
            place["max_replicas_per_node"] = rng.randrange(1, 5)
        if rng.random() < 0.3:
            place["preferences"] = ["node.labels.zone"]
        spec = {"replicas": rng.randrange(30), "placement": place}
        spec["reservations"] = {"slots": rng.randrange(1, 4), "cpu_milli": rng.choice((0, 100, 500))}
        if rng.random() < 0.2:
            spec["ports"] = [{"published": 80}]
        loop.put(f"s{number}", **spec)
    loop.settle()
    for number in range(rng.randrange(3)):
        loop.add(f"new{number}", rng.choice((10, 20)))
    for node in loop.state.nodes():
        if rng.random() < 0.15:
            loop.node(node.name, availability=rng.choice(("pause", "drain")))
        loop.all_run(node.name)
    if rng.random() < 0.5:
        loop.settle()
    return loop, rng


@pytest.mark.parametrize("seed", range(SEED, SEED + 60))
def test_every_move_of_a_plan_fits_in_its_turn_and_the_cost_is_what_was_said(seed):
    """seed: RAFTYARD_SEED=N begins there."""
    loop, rng = random_cluster(seed)
    loop.settle()
    plan = even_plan(loop.state, rng.choice((1, 5, 100)))
    assert even_plan(loop.state, 100).cost_after <= plan.cost_after
    assert plan.cost_after <= plan.cost_before
    if not plan.moves:
        return
    before = {service.name: service.placed for service in loop.state.services()}
    done = carry_out(loop, plan, rng.choice((1, 3)))
    assert done.count("moved") == len(plan.moves), done
    after = {service.name: service.placed for service in loop.state.services()}
    assert all(after[name] >= placed for name, placed in before.items())
    if after == before:  # else what waited for room found some
        assert even_plan(loop.state, 100).cost_before == pytest.approx(plan.cost_after, abs=0.02)
