"""Random faults on the pure pieces: left alone, the cluster reaches what is desired or says why not."""

import os
import random

import pytest
from control_loop import ControlLoop

from raftyard.actors.state import commands as c
from raftyard.actors.state.machine import ClusterState
from raftyard.actors.state.runs import report_updates
from raftyard.actors.state.task_states import TaskState

SERVICES = ("web", "api", "db", "job")


class Storm(ControlLoop):
    """Two members apply the same log; one of them is now and then made anew from the other's snapshot."""

    def __init__(self, seed):
        super().__init__()
        self.rng, self.other, self.ended = random.Random(seed), ClusterState(), {}
        self.late = None
        for _ in range(self.rng.randrange(1, 6)):
            self.join()

    def do(self, command):
        outcome = super().do(command)
        assert self.other.apply(self.index, self.term, c.decode(c.encode(command))) == outcome
        for event in outcome.events:
            if event.kind in ("call-executed", "call-failed"):
                self.ended[event.data["call"]] = self.ended.get(event.data["call"], 0) + 1
        return outcome

    def join(self):
        self.add(f"n{self.rng.randrange(9)}", self.rng.randrange(13))

    def somebody(self):
        return self.rng.choice(self.state.nodes()).name if self.state.nodes() else "nobody"

    def leave(self):
        self.remove(self.somebody())

    def change_status(self):
        self.status(self.somebody(), self.rng.choice(["ready", "down"]))

    def call(self):
        names = self.rng.sample(SERVICES, self.rng.randrange(1, 3))
        self.submit(self.rng.choice([1, 1, 2, 3]), **{name: self.rng.randrange(30) for name in names})

    def agent(self):
        node = self.somebody()
        states = {
            task.id: self.rng.choice(list(TaskState))
            for task in self.state.tasks_of(node)
            if self.rng.random() < 0.4
        }
        incarnation = self.rng.randrange(1, 3)
        self.do(c.ReportTasks(node=node, incarnation=incarnation, updates=report_updates(states.items())))

    def work(self):
        command = self.next_command()
        if command is not None:
            self.do(command)

    def plan_and_wait(self):
        self.late = self.next_command()

    def arrive_late(self):
        if self.late is not None:
            self.do(self.late)

    def new_leader(self):
        self.term += 1

    def make_anew(self):
        self.other = ClusterState()
        self.other.restore(self.state.snapshot())
        self.other.check()

    def rage(self, steps):
        for _ in range(steps):
            self.rng.choice(
                [
                    self.join,
                    self.leave,
                    self.change_status,
                    self.change_status,
                    self.call,
                    self.agent,
                    self.work,
                    self.work,
                    self.plan_and_wait,
                    self.arrive_late,
                    self.new_leader,
                    self.make_anew,
                ]
            )()


@pytest.fixture(autouse=True)
def small_tables(monkeypatch):
    """Close up holes and merge indexes all the time, as large clusters do."""
    monkeypatch.setattr("raftyard.actors.state.tasks.SPARE_ROWS", 2)


def assert_converged(storm):
    state = storm.state
    assert state.head() is None
    free = state.free_slots()
    for service in state.services():
        tasks = storm.tasks(service.name)
        assert len(tasks) == service.placed + service.lost <= service.replicas
        if service.pending:
            assert not free.size or int(free.max()) < service.slots_per_replica
            reason = next(waiting.reason for waiting in state.pending() if waiting.service == service.name)
            assert reason.startswith(("no room", "no node is ready")), reason
    for number in range(storm.calls):
        call = state.call(f"call-{number + 1}")
        assert call.status == "executed"
        assert storm.ended.get(call.id, 0) == (0 if call.merged_into else 1), (
            f"{call.id} was carried out again"
        )


def run(seed):
    storm = Storm(seed)
    storm.rage(60)
    storm.settle()
    assert_converged(storm)
    assert storm.state.digest() == storm.other.digest()


SEED = int(os.environ.get("RAFTYARD_SEED", "1"))


@pytest.mark.parametrize("seed", range(SEED, SEED + 40))
def test_left_alone_a_cluster_reaches_what_is_desired_or_says_why_not(seed):
    run(seed)


@pytest.mark.campaign
def test_many_seeds_converge():
    seeds = 5000 if os.environ.get("RAFTYARD_CAMPAIGN") == "full" else 500
    print(f"seeds {SEED} to {SEED + seeds - 1}; one of them: RAFTYARD_SEED=N pytest {__file__}")
    for seed in range(SEED, SEED + seeds):
        try:
            run(seed)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error}") from error
