"""What is done for many services or nodes at once is what is done for them one by one."""

from __future__ import annotations

import itertools

import msgspec
import numpy as np
import pytest
from control_loop import ControlLoop

from raftyard.actors.control.assigning import RESEND_MS, Assigning
from raftyard.actors.control.liveness import DOWN_AFTER_MS, Liveness
from raftyard.actors.scheduling import repairs
from raftyard.actors.scheduling.choosing import Scores
from raftyard.actors.scheduling.placement import spread
from raftyard.actors.scheduling.reconcile import plan_repair
from raftyard.actors.scheduling.repairs import Repairs
from raftyard.actors.state import commands as c, replicas
from raftyard.actors.state.machine import ClusterState
from raftyard.actors.state.runs import PLAN, pack, report_updates
from raftyard.actors.state.task_states import TaskState
from raftyard.actors.state.untold import packed, spelled_out
from raftyard.actors.units import NS_PER_MS


def a_cluster(services: int = 6, nodes: int = 5, replicas: int = 4) -> ControlLoop:
    loop = ControlLoop(nodes=nodes, capacity=20)
    for number in range(nodes):
        loop.node(f"n{number}", labels={"zone": "ab"[number % 2]}, resources={"cpu_milli": 4_000})
    for number in range(services):
        loop.put(f"s{number}", replicas=replicas, reservations={"cpu_milli": 100})
    loop.settle()
    return loop


def fill(loop: ControlLoop, leave: int) -> None:
    """Another service takes all free slots but so many of each node."""
    loop.put("other", replicas=200)
    starts, slot = [], 1
    for node, free in enumerate(loop.state.free_slots().tolist()):
        if free > leave:
            starts.append((slot, free - leave, node))
            slot += free - leave
    part = c.ServicePlan(service="other", starts=pack(starts, PLAN))
    loop.do(c.PlaceTasks(term=1, made_at=loop.index, plan=c.Plan(services=(part,))))
    assert loop.state.free_slots().sum() <= 4 * leave


def told(state: ClusterState, after: int) -> list[bytes]:
    records = state.node_table().records
    return [msgspec.json.encode(spelled_out(one, records)) for one in state.untold.since(after)]


def test_a_lost_node_is_replaced_as_if_each_service_were_planned_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = a_cluster(), a_cluster()
    took = [task.service for task in one.state.tasks_of("n1")]
    assert len(set(took)) > 3
    for loop in (one, other):
        loop.all_run("n1")
        loop.status("n1", "down")
    plan = c.PlaceTasks(term=1, made_at=one.index, plan=plan_repair(one.state))
    done: list[bool] = []

    def seen(*args: object) -> bool:
        done.append(replace(*args))
        return done[-1]

    replace = replicas.replace_lost
    monkeypatch.setattr(replicas, "replace_lost", seen)
    one.do(plan)
    monkeypatch.setattr(replicas, "replace_lost", lambda *_: False)
    other.do(plan)
    assert done == [True]
    assert one.state.digest() == other.state.digest()
    assert told(one.state, one.index - 1) == told(other.state, one.index - 1)
    assert one.next_command() is None


@pytest.mark.parametrize(
    "change",
    [
        lambda loop: loop.node("n2", availability="pause"),
        lambda loop: loop.put("s0", replicas=4, placement={"constraints": ["node.labels.zone == a"]}),
        lambda loop: loop.put("s0", replicas=3),
        lambda loop: fill(loop, leave=0),
        lambda loop: fill(loop, leave=1),
        lambda loop: loop.status("n1", "ready"),
    ],
)
def test_a_late_plan_does_what_it_would_do_service_by_service(change, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = a_cluster(), a_cluster()
    for loop in (one, other):
        loop.all_run("n1")
        loop.status("n1", "down")
    plan = c.PlaceTasks(term=1, made_at=one.index, plan=plan_repair(one.state))
    for loop in (one, other):
        change(loop)
    one.do(plan)
    monkeypatch.setattr(replicas, "replace_lost", lambda *_: False)
    other.do(plan)
    assert one.state.digest() == other.state.digest()


def test_reports_of_many_nodes_say_what_each_alone_would() -> None:
    one, other = a_cluster(), a_cluster()
    told = {
        name: report_updates([(task.id, state) for task in one.state.tasks_of(name)])
        for name, state in (("n0", TaskState.RUNNING), ("n1", TaskState.RUNNING), ("n2", TaskState.FAILED))
    }
    # Of another node's tasks nobody believes it, nor a state that is none, nor a life that is over.
    told["n3"] = told["n0"] + report_updates([(task.id, 513) for task in one.state.tasks_of("n3")])
    reports = [c.NodeReport(node=name, incarnation=1, updates=updates) for name, updates in told.items()]
    reports.append(c.NodeReport(node="nobody", incarnation=1, updates=b""))
    reports.append(c.NodeReport(node="n4", incarnation=1, updates=b"not rows"))
    one.do(c.ReportNodes(reports=tuple(reports)))
    for report in reports:
        other.do(c.ReportTasks(node=report.node, incarnation=1, updates=report.updates))
    assert [one.state.tasks_of(f"n{number}") for number in range(5)] == [
        other.state.tasks_of(f"n{number}") for number in range(5)
    ]
    assert one.state.services() == other.state.services()
    assert [record.incarnation for record in one.state.nodes()] == [1, 1, 1, 1, 0]
    states = [event.data["states"] for event in next(one.state.untold.since(one.index - 1)).events[-3:]]
    assert [list(state) for state in states] == [["RUNNING"], ["RUNNING"], ["FAILED"]]


def test_runs_of_an_event_are_lists_where_they_are_told_and_come_back_from_older_snapshots() -> None:
    loop = a_cluster(services=1, nodes=2)
    records = loop.state.node_table().records
    for happening in loop.state.untold.since(0):
        spelled = spelled_out(happening, records)
        assert packed(spelled, records) == happening
        for event in spelled.events:
            if event.kind == "tasks-placed":
                assert event.data["runs"] == (("n0", 1, 2), ("n1", 3, 4))


def test_repair_goes_round_all_services_in_plans_of_a_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repairs, "SLICE_WORK", 1_500)
    loop, going, scores = ControlLoop(nodes=3, capacity=50), Repairs(), Scores()
    for number in range(9):
        loop.put(f"s{number}", replicas=4)
    loop.put("too-large", replicas=2, reservations={"cpu_milli": 10_000_000})
    loop.node("n0", resources={"cpu_milli": 1}), loop.node("n1", resources={"cpu_milli": 1})
    loop.node("n2", resources={"cpu_milli": 1})
    plans, nothing = [], 0
    for _ in itertools.count():
        plan, goes_on = going.next_plan(loop.state, loop.state.clock_ms(), scores)
        if plan is not None:
            plans.append([part.service for part in plan.services])
            loop.do(c.PlaceTasks(term=1, made_at=loop.index, plan=plan))
        nothing += plan is None
        if not goes_on:
            break
    assert sorted(itertools.chain(*plans)) == [f"s{number}" for number in range(9)]
    assert max(map(len, plans)) <= 3
    assert going.next_plan(loop.state, loop.state.clock_ms(), scores) == (None, False), "it rests"
    loop.node("n0", resources={"cpu_milli": 20_000_000})
    plan, _ = going.next_plan(loop.state, loop.state.clock_ms(), scores)
    assert plan is not None and [part.service for part in plan.services] == ["too-large"]


