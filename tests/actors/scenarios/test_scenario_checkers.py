"""Every promise can be broken: two wrong clusters for each checker, and how the failure reads."""

from __future__ import annotations

import contextlib
import inspect
import textwrap
import threading
from collections.abc import Callable
from queue import Queue
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scenario_texts import played

from raftyard.actors.agent import Agent
from raftyard.actors.cluster import Cluster
from raftyard.actors.control import ControlLoop
from raftyard.actors.disk import Disk
from raftyard.actors.frontdoor.calls import Calls
from raftyard.actors.node import Node
from raftyard.actors.raft import elections, replication
from raftyard.actors.raft.core import Membership
from raftyard.actors.raft.events import Apply, BecameLeader, Ready
from raftyard.actors.scenarios import CHECKERS, ScenarioFailed, Simulation, told
from raftyard.actors.scenarios.checkers import calls
from raftyard.actors.scenarios.checkers.base import PromiseBroken
from raftyard.actors.scenarios.checkers.calls import CallsExecutedOnce, Retold
from raftyard.actors.scenarios.checkers.committed import CommittedNeverLost
from raftyard.actors.scenarios.histories import History
from raftyard.actors.state.nodes import NodeTable, Room
from raftyard.actors.state.replicas import Replicas
from raftyard.actors.state.task_states import TaskState
from raftyard.actors.state.tasks import TaskTable
from raftyard.actors.storage.simulated import SimulatedStorage
from raftyard.actors.system import Event

Patch = pytest.MonkeyPatch
Case = tuple[str, Callable[[Patch], None], str, str, str]
"""The promise, what breaks it, the cluster, the steps, a part of what is told."""


def rewrite(patch: Patch, owner: Any, name: str, right: str, wrong: str) -> None:
    """One line of one function, rewritten."""
    function = getattr(owner, name)
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(right) == 1, f"{name} has changed: {right!r} is not in it once"
    made: dict[str, Any] = {}
    exec(compile(source.replace(right, wrong), f"<wrong {name}>", "exec"), function.__globals__, made)
    # Its code, so that it is wrong wherever it is known.
    patch.setattr(function, "__code__", made[name].__code__)


def after(patch: Patch, owner: Any, name: str, also: Callable[..., None]) -> None:
    """The function, and something after it; `also` gets its arguments."""
    right = getattr(owner, name)

    def wrong(*arguments: Any) -> Any:
        result = right(*arguments)
        also(*arguments)
        return result

    patch.setattr(owner, name, wrong)


# -- the bugs


def votes_twice(patch: Patch) -> None:
    rewrite(patch, elections, "on_vote_request", "free = ", "free = True or ")


def half_is_a_majority(patch: Patch) -> None:
    patch.setattr(Membership, "is_quorum", lambda self, who: 2 * len(who) >= len(self.voters))
    rewrite(patch, replication, "reached_by_majority", "(len(values) - 1) // 2", "len(values) // 2")


def one_vote_is_enough(patch: Patch) -> None:
    patch.setattr(Membership, "is_quorum", lambda self, who: len(who) >= 1)


def one_node_counts_otherwise(patch: Patch) -> None:
    def also(node: Node, *_: Any) -> None:
        if node.node == "node_2":
            node.state._replicas.nodes.versions[0] += 1

    after(patch, Node, "on_applied", also)


def ignores_logs_of_candidates(patch: Patch) -> None:
    rewrite(
        patch,
        elections,
        "on_vote_request",
        "raft.log.is_behind(message.last_index, message.last_term)",
        "True",
    )


def disk_says_written_too_soon(patch: Patch) -> None:
    rewrite(
        patch,
        Disk,
        "_start",
        "if isinstance(storage, SimulatedStorage):\n        self._timer",
        "if False:\n        self._timer",
    )


def disk_syncs_nothing(patch: Patch) -> None:
    patch.setattr(SimulatedStorage, "sync", lambda self: None)


