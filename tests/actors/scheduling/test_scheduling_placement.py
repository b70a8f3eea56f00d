"""Spreading and taking away in closed form, against moving one replica at a time."""

import random

import numpy as np

from raftyard.actors.scheduling.placement import spread, take_away


def spread_one_by_one(free, count, size):
    free, placed = list(free), [0] * len(free)
    for _ in range(count):
        fits = [node for node in range(len(free)) if free[node] >= size]
        if not fits:
            break
        best = max(fits, key=lambda node: (free[node], -node))
        free[best] -= size
        placed[best] += 1
    return placed


def take_away_one_by_one(free, held, count, size):
    free, held, taken = list(free), list(held), [0] * len(free)
    for _ in range(count):
        holders = [node for node in range(len(free)) if held[node]]
        if not holders:
            break
        fullest = min(holders, key=lambda node: (free[node], -node))
        free[fullest] += size
        held[fullest] -= 1
        taken[fullest] += 1
    return taken


def cluster(rng):
    nodes = rng.randrange(1, 9)
    widest = rng.choice([1, 3, 10, 30])
    return [rng.randrange(widest + 1) for _ in range(nodes)], rng.randrange(60), rng.choice([1, 1, 2, 3, 7])


def test_spread_is_what_one_by_one_gives():
    for seed in range(2000):
        free, count, size = cluster(random.Random(seed))
        expected = spread_one_by_one(free, count, size)
        assert spread(np.array(free), count, size).tolist() == expected, f"seed {seed}"


def test_take_away_is_what_one_by_one_gives():
    for seed in range(2000):
        rng = random.Random(seed)
        free, count, size = cluster(rng)
        held = [rng.randrange(6) for _ in free]
        expected = take_away_one_by_one(free, held, count, size)
        assert take_away(np.array(free), np.array(held), count, size).tolist() == expected, f"seed {seed}"


def test_taking_away_what_was_just_spread_leaves_nothing_changed():
    for seed in range(500):
        free, count, size = cluster(random.Random(seed))
        placed = spread(np.array(free), count, size)
        after = np.array(free) - placed * size
        assert take_away(after, placed, count, size).tolist() == placed.tolist(), f"seed {seed}"


def test_ninety_nine_on_five_equal_nodes_are_ninety_nine():
    assert spread(np.full(5, 100), 99).tolist() == [20, 20, 20, 20, 19]


def test_no_node_and_no_replica_are_nothing():
    assert spread(np.zeros(0, dtype=np.int64), 5).tolist() == []
    assert take_away(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), 5).tolist() == []
    assert spread(np.array([5]), -3).tolist() == [0]
    assert spread(np.array([-4, 2]), 9).tolist() == [0, 2]


def test_a_hundred_thousand_replicas_on_five_thousand_nodes_are_placed_exactly():
    free = np.array([20 + number % 7 for number in range(5000)])
    placed = spread(free, 100_000)
    assert int(placed.sum()) == 100_000
    left = (free - placed).tolist()
    assert max(left) - min(left) <= 1
