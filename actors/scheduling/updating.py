"""How a rolling update goes on: which replicas of an older template leave now, and how many new ones start beside them.

All of it follows from the tasks as they are: what is on its way counts against `parallelism`, so a new leader goes on
where the old one was.
"""

from __future__ import annotations

import msgspec
import numpy as np

from ..state.machine import ClusterState
from ..state.records import ServiceRecord, Wanted
from ..state.runs import Ints, Mask
from ..state.services import at_a_time
from ..state.task_states import TaskState


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """The next step: these tasks leave; with start-first, `extra` replicas may be there beside what is desired, and
    `starts` of them start now."""

    leaves: Mask
    extra: int = 0
    starts: int = 0


def next_step(
    state: ClusterState, record: ServiceRecord, replicas: int, tasks: Wanted, is_gone: Mask, now_ms: int
) -> Step:
    """is_gone: bool[tasks], lost or leaving already."""
    nothing = Step(leaves=np.zeros(tasks.slots.size, dtype=bool))
    update = state.active_update(record.name)
    if update is None:
        return nothing
    old = (tasks.versions != record.template) & ~is_gone & ~kept(state, record, tasks)
    if not old.any():
        return nothing
    new = (tasks.versions == record.template) & ~is_gone
    runs = tasks.states == TaskState.RUNNING
    rested = new & runs & (now_ms - tasks.updated_ms >= update.delay_s * 1_000)
    under_way = int(np.count_nonzero(new & ~rested))
    at_once = update.parallelism or replicas
    # Those that do not run anyway go first, then the lowest slots.
    order = np.flatnonzero(old)
    order = order[np.argsort(runs[order], kind="stable")]
    desired = replicas - record.done
    if record.spec.starts_first(update):
        left = desired - int(np.count_nonzero(new))
        starts = max(0, min(at_once - under_way, left))
        leaving = int(np.count_nonzero(old)) + int(np.count_nonzero(rested)) - desired
        return Step(leaves=_first(nothing.leaves, order, leaving), extra=at_once, starts=starts)
    alive = int(np.count_nonzero(~is_gone))
    missing = max(0, at_a_time(record.spec, desired) - alive)
    return Step(leaves=_first(nothing.leaves, order, at_once - under_way - missing))


def kept(state: ClusterState, record: ServiceRecord, tasks: Wanted) -> Mask:
    """bool[tasks]: those of a global service that nothing replaces while their nodes are paused."""
    if not record.spec.is_global or not record.keeps_on_nodes:
        return np.zeros(tasks.slots.size, dtype=bool)
    kept: Mask = state.node_table().paused[tasks.nodes]
    return kept


def _first(none: Mask, order: Ints, count: int) -> Mask:
    chosen = none.copy()
    chosen[order[: max(0, count)]] = True
    return chosen
