"""Cron services in the agreed state: when a run begins, what it does to the one before, and what is remembered."""

import pytest
from control_loop import ControlLoop

from raftyard.actors.state import commands as c
from raftyard.actors.state.calls import InvalidCall
from raftyard.actors.state.machine import ClusterState
from raftyard.actors.state.runs import report_updates
from raftyard.actors.state.spec_reading import read_spec
from raftyard.actors.state.task_states import TaskState

MINUTE = 60_000
CRON = {"mode": "cron", "schedule": "* * * * *"}


class Loop(ControlLoop):
    def due(self, minute, **other):
        """The schedule's minute has come; the events of that."""
        record = self.state.service("web")
        fields = {"version": record.version, "term": self.term, "run_ms": minute * MINUTE}
        outcome = self.do(c.RunDue(name="web", up_to_ms=minute * MINUTE, **(fields | other)))
        self.settle()
        return outcome

    def end(self, *slots, state=TaskState.COMPLETE):
        tasks = self.tasks()
        for slot in slots:
            node, task = tasks[slot]
            incarnation = max(1, self.state.node(node).incarnation)
            updates = report_updates([(task, state)])
            self.do(c.ReportTasks(node=node, incarnation=incarnation, updates=updates))
        self.settle()


def loop_with(**spec):
    loop = Loop(nodes=3)
    loop.put(**CRON | spec)
    loop.settle()
    return loop


def kinds(outcome):
    return [event.kind for event in outcome.events if event.kind.startswith("cron")]


def test_nothing_runs_before_it_is_due_and_every_run_begins_anew():
    loop = loop_with(replicas=2)
    assert loop.tasks() == {} and loop.state.service("web").replicas == 0
    for minute in (1, 2, 3):
        assert kinds(loop.due(minute)) == ["cron-run"]
        assert sorted(loop.tasks()) == [1, 2]
        loop.end(1, 2)
        record = loop.state.service("web")
        assert loop.tasks() == {} and (record.completed, record.pending) == (2, 0)
    assert (record.cron.runs, record.cron.run_ms, record.cron.decided_ms) == (3, 3 * MINUTE, 3 * MINUTE)
    assert loop.next_command() is None


def test_a_failed_replica_of_a_run_starts_again_and_one_that_is_given_up_ends_it():
    loop = loop_with(replicas=2, restart={"delay_s": 1, "max_attempts": 1})
    loop.due(1)
    loop.end(1)
    for _ in range(2):
        loop.end(2, state=TaskState.FAILED)
        loop.pass_time(1)
        loop.settle()
    record = loop.state.service("web")
    assert (record.completed, record.done, loop.tasks()) == (1, 2, {})
    assert kinds(loop.due(2)) == ["cron-run"]
    assert sorted(loop.tasks()) == [1, 2]


def test_a_run_that_is_due_before_the_last_one_is_over_is_left_out():
    loop = loop_with(replicas=2)
    loop.due(1)
    before = loop.tasks()
    loop.end(1)
    outcome = loop.due(2)
    assert kinds(outcome) == ["cron-left-out"]
    assert outcome.events[0].data["reason"] == "1 of 2 replicas of the run before are not done"
    assert loop.tasks() == {2: before[2]}
    record = loop.state.service("web")
    assert (record.cron.runs, record.cron.left_out, record.cron.run_ms) == (1, 1, MINUTE)
    loop.end(2)
    assert kinds(loop.due(3)) == ["cron-run"]


def test_runs_that_may_overlap_join_each_other():
    loop = loop_with(replicas=2, overlap="allow")
    loop.due(1)
    first = loop.tasks()
    loop.end(1)
    loop.due(2)
    assert sorted(loop.tasks()) == [1, 2, 3] and loop.tasks()[2] == first[2]
    loop.put(**CRON, replicas=2, overlap="allow", image="new")
    loop.due(3)
    assert loop.state.service("web").replicas == 5
    versions = sorted(task.version for task in loop.state.tasks_of_service("web"))
    assert versions == [1, 1, 1, 2, 2]
    loop.end(*loop.tasks())
    record = loop.state.service("web")
    assert (record.replicas, record.completed, record.pending, loop.tasks()) == (5, 5, 0, {})
    loop.due(4)
    assert len(loop.tasks()) == 2


def test_a_run_may_take_the_place_of_the_one_before():
    loop = loop_with(replicas=2, overlap="replace")
    loop.due(1)
    before = loop.tasks()
    outcome = loop.due(2)
    assert [event.kind for event in outcome.events] == ["tasks-stopped", "cron-run"]
    assert sorted(loop.tasks()) == [1, 2]
    assert not {task for _, task in before.values()} & {task for _, task in loop.tasks().values()}


