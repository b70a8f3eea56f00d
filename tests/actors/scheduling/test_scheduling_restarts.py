"""Replicas that end by themselves: whether, when and where they start again, and what is remembered of them."""

import pytest
from control_loop import ControlLoop

from raftyard.actors.scheduling.reasons import explain
from raftyard.actors.state import commands as c
from raftyard.actors.state.machine import ClusterState
from raftyard.actors.state.runs import report_updates
from raftyard.actors.state.spec_reading import read_spec
from raftyard.actors.state.task_states import TaskState


class Loop(ControlLoop):
    def end(self, *slots, state=TaskState.FAILED, service="web"):
        """The tasks in these slots end; all others of the service run."""
        tasks = self.tasks(service)
        for node in dict.fromkeys(node for node, _ in tasks.values()):
            states = {
                task: state if slot in slots else TaskState.RUNNING
                for slot, (where, task) in tasks.items()
                if where == node
            }
            incarnation = max(1, self.state.node(node).incarnation)
            updates = report_updates(states.items())
            self.do(c.ReportTasks(node=node, incarnation=incarnation, updates=updates))

    def after(self, seconds):
        self.pass_time(seconds)
        self.settle()
        return sorted(self.tasks())


def loop_with(nodes=3, name="web", **spec):
    loop = Loop(nodes=nodes)
    loop.put(name, **spec)
    loop.settle()
    return loop


def test_a_failed_replica_starts_again_in_its_slot_after_the_delay():
    loop = loop_with(replicas=3)
    loop.end(2)
    assert loop.after(4.9) == [1, 3]
    reason = loop.state.pending()[0].reason
    assert reason == "restarting: 1 of 3 replicas wait; the next in 0.1 s; a slot ended 1 time"
    assert loop.after(0.1) == [1, 2, 3]


def test_what_ended_is_told_of_each_service_with_how_many_in_which_way():
    loop = loop_with(nodes=1, replicas=4)
    loop.put("job", mode="replicated-job", replicas=2)
    loop.settle()
    states = {task: TaskState.COMPLETE for _, task in loop.tasks("job").values()}
    web = [task for _, task in loop.tasks().values()]
    states |= {web[0]: TaskState.FAILED, web[1]: TaskState.FAILED, web[2]: TaskState.REJECTED}
    reported = c.ReportTasks(node="n0", incarnation=1, updates=report_updates(states.items()))
    ended = [event.data for event in loop.do(reported).events if event.kind == "tasks-ended"]
    assert ended == [
        {"service": "web", "replicas": 3, "states": {"FAILED": 2, "REJECTED": 1}},
        {"service": "job", "replicas": 2, "states": {"COMPLETE": 2}},
    ]


def test_the_delay_grows_up_to_its_limit():
    loop = loop_with(replicas=1, restart={"delay_s": 1, "max_delay_s": 3})
    for delay in (1, 2, 3, 3):
        loop.end(1)
        assert loop.after(delay - 0.01) == []
        assert loop.after(0.01) == [1]


def test_what_ran_long_enough_waits_as_little_as_at_first():
    loop = loop_with(replicas=2, restart={"delay_s": 1, "max_delay_s": 60, "max_attempts": 4, "reset_s": 10})
    for delay, ran in ((1, 0), (2, 9.9), (4, 10), (1, 0), (2, 9.9), (4, 0), (8, 0)):
        loop.end(1)
        assert loop.after(delay - 0.01) == [2]
        assert loop.after(0.01) == [1, 2]
        loop.end()
        loop.after(ran)
    loop.end(1)
    assert loop.after(1000) == [2], "four in a row are the limit"


def test_what_did_not_run_so_long_is_not_forgiven_for_the_time_that_it_took_to_start():
    loop = loop_with(replicas=1, restart={"delay_s": 1, "max_delay_s": 60, "reset_s": 10})
    for delay in (1, 2, 4):
        loop.after(20)  # it was assigned and never reported
        loop.end(1)
        assert loop.after(delay - 0.01) == []
        assert loop.after(0.01) == [1]


