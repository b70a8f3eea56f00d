"""Agent: runs a node's replicas and says what became of them.

The leader's assignments are the whole truth at every time: the agent starts what is new, stops what is gone, and
answers with the state of every task of the version it has reached, so a lost answer is mended by asking again. One that
was started anew runs nothing, and says so until it is told what to run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .messages import (
    ORCHESTRATOR,
    AgentReport,
    Heeded,
    HostedNodes,
    MeasureUsage,
    Message,
    RunTasks,
    ServiceUsage,
    SpawnCluster,
    UsageReport,
)
from .runtimes import NestedRuntime
from .state.loads import usage_of_one
from .state.records import AssignedTasks, Assignments
from .state.runs import REPORT, collect, expand, pack
from .state.specs import Simulated
from .state.task_states import TaskState
from .system import Actor

__all__ = ["Agent"]

NOTHING_YET = -1
"""The version of an agent that has not been told yet what to run."""
SAY_AGAIN_S = 0.3
HOST_AGAIN_S = 0.5
LIVES_A_START = 1 << 20
"""Incarnations of an agent in one start of the program; the next start's come after them."""

RUNS_AT_ONCE = Simulated()
"""How a replica behaves of which nothing is said: it runs as soon as it is started, until it is stopped."""

Ids = npt.NDArray[np.int64]


class _SayAgain(Message, frozen=True, kw_only=True, gc=False):
    """To itself: if nobody has said what to run, ask again."""


class _Advance(Message, frozen=True, kw_only=True, gc=False):
    """To itself: these simulated tasks have come so far; `then` is how they go on."""

    tasks: tuple[int, ...]
    state: int
    then: Simulated | None


class _RepeatChange(Message, frozen=True, kw_only=True, gc=False):
    """To itself: if nobody has heeded what changed by itself, say it again."""


class _HostAgain(Message, frozen=True, kw_only=True, gc=False):
    """To itself: say again which nodes of nested clusters have their place here."""


