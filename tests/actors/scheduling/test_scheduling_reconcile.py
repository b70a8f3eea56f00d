"""The leader's loop on the state alone: it reaches what is desired and moves no more than it must."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from control_loop import ControlLoop

from raftyard.actors.scheduling.reasons import explain
from raftyard.actors.scheduling.reconcile import plan_call, plan_repair
from raftyard.actors.state import commands as c
from raftyard.actors.state.runs import PLAN, report_updates, unpack
from raftyard.actors.state.task_states import TaskState


def test_replicas_are_spread_over_free_capacity_level_by_level():
    loop = ControlLoop()
    for name, capacity in (("small", 10), ("large", 30), ("middle", 20)):
        loop.add(name, capacity)
    call = loop.ask(web=30)
    assert dict(call.load_distribution) == {"large": 20, "middle": 10}
    assert dict(loop.ask(api=15).load_distribution) == {"small": 5, "large": 5, "middle": 5}


def test_ninety_nine_replicas_on_five_nodes_are_ninety_nine():
    loop = ControlLoop(nodes=5)
    call = loop.ask(web=99)
    assert (call.status, call.placed, call.pending) == ("executed", 99, 0)
    assert sorted(count for _, count in call.load_distribution) == [19, 20, 20, 20, 20]


def test_what_does_not_fit_waits_with_the_reason_and_is_placed_when_a_node_joins():
    loop = ControlLoop(nodes=2, capacity=50)
    call = loop.ask(web=120)
    assert (call.status, call.placed, call.pending) == ("executed", 100, 20)
    assert call.reason.startswith("no room: 20 of 120 replicas wait; free slots 0 of 100 on 2 ready nodes")
    assert loop.state.pending()[0].waiting == 20
    before = loop.tasks()
    loop.add("n2", 50)
    (outcome,) = loop.settle()
    assert outcome.assignments == ("n2",)
    assert loop.state.load_of("n2") == 20
    assert {slot: task for slot, task in loop.tasks().items() if slot in before} == before
    assert loop.state.pending() == ()


def test_a_node_that_joins_draws_nothing_from_the_others():
    loop = ControlLoop(nodes=2)
    loop.ask(web=100)
    loop.add("n2")
    assert loop.settle() == []


def test_replicas_of_a_lost_node_start_elsewhere_at_once_and_nothing_else_moves():
    loop = ControlLoop(nodes=5)
    loop.ask(web=50)
    before = loop.tasks()
    loop.status("n1", "down")
    (outcome,) = loop.settle()
    after = loop.tasks()
    assert after.keys() == before.keys()
    moved = [slot for slot in before if before[slot] != after[slot]]
    assert moved == [slot for slot in before if before[slot][0] == "n1"]
    assert "n1" not in {node for node, _ in after.values()}
    assert outcome.assignments == ("n0", "n1", "n2", "n3", "n4")


def test_replicas_of_a_removed_node_start_elsewhere_at_once():
    loop = ControlLoop(nodes=3)
    loop.ask(web=30)
    loop.remove("n0")
    loop.settle()
    assert loop.state.load_distribution("web") == {"n1": 15, "n2": 15}


def test_a_node_that_comes_back_shuts_down_what_was_replaced_and_keeps_the_rest():
    loop = ControlLoop(nodes=3, capacity=10)
    loop.ask(web=25)
    loop.all_run("n0")
    kept = dict(loop.state.load_distribution("web"))["n0"]
    loop.status("n0", "down")
    loop.settle()
    assert loop.state.service("web").placed == 20
    assert loop.state.load_of("n0") == kept - (20 - (25 - kept))
    before = loop.tasks()
    loop.status("n0", "ready")
    assert loop.settle() == []
    assert loop.tasks() == before
    assert loop.state.service("web").placed == 25
    assert sum(task.desired == TaskState.SHUTDOWN for task in loop.state.tasks_of("n0")) == 25 - 5 - (
        25 - kept
    )


def test_scaling_up_and_down_again_restores_the_same_tasks():
    loop = ControlLoop(nodes=4, capacity=20)
    loop.ask(web=21)
    before = loop.tasks()
    loop.ask(web=60)
    loop.ask(web=21)
    assert loop.tasks() == before


def test_scaling_down_takes_what_does_not_run_first_and_then_the_highest_slot():
    loop = ControlLoop(nodes=1)
    loop.ask(web=6)
    tasks = loop.tasks()
    running = [(tasks[slot][1], TaskState.RUNNING) for slot in (1, 2, 3, 5, 6)]
    loop.do(c.ReportTasks(node="n0", incarnation=1, updates=report_updates(running)))
    loop.ask(web=4)
    assert sorted(loop.tasks()) == [1, 2, 3, 5]


def test_scaling_down_gives_up_lost_replicas_first():
    loop = ControlLoop(nodes=2, capacity=5)
    loop.ask(web=10)
    loop.status("n1", "down")
    loop.ask(web=5)
    assert {node for node, _ in loop.tasks().values()} == {"n0"}
    assert loop.state.load_of("n1") == 0


def test_zero_replicas_remove_all_and_free_slots_are_used_again_lowest_first():
    loop = ControlLoop(nodes=2)
    loop.ask(web=10)
    loop.ask(web=0)
    assert loop.tasks() == {}
    assert loop.state.statistics()["load"] == 0
    loop.ask(web=3)
    assert sorted(loop.tasks()) == [1, 2, 3]


def test_what_one_service_gives_up_another_takes_in_the_same_call():
    loop = ControlLoop(nodes=1, capacity=10)
    loop.ask(old=10)
    call = loop.ask(new=8, old=2)
    assert (call.placed, call.pending) == (10, 0)


def test_services_of_one_call_know_of_each_others_room():
    loop = ControlLoop()
    loop.add("large", 10)
    loop.add("small", 4)
    call = loop.ask(web=8, api=6)
    assert (call.placed, call.pending) == (14, 0)


def test_a_failed_task_is_replaced_in_its_slot():
    loop = ControlLoop(nodes=2)
    loop.ask(web=4)
    before = loop.tasks()
    loop.do(
        c.ReportTasks(
            node=before[2][0], incarnation=1, updates=report_updates([(before[2][1], TaskState.FAILED)])
        )
    )
    loop.settle()
    assert 2 not in loop.tasks()
    loop.pass_time(5)
    loop.settle()
    after = loop.tasks()
    assert [slot for slot in before if before[slot] != after[slot]] == [2]


def test_at_rest_there_is_no_plan():
    loop = ControlLoop(nodes=2, capacity=5)
    assert plan_repair(loop.state) is None
    loop.ask(web=20)
    assert plan_repair(loop.state) is None
    for name in ("n0", "n1"):
        loop.status(name, "down")
    assert plan_repair(loop.state) is None


def test_replicas_that_take_several_slots_wait_when_no_node_has_enough_of_them():
    loop = ControlLoop(nodes=3, capacity=5)
    call = loop.ask(size=3, web=5)
    assert (call.placed, call.pending) == (3, 2)
    assert "each takes 3 slots and the freest node has 2" in call.reason


def test_why_replicas_wait_is_told_node_by_node():
    loop = ControlLoop(nodes=3, capacity=5)
    loop.status("n2", "down")
    loop.ask(web=12)
    told = explain(loop.state, "web")
    assert told.summary == "no suitable node (too few free slots on 2 nodes; down on 1 node)"
    assert told.nodes == (
        ("n0", "0 of 5 slots free, 1 needed"),
        ("n1", "0 of 5 slots free, 1 needed"),
        ("n2", "down"),
    )
    assert explain(loop.state, "nobody") is None
    for name in ("n0", "n1"):
        loop.status(name, "down")
    assert loop.state.pending()[0].reason.startswith(
        "no node is ready: 12 of 12 replicas wait; 3 nodes are known"
    )


def test_a_plan_of_many_runs_is_cut_and_the_next_one_goes_on(monkeypatch):
    monkeypatch.setattr("raftyard.actors.scheduling.reconcile.MAX_RUNS", 3)
    loop = ControlLoop(nodes=10, capacity=4)
    plan = plan_call(loop.state, c.ServiceCall(id="x", services=(c.ServiceRequest(name="web", replicas=40),)))
    assert len(unpack(plan.services[0].starts, 3, PLAN)) == 3
    loop.ask(web=40)
    loop.settle()
    assert loop.state.service("web").placed == 40
    loop.ask(web=5)
    loop.settle()
    assert len(loop.tasks()) == 5


def test_a_plan_made_on_an_older_state_is_taken_as_far_as_it_fits():
    loop = ControlLoop(nodes=2, capacity=10)
    loop.submit(web=10)
    late = loop.next_command()
    loop.status("n0", "down")
    loop.do(late)
    assert loop.state.load_distribution("web") == {"n1": 5}
    loop.settle()
    assert loop.state.load_distribution("web") == {"n1": 10}


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from control_loop import ControlLoop
loop = ControlLoop(nodes=7, capacity=13)
for number in range(20):
    loop.ask(**{f"s{number % 5}": number * 3 % 17, f"t{number % 3}": number})
    loop.status(f"n{number % 7}", "down" if number % 2 else "ready")
    loop.settle()
print(loop.state.digest())
"""


def test_equal_commands_give_equal_states_in_any_process_and_hash_seed():
    here = str(Path(__file__).parent)
    digests = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT, here],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "77")
    ]
    assert digests[0] == digests[1]
    assert len(digests[0].strip()) == hashlib.sha256().digest_size * 2
