"""Agent: runs a node's replicas and says what became of them.

The leader's assignments are the whole truth at every time: the agent starts what is new, stops what is gone, and
answers with the state of every task of the version it has reached, so a lost answer is mended by asking again. One that
was started anew runs nothing, and says so until it is told what to run.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from .messages import AgentReport, Message, RunTasks
from .state.records import Assignments
from .state.runs import REPORT, collect, expand, pack
from .state.task_states import TaskState
from .system import Actor

__all__ = ["Agent"]

NOTHING_YET = -1
"""The version of an agent that has not been told yet what to run."""
SAY_AGAIN_S = 0.3
LIVES_A_START = 1 << 20
"""Incarnations of an agent in one start of the program; the next start's come after them."""

Ids = npt.NDArray[np.int64]


class _SayAgain(Message, frozen=True, kw_only=True, gc=False):
    """To itself: if nobody has said what to run, ask again."""


class Agent(Actor):
    """One node's replicas. They are simulated: a replica is running as soon as it is started. `node` is its actor.

    `starts` counts the starts of the program on the same data: an agent of an earlier one runs nothing any more.
    """

    def __init__(self, node: str, starts: int = 0) -> None:
        super().__init__()
        self._starts = starts
        self._node = node
        self._version = NOTHING_YET
        self._running: Ids = np.zeros(0, dtype=np.int64)
        # What was stopped on the way to each version: told with every report until the leader has it in the log.
        self._stopped_ids: dict[int, Ids] = {}
        self._started = 0
        self._stopped = 0

    def on_start(self) -> None:
        """Be asked for the first version; the leader may believe that a life before this one still runs its own."""
        self.context.after(SAY_AGAIN_S, _SayAgain())

    def on_receive(self, message: Any) -> None:
        """What to run, or that it is time to ask for it again."""
        match message:
            case RunTasks():
                self._run_tasks(message)
            case _SayAgain() if self._version == NOTHING_YET:
                self._report(self._node)
                self.context.after(SAY_AGAIN_S, _SayAgain())

    def _run_tasks(self, message: RunTasks) -> None:
        """Reach the version that is asked for; an older one than the present is answered with the present one."""
        if message.assignments.version >= self._version:
            self._reach(message.assignments)
        for version in [version for version in self._stopped_ids if version <= message.settled]:
            del self._stopped_ids[version]
        self._report(message.reply_to)

    def _report(self, to: str) -> None:
        incarnation = self._starts * LIVES_A_START + self.context.incarnation
        self.context.send(
            to, AgentReport(version=self._version, incarnation=incarnation, updates=self._updates())
        )

    def _reach(self, assignments: Assignments) -> None:
        wanted = _task_ids(assignments)
        stopped = np.setdiff1d(self._running, wanted, assume_unique=True)
        self._started += wanted.size - (self._running.size - stopped.size)
        self._stopped += stopped.size
        if stopped.size:
            self._stopped_ids[assignments.version] = stopped
        self._running = wanted
        self._version = assignments.version

    def _updates(self) -> bytes:
        ids = np.concatenate((self._running, *self._stopped_ids.values()))
        states = np.full(ids.size, int(TaskState.RUNNING), dtype=np.int64)
        states[self._running.size :] = int(TaskState.SHUTDOWN)
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
