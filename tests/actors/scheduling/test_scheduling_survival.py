"""Which single nodes could be lost: the quick proof and the plan of each loss agree."""

import os

import pytest
from control_loop import ControlLoop
from test_scheduling_campaign import Storm
from test_scheduling_plans import Ranked, everything_goes_well, finished, plan, running

from raftyard.actors.scheduling import survival
from raftyard.actors.scheduling.survival import Loss, survival_slices
from raftyard.actors.scheduling.wishes import LossWish
from raftyard.actors.state.forks import fork

SEED = int(os.environ.get("RAFTYARD_SEED", "1"))


def report(loop):
    return finished(survival_slices(fork(loop.state), loop.term, loop.state.clock_ms()))


def test_with_room_to_spare_every_node_may_be_lost():
    found = report(running(replicas=10))
    assert (found.nodes, found.survivable, found.losses) == (3, 3, ())


def test_without_room_each_loss_says_what_would_wait():
    loop = running(nodes=2, replicas=12)
    loop.put("db", replicas=2)
    loop.settle()
    found = report(loop)
    assert found.survivable == 0
    assert [loss.node for loss in found.losses] == ["n0", "n1"]
    assert all(loss.waits == 4 for loss in found.losses)


def test_a_node_that_alone_meets_a_constraint_may_not_be_lost():
    loop = ControlLoop(nodes=3)
    loop.node("n1", labels={"disk": "ssd"})
    loop.put("db", replicas=2, placement={"constraints": ["node.labels.disk == ssd"]})
    loop.put("web", replicas=30)
    loop.settle()
    assert report(loop).losses == (Loss(node="n1", waits=2, services=(("db", 2),)),)


def test_what_waits_already_is_no_reason():
    loop = running(nodes=3, capacity=100, replicas=10)
    loop.put("huge", replicas=1, reservations={"slots": 1000})
    loop.settle()
    assert report(loop).survivable == 3


def test_nodes_that_are_down_are_not_asked_about():
    loop = running(replicas=6)
    loop.status("n0", "down")
    loop.settle()
    assert report(loop).nodes == 2


def test_no_more_nodes_are_planned_than_there_is_time_for(monkeypatch):
    monkeypatch.setattr(survival, "MOST_PLANNED", 1)
    found = report(running(replicas=30))
    assert (len(found.losses), found.unknown) == (1, ("n1", "n2"))


def holds(seed, storms=Storm):
    storm = storms(seed)
    storm.rage(40)
    everything_goes_well(storm)
    proof = survival._Proof(storm.state)
    losses = {}
    proven = 0
    for node in storm.state.nodes():
        if node.status != "ready":
            continue
        services = plan(storm, LossWish(nodes=(node.name,))).services
        losses[node.name] = sum(max(0, service.waits - service.waited) for service in services)
        if proof.holds_without(node):
            proven += 1
            assert not losses[node.name], f"{node.name} was proven to be expendable"
    found = report(storm)
    assert {loss.node: loss.waits for loss in found.losses} == {node: n for node, n in losses.items() if n}
    assert found.survivable == sum(not waits for waits in losses.values())
    return proven


@pytest.fixture
def small_tables(monkeypatch):
    monkeypatch.setattr("raftyard.actors.state.tasks.SPARE_ROWS", 2)


def test_the_report_is_what_the_plans_of_all_losses_say(small_tables):
    proven = 0
    for seed in range(SEED, SEED + 60):
        try:
            proven += holds(seed, (Storm, Ranked)[seed % 2])
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    assert proven > 5, "the proof proves nothing"


@pytest.mark.campaign
def test_the_report_is_what_the_plans_say_for_many_seeds(small_tables):
    seeds = 3000 if os.environ.get("RAFTYARD_CAMPAIGN") == "full" else 300
    print(f"seeds {SEED} to {SEED + seeds - 1}; one of them: RAFTYARD_SEED=N pytest {__file__}")
    for seed in range(SEED, SEED + seeds):
        try:
            holds(seed, (Storm, Ranked)[seed % 2])
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error}") from error
