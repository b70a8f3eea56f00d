"""A task only ever goes forward: from assigned over running to its end, never back."""

from __future__ import annotations

from ...node import Node
from ...state.task_states import TaskState
from ..histories import History
from ..inside import Inside
from .base import Checker

__all__ = ["TaskStatesOnlyForward"]


class TaskStatesOnlyForward(Checker):
    """Compares the agreed states of every task from entry to entry."""

    name = "task-states-only-forward"
    promise = (
        "the state of a task, observed or desired, never goes back, and one that ended does not come back"
    )

    def __init__(self, inside: Inside, history: History) -> None:
        super().__init__(inside, history)
        self._checked = 0
        self._states: dict[int, tuple[TaskState, TaskState]] = {}
        self._highest = 0

    def looked(self, node: Node) -> None:
        """Of the nodes that reach an entry the first is looked at; that they agree is Raft's promise."""
        if node.applied <= self._checked:
            return
        self._checked = node.applied
        before, now = self._states, {}
        for record in node.state.nodes():
            for task in node.state.tasks_of(record.name):
                now[task.id] = (task.state, task.desired)
                self._compare(
                    task.id, f"{task.service} replica {task.slot}", before.get(task.id), now[task.id]
                )
        self._states = now
        self._highest = max(self._highest, *now, 0)

    def _compare(
        self, id: int, who: str, old: tuple[TaskState, TaskState] | None, new: tuple[TaskState, TaskState]
    ) -> None:
        self.demand(old is not None or id > self._highest, f"task {id} ({who}) had ended, and is there again")
        if old is None:
            return
        for what, one, other in zip(("is", "should be"), old, new, strict=True):
            self.demand(other >= one, f"task {id} ({who}) {what} {other.name} after it was {one.name}")
