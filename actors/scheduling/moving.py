"""Which replicas may not stay where they are: their node drains, or no longer meets the service's constraints, or has
another GPU model than the service names.

A drain may be gentle: at most so many replicas of a service on the move at a time, until its deadline. Slots that wait
for their restart are not on the move, up to as many; where more do, it may be the new place that they fail at.
"""

from __future__ import annotations

import numpy as np

from ..state import restarts
from ..state.machine import ClusterState
from ..state.needs import needs_of
from ..state.records import Wanted
from ..state.runs import Mask
from ..state.services import at_a_time
from ..state.specs import ServiceSpec
from ..state.task_states import TaskState
from .updating import kept


def leaving(
    state: ClusterState,
    name: str,
    spec: ServiceSpec,
    replicas: int,
    tasks: Wanted,
    is_lost: Mask,
    now_ms: int,
) -> Mask:
    """bool[tasks]: those that leave now. Lost ones are not among them: they are replaced where they are missing."""
    table = state.node_table()
    outdated = _left_behind(state, name, tasks) | _on_another_model(state, name, tasks)
    draining = table.draining[tasks.nodes] & ~is_lost
    chosen: Mask = (~table.allowed(spec.placement)[tasks.nodes] | outdated) & ~is_lost
    if not draining.any():
        return chosen
    gentle = [
        node
        for node in state.nodes()
        if node.availability == "drain"
        and node.drain_parallel
        and (node.drain_ms is None or now_ms < node.drain_ms)
    ]
    is_gentle = np.zeros(table.ready.size, dtype=bool)
    is_gentle[[node.number for node in gentle]] = True
    chosen |= draining & ~is_gentle[tasks.nodes]
    record = state.service(name)
    should_run = at_a_time(spec, replicas - (record.done if record is not None else 0))
    away = should_run - int(np.count_nonzero((tasks.states == TaskState.RUNNING) & ~is_lost & ~chosen))
    crashed = min(_crashed(state, name, tasks), max(0, should_run - tasks.slots.size))
    for node in gentle:
        waiting = np.flatnonzero((tasks.nodes == node.number) & ~chosen & ~is_lost)
        on_the_move = max(0, away - min(crashed, node.drain_parallel))
        moved = waiting[: max(0, node.drain_parallel - on_the_move)]
        chosen[moved] = True
        away += moved.size
    return chosen


def _crashed(state: ClusterState, name: str, tasks: Wanted) -> int:
    """How many slots wait for their restart, with nobody in them."""
    rows = state.restarts(name)
    waits = rows[rows[:, restarts.KIND] == restarts.WAITS, restarts.SLOT]
    return int(np.count_nonzero(~np.isin(waits, tasks.slots)))


def _on_another_model(state: ClusterState, name: str, tasks: Wanted) -> Mask:
    """Tasks on GPUs of a model that is none of those which their service names. An older template may have named
    others: the update replaces those."""
    record = state.service(name)
    if record is None or not record.spec.reservations.gpu_models:
        return np.zeros(tasks.slots.size, dtype=bool)
    has_model = state.node_table().has_model(needs_of(record.spec))
    wrong: Mask = ~has_model[tasks.nodes] & (tasks.versions == record.template)
    return wrong


def _left_behind(state: ClusterState, name: str, tasks: Wanted) -> Mask:
    """Tasks of a global service whose node was away when the service was updated."""
    record = state.service(name)
    if record is None or not record.spec.is_global:
        return np.zeros(tasks.slots.size, dtype=bool)
    if record.update is not None and record.update.completed_ms is None:
        return np.zeros(tasks.slots.size, dtype=bool)
    left: Mask = (tasks.versions != record.template) & ~kept(state, record, tasks)
    return left
