"""Which node runs which task, and what that costs: the problem that rebalancing solves, as columns.

The model is that of Google's machine reassignment challenge (ROADEF/EURO 2012), whose machines, processes and
services are our nodes, tasks and services. Every task has a home, the node on which it runs now. An assignment is an
int64[tasks] of node numbers. It keeps to the rules when

- no node holds more than its capacity, where a transient resource (a disk's space, say) counts on a task's home too
  once the task has left, because both copies are there while it moves;
- no service has more tasks on one node than it allows;
- a service that wants to be spread has tasks in that many locations;
- each task of a service that depends on another has a task of that one in its own neighborhood;
- each task that moved is on a node that it may use.

An assignment costs what nodes hold beyond their safety levels, what they keep free in the wrong proportion, and
what moving costs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ..state.runs import Ints, Mask

Floats = npt.NDArray[np.float64]

UNLIMITED = 2**31 - 1
EXACT = 2**53  # floats count whole numbers exactly up to here


@dataclass(frozen=True, kw_only=True)
class Balance:
    """For each unit of `first` that a node has free, `target` units of `second` should be free too; `weight` a unit."""

    first: int
    second: int
    target: int
    weight: int


@dataclass(frozen=True, kw_only=True)
class Reassignment:
    """One fleet. N nodes, T tasks, S services, R resources; amounts and costs are whole numbers of the caller's units.

    Raises ValueError when the columns do not fit together, or when costs could pass 2^53 and sums would be rounded.
    """

    capacity: Ints  # [N, R]
    safety: Ints  # [N, R]: what a node holds beyond this costs
    requirement: Ints  # [T, R]
    home: Ints  # [T]: the node on which a task runs
    service: Ints  # [T]
    resource_weight: Ints  # [R]: the cost of a unit beyond the safety level
    transient: Mask  # [R]
    balances: tuple[Balance, ...] = ()
    location: Ints = field(
        default_factory=lambda: np.zeros(0, dtype=np.int64)
    )  # [N]; default: each node its own
    neighborhood: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))  # [N]; default: one
    max_per_node: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))  # [S]; default: UNLIMITED
    spread: Ints = field(
        default_factory=lambda: np.zeros(0, dtype=np.int64)
    )  # [S]: locations at least; default: 0
    depends: tuple[tuple[int, int], ...] = ()  # (service, the service that it needs in its neighborhood)
    eligible: Mask = field(
        default_factory=lambda: np.zeros((0, 0), dtype=bool)
    )  # [kinds, N]; default: one kind, all
    kind: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))  # [T]: its row in `eligible`
    task_move_cost: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))  # [T]; default: 1
    node_move_cost: Ints = field(
        default_factory=lambda: np.zeros((0, 0), dtype=np.int64)
    )  # [N, N] from home; default: 0
    task_move_weight: int = 0
    service_move_weight: int = 0  # times the most tasks that any one service has away from home
    node_move_weight: int = 0

    def __post_init__(self) -> None:
        nodes, tasks, services = self.nodes, self.tasks, self.services
        defaults = {
            "location": np.arange(nodes),
            "neighborhood": np.zeros(nodes, dtype=np.int64),
            "max_per_node": np.full(services, UNLIMITED, dtype=np.int64),
            "spread": np.zeros(services, dtype=np.int64),
            "eligible": np.ones((1, nodes), dtype=bool),
            "kind": np.zeros(tasks, dtype=np.int64),
            "task_move_cost": np.ones(tasks, dtype=np.int64),
        }
        for name, default in defaults.items():
            if getattr(self, name).size == 0:
                object.__setattr__(self, name, default)
        self._check()

    @property
    def nodes(self) -> int:
        return len(self.capacity)

    @property
    def tasks(self) -> int:
        return len(self.requirement)

    @property
    def services(self) -> int:
        """One more than the highest number that anything names."""
        named = [self.service, *(np.array(pair) for pair in self.depends)]
        highest = max((int(numbers.max()) for numbers in named if numbers.size), default=-1)
        return max(highest + 1, self.max_per_node.size, self.spread.size)

    @cached_property
    def level(self) -> Floats:
        """float64[K, N]: what a node with nothing on it is above the level at which it begins to cost (below 0: under).

        Load and balance are one thing: each is a number that a task shifts by a fixed step, and costs above 0.
        """
        rows = [*(-self.safety.T)]
        rows += [b.target * self.capacity[:, b.first] - self.capacity[:, b.second] for b in self.balances]
        return np.array(rows, dtype=np.float64).reshape(len(rows), self.nodes)

    @cached_property
    def step(self) -> Floats:
        """float64[K, T]: by how much a task raises each number of its node's level."""
        need = self.requirement.T
        rows = [*need, *(need[b.second] - b.target * need[b.first] for b in self.balances)]
        return np.array(rows, dtype=np.float64).reshape(len(rows), self.tasks)

    @cached_property
    def step_weight(self) -> Floats:
        """float64[K]: the cost of a unit above 0 of each number of the level."""
        return np.array([*self.resource_weight, *(b.weight for b in self.balances)], dtype=np.float64)

    def from_here(self, assignment: Ints, **changes: object) -> Reassignment:
        """The same fleet after its tasks have moved to `assignment`, their new homes."""
        return replace(self, home=assignment.copy(), **changes)  # type: ignore[arg-type]

    def _check(self) -> None:
        shape = {"N": self.nodes, "T": self.tasks, "S": self.services, "R": self.capacity.shape[1]}
        wanted = {
            "capacity": "NR",
            "safety": "NR",
            "requirement": "TR",
            "home": "T",
            "service": "T",
            "kind": "T",
        }
        wanted |= {
            "resource_weight": "R",
            "transient": "R",
            "location": "N",
            "neighborhood": "N",
            "spread": "S",
        }
        wanted |= {"max_per_node": "S", "task_move_cost": "T"}
        for name, axes in wanted.items():
            expected = tuple(shape[axis] for axis in axes)
            if getattr(self, name).shape != expected:
                raise ValueError(f"{name} has shape {getattr(self, name).shape}; expected {expected}")
        if self.node_move_cost.size and self.node_move_cost.shape != (self.nodes, self.nodes):
            raise ValueError(
                f"node_move_cost has shape {self.node_move_cost.shape}; expected a row and column a node"
            )
        for name, top in (("home", self.nodes), ("kind", len(self.eligible)), ("service", self.services)):
            numbers = getattr(self, name)
            if numbers.size and not (numbers.min() >= 0 and numbers.max() < top):
                raise ValueError(f"{name} has numbers outside 0 to {top - 1}")
        if self.requirement.size and self.requirement.min() < 0:
            raise ValueError("requirement has negative amounts; a task takes 0 or more of each resource")
        for balance in self.balances:
            if not 0 <= max(balance.first, balance.second) < shape["R"]:
                raise ValueError(
                    f"a balance names resource {max(balance.first, balance.second)}; there are {shape['R']}"
                )
        for number in (number for pair in self.depends for number in pair if number < 0):
            raise ValueError(f"depends names service {number}; services are numbered from 0")
        highest = np.maximum(self.level, 0).sum(axis=1) + np.abs(self.step).sum(axis=1)
        if float((highest * self.step_weight).sum()) + self._most_moving() >= EXACT:
            raise ValueError("costs could exceed 2^53; use larger units or smaller weights")

    def _most_moving(self) -> float:
        most = (
            float(self.task_move_cost.sum()) * self.task_move_weight + self.tasks * self.service_move_weight
        )
        return most + self.tasks * self.node_move_weight * float(self.node_move_cost.max(initial=0))


