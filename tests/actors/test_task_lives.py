"""The lives of tasks and the comings and goings of nodes, as SwarmKit has them: what moves forward, what is replaced,
and what is left alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from yard import Yard

from raftyard.actors.control.liveness import DOWN_AFTER_MS, TICK_MS, Liveness
from raftyard.actors.control.loop import BEAT_EVERY_TICKS
from raftyard.actors.messages import (
    ChangeService,
    DescribeService,
    DescribeTasks,
    UpdateNodeRequest,
    agent_actor,
)
from raftyard.actors.raft import RaftConfig
from raftyard.actors.state.task_states import TaskState
from raftyard.actors.system import Live, Virtual

SWARMKIT = {
    "NEW": 0,
    "PENDING": 64,
    "ASSIGNED": 192,
    "ACCEPTED": 256,
    "PREPARING": 320,
    "READY": 384,
    "STARTING": 448,
    "RUNNING": 512,
    "COMPLETE": 576,
    "SHUTDOWN": 640,
    "FAILED": 704,
    "REJECTED": 768,
    "REMOVE": 800,
    "ORPHANED": 832,
}
MS = 1_000_000


def test_a_task_has_swarmkit_s_fourteen_states_by_their_numbers():
    assert {state.name: state.value for state in TaskState} == SWARMKIT


# -- who is down


class Listener:
    """A leader that ticks, and the one node that it listens to."""

    def __init__(self) -> None:
        self.liveness = Liveness(0)
        self.liveness.know(1, 0)

    def tick(self, first_ms: int, last_ms: int) -> None:
        for at_ms in range(first_ms, last_ms + 1, TICK_MS):
            self.liveness.tick(at_ms * MS)

    def says(self, now_ms: int, status: str = "ready") -> str:
        """What the node is now, where its record says otherwise."""
        is_there, is_ready = np.array([True]), np.array([status == "ready"])
        down, ready = self.liveness.changes(now_ms * MS, is_there, is_ready)
        return "down" if down else "ready" if ready else ""


def listened(last_heard_ms: int, now_ms: int, status: str = "ready") -> str:
    """What a leader says of a node that it last heard then, ticking all the time."""
    listener = Listener()
    listener.liveness.heard(0, last_heard_ms * MS)
    listener.tick(0, now_ms)
    return listener.says(now_ms, status)


def test_three_beats_missed_are_a_node_that_is_down_and_two_are_not():
    beat_ms = BEAT_EVERY_TICKS * TICK_MS
    assert DOWN_AFTER_MS == 3 * beat_ms == 6 * RaftConfig().heartbeat_ms
    assert listened(1_000, 1_000 + 3 * beat_ms - 1) == ""
    assert listened(1_000, 1_000 + 3 * beat_ms) == "down"


def test_a_node_that_is_heard_again_is_ready_and_one_that_was_heard_long_ago_is_not():
    assert listened(1_000, 1_100, "down") == "ready"
    assert listened(1_000, 2_000, "down") == ""


def test_a_leader_that_was_held_up_itself_blames_nobody():
    listener = Listener()
    listener.tick(0, 100)
    listener.liveness.tick(5_000 * MS)
    assert listener.says(5_000) == ""
    listener.tick(5_100, 5_600)
    assert listener.says(5_600) == "down"


# -- what is left alone, on both clocks


@pytest.fixture(params=["virtual", "live"])
def clocked(request: pytest.FixtureRequest) -> Iterator[Yard]:
    system = Virtual(seed=1, raise_crashes=True) if request.param == "virtual" else Live(seed=1)
    with Yard(system, checked=request.param == "virtual", nodes=3, capacity=4) as yard:
        yard.begin()
        yield yard


def follower(yard: Yard) -> str:
    return next(name for name in yard.names() if name != yard.leader())


def stopped(yard: Yard, name: str) -> int:
    return int(yard.system.peek(agent_actor("0", name)).statistics()["stopped"])


def test_a_node_that_comes_back_goes_on_with_what_nobody_could_replace(clocked: Yard):
    clocked.submit(web=12)
    lost = follower(clocked)
    clocked.until(lambda: len(clocked.running()[lost]) == 4)
    before = clocked.running()[lost]
    clocked.cut(*clocked.around(lost))
    clocked.until(lambda: clocked.state().node(lost).status == "down")
    assert clocked.running()[lost] == before  # it hears no leader, and runs on
    clocked.heal()
    clocked.until(lambda: clocked.state().node(lost).status == "ready")
    clocked.until(lambda: clocked.state().service("web").placed == 12)
    assert clocked.running()[lost] == before
    assert stopped(clocked, lost) == 0


def test_a_node_that_comes_back_stops_just_what_was_replaced(clocked: Yard):
    clocked.submit(web=9)
    clocked.until(lambda: [len(tasks) for tasks in clocked.running().values()] == [3, 3, 3])
    lost = follower(clocked)
    before = clocked.running()[lost]
    clocked.cut(*clocked.around(lost))
    clocked.until(lambda: clocked.state().service("web").placed == 8)  # two found room elsewhere
    clocked.heal()
    clocked.until(lambda: clocked.state().service("web").placed == 9)
    clocked.until(lambda: len(clocked.running()[lost]) == 1)
    assert set(clocked.running()[lost]) < set(before)
    assert stopped(clocked, lost) == 2


def test_a_node_that_was_away_for_less_than_three_beats_keeps_all_it_has(clocked: Yard):
    clocked.submit(web=6)
    clocked.until(lambda: [len(tasks) for tasks in clocked.running().values()] == [2, 2, 2])
    lost = follower(clocked)
    before = clocked.running()[lost]
    clocked.cut(*clocked.around(lost))
    clocked.heal()
    clocked.until(lambda: clocked.submit(db=1)["status"] == "executed")
    assert set(before) <= set(clocked.running()[lost])
    assert stopped(clocked, lost) == 0


def test_a_drain_goes_at_its_pace_until_its_deadline(clocked: Yard):
    slow = {"replicas": 4, "simulate": {"start_s": 0.4}}
    clocked.ask(ChangeService(service="web", body=slow | {"placement": {"constraints": ["node.name == node_0"]}}))
    clocked.until(lambda: clocked.placed("web") == {"node_0": 4})
    clocked.until(lambda: {task.state for task in clocked.state().tasks_of("node_0")} == {TaskState.RUNNING})
    clocked.ask(ChangeService(service="web", body=slow))
    drain = {"availability": "drain", "drain": {"max_parallel": 1, "deadline_s": 1.0}}
    clocked.ask(UpdateNodeRequest(node="node_0", body=drain))
    began = clocked.now
    clocked.until(lambda: clocked.placed("web").get("node_0", 0) == 3)
    assert clocked.placed("web").get("node_0", 0) == 3  # one at a time
    clocked.until(lambda: "node_0" not in clocked.placed("web"))
    assert clocked.now - began >= 0.9  # four at this pace would take 1.2 s: the deadline took the rest
    clocked.until(lambda: sum(clocked.placed("web").values()) == 4)


# -- what leaders leave to each other


def test_attempts_delays_and_ends_are_counted_on_by_every_new_leader(yard: Yard):
    failing = {"simulate": {"run_s": 0.2, "exit_code": 1}, "restart": {"delay_s": 0.3, "max_attempts": 3}}
    yard.ask(ChangeService(service="web", body={"replicas": 2, **failing}))
    yard.until(lambda: len(yard.ask(DescribeService(service="web"))["history"]) >= 2)
    for _ in range(2):
        old = yard.leader()
        yard.cut(*yard.around(old))
        yard.until(lambda old=old: yard.front().leader not in (None, old))
        yard.run(0.5)
        yard.heal()
    yard.until(lambda: yard.ask(DescribeService(service="web"))["given_up"] == 2, within_s=20.0)
    yard.settle(within_s=20.0)
    shown = yard.ask(DescribeService(service="web"))
    ends = [past["slot"] for past in shown["history"]]
    # A first run and three attempts; one that was lost with its node did not end by itself, and counts as none.
    assert {slot: ends.count(slot) for slot in (1, 2)} == {1: 4, 2: 4}
    assert {past["state"] for past in shown["history"]} == {"FAILED"}
    assert yard.ask(DescribeTasks(service="web"))["metadata"]["count"] == 0


def test_of_each_slot_five_ends_are_kept_whoever_leads(yard: Yard):
    failing = {"simulate": {"run_s": 0.1, "exit_code": 1}, "restart": {"delay_s": 0.1}}
    yard.ask(ChangeService(service="web", body={"replicas": 2, **failing}))
    yard.run(3.0)
    yard.cut(*yard.around(yard.leader()))
    yard.run(3.0)
    yard.heal()
    yard.until(lambda: yard.front().leader)
    ends = [past["slot"] for past in yard.ask(DescribeService(service="web"))["history"]]
    assert {slot: ends.count(slot) for slot in (1, 2)} == {1: 5, 2: 5}
