"""A copy of the state to try things on: what is done to it is not done to the original, nor the other way round."""

from __future__ import annotations

import copy
from collections.abc import Generator
from typing import Any

import msgspec
import numpy as np

from .call_queue import CallQueue
from .machine import ClusterState
from .nodes import NodeTable
from .replicas import Replicas
from .services import ServiceTable
from .snapshots import LARGE
from .task_states import TaskState
from .tasks import TaskTable
from .untold import Untold

__all__ = ["fork", "fork_slices", "run_everything"]

_CACHES = ("_attributes", "_allowed")
"""Of the table of nodes: arrays that are made anew and never written to, so that both may have the same."""


def fork(state: ClusterState) -> ClusterState:
    """The copy, at once."""
    slices = fork_slices(state)
    while True:
        try:
            next(slices)
        except StopIteration as end:
            made: ClusterState = end.value
            return made


def fork_slices(state: ClusterState) -> Generator[None, None, ClusterState]:
    """The same bit by bit: yields after a few milliseconds of work where there are many tasks. Nothing may be applied
    to the original meanwhile. Events that are not told yet stay behind."""
    before: Replicas = state._replicas
    tasks = yield from _tasks(before.tasks)
    made = ClusterState()
    for name, value in vars(state).items():
        if name not in ("_replicas", "_queue", "untold"):
            setattr(made, name, _own(value))
    made._replicas = copy.copy(before)
    for name, value in vars(before).items():
        match value:
            case TaskTable():
                own: Any = tasks
            case NodeTable():
                own = _nodes(value)
            case ServiceTable():
                own = ServiceTable(tuple([copy.copy(one) for one in value.all.values()]), value.next_number)
            case _:
                own = _own(value)
        setattr(made._replicas, name, own)
    made._queue = CallQueue(tuple([copy.copy(call) for call in state._queue.unfinished()]))
    made.untold = Untold()
    return made


def run_everything(state: ClusterState) -> None:
    """As if every agent on a node that answers had carried out what it was told, and had reported it."""
    tasks, nodes = state._replicas.tasks, state._replicas.nodes
    rows = np.flatnonzero(tasks.service >= 0)
    rows = rows[nodes.ready[tasks.node[rows]]]
    is_wanted = tasks.desired[rows] == TaskState.RUNNING
    starting = rows[is_wanted & (tasks.state[rows] < TaskState.RUNNING)]
    tasks.state[starting] = TaskState.RUNNING
    tasks.updated[starting] = state._replicas.clock_ms
    tasks.drop(rows[~is_wanted])
    state._replicas.look_over()


def _tasks(before: TaskTable) -> Generator[None, None, TaskTable]:
    made = copy.copy(before)
    made._data = {}
    for name, column in before._data.items():
        made._data[name] = column.copy()
        if column.nbytes > LARGE:
            yield
    # An index's arrays are never written to.
    made._by_service, made._by_node = copy.copy(before._by_service), copy.copy(before._by_node)
    made._cut_views()
    return made


def _nodes(before: NodeTable) -> NodeTable:
    made = copy.copy(before)
    for name, value in vars(before).items():
        setattr(made, name, dict(value) if name in _CACHES else _own(value))
    return made


def _own(value: Any) -> Any:
    """The same, where it may change, as an object of its own. Frozen values, tuples and texts never do.

    It asks for no names, so that a table which gets one more column is copied whole.
    """
    match value:
        case np.ndarray():
            return value.copy()
        case dict():
            return {key: _own(item) for key, item in value.items()} if _holds_more(value) else dict(value)
        case list():
            return [_own(item) for item in value] if _holds_more(value) else list(value)
        case msgspec.Struct():
            return value if value.__struct_config__.frozen else copy.copy(value)
        case _ if hasattr(value, "__dict__") and not isinstance(value, type):
            made = copy.copy(value)
            for name, item in vars(value).items():
                setattr(made, name, _own(item))
            return made
    return value


_PLAIN = (int, str, bytes, float, tuple, frozenset, type(None))


def _holds_more(table: dict[Any, Any] | list[Any]) -> bool:
    """Whether what it holds has to be looked at; all of a table is of one kind."""
    first = next(iter(table.values() if isinstance(table, dict) else table), None)
    if isinstance(first, msgspec.Struct):
        return not first.__struct_config__.frozen
    return not isinstance(first, _PLAIN)
