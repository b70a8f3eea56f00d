"""How an agreed rebalance goes on, what makes it drop moves, and that it survives whatever a state survives."""

import pytest
from control_loop import ControlLoop

from raftyard.actors.state import commands as c
from raftyard.actors.state.machine import ClusterState


@pytest.fixture
def loop():
    """Four replicas on n0, none on n1 and n2."""
    made = ControlLoop(1, 10)
    made.put("web", replicas=4)
    made.settle()
    made.all_run("n0")
    made.add("n1", 10)
    made.add("n2", 10)
    return made


def moves(loop, count=2, target=1, service="web"):
    tasks = sorted(loop.tasks(service).items())[:count]
    return tuple(
        c.RebalanceMove(task=task, service=service, slot=slot, source=0, target=target) for slot, (_, task) in tasks
    )


def begin(loop, chosen, max_parallel=1):
    return loop.do(
        c.StartRebalance(made_at=loop.index, max_parallel=max_parallel, cost_before=9.0, cost_after=1.0, moves=chosen)
    )


def go_on(loop):
    assert loop.state.rebalance_is_due()
    outcome = loop.do(c.GoOnRebalance(term=loop.term))
    assert not outcome.changed_nothing
    return [event.kind for event in outcome.events]


def states(loop):
    return [move.state for move in loop.state.rebalance().moves]


def test_moves_go_one_by_one_and_each_keeps_its_slot(loop):
    begin(loop, moves(loop))
    assert states(loop) == ["waiting", "waiting"]
    assert go_on(loop) == ["tasks-stopped", "tasks-placed", "rebalance-moves"]
    assert states(loop) == ["moving", "waiting"]
    assert loop.tasks()[1][0] == "n1"
    assert not loop.state.rebalance_is_due()  # the new one does not run yet
    loop.all_run("n1")
    go_on(loop)
    assert states(loop) == ["moved", "moving"]
    loop.all_run("n1")
    assert go_on(loop)[-1] == "rebalance-ended"
    assert states(loop) == ["moved", "moved"]
    assert not loop.state.rebalance_is_due()
    assert sorted(loop.tasks()) == [1, 2, 3, 4]


def test_as_many_are_under_way_as_was_said(loop):
    begin(loop, moves(loop, 4), max_parallel=3)
    go_on(loop)
    assert states(loop) == ["moving", "moving", "moving", "waiting"]


def test_a_second_rebalance_waits_for_the_end_of_the_first(loop):
    assert begin(loop, moves(loop)).ok
    refused = begin(loop, moves(loop))
    assert (refused.code, refused.ok) == ("rebalancing", False)
    assert "0 of 2 moves are done" in refused.reason
    loop.do(c.StopRebalance())
    assert begin(loop, moves(loop)).ok


def test_one_that_is_stopped_begins_nothing_more(loop):
    begin(loop, moves(loop))
    go_on(loop)
    assert loop.do(c.StopRebalance()).ok
    assert states(loop) == ["moving", "dropped"]
    loop.all_run("n1")
    assert "rebalance-ended" in go_on(loop)
    assert states(loop) == ["moved", "dropped"]
    assert loop.do(c.StopRebalance()).code == "not-rebalancing"


def test_only_the_leader_of_the_entry_s_term_goes_on(loop):
    begin(loop, moves(loop))
    assert loop.do(c.GoOnRebalance(term=loop.term - 1)).code == "stale-term"
    assert states(loop) == ["waiting", "waiting"]


def test_to_go_on_where_nothing_is_due_changes_nothing(loop):
    assert loop.do(c.GoOnRebalance(term=loop.term)).changed_nothing
    begin(loop, moves(loop))
    go_on(loop)
    assert loop.do(c.GoOnRebalance(term=loop.term)).changed_nothing


@pytest.mark.parametrize("count", [0, 1001])
def test_a_rebalance_has_one_to_a_thousand_moves(loop, count):
    assert begin(loop, moves(loop, 1) * count).code == "invalid"


def test_a_move_between_nodes_that_never_were_is_refused(loop):
    assert begin(loop, moves(loop, 1, target=3)).code == "invalid"


@pytest.mark.parametrize(
    ("happens", "reason"),
    [
        (lambda loop: loop.put("web", replicas=0), "the replica runs on n0 no more"),
        (lambda loop: loop.do(c.RemoveService(name="web")), "the replica runs on n0 no more"),
        (lambda loop: loop.put("web", replicas=4, image="new"), "web is being updated: updating"),
        (lambda loop: loop.remove("n1"), "n1 was removed"),
        (lambda loop: loop.status("n1", "down"), "n1: down"),
        (lambda loop: loop.node("n1", availability="pause"), "n1: paused"),
        (lambda loop: loop.node("n1", availability="drain"), "n1: draining"),
        (lambda loop: loop.node("n1", capacity=0), "n1: 0 of 0 slots free, 1 needed"),
        (
            lambda loop: loop.put("web", replicas=4, placement={"constraints": ["node.name != n1"]}),
            "n1: node.name != n1: here it is n1",
        ),
        (lambda loop: loop.node("n0", availability="drain", drain={"max_parallel": 1}), "n0 is draining"),
        (lambda loop: loop.status("n0", "down"), "n0 is down"),
    ],
)
def test_a_move_that_the_cluster_has_overtaken_is_dropped_with_a_reason(loop, happens, reason):
    begin(loop, moves(loop))
    assert happens(loop).ok
    if "no more" in reason:
        loop.settle()
    go_on(loop)
    assert [move.reason for move in loop.state.rebalance().moves] == [reason, reason]
    assert not loop.state.rebalance().is_under_way


def test_a_move_waits_for_the_room_that_another_one_makes_and_is_dropped_where_nothing_moves(loop):
    loop.node("n1", capacity=1)
    begin(loop, moves(loop), max_parallel=2)
    go_on(loop)
    assert states(loop) == ["moving", "waiting"]
    assert not loop.state.rebalance_is_due()
    loop.all_run("n1")
    go_on(loop)
    assert states(loop) == ["moved", "dropped"]
    assert loop.state.rebalance().moves[1].reason == "n1: 0 of 1 slots free, 1 needed"


@pytest.mark.parametrize("happens", [lambda loop: loop.status("n1", "down"), lambda loop: loop.remove("n1")])
def test_a_target_that_is_lost_on_the_way_ends_the_move_and_the_replica_is_placed_anew(loop, happens):
    begin(loop, moves(loop, 1))
    go_on(loop)
    happens(loop)
    go_on(loop)
    assert states(loop) == ["dropped"]
    loop.settle()
    assert sorted(loop.tasks()) == [1, 2, 3, 4]
    assert {node for node, _ in loop.tasks().values()} <= {"n0", "n2"}


def test_a_snapshot_holds_how_far_a_rebalance_has_come(loop):
    begin(loop, moves(loop))
    go_on(loop)
    other = ClusterState()
    other.restore(loop.state.snapshot())
    assert other.rebalance() == loop.state.rebalance()
    assert other.digest() == loop.state.digest()


def test_no_entry_carries_more_than_so_many_moves_further(loop, monkeypatch):
    monkeypatch.setattr("raftyard.actors.state.rebalancing.STEPS_AT_ONCE", 2)
    begin(loop, moves(loop, 4))
    loop.do(c.RemoveService(name="web"))
    go_on(loop)
    assert states(loop) == ["dropped", "dropped", "waiting", "waiting"]
    go_on(loop)
    assert not loop.state.rebalance().is_under_way
