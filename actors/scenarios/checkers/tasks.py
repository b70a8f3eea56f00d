"""A task only ever goes forward: from assigned over running to its end, never back."""

from __future__ import annotations

import numpy as np

from ...node import Node
from ...state.runs import Ints
from ...state.task_states import STATES
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
        none = np.zeros(0, dtype=np.int64)
        self._states: tuple[Ints, Ints, Ints] = (none, none, none)
        self._highest = 0

    def looked(self, node: Node) -> None:
        """Of the nodes that reach an entry the first is looked at; that they agree is Raft's promise."""
        if node.applied <= self._checked:
            return
        self._checked = node.applied
        ids, is_now, should_be = node.state.task_states()
        old_ids, was, should_have_been = self._states
        self._states = (ids, is_now, should_be)
        known = np.isin(ids, old_ids, assume_unique=True)
        for task in node.state.tasks(ids[~known & (ids <= self._highest)])[:1]:
            raise self.broken(f"task {task.id} ({task.service} replica {task.slot}) had ended, and is there again")
        self._highest = max([self._highest, *ids[-1:].tolist()])
        still = np.isin(old_ids, ids, assume_unique=True)
        for what, before, now in (("is", was, is_now), ("should be", should_have_been, should_be)):
            old, new = before[still], now[known]
            back = np.flatnonzero(new < old)
            for task in node.state.tasks(ids[known][back])[:1]:
                turn = f"{STATES[int(new[back[0]])].name} after it was {STATES[int(old[back[0]])].name}"
                raise self.broken(f"task {task.id} ({task.service} replica {task.slot}) {what} {turn}")
