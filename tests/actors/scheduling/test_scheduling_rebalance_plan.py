"""Plans that even out a fleet: every move fits when its turn comes, and nothing moves for nothing."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from reassignment_instances import instance

from benchmarks._roadef import fleet_of, judged_breaches, judged_cost
from raftyard.actors.scheduling import Reassignment, RebalancePlan, even_fleet, plan_rebalance, steps
from raftyard.actors.scheduling.reassignment import broken_rules, cost
from raftyard.actors.scheduling.rebalance_plan import plan_towards


def slots(loads: list[int], capacity: int = 100, **rules: object) -> Reassignment:
    """A fleet whose tasks take one slot each, a service a node."""
    home = np.repeat(np.arange(len(loads)), loads)
    return even_fleet(
        capacity=np.full((len(loads), 1), capacity),
        requirement=np.ones((home.size, 1), dtype=np.int64),
        home=home,
        service=rules.pop("service", home),
        **rules,
    )


def loads_after(fleet: Reassignment, plan: RebalancePlan) -> list[int]:
    """What each node holds in the end; every move is checked on the way."""
    place = fleet.home.copy()
    for move in plan.moves:
        assert place[move.task] == move.source != move.target
        place[move.task] = move.target
        assert not broken_rules(fleet, place)
    assert cost(fleet, place) == plan.cost_after
    return np.bincount(place, minlength=fleet.nodes).tolist()


def test_a_node_that_joined_gets_its_share_in_as_many_moves_as_that_takes() -> None:
    fleet = slots([50, 50, 50, 50, 0])
    plan = plan_rebalance(fleet, random.Random(1), steps(1500), move_limit=200)
    assert loads_after(fleet, plan) == [40] * 5
    assert len(plan.moves) == 40
    assert plan.gain == sum(move.gain for move in plan.moves) > 0


@pytest.mark.parametrize("limit", [0, 1, 7])
def test_no_more_moves_than_allowed_are_made_and_each_gains(limit: int) -> None:
    fleet = slots([50, 50, 50, 50, 0])
    plan = plan_rebalance(fleet, random.Random(1), steps(300), move_limit=limit)
    assert len(plan.moves) == limit
    assert loads_after(fleet, plan)[4] == limit
    assert all(move.gain > 0 for move in plan.moves)


def test_an_even_fleet_stays_as_it_is() -> None:
    plan = plan_rebalance(slots([30, 31, 30]), random.Random(1), steps(300), move_limit=50)
    assert plan == RebalancePlan(moves=(), cost_before=plan.cost_before, cost_after=plan.cost_before)


def test_an_empty_fleet_has_an_empty_plan() -> None:
    assert plan_rebalance(slots([0, 0]), random.Random(1), steps(10), move_limit=5).moves == ()


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="move_limit is -1; expected 0 or more moves"):
        plan_rebalance(slots([1, 0]), random.Random(1), steps(10), move_limit=-1)


def crossed(third_nodes_room: int) -> Reassignment:
    """Two full nodes, whose tasks would be better off changing places, and a third node that neither likes."""
    return Reassignment(
        capacity=np.array([[1, 9, 9], [1, 9, 9], [third_nodes_room, 9, 9]]),
        safety=np.array([[1, 0, 1], [1, 1, 0], [0, 0, 0]]),
        requirement=np.array([[1, 1, 0], [1, 0, 1]]),
        home=np.array([0, 1]),
        service=np.array([0, 1]),
        resource_weight=np.array([5, 5, 5]),
        transient=np.array([False] * 3),
    )


def test_a_circle_is_opened_by_a_detour_through_a_third_node() -> None:
    fleet = crossed(third_nodes_room=1)
    plan = plan_towards(fleet, np.array([1, 0]), move_limit=3)
    assert [(move.task, move.source, move.target) for move in plan.moves] == [(0, 0, 2), (1, 1, 0), (0, 2, 1)]
    assert loads_after(fleet, plan) == [1, 1, 0]


@pytest.mark.parametrize(("room", "limit"), [(0, 3), (1, 2)])
def test_a_circle_without_room_or_moves_for_a_detour_stays(room: int, limit: int) -> None:
    assert plan_towards(crossed(room), np.array([1, 0]), move_limit=limit).moves == ()


def test_limits_that_the_homes_exceed_are_kept_from_getting_worse_and_may_get_better() -> None:
    fleet = slots([6, 0, 0], service=np.zeros(6, dtype=np.int64), max_per_node=np.array([3]))
    assert fleet.max_per_node.tolist() == [6]
    plan = plan_rebalance(fleet, random.Random(1), steps(300), move_limit=6)
    assert loads_after(fleet, plan) == [2, 2, 2]


def test_every_resource_counts_alike_whatever_its_units() -> None:
    # The first node is full of processors, the second of memory; as many units of each are worth as much.
    fleet = even_fleet(
        capacity=np.array([[64, 256_000], [64, 256_000]]),
        requirement=np.array([[16, 0]] * 4 + [[0, 64_000]] * 4),
        home=np.repeat([0, 1], 4),
        service=np.arange(8),
    )
    plan = plan_rebalance(fleet, random.Random(1), steps(500), move_limit=8)
    loads_after(fleet, plan)
    assert len(plan.moves) == 4
    assert sorted(move.task < 4 for move in plan.moves) == [False, False, True, True]


@pytest.mark.parametrize("seed", range(12))
def test_a_plan_keeps_every_rule_after_each_move(seed: int) -> None:
    given = instance(seed, machines=5, processes=20, tight=seed % 2 == 0)
    limit = 1 + seed
    plan = plan_rebalance(fleet_of(given), random.Random(seed), steps(300), move_limit=limit)
    place = list(given.initial)
    costs = [judged_cost(given, place)]
    for move in plan.moves:
        place[move.task] = move.target
        assert not judged_breaches(given, place)
        costs.append(judged_cost(given, place))
    assert len(plan.moves) <= limit
    assert (plan.cost_before, plan.cost_after) == (costs[0], costs[-1])
    assert costs[-1] == min(costs)
    assert [move.gain for move in plan.moves] == [one - two for one, two in pairwise(costs)]


def test_a_plan_is_cut_off_where_going_on_would_cost_more() -> None:
    fleet = slots([4, 0])
    plan = plan_towards(fleet, np.ones(4, dtype=np.int64), move_limit=4)
    assert loads_after(fleet, plan) == [2, 2]
