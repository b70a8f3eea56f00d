"""The search for a better assignment: the optimum of tiny problems, and its promises on larger ones."""

from __future__ import annotations

import random

import numpy as np
import pytest
from reassignment_instances import best, instance

from benchmarks._roadef import Instance, fleet_of, judged_breaches, judged_cost
from raftyard.actors.scheduling.reassignment import Reassignment, broken_rules, cost
from raftyard.actors.scheduling.rebalance import WINDOW, rebalance, steps


def answer(given: Instance, count: int, seed: int = 1, move_limit: int | None = None) -> list[int]:
    found = rebalance(fleet_of(given), random.Random(seed), steps(count), move_limit=move_limit)
    return [int(node) for node in found]


TRIES = 3  # the search is a chance one: the best of so many seeds has to be the optimum


@pytest.mark.parametrize("seed", range(10))
def test_tiny_problems_are_solved_to_the_optimum(seed: int) -> None:
    given = instance(seed, machines=3, processes=6, tight=seed % 2 == 0)
    assert min(judged_cost(given, answer(given, 1000, one)) for one in range(TRIES)) == best(given)


@pytest.mark.parametrize("seed", range(9))
def test_so_are_tiny_problems_with_few_moves_allowed(seed: int) -> None:
    given = instance(seed, machines=3, processes=6, tight=False)
    limit = seed % 3
    answers = [answer(given, 1000, one, limit) for one in range(TRIES)]
    for found in answers:
        assert sum(was != now for was, now in zip(given.initial, found, strict=True)) <= limit
    assert min(judged_cost(given, found) for found in answers) == best(given, move_limit=limit)


@pytest.mark.parametrize("seed", range(10))
def test_an_answer_keeps_every_rule_and_never_costs_more(seed: int) -> None:
    given = instance(seed, machines=6, processes=30, tight=seed % 2 == 0)
    for count in (1, 20, 300):
        found = answer(given, count, seed)
        assert not judged_breaches(given, found)
        assert judged_cost(given, found) <= judged_cost(given, given.initial)


def test_equal_seeds_give_equal_answers_and_no_budget_gives_the_homes() -> None:
    given = instance(3, machines=8, processes=40, tight=False)
    assert answer(given, 500, 1) == answer(given, 500, 1) != answer(given, 500, 2)
    assert answer(given, 0) == list(given.initial)


def test_full_nodes_are_helped_by_exchanges_also_when_a_window_sees_only_some_of_them() -> None:
    # No node has room. A marked task costs 1 on the first node and nothing on the second, where unmarked ones are.
    tasks = 2 * WINDOW
    marked = np.arange(tasks) < tasks // 2
    fleet = Reassignment(
        capacity=np.full((2, 2), tasks // 2),
        safety=np.array([[tasks // 2, 0], [tasks // 2, tasks // 2]]),
        requirement=np.stack((np.ones(tasks, dtype=np.int64), marked.astype(np.int64)), axis=1),
        home=np.arange(tasks) // (tasks // 2),
        service=np.zeros(tasks, dtype=np.int64),
        resource_weight=np.array([1, 1]),
        transient=np.array([False, False]),
    )
    assert cost(fleet, fleet.home) == tasks // 2
    found = rebalance(fleet, random.Random(1), steps(3 * tasks))
    assert not broken_rules(fleet, found)
    assert cost(fleet, found) < tasks // 8


def test_a_fleet_with_nothing_to_choose_is_left_as_it_is() -> None:
    alone = instance(1, machines=1, processes=1)
    assert answer(alone, 50) == [0]
