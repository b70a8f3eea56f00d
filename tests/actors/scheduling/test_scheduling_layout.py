"""The columns, and an assignment that changes move by move, against a judge in plain loops."""

from __future__ import annotations

import random

import numpy as np
import pytest
from reassignment_instances import instance

from benchmarks._roadef import fleet_of, judged_breaches, judged_cost
from raftyard.actors.scheduling.layout import Layout
from raftyard.actors.scheduling.reassignment import Balance, Reassignment, broken_rules, cost


@pytest.mark.parametrize("seed", range(40))
def test_cost_and_rules_counted_afresh_are_the_judges(seed: int) -> None:
    given, rng = instance(seed, tight=seed % 2 == 0), random.Random(seed)
    fleet = fleet_of(given)
    assignment = list(given.initial)
    for _ in range(12):
        assert cost(fleet, np.array(assignment)) == judged_cost(given, assignment)
        assert bool(broken_rules(fleet, np.array(assignment))) == bool(judged_breaches(given, assignment))
        assignment[rng.randrange(len(assignment))] = rng.randrange(len(given.machines))


@pytest.mark.parametrize("seed", range(60))
def test_prices_are_what_a_move_changes_and_a_move_is_refused_just_when_the_judge_refuses_it(
    seed: int,
) -> None:
    given, rng = instance(seed, tight=seed % 3 == 0), random.Random(seed)
    layout, nodes, tasks = Layout(fleet_of(given)), len(given.machines), len(given.processes)
    for _ in range(25):
        task, before = rng.randrange(tasks), layout.place.tolist()
        here, paid = before[task], int(layout.cost)
        prices = [*layout.prices(task), *layout.exchange_prices(task, slice(0, tasks))]
        changes = layout.away_changes(task, slice(0, tasks))
        for choice in rng.sample(range(nodes + tasks), nodes + tasks):
            other = choice - nodes
            moves = ((task, choice),) if other < 0 else ((task, before[other]), (other, here))
            after = list(before)
            for mover, node in moves:
                after[mover] = node
            if after == before:
                assert prices[choice] == np.inf
                continue
            allowed = not judged_breaches(given, after)
            if prices[choice] == np.inf:
                assert not allowed
                continue
            away = layout.away
            assert layout.move(moves) == allowed
            assert layout.cost == judged_cost(given, layout.place.tolist())
            if allowed:
                assert layout.place.tolist() == after
                assert layout.away - away == changes[choice]
                # Two services that each become the one that moves most are priced as if they were alone.
                slack = given.service_weight if other >= 0 else 0
                assert abs(layout.cost - paid - prices[choice]) <= slack
                break


def test_a_task_may_always_stay_at_home_but_goes_nowhere_that_its_kind_may_not() -> None:
    fleet = Reassignment(
        capacity=np.full((3, 1), 10),
        safety=np.zeros((3, 1), dtype=np.int64),
        requirement=np.array([[1], [1]]),
        home=np.array([0, 1]),
        service=np.array([0, 1]),
        resource_weight=np.array([1]),
        transient=np.array([False]),
        eligible=np.array([[False, True, False], [True, True, True]]),
        kind=np.array([0, 1]),
    )
    layout = Layout(fleet)
    assert np.isfinite(layout.prices(0)).tolist() == [False, True, False]
    assert np.isfinite(layout.exchange_prices(1, slice(0, 2))).tolist() == [True, False]
    assert not layout.move(((0, 2),))
    assert broken_rules(fleet, np.array([2, 1])) == ["task 0 may not be where it is"]
    assert layout.move(((0, 1),))
    assert layout.move(((0, 0),))
    assert layout.cost == cost(fleet, fleet.home) == 2


def test_columns_that_do_not_fit_are_refused_with_what_was_expected() -> None:
    columns = {
        "capacity": np.full((2, 1), 10),
        "safety": np.full((2, 1), 5),
        "requirement": np.array([[1], [1]]),
        "home": np.array([0, 1]),
        "service": np.array([0, 0]),
        "resource_weight": np.array([1]),
        "transient": np.array([False]),
    }
    Reassignment(**columns)
    for change, text in (
        ({"safety": np.full((2, 2), 5)}, r"safety has shape \(2, 2\); expected \(2, 1\)"),
        ({"home": np.array([0, 2])}, "home has numbers outside 0 to 1"),
        ({"requirement": np.array([[1], [-1]])}, "negative"),
        ({"node_move_cost": np.zeros((1, 2), dtype=np.int64)}, "a row and column a node"),
        ({"resource_weight": np.array([2**53])}, "larger units"),
        ({"balances": (Balance(first=0, second=1, target=1, weight=1),)}, "balance names resource 1"),
        ({"depends": ((0, -1),)}, "depends names service -1"),
    ):
        with pytest.raises(ValueError, match=text):
            Reassignment(**columns | change)
