"""Whatever happens to a cluster, left alone it becomes what is desired, or says truly why not; and it comes to rest."""

from __future__ import annotations

import os
from typing import Any

import pytest
from upheaval import node_for_one_more, play, why_not_converged
from yard import Yard

from raftyard.actors.control import loop as control_loop
from raftyard.actors.messages import AddNodeRequest, ChangeService, ChangeSettings
from raftyard.actors.state import commands
from raftyard.actors.state.runs import PLAN, pack

SEED = int(os.environ.get("RAFTYARD_SEED", "0"))
CAMPAIGN = 1000 if os.environ.get("RAFTYARD_CAMPAIGN") == "full" else 40
SLICES = 20


@pytest.mark.parametrize("seed", range(SEED, SEED + 10))
def test_left_alone_after_an_upheaval_a_cluster_is_as_desired_or_waits_for_a_true_reason(seed):
    play(seed)


@pytest.mark.parametrize("seed", [5024, 5050, 5361, 5799])
def test_an_upheaval_that_once_went_wrong_ends_well(seed):
    """A job that waits for another service was said to wait although there is room; of two voters one was lost; a
    node that left crashed before it was stopped, and was taken for the next one of its name."""
    play(seed)


@pytest.mark.campaign
@pytest.mark.parametrize("part", range(SLICES))
def test_many_upheavals_end_well(part):
    first = SEED + 5000
    print(f"RAFTYARD_SEED={SEED}: seeds {first} to {first + CAMPAIGN - 1}, every {SLICES}th from {first + part}")
    for seed in range(first + part, first + CAMPAIGN, SLICES):
        play(seed)


# -- the check itself


@pytest.fixture
def small() -> Any:
    with Yard(seed=1, capacity=4, nodes=3) as yard:
        yard.settle()
        yield yard


def put(yard: Yard, name: str, **spec: Any) -> None:
    yard.ask(ChangeService(service=name, body=spec))
    yard.settle()


def test_what_waits_although_a_node_would_take_it_is_found(small: Yard, monkeypatch: pytest.MonkeyPatch):
    put(small, "web", replicas=14)
    assert why_not_converged(small.state(), small.running()) is None
    monkeypatch.setattr(control_loop.Repairs, "next_plan", lambda *_: (None, False))
    small.ask(AddNodeRequest())
    small.run(1.0)
    assert "web waits, and node_3 would take a replica" in str(why_not_converged(small.state(), small.running()))


def test_what_could_make_others_go_is_found(small: Yard, monkeypatch: pytest.MonkeyPatch):
    put(small, "low", replicas=12, priority=10)
    put(small, "high", replicas=2, priority=90)
    state = small.state()
    assert node_for_one_more(state, state.service("high")) is None
    monkeypatch.setattr(control_loop, "plan_preemption", lambda *_: None)
    small.ask(ChangeSettings(body={"preemption": True}))
    small.run(1.0)
    assert "high waits, and node_0" in str(why_not_converged(small.state(), small.running()))
    monkeypatch.undo()
    small.run(1.0)
    assert why_not_converged(small.state(), small.running()) is None
    assert small.state().service("high").placed == 2
    assert small.state().why_waiting("low").startswith("preempted by high; no room: 2 of 12")


def test_a_task_that_runs_and_should_not_is_found(small: Yard):
    put(small, "web", replicas=3)
    running = small.running()
    running["node_0"] = [*running["node_0"], 99]
    assert "node_0 runs" in str(why_not_converged(small.state(), running))


# -- a plan that the state refuses


def test_a_plan_that_the_state_refuses_again_and_again_is_proposed_once_a_tick(
    small: Yard, monkeypatch: pytest.MonkeyPatch
):
    """Whatever is wrong with a planner: the same again at once fills the log, and virtual time would stand still."""
    put(small, "web", replicas=3)
    beyond = commands.ServicePlan(service="web", starts=pack([(50, 1, 0)], PLAN))
    wrong = commands.Plan(services=(beyond,))
    monkeypatch.setattr(control_loop.Repairs, "next_plan", lambda *_: (wrong, True))
    before = small.node(small.leader()).raft.last_index
    small.run(1.0)
    entries = small.node(small.leader()).raft.last_index - before
    assert 10 <= entries <= 22  # the time and the plan, every tenth of a second
    assert small.state().service("web").placed == 3