def agent_drops_a_replica(patch: Patch) -> None:
    def drop(agent: Any, *_: Any) -> None:
        agent._running = agent._running[1:]

    after(patch, Agent, "_run_tasks", drop)


def leader_looks_away(patch: Patch) -> None:
    """From the third second on the control loop does nothing."""
    right = ControlLoop.reconcile

    def wrong(loop: Any) -> None:
        if loop._host.context.now() < 3:
            right(loop)

    patch.setattr(ControlLoop, "reconcile", wrong)


def agents_run_the_first_task_too(patch: Patch) -> None:
    def also(agent: Any, *_: Any) -> None:
        agent._running = np.union1d(agent._running, [1])

    after(patch, Agent, "_run_tasks", also)


def one_slot_for_all(patch: Patch) -> None:
    right = Replicas._add_tasks
    patch.setattr(
        Replicas, "_add_tasks", lambda self, a, b, slots, *more: right(self, a, b, slots * 0 + 1, *more)
    )


def nodes_seem_twice_as_large(patch: Patch) -> None:
    patch.setattr(NodeTable, "room", lambda self: Room(["slots"], (2 * self.capacity - self.used)[None], self.open))


def load_is_forgotten(patch: Patch) -> None:
    patch.setattr(NodeTable, "room", lambda self: Room(["slots"], self.capacity[None].copy(), self.open))


def reports_turn_back(patch: Patch) -> None:
    def also(replicas: Replicas, change: Any, *_: Any) -> None:
        if change.index > 12:
            replicas.tasks.state[:] = TaskState.ACCEPTED

    after(patch, Replicas, "carry_out", also)


def ids_are_used_again(patch: Patch) -> None:
    def also(table: Any, *_: Any) -> None:
        if len(table) == 0:
            table.next_id = 1

    after(patch, TaskTable, "drop", also)


def says_executed_at_once(patch: Patch) -> None:
    patch.setattr(
        Calls,
        "_wait_for",
        lambda self, call, accepted, promise, wait_s: promise.keep(accepted | {"status": "executed"}),
    )


def answers_with_another_id(patch: Patch) -> None:
    rewrite(patch, Calls, "submit", '"service_id": call.id}', '"service_id": call.id[::-1]}')


def nodes_stay_down(patch: Patch) -> None:
    # The table of handlers is made with the cluster, so the method is what counts.
    patch.setattr(Cluster, "_start_again", lambda self, message: None)


def reads_ask_nobody(patch: Patch) -> None:
    patch.setattr(Node, "read", lambda self, answer: answer(None))


# -- what they break

QUIET = "cluster: {}"
IMPATIENT = "{election_min: 110ms, election_max: 120ms, pre_vote: false, check_quorum: false}"
CONTESTED = f"cluster: {{nodes: 4, links: {{delay: 10ms, jitter: 10ms}}, raft: {IMPATIENT}}}"
THREE = "cluster: {nodes: 3, raft: {pre_vote: false, check_quorum: false}}"
SPLIT = """
- partition: [[node_0, node_1], [node_2, node_3]]
- wait: 5s
- submit: {container: {name: a, replicas: 4}}
- wait: 5s
- heal: all
- wait: 5s
"""
WEB = "- eventually: leader is not None\n- submit: {container: {name: web, replicas: 10}}\n  within: 5s\n"
LONELY = """
- eventually: leader is not None
- write: {x: 1}
  within: 5s
- isolate: leader
- write: {x: 2}
  within: 5s
""" + "".join(f"- read: {{key: x, via: node_{number}}}\n" for number in range(5))
ELECTIONS = "- crash: all\n  for: 500ms\n  repeat: {times: 20, every: 1s}\n"
BEHIND = """
- partition: [[node_0], [node_1, node_2]]
- wait: 2s
- submit: {container: {name: web, replicas: 10}}
  within: 5s
- heal: all
- isolate: leader
- wait: 3s
"""
DISKS = "cluster: {disks: {sync: 5ms}}"