def test_another_spec_counts_from_the_next_run_on():
    loop = loop_with(replicas=1, image="old")
    loop.due(1)
    before = loop.tasks()
    loop.put(**CRON, replicas=3, image="new")
    loop.settle()
    record = loop.state.service("web")
    assert loop.tasks() == before and (record.replicas, record.update) == (1, None)
    loop.end(1)
    assert loop.tasks() == {}
    loop.ask(web=2)
    assert loop.tasks() == {}, "a service call says how many the next run has"
    loop.due(2)
    assert sorted(loop.tasks()) == [1, 2]
    assert {task.version for task in loop.state.tasks_of_service("web")} == {3}


@pytest.mark.parametrize("is_older", [False, True])
def test_a_rollback_counts_from_the_next_run_on_but_for_one_of_an_older_log(is_older):
    loop = loop_with(replicas=1, image="old", overlap="allow")
    loop.due(1)
    loop.put(**CRON, replicas=1, image="new", overlap="allow")
    loop.due(2)
    for node in loop.state.nodes():
        loop.all_run(node.name)
    before = loop.tasks()
    assert loop.do(c.RollBackService(name="web", to_version=1, spares_same=not is_older)).ok
    loop.settle()
    record = loop.state.service("web")
    assert record.spec.image == "old"
    assert (loop.tasks() == before, record.update is None) == (not is_older, not is_older)


@pytest.mark.parametrize(
    ("change", "code"),
    [({"version": 9}, "stale-version"), ({"term": 9}, "stale-term")],
)
def test_what_was_decided_on_another_version_or_in_another_term_is_refused(change, code):
    loop = loop_with()
    assert loop.due(1, **change).code == code
    assert loop.tasks() == {}


def test_a_time_is_decided_once_and_one_that_was_missed_is_counted():
    loop = loop_with()
    assert kinds(loop.due(5, run_ms=None)) == []
    assert loop.due(5).duplicate and loop.due(4).duplicate
    outcome = loop.due(9, missed=3)
    assert kinds(outcome) == ["cron-missed", "cron-run"]
    assert kinds(loop.due(12, run_ms=None, missed=2)) == ["cron-missed"]
    record = loop.state.service("web")
    assert (record.cron.missed, record.cron.runs) == (5, 1)


def test_another_schedule_is_counted_from_when_a_leader_sees_it_and_so_is_one_that_rested():
    loop = loop_with()
    loop.due(5)
    assert loop.state.service("web").cron.decided_ms == 5 * MINUTE
    loop.put(**CRON, image="new")
    assert loop.state.service("web").cron.decided_ms == 5 * MINUTE
    loop.put(mode="cron", schedule="0 3 * * *")
    assert loop.state.service("web").cron.decided_ms is None
    loop.due(6, run_ms=None)
    loop.put(mode="cron", schedule="0 3 * * *", replicas=0)
    assert loop.state.service("web").cron.decided_ms == 6 * MINUTE
    loop.put(mode="cron", schedule="0 3 * * *", replicas=1)
    assert loop.state.service("web").cron.decided_ms is None


def test_a_removed_one_and_one_that_is_no_cron_are_never_due():
    loop = loop_with()
    loop.due(1)
    command = c.RunDue(name="web", version=1, term=1, up_to_ms=9 * MINUTE, run_ms=9 * MINUTE)
    loop.do(c.RemoveService(name="web"))
    assert loop.do(command).code == "unknown-service"
    loop.put(replicas=1)
    assert loop.do(command).code == "stale-version"
    assert loop.state.crons() == []


def test_a_run_and_what_is_decided_are_in_the_snapshot():
    loop = loop_with(replicas=3, overlap="allow")
    loop.due(1)
    loop.end(2)
    loop.due(2, missed=1)
    other = ClusterState()
    other.restore(loop.state.snapshot())
    assert other.service("web") == loop.state.service("web")
    assert other.digest() == loop.state.digest()
    assert [one.name for one in other.crons()] == ["web"]


@pytest.mark.parametrize(
    ("spec", "path", "words"),
    [
        ({"mode": "cron"}, "$.schedule", "needs a schedule"),
        ({"schedule": "* * * * *"}, "$.schedule", "a replicated service runs by no schedule"),
        ({"mode": "global-job", "overlap": "allow"}, "$.overlap", "global-job"),
        ({"time_zone": "Europe/Berlin"}, "$.time_zone", "by no schedule"),
        (CRON | {"window_s": 0}, "$.window_s", "0 is out of range"),
        (CRON | {"overlap": "allowed"}, "$.overlap", "Invalid enum value"),
        (CRON | {"shedule": "x"}, "$.shedule", "unknown field shedule"),
        (CRON | {"autoscale": {"max": 3, "target": 1, "metric": "a"}}, "$.autoscale", "cron"),
    ],
)
def test_a_mistake_is_told_with_its_path(spec, path, words):
    with pytest.raises(InvalidCall) as caught:
        read_spec(spec)
    assert caught.value.path == path and words in caught.value.message