def test_after_so_many_attempts_a_slot_is_given_up_and_the_others_are_not():
    loop = loop_with(replicas=2, restart={"delay_s": 0, "max_attempts": 2})
    for _ in range(2):
        loop.end(1)
        assert loop.after(1) == [1, 2]
    loop.end(1)
    assert loop.after(1000) == [2]
    web = loop.state.service("web")
    assert (web.done, web.completed, web.pending) == (1, 0, 0)


def test_attempts_are_counted_within_their_window():
    loop = loop_with(replicas=1, restart={"delay_s": 0, "max_attempts": 1, "window_s": 10})
    for _ in range(3):
        loop.end(1)
        assert loop.after(11) == [1]
    loop.end(1)
    loop.after(0)
    loop.end(1)
    assert loop.after(100) == []


@pytest.mark.parametrize(
    ("condition", "after_failure", "after_success"),
    [("any", [1], [1]), ("on-failure", [1], []), ("none", [], [])],
)
def test_the_condition_says_what_starts_again(condition, after_failure, after_success):
    for state, expected in ((TaskState.FAILED, after_failure), (TaskState.COMPLETE, after_success)):
        loop = loop_with(replicas=1, restart={"condition": condition})
        loop.end(1, state=state)
        assert loop.after(5) == expected


def test_a_new_leader_and_a_member_made_anew_go_on_counting():
    loop = loop_with(replicas=1, restart={"delay_s": 5, "max_attempts": 1})
    loop.end(1)
    loop.after(5)
    copy = ClusterState()
    copy.restore(loop.state.snapshot())
    loop.state, loop.term = copy, 2
    loop.end(1)
    assert loop.after(100) == []


def test_another_template_begins_anew_and_another_number_does_not():
    spec = {"replicas": 2, "restart": {"condition": "none"}}
    loop = loop_with(**spec, image="a")
    loop.end(1)
    assert loop.after(9) == [2]
    loop.put(**spec | {"replicas": 3}, image="a")
    assert loop.after(9) == [2, 3]
    loop.put(**spec | {"replicas": 2}, image="a")
    assert loop.after(9) == [2, 3], "of fewer replicas the one goes that does not run"
    loop.put(**spec | {"replicas": 3}, image="b")
    assert loop.after(9) == [1, 2, 3]


def test_the_last_five_ends_of_a_slot_are_remembered():
    loop = loop_with(replicas=2, restart={"delay_s": 0})
    for _ in range(7):
        loop.end(1)
        loop.after(1)
    loop.end(2)
    history = loop.state.history("web")
    assert [past.slot for past in history] == [2, 1, 1, 1, 1, 1]
    assert [past.at_ms for past in history][:3] == [7_000, 6_000, 5_000]


def test_a_node_that_fails_a_service_often_comes_last():
    loop = loop_with(nodes=2, replicas=6, restart={"delay_s": 1})
    bad = [slot for slot, (node, _) in loop.tasks().items() if node == "n0"]
    for _ in range(2):
        loop.end(*bad)
        loop.after(1)
        bad = [slot for slot, (node, _) in loop.tasks().items() if node == "n0"]
    assert bad == []
    loop.put(replicas=200, restart={"delay_s": 1})
    loop.settle()
    assert loop.state.load_of("n0") == 100, "last is not never"


# jobs


def test_a_job_runs_to_its_end_so_many_at_a_time():
    loop = loop_with(mode="replicated-job", replicas=5, max_concurrent=2)
    assert sorted(loop.tasks()) == [1, 2]
    loop.end(1, state=TaskState.COMPLETE)
    assert loop.after(0) == [2, 3]
    loop.end(2, 3, state=TaskState.COMPLETE)
    assert loop.after(0) == [4, 5]
    loop.end(4, 5, state=TaskState.COMPLETE)
    assert loop.after(100) == []
    job = loop.state.service("web")
    assert (job.completed, job.pending) == (5, 0)


