"""Where replicas go: spread over free capacity, level by level, and taken away again from the fullest.

Both are what one gets by moving one replica at a time, in closed form: the level at which the last one lands
is found by binary search, so that a hundred thousand replicas on five thousand nodes take a millisecond.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ..state.runs import Ints

Leaf = Callable[[int, Ints], Ints]
"""(count, at most so many on each node) -> int64[nodes], how many on each."""


def spread(free: Ints, count: int, slots_per_replica: int = 1, most: Ints | None = None) -> Ints:
    """int64[nodes]: how many of `count` replicas go to each node; their sum is less where not all fit.

    free: int64[nodes], slots. Each replica goes to the node with the most free slots at that moment, the
    first of equals. most: int64[nodes], how many may go to each at all; None = as many as its slots hold.
    """
    size = slots_per_replica
    limit = np.maximum(free, 0) // size
    if most is not None:
        limit = np.minimum(limit, most)
    count = min(count, int(limit.sum()))
    if count <= 0:
        return np.zeros(free.size, dtype=np.int64)
    if count == 1:
        alone = np.zeros(free.size, dtype=np.int64)
        alone[np.argmax(np.where(limit > 0, free, np.int64(-1)))] = 1
        return alone

    def taken(level: int) -> Ints:
        """Replicas that land on each node while it has at least `level` slots free."""
        landed: Ints = np.minimum(np.where(free >= level, (free - level) // size + 1, 0), limit)
        return landed

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


def spread_over(
    levels: Sequence[Ints], free: Ints, count: int, slots_per_replica: int, most: Ints, held: Ints
) -> Ints:
    """As `spread`, but evenly over groups of nodes first: the service's replicas count, and those it `held` before.

    levels: int64[nodes] each, the number of a node's group, the coarsest level first; no level is plain `spread`. A
    group that is full leaves its share to the others.
    """
    if not levels:
        return spread(free, count, slots_per_replica, most)
    groups, finer = levels[0], levels[1:]
    limit = np.minimum(np.maximum(free, 0) // slots_per_replica, most)
    shares = _fill(_sums(groups, held), _sums(groups, limit), count)
    placed = np.zeros(free.size, dtype=np.int64)
    for group in np.flatnonzero(shares).tolist():
        of = groups == group
        within = [level[of] for level in finer]
        share = int(shares[group])
        placed[of] = spread_over(within, free[of], share, slots_per_replica, most[of], held[of])
    return placed


def take_away_over(
    levels: Sequence[Ints], free: Ints, held: Ints, count: int, slots_per_replica: int = 1
) -> Ints:
    """As `take_away`, but from the fullest groups first, so that what stays is spread over them as evenly as can be."""
    if not levels:
        return take_away(free, held, count, slots_per_replica)
    groups, finer = levels[0], levels[1:]
    shares = _drain(_sums(groups, held), count)
    taken = np.zeros(free.size, dtype=np.int64)
    for group in np.flatnonzero(shares).tolist():
        of = groups == group
        within = [level[of] for level in finer]
        taken[of] = take_away_over(within, free[of], held[of], int(shares[group]), slots_per_replica)
    return taken


def over_groups(levels: Sequence[Ints], count: int, most: Ints, held: Ints, within: Leaf) -> Ints:
    """As `spread_over`, where `within(count, most)` chooses among the nodes of a group by whatever it likes."""
    if not levels:
        return within(count, most)
    groups, finer = levels[0], levels[1:]
    shares = _fill(_sums(groups, held), _sums(groups, most), count)
    placed = np.zeros(most.size, dtype=np.int64)
    for group in np.flatnonzero(shares).tolist():
        of = groups == group
        placed += over_groups(finer, int(shares[group]), np.where(of, most, 0), np.where(of, held, 0), within)
    return placed


def from_groups(levels: Sequence[Ints], count: int, held: Ints, within: Leaf) -> Ints:
    """As `take_away_over`, where `within(count, held)` chooses among the nodes of a group."""
    if not levels:
        return within(count, held)
    groups, finer = levels[0], levels[1:]
    shares = _drain(_sums(groups, held), count)
    taken = np.zeros(held.size, dtype=np.int64)
    for group in np.flatnonzero(shares).tolist():
        taken += from_groups(finer, int(shares[group]), np.where(groups == group, held, 0), within)
    return taken


def _sums(groups: Ints, numbers: Ints) -> Ints:
    return np.bincount(groups, weights=numbers).astype(np.int64)


def _fill(held: Ints, most: Ints, count: int) -> Ints:
    """How many each group gets where each one goes to the group that has the fewest, the first of equals."""
    count = min(count, int(most.sum()))
    if count <= 0:
        return np.zeros(held.size, dtype=np.int64)

    def added(level: int) -> Ints:
        return np.clip(level - held, 0, most)

    low, high = 0, int((held + most).max())
    while low < high:
        middle = (low + high) // 2
        if int(added(middle).sum()) >= count:
            high = middle
        else:
            low = middle + 1
    below = added(low - 1)
    last = np.flatnonzero(added(low) - below)
    below[last[: count - int(below.sum())]] += 1
    return below


def _drain(held: Ints, count: int) -> Ints:
    """How many each group gives where each one comes from the group that has the most, the last of equals."""
    count = min(count, int(held.sum()))
    if count <= 0:
        return np.zeros(held.size, dtype=np.int64)

    def removed(level: int) -> Ints:
        return np.maximum(held - level, 0)

    low, high = 0, int(held.max())
    while low < high:
        middle = (low + high + 1) // 2
        if int(removed(middle).sum()) >= count:
            low = middle
        else:
            high = middle - 1
    above = removed(low + 1)
    last = np.flatnonzero(removed(low) - above)[::-1]
    above[last[: count - int(above.sum())]] += 1
    return above
