"""All tasks of a cluster in columns: 40 bytes a task, so that two million fit and a plan is applied in
milliseconds.

Rows are in the order of task ids, which only grow: a task is found by binary search. A task that has ended
leaves a hole; when holes outnumber tasks the columns are closed up. Two indexes find the tasks of a service
or of a node.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from .runs import Ints
from .task_states import TaskState

Column = npt.NDArray[Any]
Rows = npt.NDArray[np.int64]

COLUMNS: tuple[tuple[str, str], ...] = (
    ("id", "<i8"),
    ("updated", "<i8"),
    ("service", "<i4"),
    ("slot", "<i4"),
    ("node", "<i4"),
    ("needs", "<i4"),
    ("version", "<i4"),
    ("state", "<u2"),
    ("desired", "<u2"),
)
BLOCK_ROWS = 1 << 17
HOLE = -1
SPARE_ROWS = 1024
"""Holes that are not worth closing up, and rows that the smallest table with a task has room for."""


class Index:
    """The rows that hold a key (a service's or a node's number), from a sorted list of most rows and one of
    recent rows.

    Sorting again for each plan would cost the whole table; so rows gather in `recent` until they are a
    sixteenth, and the newest thousand are looked through.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start anew, after rows have moved."""
        self._main, self._main_bounds, self._main_end = _no_rows(), np.zeros(1, dtype=np.int64), 0
        self._recent, self._recent_bounds, self._recent_end = _no_rows(), np.zeros(1, dtype=np.int64), 0

    def rows(self, keys: Column, key: int) -> Rows:
        """Rows in ascending order whose key is `key`."""
        if keys.size - self._recent_end > SPARE_ROWS:
            self._catch_up(keys)
        if not self._recent_end:  # of few rows nothing is sorted
            few: Rows = (keys == key).nonzero()[0]
            return few
        old, new = (
            _bucket(self._main, self._main_bounds, key),
            _bucket(self._recent, self._recent_bounds, key),
        )
        newest = np.flatnonzero(keys[self._recent_end :] == key) + self._recent_end
        found: Rows = np.concatenate((old, new, newest))
        still: Rows = found[keys[found] == key]
        return still

    def _catch_up(self, keys: Column) -> None:
        if keys.size - self._main_end > max(4 * SPARE_ROWS, keys.size // 16):
            self._main, self._main_bounds = _sorted_rows(keys, 0)
            self._main_end = keys.size
        self._recent, self._recent_bounds = _sorted_rows(keys, self._main_end)
        self._recent_end = keys.size


def _no_rows() -> Rows:
    return np.zeros(0, dtype=np.int64)


def _sorted_rows(keys: Column, start: int) -> tuple[npt.NDArray[Any], Ints]:
    """Rows from `start` on in order of their keys, and where each key's part ends; holes come first."""
    part = keys[start:] + 1
    # numpy sorts 16-bit keys by radix, ten times as fast.
    narrow = part.astype(np.uint16) if part.size and int(part.max()) < 65_536 else part
    rows = (np.argsort(narrow, kind="stable") + start).astype(np.int32)
    return rows, np.cumsum(np.bincount(part)) if part.size else np.zeros(1, dtype=np.int64)


def _bucket(rows: npt.NDArray[Any], bounds: Ints, key: int) -> Rows:
    # bounds[k] is the end of key k - 1, because holes have key -1.
    if key + 1 >= bounds.size:
        return _no_rows()
    return rows[int(bounds[key]) : int(bounds[key + 1])].astype(np.int64)