def test_a_job_repeats_what_failed():
    loop = loop_with(mode="replicated-job", replicas=1, restart={"max_attempts": 1})
    loop.end(1)
    assert loop.after(5) == [1]
    loop.end(1)
    assert loop.after(100) == []
    assert (loop.state.service("web").completed, loop.state.service("web").done) == (0, 1)


def test_a_global_job_runs_once_on_every_node_and_on_new_ones_too():
    loop = loop_with(mode="global-job", nodes=2)
    loop.end(1, 2, state=TaskState.COMPLETE)
    assert loop.after(100) == []
    loop.add("n2")
    assert loop.after(0) == [3]


def pauses(loop):
    loop.node("n0", availability="pause")


def drains(loop):
    loop.node("n0", availability="drain")


def falls_silent(loop):
    loop.status("n0", "down")


def is_relabelled(loop):
    loop.node("n0", labels={})


def is_back(loop):
    loop.status("n0", "ready")
    loop.node("n0", availability="active", labels={"disk": "ssd"})


@pytest.mark.parametrize("leaves", [pauses, drains, falls_silent, is_relabelled])
@pytest.mark.parametrize("is_older", [False, True])
def test_a_global_job_that_is_done_on_a_node_is_not_begun_there_again_but_in_an_older_log(leaves, is_older):
    loop = Loop(nodes=3)
    loop.node("n0", labels={"disk": "ssd"})
    loop.node("n1", labels={"disk": "ssd"})
    spec = {"mode": "global-job", "placement": {"constraints": ["node.labels.disk == ssd"]}}
    loop.do(c.PutService(name="web", spec=read_spec(spec), keeps_on_nodes=not is_older))
    loop.settle()
    loop.end(1, state=TaskState.COMPLETE)
    leaves(loop)
    assert loop.after(1) == [2]
    service = loop.state.service("web")
    assert (service.replicas, service.completed, service.pending) == ((1, 0, 0) if is_older else (2, 1, 0))
    restored = ClusterState()
    restored.restore(loop.state.snapshot())
    loop.state = restored
    is_back(loop)
    assert loop.after(1) == ([1, 2] if is_older else [2])
    loop.node("n2", labels={"disk": "ssd"})
    assert 3 in loop.after(1), "it is new to that node"


def test_a_global_job_forgets_a_node_that_was_removed_and_runs_again_when_it_is_told_to():
    loop = loop_with(mode="global-job", nodes=3)
    loop.end(1, 2, 3, state=TaskState.COMPLETE)
    pauses(loop)
    loop.remove("n0")
    service = loop.state.service("web")
    assert (service.replicas, service.completed) == (2, 2)
    loop.node("n1", availability="pause")
    loop.put(mode="global-job", force_update=1)
    assert loop.after(1) == [3]
    loop.node("n1", availability="active")
    assert loop.after(1) == [2, 3]


# other services first


@pytest.mark.parametrize(("condition", "states"), [("started", 1), ("healthy", 2)])
def test_a_service_waits_for_the_one_it_depends_on(condition, states):
    loop = loop_with(name="web", replicas=1, depends_on={"db": condition})
    assert loop.after(1) == []
    assert explain(loop.state, "web").pending.reason == f"not started yet: it waits for db to be {condition}"
    loop.put("db", replicas=2)
    loop.settle()
    assert loop.after(1) == []
    tasks = loop.tasks("db")
    for slot in list(tasks)[:states]:
        node, task = tasks[slot]
        loop.do(c.ReportTasks(node=node, incarnation=1, updates=report_updates([(task, TaskState.RUNNING)])))
    assert loop.after(1) == [1]
    loop.do(c.RemoveService(name="db"))
    loop.put("web", replicas=2, depends_on={"db": condition})
    assert loop.after(1) == [1, 2], "what has begun does not wait again"


