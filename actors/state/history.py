"""The last tasks of each slot that ended by themselves: what ran there before, where, and how it ended."""

from __future__ import annotations

import msgspec
import numpy as np

from .runs import Ints, Mask
from .task_states import TaskState

KEPT_A_SLOT = 5
KEPT = 20_000
"""Ended tasks that are remembered of one service; the oldest go first."""
FAILURES = 5
FAULTY_FOR_MS = 300_000
TASK, SLOT, NODE, VERSION, STATE, AT = range(6)


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """A task that has ended; `at_ms` is on the cluster's clock."""

    task: int
    slot: int
    node: int
    version: int
    state: TaskState
    at_ms: int


def rows_of(data: bytes) -> Ints:
    """int64[tasks, 6], in the order of their ends; not to be changed."""
    return np.frombuffer(data, dtype="<i8").reshape(-1, 6)


def added(data: bytes, rows: Ints) -> bytes:
    """The history with these tasks, and with no more than is kept."""
    together = np.concatenate((rows_of(data), rows))
    # From the newest on, how many of the same slot come after each row.
    backwards = together[::-1, SLOT]
    order = np.argsort(backwards, kind="stable")
    counts = np.unique(backwards[order], return_counts=True)[1]
    rank = np.empty(order.size, dtype=np.int64)
    rank[order] = np.arange(order.size) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = together[(rank < KEPT_A_SLOT)[::-1]]
    packed: bytes = kept[-KEPT:].astype("<i8").tobytes()
    return packed


def newest(data: bytes, limit: int) -> tuple[Past, ...]:
    """The newest first."""
    return tuple(
        [
            Past(task=task, slot=slot, node=node, version=version, state=TaskState(state), at_ms=at)
            for task, slot, node, version, state, at in rows_of(data)[::-1][:limit].tolist()
        ]
    )


def faulty_nodes(data: bytes, version: int, now_ms: int, nodes: int) -> Mask:
    """bool[nodes]: where tasks of this version failed five times in five minutes: those come last."""
    if not data:
        return np.zeros(nodes, dtype=bool)
    rows = rows_of(data)
    recent = (rows[:, VERSION] == version) & (rows[:, AT] > now_ms - FAULTY_FOR_MS)
    failed = recent & (rows[:, STATE] >= TaskState.FAILED)
    faulty: Mask = np.bincount(rows[failed, NODE], minlength=nodes)[:nodes] >= FAILURES
    return faulty
