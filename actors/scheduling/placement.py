"""Where replicas go: spread over free capacity, level by level, and taken away again from the fullest.

Both are what one gets by moving one replica at a time, in closed form: the level at which the last one lands
is found by binary search, so that a hundred thousand replicas on five thousand nodes take a millisecond.
"""

from __future__ import annotations

import numpy as np

from ..state.runs import Ints


def spread(free: Ints, count: int, slots_per_replica: int = 1) -> Ints:
    """int64[nodes]: how many of `count` replicas go to each node; their sum is less where not all fit.

    free: int64[nodes], slots. Each replica goes to the node with the most free slots at that moment, the
    first of equals.
    """
    size = slots_per_replica
    count = min(count, int((np.maximum(free, 0) // size).sum()))
    if count <= 0:
        return np.zeros(free.size, dtype=np.int64)

    def taken(level: int) -> Ints:
        """Replicas that land on each node while it has at least `level` slots free."""
        return np.where(free >= level, (free - level) // size + 1, 0)

    # The highest level at which all of them have landed; one above it, not all have.
    low, high = size, int(free.max())
    while low < high:
        middle = (low + high + 1) // 2
        if int(taken(middle).sum()) >= count:
            low = middle
        else:
            high = middle - 1
    above = taken(low + 1)
    last = np.flatnonzero(taken(low) - above)
    above[last[: count - int(above.sum())]] += 1
    return above


def take_away(free: Ints, held: Ints, count: int, slots_per_replica: int = 1) -> Ints:
    """int64[nodes]: how many of `count` replicas leave each node, the exact reverse of `spread`.

    free: int64[nodes], slots; held: int64[nodes], the service's replicas. Each time one leaves the node with
    the fewest free slots that still holds one, the last of equals.
    """
    size = slots_per_replica
    count = min(count, int(held.sum()))
    if count <= 0:
        return np.zeros(free.size, dtype=np.int64)

    def taken(level: int) -> Ints:
        """Replicas that leave each node while it has at most `level` slots free."""
        return np.where(free <= level, np.minimum((level - free) // size + 1, held), 0)

    holders = held > 0
    low, high = int(free[holders].min()), int((free + held * size)[holders].max())
    while low < high:
        middle = (low + high) // 2
        if int(taken(middle).sum()) >= count:
            high = middle
        else:
            low = middle + 1
    below = taken(low - 1)
    last = np.flatnonzero(taken(low) - below)[::-1]
    below[last[: count - int(below.sum())]] += 1
    return below