def cost(fleet: Reassignment, assignment: Ints) -> int:
    """What the assignment costs, counted afresh."""
    level = fleet.level.copy()
    for row, step in zip(level, fleet.step, strict=True):
        row += np.bincount(assignment, weights=step, minlength=fleet.nodes)
    total = fleet.step_weight @ np.maximum(level, 0.0).sum(axis=1)
    moved = assignment != fleet.home
    total += fleet.task_move_weight * fleet.task_move_cost[moved].sum()
    if fleet.node_move_cost.size:
        total += fleet.node_move_weight * fleet.node_move_cost[fleet.home[moved], assignment[moved]].sum()
    most = np.bincount(fleet.service[moved]).max(initial=0)
    return int(total) + fleet.service_move_weight * int(most)


def broken_rules(fleet: Reassignment, assignment: Ints) -> list[str]:
    """What the assignment breaks, in words and counted afresh; none when it may be carried out."""
    found = []
    moved = assignment != fleet.home
    for resource, need in enumerate(fleet.requirement.T):
        held = np.bincount(assignment, weights=need, minlength=fleet.nodes)
        if fleet.transient[resource]:
            held += np.bincount(fleet.home[moved], weights=need[moved], minlength=fleet.nodes)
        over = np.flatnonzero(held > fleet.capacity[:, resource])
        found += [f"node {node} holds too much of resource {resource}" for node in over.tolist()]
    held_by, tasks_there = np.unique(np.stack((fleet.service, assignment)), axis=1, return_counts=True)
    crowded = tasks_there > fleet.max_per_node[held_by[0]]
    found += [
        f"node {node} holds too many tasks of service {s}" for s, node in held_by[:, crowded].T.tolist()
    ]
    places = np.unique(np.stack((fleet.service, fleet.location[assignment])), axis=1)[0]
    short = np.flatnonzero(np.bincount(places, minlength=fleet.services) < fleet.spread)
    found += [f"service {s} is in too few locations" for s in short.tolist()]
    there: dict[int, set[int]] = {}
    for service, neighborhood in zip(
        fleet.service.tolist(), fleet.neighborhood[assignment].tolist(), strict=True
    ):
        there.setdefault(service, set()).add(neighborhood)
    found += [
        f"service {service} misses service {on} in a neighborhood"
        for service, on in fleet.depends
        if there.get(service, set()) - there.get(on, set())
    ]
    barred = moved & ~fleet.eligible[fleet.kind, assignment]
    return found + [f"task {task} may not be where it is" for task in np.flatnonzero(barred).tolist()]
