"""Rebalancing a whole cluster: asked for, carried out, watched, stopped, while leaders and nodes come and go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from yard import Yard

from raftyard.actors.errors import Conflict, InvalidRequest, NoLeader
from raftyard.actors.messages import (
    AddNodeRequest,
    ChangeService,
    DescribeRebalance,
    RebalanceRequest,
    RemoveNodeRequest,
    StopRebalance,
)
from raftyard.actors.system import Live, Virtual

SLOW = {"start_s": 0.5}
"""Replicas that take long enough to be watched on their way."""


@pytest.fixture(params=["virtual", "live"])
def clocked(request: pytest.FixtureRequest) -> Iterator[Yard]:
    system = Virtual(seed=1, raise_crashes=True) if request.param == "virtual" else Live(seed=1)
    with Yard(system, checked=request.param == "virtual", capacity=20) as yard:
        yard.begin()
        yield yard


def grow(yard: Yard, **spec: Any) -> None:
    """Fifty replicas on five nodes, and a sixth node that has none."""
    yard.ask(ChangeService(service="web", body={"replicas": 50, **spec}))
    yard.until(lambda: sum(yard.placed("web").values()) == 50)
    yard.ask(AddNodeRequest(name="node_5"))
    yard.until(lambda: yard.state().node("node_5") is not None)


def shown(yard: Yard) -> dict[str, Any]:
    return dict(yard.ask(DescribeRebalance()))


def test_a_dry_run_says_what_the_rebalance_then_does(clocked: Yard):
    grow(clocked)
    plan = clocked.ask(RebalanceRequest(max_moves=100))
    assert plan["state"] == "planned"
    assert (plan["cost_before"], plan["cost_after"], len(plan["moves"])) == (25.0, 0.0, 5)
    assert {move["to"] for move in plan["moves"]} == {clocked.address("node_5")}
    assert shown(clocked) == {"state": "none", "moves": []}

    begun = clocked.ask(RebalanceRequest(max_moves=100, max_parallel=2, dry_run=False))
    assert begun["moves"] == plan["moves"]
    assert begun["log_index"] > begun["made_at"]
    clocked.until(lambda: shown(clocked)["state"] == "ended")
    assert (shown(clocked)["moved"], shown(clocked)["dropped"]) == (5, 0)
    clocked.until(lambda: set(clocked.placed("web").values()) == {9, 5})
    assert clocked.ask(RebalanceRequest())["state"] == "even"


def test_what_cannot_be_is_refused_with_what_to_do(yard: Yard):
    with pytest.raises(InvalidRequest) as wrong:
        yard.ask(RebalanceRequest(max_moves=0))
    assert (wrong.value.path, wrong.value.hint) == ("$.max_moves", "use 1 to 1000")
    with pytest.raises(Conflict):
        yard.ask(StopRebalance())
    yard.cut(*[pair for name in yard.names() for pair in yard.around(name)])
    yard.until(lambda: yard.front().leader is None)
    with pytest.raises(NoLeader):
        yard.ask(RebalanceRequest())


@pytest.fixture
def growing() -> Iterator[Yard]:
    """A sixth node has joined, and replicas start slowly."""
    with Yard(seed=1, capacity=20) as yard:
        yard.settle()
        grow(yard, simulate=SLOW)
        yard.settle()
        yield yard


def test_so_many_are_under_way_at_a_time_and_a_second_one_is_a_conflict(growing: Yard):
    growing.ask(RebalanceRequest(max_parallel=2, dry_run=False))
    with pytest.raises(Conflict) as told:
        growing.ask(RebalanceRequest(dry_run=False))
    assert "0 of 5 moves are done" in str(told.value)
    most = 0
    while shown(growing)["state"] == "running":
        most = max(most, shown(growing)["moving"])
        growing.run(0.05)
    assert most == 2
    growing.settle()
    events = growing.events("rebalance-started", "rebalance-moves", "rebalance-ended")
    assert [event.data.get("state") for event in events[:2]] == [None, "moving"]
    assert [event.data.get("state") for event in events[-2:]] == ["moved", None]


def test_one_that_is_stopped_lets_those_under_way_arrive(growing: Yard):
    growing.ask(RebalanceRequest(dry_run=False))
    growing.until(lambda: shown(growing)["moving"] == 1)
    growing.ask(StopRebalance())
    growing.until(lambda: shown(growing)["state"] == "ended")
    told = shown(growing)
    assert (told["moved"], told["dropped"]) == (1, 4)
    assert told["moves"][1]["reason"] == "stopped"
    growing.settle()


def test_a_new_leader_goes_on_and_no_replica_is_lost_or_runs_twice(growing: Yard):
    growing.ask(RebalanceRequest(dry_run=False))
    growing.until(lambda: shown(growing)["moved"] == 1)
    old = growing.leader()
    growing.cut(*growing.around(old))
    growing.until(lambda: growing.front().leader not in (None, old))
    growing.until(lambda: shown(growing)["state"] == "ended", within_s=20.0)
    growing.heal()
    growing.settle(within_s=30.0)
    assert sum(growing.placed("web").values()) == 50
    told = shown(growing)
    assert told["moved"] + told["dropped"] == 5
    for move in told["moves"]:  # what the old leader's node had to give up was placed anew, and nowhere twice
        assert move["state"] == "moved" or "down" in move["reason"] or "no more" in move["reason"], move


@pytest.mark.parametrize("loss", ["removed", "isolated"])
def test_a_target_that_goes_ends_what_is_left(growing: Yard, loss: str):
    growing.ask(RebalanceRequest(dry_run=False))
    growing.until(lambda: shown(growing)["moved"] == 1)
    if loss == "removed":
        growing.ask(RemoveNodeRequest(address="node_5"))
    else:
        growing.cut(*growing.around("node_5"))
    growing.until(lambda: shown(growing)["state"] == "ended")
    told = shown(growing)
    assert told["moved"] == 1
    assert all(move["reason"] for move in told["moves"] if move["state"] == "dropped")
    growing.heal()
    growing.settle()
    assert sum(growing.placed("web").values()) == 50


def test_an_update_on_the_way_drops_the_moves_of_its_service(growing: Yard):
    growing.ask(RebalanceRequest(dry_run=False))
    growing.until(lambda: shown(growing)["moving"] == 1)
    growing.ask(ChangeService(service="web", body={"image": "new", "update": {"parallelism": 10}}, is_patch=True))
    growing.until(lambda: shown(growing)["state"] == "ended")
    assert {move.get("reason", "") for move in shown(growing)["moves"][1:]} == {"web is being updated: updating"}
    growing.until(lambda: growing.state().service("web").update.state == "completed", within_s=60.0)
    growing.settle()