def test_room_is_for_the_highest_priority_of_more_services_than_one_plan_looks_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(repairs, "SLICE_WORK", 5_000)
    loop, going, scores = ControlLoop(), Repairs(), Scores()
    for number in range(10):
        loop.put(f"low{number}", replicas=1, priority=10)
    loop.put("high", replicas=1, priority=90)
    loop.put("younger", replicas=1, priority=90)
    placed = []
    for node in range(3):
        while going.next_plan(loop.state, loop.state.clock_ms(), scores)[1]:
            pass
        loop.add(f"n{node}", 1)
        plan, _ = going.next_plan(loop.state, loop.state.clock_ms(), scores)
        assert plan is not None
        placed += [part.service for part in plan.services]
        loop.do(c.PlaceTasks(term=1, made_at=loop.index, plan=plan))
    assert placed == ["high", "younger", "low0"]


def test_the_last_have_their_turn_though_the_state_changes_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repairs, "SLICE_WORK", 5_000)
    loop, going, scores = ControlLoop(nodes=1), Repairs(), Scores()
    for number in range(20):
        loop.put(f"high{number}", replicas=1, priority=90, placement={"constraints": ["node.name == none"]})
    loop.put("low", replicas=1, priority=10)
    for _ in range(40):
        plan, _ = going.next_plan(loop.state, loop.state.clock_ms(), scores)
        if plan is not None:
            assert [part.service for part in plan.services] == ["low"]
            return
        loop.pass_time(1)
    raise AssertionError("low is never looked at")


def test_a_single_replica_goes_where_the_first_of_many_would() -> None:
    loop = a_cluster()
    free = loop.state.free_slots()
    for most in (None, free // 3):
        first = spread(free, 1, 2, most)
        assert first.sum() == 1
        assert (spread(free, 2, 2, most) - first).min() >= 0


def test_who_is_silent_is_told_by_number_and_a_node_that_joined_has_time() -> None:
    ms, liveness = NS_PER_MS, Liveness(0)
    yes = [True] * 3
    liveness.know(2, 0)
    liveness.heard(0, 500 * ms)
    liveness.know(3, 500 * ms)
    liveness.heard(7, 500 * ms)  # nobody has that number yet
    assert liveness.changes(DOWN_AFTER_MS * ms, np.array(yes), np.array(yes)) == ([1], [])
    assert liveness.changes(510 * ms, np.array(yes), np.array([False, False, False])) == ([], [0])
    assert liveness.lost(40_000 * ms, [0, 1, 2, 9], 30) == [0, 1, 2]
    assert liveness.lost(30_400 * ms, [0, 1, 2], 30) == [1]


def test_a_node_is_told_until_it_confirms_and_not_twice_in_a_moment() -> None:
    assigning, versions, there = Assigning(), np.array([4, 5]), np.array([True, True])
    assigning.know(2)
    assert assigning.due(0, versions, there) == [0, 1]
    assigning.sent(0, 4, 0)
    assigning.confirmed(1, 5)
    assert assigning.due(1, versions, there) == []
    assert assigning.due(RESEND_MS * NS_PER_MS, versions, there) == [0]
    assigning.forget(1)
    assert assigning.due(1, versions, there) == [1]
    assert assigning.due(1, np.array([6, 5]), np.array([True, False])) == [0]