def test_a_service_call_does_not_end_the_wait_and_one_of_an_older_log_does():
    loop = loop_with(name="web", replicas=1, depends_on={"db": "started"})
    loop.call(container={"name": "web", "replicas": 2})
    assert loop.after(1) == []
    assert explain(loop.state, "web").pending.reason == "not started yet: it waits for db to be started"
    loop.ask(web=3)
    assert loop.after(1) == [1, 2, 3]


def test_what_waits_for_another_service_or_its_time_blames_no_node():
    loop = loop_with(name="web", replicas=1, depends_on={"db": "started"})
    told = explain(loop.state, "web")
    assert (told.summary, told.nodes) == ("not started yet: it waits for db to be started", ())
    loop.put("api", replicas=1, restart={"delay_s": 15})
    loop.settle()
    loop.end(1, service="api")
    told = explain(loop.state, "api")
    assert (told.summary, told.nodes) == (told.pending.reason, ())
    assert "the next in 15 s" in told.summary


def test_a_service_that_waits_for_a_job_that_has_given_up_says_so_and_what_helps_does():
    loop = loop_with(name="web", replicas=1, depends_on={"migrate": "completed"})
    loop.put("migrate", mode="replicated-job", replicas=1, restart={"condition": "none"})
    loop.settle()
    loop.end(1, service="migrate")
    assert loop.after(100) == []
    reason = explain(loop.state, "web").pending.reason
    assert "waits for migrate to be completed (migrate has given up 1 of 1 replicas: " in reason
    assert "force_update" in reason
    loop.put("migrate", mode="replicated-job", replicas=1, restart={"condition": "none"}, force_update=1)
    loop.settle()
    assert explain(loop.state, "web").pending.reason == "not started yet: it waits for migrate to be completed"
    loop.end(1, state=TaskState.COMPLETE, service="migrate")
    assert loop.after(1) == [1]


@pytest.mark.parametrize(("condition", "is_hopeless"), [("started", False), ("healthy", True)])
def test_one_replica_that_is_left_is_enough_to_have_started_and_not_to_be_healthy(condition, is_hopeless):
    loop = loop_with(name="web", replicas=1, depends_on={"db": condition})
    loop.put("db", replicas=2, restart={"condition": "none"})
    loop.settle()
    node, task = loop.tasks("db")[1]
    loop.do(c.ReportTasks(node=node, incarnation=1, updates=report_updates([(task, TaskState.FAILED)])))
    assert ("given up 1 of 2" in explain(loop.state, "web").pending.reason) == is_hopeless


def test_a_service_that_is_no_job_never_completes_and_who_waits_for_that_is_told():
    loop = loop_with(name="web", replicas=1, depends_on={"db": "completed"})
    loop.put("db", replicas=1)
    loop.settle()
    assert "db is replicated, which never completes" in explain(loop.state, "web").pending.reason


def test_a_circle_that_came_about_is_told_with_the_reason():
    loop = loop_with(name="a", replicas=1, depends_on={"b": "started"})
    loop.put("b", replicas=1, depends_on={"c": "started"})
    loop.put("c", replicas=1, depends_on={"a": "started"})
    loop.put("outside", replicas=1, depends_on={"a": "started"})
    assert loop.after(1) == []
    reason = explain(loop.state, "a").pending.reason
    assert "waits for b to be started; a waits for b, b waits for c, c waits for a: none of them could" in reason
    assert "none of them" not in explain(loop.state, "outside").pending.reason
    loop.put("c", replicas=1)
    loop.settle()
    assert "none of them" not in explain(loop.state, "a").pending.reason


def test_a_service_waits_for_a_job_to_be_done():
    loop = loop_with(name="web", replicas=1, depends_on={"migrate": "completed"})
    loop.put("migrate", mode="replicated-job", replicas=1)
    assert loop.after(1) == []
    loop.end(1, state=TaskState.COMPLETE, service="migrate")
    assert loop.after(1) == [1]