CASES: list[Case] = [
    ("raft", one_node_counts_otherwise, QUIET, WEB + "- wait: 2s", "equal states: node_"),
    ("raft", half_is_a_majority, CONTESTED, SPLIT, "committed on a quorum"),
    ("at-most-one-leader-per-term", votes_twice, CONTESTED, ELECTIONS, "has two leaders, node_"),
    ("at-most-one-leader-per-term", one_vote_is_enough, CONTESTED, ELECTIONS, "has two leaders, node_"),
    ("committed-never-lost", ignores_logs_of_candidates, THREE, BEHIND, "without entry"),
    ("committed-never-lost", half_is_a_majority, CONTESTED, SPLIT, "was committed by term"),
    ("durable-stays-durable", disk_says_written_too_soon, DISKS, WEB, "but its disk holds"),
    ("durable-stays-durable", disk_syncs_nothing, DISKS, WEB, "takes entries up to"),
    ("no-replica-lost", agent_drops_a_replica, QUIET, WEB + "- wait: 20s", "does not run for more than 10 s"),
    ("no-replica-lost", leader_looks_away, QUIET, WEB + "- crash: follower\n  at: 4s\n- wait: 20s",
     "does not run for more than 10 s"),
    ("no-replica-twice", agents_run_the_first_task_too, QUIET, WEB + "- wait: 2s", "task 1 runs on node_0 and"),
    ("no-replica-twice", one_slot_for_all, QUIET, WEB + "- wait: 2s", "web replica 1 is wanted twice"),
    ("capacity-never-exceeded", nodes_seem_twice_as_large, "cluster: {capacity: 1}", WEB, "has 1 slots and is given 2"),
    ("capacity-never-exceeded", load_is_forgotten, "cluster: {capacity: 2}",
     WEB + "- submit: {container: {name: db, replicas: 10}}\n- wait: 2s", "has 2 slots and is given 4"),
    ("task-states-only-forward", reports_turn_back, QUIET,
     WEB + "- submit: {container: {name: db, replicas: 3}}\n  repeat: {times: 3, every: 1s}\n"
     "- submit: {container: {name: db, replicas: 9}}\n- wait: 2s", "is ACCEPTED after it was RUNNING"),
    ("task-states-only-forward", ids_are_used_again, QUIET,
     WEB + "- submit: {container: {name: web, replicas: 0}}\n- wait: 2s\n"
     "- submit: {container: {name: web, replicas: 3}}\n- wait: 2s", "had ended, and is there again"),
    ("calls-executed-once", says_executed_at_once, QUIET,
     "- isolate: all\n- write: {web: 3}", "and is not in the agreed log"),
    ("calls-executed-once", answers_with_another_id, QUIET,
     "- submit: {container: {name: web, replicas: 3}}\n- wait: 3s", "was executed, and nobody made it"),
    ("converges", nodes_stay_down, QUIET, WEB + "- crash: follower\n  for: 1s", "do not take part"),
    ("converges", leader_looks_away, QUIET, "- submit: {container: {name: web, replicas: 3}}\n  at: 4s", "calls wait"),
    ("linearizable", reads_ask_nobody, QUIET, LONELY, "operations on key x"),
    ("linearizable", says_executed_at_once, "cluster: {links: {delay: 50ms}}",
     "- eventually: leader is not None\n- wait: 1s\n- write: {x: 1}\n- wait: 10ms\n- read: x", "no order explains"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("promise", "bug", "cluster", "steps", "why"),
    CASES,
    ids=[f"{case[0]}-{case[1].__name__}" for case in CASES],
)
def test_a_wrong_cluster_breaks_its_promise(
    monkeypatch: Patch, promise: str, bug: Callable[[Patch], None], cluster: str, steps: str, why: str
):
    head = f"{cluster}\nalways: [{promise}]"
    right = played(steps, head)
    assert right.passed or cluster == CONTESTED, told(right)
    bug(monkeypatch)
    outcome = next(
        (outcome for seed in range(10) if not (outcome := played(steps, head, seed=seed)).passed), None
    )
    assert outcome is not None and outcome.failure is not None, "nobody noticed on ten seeds"
    assert outcome.failure.promise == promise, told(outcome)
    assert why in outcome.failure.reason


def test_every_checker_is_broken_twice():
    assert {name: sum(case[0] == name for case in CASES) for name in CHECKERS} == dict.fromkeys(CHECKERS, 2)


def test_who_slept_since_it_was_voted_for_need_not_have_what_was_committed_after_its_term():
    """A node votes for itself in term 3, and is paused; term 4 commits an entry of term 2 that it never had."""

    def core(term: int, terms: list[int]) -> Any:
        log = SimpleNamespace(term_at=lambda index: terms[index - 1])
        return SimpleNamespace(
            cluster="0", member=f"in {term}", term=term, first_index=1, last_index=len(terms), log=log
        )

    def step(checker: CommittedNeverLost, at: Any, applies: int | None = None, leads: int | None = None) -> None:
        apply = None if applies is None else Apply(first_index=applies, terms=(2,), payloads=(b"x",))
        changes = () if leads is None else (BecameLeader(term=leads),)
        checker.stepped(at, None, Ready(apply=apply, changes=changes, deadline_ns=0))

    slept, led = core(3, [1]), core(4, [1, 2, 4])
    for committer, is_right in ((led, True), (core(2, [1, 2]), False)):
        checker = CommittedNeverLost(SimpleNamespace(), SimpleNamespace())  # type: ignore[arg-type]
        step(checker, committer, applies=2)
        with contextlib.nullcontext() if is_right else pytest.raises(PromiseBroken, match="without entry 2"):
            step(checker, slept, leads=3)


def test_calls_that_are_executed_while_the_log_is_retold_raise_no_alarm(monkeypatch: Patch):
    """Live, clients' last calls go on when a scenario ends."""
    history = History()
    history.call_made()

    def retold_slowly(*_: Any) -> Retold:
        retold = Retold(())
        retold.executed["late"] = 1
        history.call_answered("late", {}, executed=True)
        history.call_made()
        history.call_answered("later still", {}, executed=True)
        return retold

    monkeypatch.setattr(calls, "Retold", retold_slowly)
    checker = CallsExecutedOnce(SimpleNamespace(), history)  # type: ignore[arg-type]
    checker.ended()
    assert list(history.executed) == ["late", "later still"]
    assert history.open_calls == 0
    monkeypatch.setattr(calls, "Retold", Retold)
    with pytest.raises(PromiseBroken, match="call late was reported as executed, and is not in the agreed log"):
        checker.ended()


def test_a_broken_promise_is_told_without_the_lock_that_every_event_needs():
    """Who emits another event meanwhile holds the log's lock and waits for that of the watch."""
    with Simulation(nodes=1, seed=1, clock="live") as sim:
        free: Queue[bool] = Queue()

        def is_free() -> None:
            has_it = sim.watch._lock.acquire(timeout=1.0)
            if has_it:
                sim.watch._lock.release()
            free.put(has_it)

        def heard(event: Event) -> None:
            if event.kind == "promise-broken":
                other = threading.Thread(target=is_free)
                other.start()
                other.join()

        def broken(*_: object) -> None:
            raise PromiseBroken("raft", "as told")

        sim.system.events.subscribe(heard)
        sim.watch._stepped = {"0": [broken]}
        with pytest.raises(ScenarioFailed, match="raft: as told"):
            sim.wait("5s")
        assert free.get(timeout=10.0)
        sim.watch.broken = None  # it has been told
        sim.watch._stepped = {}