class Agent(Actor):
    """One node's replicas, simulated: one is running as soon as it is started, unless its service says how it behaves.
    Those that are nodes of nested clusters are what `runtimes/nested.py` makes of them.

    `node` is the node's actor, `cluster` its cluster. `starts` counts the starts of the program on the same data: an
    agent of an earlier one runs nothing any more.
    """

    def __init__(self, node: str, starts: int = 0, cluster: str = "0") -> None:
        super().__init__()
        self._starts = starts
        self._node = node
        self._version = NOTHING_YET
        self._running: Ids = np.zeros(0, dtype=np.int64)
        """What is assigned, in whatever state."""
        self._states: dict[int, int] = {}
        """Of those that do not simply run."""
        self._loaded: tuple[AssignedTasks, ...] = ()
        """Of what is assigned, those that use something."""
        # What was stopped on the way to each version: told with every report until the leader has it in the log.
        self._stopped_ids: dict[int, Ids] = {}
        self._started = 0
        self._stopped = 0
        self._change = 0
        self._heeded = 0
        self._nested = NestedRuntime(cluster)
        self._is_hosting = False

    def on_start(self) -> None:
        """Be asked for the first version; the leader may believe that a life before this one still runs its own."""
        self.context.after(SAY_AGAIN_S, _SayAgain())

    def on_receive(self, message: Any) -> None:
        """What to run, or that it is time to ask for it again."""
        match message:
            case RunTasks():
                self._run_tasks(message)
            case _Advance():
                self._advance(message)
            case MeasureUsage():
                self._measure(message)
            case Heeded() if message.incarnation == self._incarnation():
                self._heeded = max(self._heeded, message.change)
            case _SayAgain() if self._version == NOTHING_YET:
                self._report(self._node)
                self.context.after(SAY_AGAIN_S, _SayAgain())
            case _RepeatChange() if self._change > self._heeded:
                self._report(self._node)
                self.context.after(SAY_AGAIN_S, _RepeatChange())
            case HostedNodes() if self._nested.answered(message):
                self._states.update(self._nested.states())
                self._tell_change()
            case _HostAgain():
                self._is_hosting = bool(self._nested)
                if self._nested:
                    self._spawn(self._nested.again())
                    self.context.after(HOST_AGAIN_S, _HostAgain())

    def _run_tasks(self, message: RunTasks) -> None:
        """Reach the version that is asked for; an older one than the present is answered with the present one."""
        if message.assignments.version >= self._version:
            self._reach(message.assignments)
        for version in [version for version in self._stopped_ids if version <= message.settled]:
            del self._stopped_ids[version]
        self._report(message.reply_to)

    def _report(self, to: str) -> None:
        self.context.send(
            to,
            AgentReport(
                version=self._version,
                incarnation=self._incarnation(),
                updates=self._updates(),
                change=self._change,
            ),
        )

    def _incarnation(self) -> int:
        return self._starts * LIVES_A_START + self.context.incarnation

    def _reach(self, assignments: Assignments) -> None:
        wanted = _task_ids(assignments)
        stopped = np.setdiff1d(self._running, wanted, assume_unique=True)
        for run in assignments.runs:
            if run.simulate != RUNS_AT_ONCE:
                self._behave(run)
        self._started += wanted.size - (self._running.size - stopped.size)
        self._stopped += stopped.size
        if stopped.size:
            self._stopped_ids[assignments.version] = stopped
            for task in stopped.tolist() if self._states else ():
                self._states.pop(task, None)
        self._loaded = tuple([run for run in assignments.runs if run.simulate.has_load])
        self._running = wanted
        self._version = assignments.version
        self._spawn(self._nested.reach(assignments))
        self._states.update(self._nested.states())

    # -- nodes of nested clusters

    def _spawn(self, effects: tuple[SpawnCluster, ...]) -> None:
        """What the runtime wants, again and again: nobody else remembers it."""
        for effect in effects:
            self.context.send(ORCHESTRATOR, effect)
        if effects and not self._is_hosting:
            self._is_hosting = True
            self.context.after(HOST_AGAIN_S, _HostAgain())

    # -- what replicas use

    def _measure(self, message: MeasureUsage) -> None:
        """Say what those use that run; the others use nothing yet."""
        running: dict[str, int] = {}
        how = {run.service: run.simulate for run in self._loaded}
        for run in self._loaded:
            running[run.service] = running.get(run.service, 0) + self._count_running(run)
        services = []
        for service, sharing, since_ms in message.loads:
            count = running.get(service, 0)
            if count:
                one = usage_of_one(how[service], sharing, since_ms)
                totals = tuple([(metric, used * count) for metric, used in one.items()])
                services.append(ServiceUsage(service=service, replicas=count, totals=totals))
        report = UsageReport(node="", term=message.term, round=message.round, services=tuple(services))
        self.context.send(self._node, report)

    def _count_running(self, run: AssignedTasks) -> int:
        if not self._states:
            return run.count
        ids = range(run.first_task, run.first_task + run.count)
        return sum(self._states.get(id, TaskState.RUNNING) == TaskState.RUNNING for id in ids)

    # -- replicas that behave in some way

    def _behave(self, run: AssignedTasks) -> None:
        """Start those of a run that are new."""
        ids = np.arange(run.first_task, run.first_task + run.count)
        new = tuple(np.setdiff1d(ids, self._running, assume_unique=True).tolist())
        if not new:
            return
        how = run.simulate
        if how.fails_to_start:
            self._states.update(dict.fromkeys(new, int(TaskState.STARTING)))
            self.context.after(how.start_s, _Advance(tasks=new, state=TaskState.FAILED, then=None))
        elif how.start_s:
            self._states.update(dict.fromkeys(new, int(TaskState.STARTING)))
            self.context.after(how.start_s, _Advance(tasks=new, state=TaskState.RUNNING, then=how))
        else:
            self._run_for(new, how)

    def _run_for(self, tasks: tuple[int, ...], how: Simulated) -> None:
        """They run from now on."""
        self._states.update(dict.fromkeys(tasks, int(TaskState.RUNNING)))
        if how.run_s is not None:
            end = TaskState.FAILED if how.exit_code else TaskState.COMPLETE
            self.context.after(how.run_s, _Advance(tasks=tasks, state=end, then=None))

    def _advance(self, message: _Advance) -> None:
        """Those that were not stopped meanwhile come further, and somebody has to hear of it."""
        tasks = tuple([task for task in message.tasks if task in self._states])
        if not tasks:
            return
        if message.then is not None:
            self._run_for(tasks, message.then)
        else:
            self._states.update(dict.fromkeys(tasks, int(message.state)))
        self._tell_change()

    def _tell_change(self) -> None:
        """Until the leader has heeded it."""
        is_silent = self._change <= self._heeded
        self._change += 1
        self._report(self._node)
        if is_silent:
            self.context.after(SAY_AGAIN_S, _RepeatChange())

    def _updates(self) -> bytes:
        ids = np.concatenate((self._running, *self._stopped_ids.values()))
        states = np.full(ids.size, int(TaskState.RUNNING), dtype=np.int64)
        states[self._running.size :] = int(TaskState.SHUTDOWN)
        if self._states:
            told = [self._states.get(task, int(TaskState.RUNNING)) for task in self._running.tolist()]
            states[: self._running.size] = told
        return pack(collect(ids, states), REPORT)

    def statistics(self) -> dict[str, int | float | str]:
        return super().statistics() | {
            "running": int(self._running.size),
            "started": self._started,
            "stopped": self._stopped,
        }


def _task_ids(assignments: Assignments) -> Ids:
    first = np.array([run.first_task for run in assignments.runs], dtype=np.int64)
    count = np.array([run.count for run in assignments.runs], dtype=np.int64)
    return np.sort(expand(first, count)) if first.size else first