class TaskTable:
    """The columns, as numpy arrays of equal length; holes have service and node -1.

    updated: when the state or the desired state changed last, in ms on the cluster's clock. needs: the number of what
    the task takes (`needs.py`). version: the service's version that it was made from.
    """

    def __init__(self) -> None:
        # No room before it is needed: a cluster of thousands has thousands of members that never have a task.
        self._data: dict[str, Column] = {name: np.zeros(0, dtype=dtype) for name, dtype in COLUMNS}
        self._end = 0
        self._holes = 0
        self.next_id = 1
        self._by_service = Index()
        self._by_node = Index()
        self._cut_views()

    def _cut_views(self) -> None:
        end, data = self._end, self._data
        self.id, self.updated, self.service = data["id"][:end], data["updated"][:end], data["service"][:end]
        self.slot, self.node, self.needs = data["slot"][:end], data["node"][:end], data["needs"][:end]
        self.version, self.state, self.desired = (
            data["version"][:end],
            data["state"][:end],
            data["desired"][:end],
        )

    def __len__(self) -> int:
        return self._end - self._holes

    def add(
        self,
        *,
        service: int | Ints,
        slots: Ints,
        nodes: Ints,
        needs: int | Ints,
        version: int | Ints,
        now_ms: int,
    ) -> Rows:
        """New tasks, assigned and wanted running; their ids follow one another in the order given."""
        start, end = self._end, self._end + slots.size
        self._grow(end)
        self._end = end
        self._cut_views()
        new = slice(start, end)
        self.id[new] = np.arange(self.next_id, self.next_id + slots.size)
        self.service[new], self.slot[new], self.node[new] = service, slots, nodes
        self.needs[new], self.version[new], self.updated[new] = needs, version, now_ms
        self.state[new], self.desired[new] = TaskState.ASSIGNED, TaskState.RUNNING
        self.next_id += slots.size
        return np.arange(start, end)

    def _grow(self, needed: int) -> None:
        room = self._data["id"].size
        if needed <= room:
            return
        room = max(needed, room + room // 2, SPARE_ROWS)
        for name, column in self._data.items():
            larger = np.zeros(room, dtype=column.dtype)
            larger[: self._end] = column[: self._end]
            self._data[name] = larger

    def drop(self, rows: Rows) -> None:
        """Forget these tasks. Row numbers stay valid until `close_up`."""
        self.service[rows] = HOLE
        self.node[rows] = HOLE
        self._holes += rows.size

    def close_up(self, *, always: bool = False) -> None:
        """Close the holes where they outnumber the tasks. Row numbers held from before are void."""
        if not self._holes or not (always or self._holes > max(SPARE_ROWS, len(self))):
            return
        kept = self.service != HOLE
        for name, column in self._data.items():
            self._data[name] = np.concatenate(
                (column[: self._end][kept], np.zeros(SPARE_ROWS, dtype=column.dtype))
            )
        self._end, self._holes = int(kept.sum()), 0
        self._by_service.forget()
        self._by_node.forget()
        self._cut_views()

    def of_service(self, number: int) -> Rows:
        """Rows of a service, in order of task ids."""
        return self._by_service.rows(self.service, number)

    def of_node(self, number: int) -> Rows:
        """Rows of a node, in order of task ids."""
        return self._by_node.rows(self.node, number)

    def between(self, first: Ints, count: Ints) -> tuple[Ints, Ints]:
        """(first row, number of rows) of the id ranges; ids that are gone are left out, holes are not."""
        low = np.searchsorted(self.id, first)
        return low, np.searchsorted(self.id, first + count) - low

    def columns(self) -> dict[str, bytes]:
        """Every task as bytes a column, in order of ids, without holes: equal tables give equal bytes."""
        return {name: self.column(name) for name in self.column_names()}

    @staticmethod
    def column_names() -> tuple[str, ...]:
        """In the order in which a snapshot has them."""
        return tuple([name for name, _ in COLUMNS])

    def column(self, name: str) -> bytes:
        """One of `columns`."""
        return b"".join(self.column_blocks(name))

    def column_blocks(self, name: str) -> Iterator[memoryview]:
        """The same in pieces of at most BLOCK_ROWS tasks."""
        column = self._data[name]
        for start in range(0, self._end, BLOCK_ROWS):
            end = min(start + BLOCK_ROWS, self._end)
            block = column[start:end]
            if self._holes:
                block = block[self.service[start:end] != HOLE]
            yield block.data.cast("B") if block.size else memoryview(b"")

    def load(self, columns: dict[str, bytes], next_id: int) -> None:
        """Replace all tasks by what `columns` returned."""
        self._data = {name: np.frombuffer(columns[name], dtype=dtype).copy() for name, dtype in COLUMNS}
        self._end, self._holes, self.next_id = self._data["id"].size, 0, next_id
        self._by_service.forget()
        self._by_node.forget()
        self._cut_views()
