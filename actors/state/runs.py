"""Long lists of neighbouring numbers, written short: a hundred thousand replicas on five thousand nodes are
60 kB.

A run is (first, count, …): slots or task ids first .. first + count - 1 share what follows. Runs are rows of
little-endian integers, int32 in plans, int64 in reports.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

PLAN = np.dtype("<i4")
REPORT = np.dtype("<i8")


def pack(
    rows: Iterable[tuple[int, ...]] | npt.NDArray[np.integer], dtype: np.dtype[np.signedinteger]
) -> bytes:
    """Rows of equal width as bytes."""
    array = rows if isinstance(rows, np.ndarray) else np.array(tuple(rows), dtype=np.int64)
    return array.astype(dtype).tobytes()


def unpack(data: bytes, width: int, dtype: np.dtype[np.signedinteger]) -> Ints | None:
    """Bytes as int64[rows, width]; None where rows are not whole, or a first or count is out of range."""
    if not data:
        return np.zeros((0, width), dtype=np.int64)
    if len(data) % (width * dtype.itemsize):
        return None
    rows = np.frombuffer(data, dtype=dtype).reshape(-1, width).astype(np.int64)
    if rows.size and (rows[:, 0].min() < 0 or rows[:, 1].min() < 1 or rows[:, :2].max() >= 2**62):
        return None
    return rows


def expand(first: Ints, count: Ints) -> Ints:
    """Every number that the runs cover, in the order of the runs."""
    total = int(count.sum())
    ends = np.cumsum(count)
    return np.repeat(first - (ends - count), count) + np.arange(total, dtype=np.int64)


def overlap(first: Ints, count: Ints) -> bool:
    """Whether any number is covered twice."""
    if first.size < 2:
        return False
    order = np.argsort(first, kind="stable")
    return bool(np.any((first + count)[order][:-1] > first[order][1:]))


def collect(numbers: Ints, *others: Ints) -> Ints:
    """Runs (first, count, other…) of neighbours that agree in every other column; the order is kept."""
    if not numbers.size:
        return np.zeros((0, 2 + len(others)), dtype=np.int64)
    breaks = np.diff(numbers) != 1
    for other in others:
        breaks |= np.diff(other) != 0
    starts = np.concatenate(([0], np.flatnonzero(breaks) + 1))
    counts = np.diff(np.append(starts, numbers.size))
    return np.column_stack((numbers[starts], counts, *(other[starts] for other in others)))


def distinct(numbers: npt.NDArray[np.integer]) -> list[int]:
    """Small numbers, each once, in ascending order; counting them is five times as fast as np.unique."""
    found: list[int] = np.bincount(numbers).nonzero()[0].tolist()
    return found


def report_updates(states: Iterable[tuple[int, int]]) -> bytes:
    """`ReportTasks.updates` for (task id, state) pairs: neighbouring ids in one state become one run."""
    pairs = np.array(sorted(states), dtype=np.int64).reshape(-1, 2)
    return pack(collect(pairs[:, 0], pairs[:, 1]), REPORT)
