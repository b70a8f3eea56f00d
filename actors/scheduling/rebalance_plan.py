"""A plan that evens out a running fleet: moves in order, of which every one fits when its turn comes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from ..state.runs import Ints
from .layout import Layout
from .reassignment import Reassignment
from .rebalance import Budget, Chance, rebalance

FINENESS = 16  # so that weights, which are whole numbers, are rounded by little


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """Start the task on `target`, then stop it on `source`. The gain of a move alone may be negative."""

    task: int
    source: int
    target: int
    gain: int


class RebalancePlan(msgspec.Struct, frozen=True, kw_only=True):
    """Moves to be made one after the other; after any number of them the fleet keeps its rules."""

    moves: tuple[Move, ...]
    cost_before: int
    cost_after: int

    @property
    def gain(self) -> int:
        return self.cost_before - self.cost_after


def plan_rebalance(fleet: Reassignment, chance: Chance, budget: Budget, *, move_limit: int) -> RebalancePlan:
    """At most `move_limit` moves, and what they gain; none where nothing is gained.

    Moves that wait for each other in a circle are opened by one that goes through a third node, where the limit allows.
    """
    if move_limit < 0:
        raise ValueError(f"move_limit is {move_limit}; expected 0 or more moves")
    return plan_towards(fleet, rebalance(fleet, chance, budget, move_limit=move_limit), move_limit=move_limit)


def plan_towards(fleet: Reassignment, goal: Ints, *, move_limit: int) -> RebalancePlan:
    """The moves from the homes towards `goal`, as far as each fits in its turn; cut off where it was cheapest."""
    layout = Layout(fleet)
    before = int(layout.cost)
    costs = [before]
    made: list[tuple[int, int, int]] = []
    waiting = np.flatnonzero(goal != fleet.home).tolist()
    waiting.sort(key=lambda task: (float(layout.prices(task)[goal[task]]), task))
    detours = set(waiting)  # tasks that may still go through a third node
    while waiting and len(made) < move_limit:
        step = _next_step(layout, goal, waiting)
        if step is None and len(made) + len(waiting) < move_limit:
            step = _detour(layout, goal, [task for task in waiting if task in detours], waiting)
            if step is not None:
                detours.discard(step[0])
        if step is None:
            break
        task, target = step
        source = int(layout.place[task])
        layout.move((step,))
        if target == goal[task]:
            waiting.remove(task)
        costs.append(int(layout.cost))
        made.append((task, source, target))
    cheapest = min(range(len(costs)), key=costs.__getitem__)
    gains = [one - next_ for one, next_ in pairwise(costs)]
    moves = [
        Move(task=task, source=source, target=target, gain=gain)
        for (task, source, target), gain in zip(made[:cheapest], gains, strict=False)
    ]
    return RebalancePlan(moves=tuple(moves), cost_before=before, cost_after=costs[cheapest])


def _next_step(layout: Layout, goal: Ints, waiting: list[int]) -> tuple[int, int] | None:
    """The first task that can go to its goal now."""
    for task in waiting:
        target = int(goal[task])
        if layout.can_move(task, target):
            return task, target
    return None


def _detour(layout: Layout, goal: Ints, able: list[int], waiting: list[int]) -> tuple[int, int] | None:
    """A task and a third node, so that another task can go to its goal once this one has made room."""
    for task in able:
        source = int(layout.place[task])
        hindered = [other for other in waiting if other != task and goal[other] == source]
        prices = layout.prices(task) if hindered else np.zeros(0)
        for target in np.argsort(prices, kind="stable")[: int(np.isfinite(prices).sum())].tolist():
            if not layout.move(((task, target),)):
                continue
            helps = any(layout.can_move(other, source) for other in hindered)
            layout.move(((task, source),))
            if helps:
                return task, target
    return None


def even_fleet(
    *, capacity: Ints, requirement: Ints, home: Ints, service: Ints, worth: float = 0.001, **rules: Any
) -> Reassignment:
    """A fleet whose cost is what nodes hold beyond their even share, every resource counting alike.

    capacity: int64[nodes, resources], all of them limited; requirement: int64[tasks, resources]. A move has to gain
    more than `worth` of a mean node's capacity. `rules` are further columns of Reassignment; limits and spreads that
    the homes break already (a limit was lowered, say) are loosened to what the homes keep.
    """
    held = requirement.sum(axis=0)
    total = np.maximum(capacity.sum(axis=0), 1)
    mean = total / max(len(capacity), 1)
    scale = FINENESS * float(mean.max(initial=1.0))
    safety = -((-capacity * held) // total)
    fleet = Reassignment(
        capacity=capacity,
        safety=safety,
        requirement=requirement,
        home=home,
        service=service,
        resource_weight=np.maximum(np.rint(scale / mean), 1).astype(np.int64),
        transient=np.zeros(capacity.shape[1], dtype=bool),
        task_move_weight=int(scale * worth),
        **rules,
    )
    return _loosened(fleet)


def _loosened(fleet: Reassignment) -> Reassignment:
    pairs, tasks_there = np.unique(np.stack((fleet.service, fleet.home)), axis=1, return_counts=True)
    max_per_node = fleet.max_per_node.copy()
    np.maximum.at(max_per_node, pairs[0], tasks_there)
    places = np.unique(np.stack((fleet.service, fleet.location[fleet.home])), axis=1)[0]
    in_locations = np.bincount(places, minlength=fleet.services)
    return fleet.from_here(
        fleet.home, max_per_node=max_per_node, spread=np.minimum(fleet.spread, in_locations)
    )
