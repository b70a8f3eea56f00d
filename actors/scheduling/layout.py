"""An assignment that changes move by move, with its cost and its rules kept up to date.

One call prices a task on every node at once, another prices its exchange with many tasks at once; that is what makes
numpy fast enough for a search. Amounts are whole numbers in floats, which are exact (see Reassignment).
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from ..state.runs import Ints
from .reassignment import UNLIMITED, Floats, Reassignment

INFINITE = float("inf")

Moves = tuple[tuple[int, int], ...]
"""(task, node) pairs that happen together."""


class Layout:
    """Where every task is, from its home on, and the exact `cost` of that; `prices` say what would change it."""

    def __init__(self, fleet: Reassignment) -> None:
        self.fleet = fleet
        self.place = fleet.home.copy()
        self.away = 0  # tasks that are not at home
        self.level = fleet.level.copy()
        for row, step in zip(self.level, fleet.step, strict=True):
            row += np.bincount(self.place, weights=step, minlength=fleet.nodes)
        self.node_cost = fleet.step_weight @ np.maximum(self.level, 0.0)
        self.need = np.ascontiguousarray(fleet.requirement.T, dtype=np.float64)
        self.room = np.ascontiguousarray(fleet.capacity.T, dtype=np.float64)
        for row, need in zip(self.room, self.need, strict=True):
            row -= np.bincount(self.place, weights=need, minlength=fleet.nodes)
        self.cost = float(self.node_cost.sum())
        # What a task gives back when it leaves its home, and what its home needs to take it back.
        self._goes = self.need * ~fleet.transient[:, None]
        self._all_eligible = bool(fleet.eligible.all())
        self._index_rules()
        self._moved_of = np.zeros(fleet.services, dtype=np.int64)
        self._services_by_moved = Counter({0: fleet.services})
        self._most_moved = 0
        self._task_price = (fleet.task_move_cost * fleet.task_move_weight).astype(np.float64)
        self._node_price = (fleet.node_move_cost * fleet.node_move_weight).astype(np.float64)
        self._price_to = np.ascontiguousarray(self._node_price.T)
        self._paid = np.zeros(fleet.tasks)  # of the node price, by tasks where they are

    def _index_rules(self) -> None:
        fleet = self.fleet
        # Only services with a limit have a row of counts; all others share the last one, which stays 0.
        limited = np.flatnonzero(fleet.max_per_node < UNLIMITED)
        row_of = np.full(fleet.services, limited.size, dtype=np.int64)
        row_of[limited] = np.arange(limited.size)
        self._row = row_of[fleet.service]
        self._limit = np.append(fleet.max_per_node[limited], UNLIMITED)
        self._held = np.zeros((limited.size + 1, fleet.nodes), dtype=np.int32)
        np.add.at(self._held, (self._row, self.place), 1)
        self._held[-1] = 0
        self._service = fleet.service.tolist()
        self._location, self._neighborhood = fleet.location.tolist(), fleet.neighborhood.tolist()
        self._spread = fleet.spread.tolist()
        self._needs: dict[int, list[int]] = {}
        self._needed_by: dict[int, list[int]] = {}
        for service, on in fleet.depends:
            self._needs.setdefault(service, []).append(on)
            self._needed_by.setdefault(on, []).append(service)
        self._tied = [
            spread > 1 or service in self._needs or service in self._needed_by
            for service, spread in enumerate(self._spread)
        ]
        self._in_location: list[Counter[int]] = [Counter() for _ in range(fleet.services)]
        self._in_neighborhood: list[Counter[int]] = [Counter() for _ in range(fleet.services)]
        for service, node in zip(self._service, self.place.tolist(), strict=True):
            if self._tied[service]:
                self._in_location[service][self._location[node]] += 1
                self._in_neighborhood[service][self._neighborhood[node]] += 1

    def prices(self, task: int) -> Floats:
        """float64[N]: by how much the cost would change with the task on each node; infinite where it may not be.

        What `move` alone looks at: spread and dependencies.
        """
        fleet = self.fleet
        here, home, row = int(self.place[task]), int(fleet.home[task]), self._row[task]
        step = fleet.step[:, task]
        price: Floats = fleet.step_weight @ np.maximum(self.level + step[:, None], 0.0)
        price -= self.node_cost
        leaving = fleet.step_weight @ np.maximum(self.level[:, here] - step, 0.0) - self.node_cost[here]
        price += self._moving_prices(task)
        price += leaving - self._moving_price(task, here)
        barred = (self.room < self.need[:, task, None]).any(axis=0)
        barred |= self._held[row] >= self._limit[row]
        if not self._all_eligible:
            barred |= ~fleet.eligible[fleet.kind[task]]
        if here != home:
            has_room = (self.room[:, home] >= self._goes[:, task]).all()
            barred[home] = not (has_room and self._held[row, home] < self._limit[row])
        price[barred] = INFINITE
        price[here] = INFINITE
        return price

    def exchange_prices(self, task: int, window: slice) -> Floats:
        """float64[window]: by how much the cost would change if the task changed places with each task of the window.

        Infinite where it may not. A bound from above where both tasks' services would be the one that moves most.
        """
        fleet = self.fleet
        here, home = int(self.place[task]), int(fleet.home[task])
        there, homes = self.place[window], fleet.home[window]
        step, steps = fleet.step[:, task, None], fleet.step[:, window]
        change = steps - step
        price: Floats = fleet.step_weight @ np.maximum(change + self.level[:, here, None], 0.0)
        price += fleet.step_weight @ np.maximum(self.level.take(there, axis=1) - change, 0.0)
        price += (self._moving_prices(task) - self.node_cost).take(there)
        price += self._moving_prices_of(window, here)
        price -= self.node_cost[here] + self._moving_price(task, here)
        goes_at_home = self.need[:, window], self._goes[:, window]
        freed = self._goes[:, task, None] if here == home else self.need[:, task, None]
        room_here = self.room[:, here, None] + freed
        if fleet.transient.any():
            takes = np.where(homes == here, goes_at_home[1], goes_at_home[0])
            gives = np.where(homes == there, goes_at_home[1], goes_at_home[0])
            asks = np.where(there == home, self._goes[:, task, None], self.need[:, task, None])
        else:
            takes = gives = goes_at_home[0]
            asks = self.need[:, task, None]
        barred = (takes > room_here).any(axis=0)
        barred |= (self.room.take(there, axis=1) + gives < asks).any(axis=0)
        row, rows = self._row[task], self._row[window]
        crowded = (self._held[row] >= self._limit[row]).take(there)
        crowded |= (self._held[:, here] >= self._limit).take(rows)
        barred |= crowded & (rows != row)  # two tasks of one service leave its counts as they are
        if not self._all_eligible:
            barred |= ~fleet.eligible[fleet.kind[task]][there] & (there != home)
            barred |= ~fleet.eligible[fleet.kind[window], here] & (homes != here)
        barred |= there == here
        price[barred] = INFINITE
        return price

    def is_tied(self, task: int) -> bool:
        """Whether the task's service depends on another, or another on it."""
        service = self._service[task]
        return service in self._needs or service in self._needed_by

    def company(self, task: int, *, with_needs: bool, most: int) -> list[int]:
        """The task and those that have to go with it when it leaves its neighborhood: whoever would miss it.

        with_needs: and whomever they need there; the whole company then misses nothing wherever it goes. Empty when
        that are more than `most`.
        """
        place, service_of = self.place, self.fleet.service
        neighborhood = self.fleet.neighborhood
        here = neighborhood[place[task]]
        group = [task]
        for member in group:
            if len(group) > most:
                return []
            service = self._service[member]
            wanted = (
                list(self._needed_by.get(service, ())) if self._is_last(service, int(here), group) else []
            )
            wanted += self._needs.get(service, ()) if with_needs else ()
            for other in wanted:
                if here in self._in_neighborhood[other]:
                    theirs = np.flatnonzero(service_of == other)
                    group += [
                        one
                        for one in theirs[neighborhood[place[theirs]] == here].tolist()
                        if one not in group
                    ]
        return group

    def _is_last(self, service: int, neighborhood: int, group: list[int]) -> bool:
        leaving = sum(self._service[member] == service for member in group)
        return bool(self._in_neighborhood[service][neighborhood] <= leaving)

    def group_prices(self, group: list[int]) -> Floats:
        """float64[N]: by how much the cost would change with the whole group on each node that none of it is on.

        What `move` alone looks at: every rule but room; a bound from above where the group's services move most.
        """
        fleet, tasks = self.fleet, np.array(group)
        here = self.place[tasks]
        price: Floats = fleet.step_weight @ np.maximum(
            self.level + fleet.step[:, tasks].sum(axis=1)[:, None], 0.0
        )
        price -= self.node_cost
        for node in np.unique(here).tolist():
            left = self.level[:, node] - fleet.step[:, tasks[here == node]].sum(axis=1)
            price += fleet.step_weight @ np.maximum(left, 0.0) - self.node_cost[node]
        need = np.repeat(self.need[:, tasks].sum(axis=1)[:, None], fleet.nodes, axis=1)
        for task in group:
            price += self._moving_prices(task) - self._moving_price(task, int(self.place[task]))
            home = int(fleet.home[task])
            need[:, home] -= self.need[:, task] - self._goes[:, task]
        price[(self.room < need).any(axis=0)] = INFINITE
        price[here] = INFINITE
        return price

    def move(self, moves: Moves) -> bool:
        """Carry the moves out together; False, and nothing has changed, when the rules would be broken."""
        before = [(task, int(self.place[task])) for task, _ in moves]
        self._put(moves)
        if self._is_broken(moves, before):
            self._put(tuple(before))
            return False
        return True

    def can_move(self, task: int, node: int) -> bool:
        """Whether `move` would let the task go there; nothing has changed afterwards."""
        here = int(self.place[task])
        if node == here or not np.isfinite(self.prices(task)[node]) or not self.move(((task, node),)):
            return False
        self._put(((task, here),))
        return True

    def away_changes(self, task: int, window: slice) -> Ints:
        """int64[N + window]: by how many the tasks away from home become more with each of the choices."""
        fleet = self.fleet
        here, home = int(self.place[task]), int(fleet.home[task])
        there, homes = self.place[window], fleet.home[window]
        to_nodes = np.arange(fleet.nodes) != home
        exchanged = to_nodes[there].astype(np.int64) + (homes != here) - (homes != there)
        return np.concatenate((to_nodes.astype(np.int64), exchanged)) - (here != home)

    def _away_by(self, task: int, node: int) -> int:
        """By how many the tasks away from home become more with the task on this node."""
        home = int(self.fleet.home[task])
        return (node != home) - (int(self.place[task]) != home)

    def _away_price(self, task: int) -> int:
        """What it costs that the task is not at home, wherever else, over all else as it is now."""
        fleet, service = self.fleet, self._service[task]
        moved = int(self._moved_of[service])
        others = moved - (int(self.place[task]) != int(fleet.home[task]))
        is_the_most = moved == self._most_moved and self._services_by_moved[moved] == 1
        is_raised = others + 1 > self._most_moved - is_the_most
        return int(self._task_price[task]) + fleet.service_move_weight * is_raised

    def _moving_prices(self, task: int) -> Floats:
        """float64[N]: what being on each node and not at home costs."""
        fleet, home = self.fleet, int(self.fleet.home[task])
        price = np.full(fleet.nodes, float(self._away_price(task)))
        if fleet.node_move_cost.size:
            price += self._node_price[home]
        price[home] = 0.0
        return price

    def _moving_price(self, task: int, node: int) -> float:
        home = int(self.fleet.home[task])
        if node == home:
            return 0.0
        return self._away_price(task) + (
            float(self._node_price[home, node]) if self._node_price.size else 0.0
        )

    def _moving_prices_of(self, window: slice, node: int) -> Floats:
        """float64[window]: what moving costs more with each task on `node` than with each where it is."""
        fleet = self.fleet
        there, homes = self.place[window], fleet.home[window]
        away = self._task_price[window]
        if fleet.service_move_weight:
            moved = self._moved_of[fleet.service[window]]
            others_too = moved + (there == homes)
            alone = self._services_by_moved[self._most_moved] == 1
            most = self._most_moved - (moved == self._most_moved) if alone else self._most_moved
            away = away + fleet.service_move_weight * (others_too > most)
        price: Floats = away * ((homes == there).astype(np.float64) - (homes == node))
        if self._node_price.size:
            price += self._price_to[node].take(homes)
            price -= self._paid[window]
        return price

    def _put(self, moves: Moves) -> None:
        fleet, weight = self.fleet, self.fleet.step_weight
        for task, node in moves:
            here, home = int(self.place[task]), int(fleet.home[task])
            self.cost -= self._moving_price(task, here)
            self._count(task, here, node)
            self.place[task] = node
            self.cost += self._moving_price(task, node)
            if self._node_price.size:
                self._paid[task] = self._node_price[home, node]
            step = fleet.step[:, task]
            self.level[:, here] -= step
            self.level[:, node] += step
            self.room[:, here] += self._goes[:, task] if here == home else self.need[:, task]
            self.room[:, node] -= self._goes[:, task] if node == home else self.need[:, task]
            for changed in (here, node):
                now = float(weight @ np.maximum(self.level[:, changed], 0.0))
                self.cost += now - float(self.node_cost[changed])
                self.node_cost[changed] = now

    def _count(self, task: int, here: int, node: int) -> None:
        """Keep the counts that rules look at."""
        service, row, more = self._service[task], self._row[task], self._away_by(task, node)
        if row < self._limit.size - 1:
            self._held[row, here] -= 1
            self._held[row, node] += 1
        if self._tied[service]:
            _shift(self._in_location[service], self._location[here], self._location[node])
            _shift(self._in_neighborhood[service], self._neighborhood[here], self._neighborhood[node])
        if more:
            self.away += more
            moved = int(self._moved_of[service])
            self._moved_of[service] = moved + more
            _shift(self._services_by_moved, moved, moved + more)
            if moved + more > self._most_moved or self._most_moved not in self._services_by_moved:
                self._most_moved += more

    def _is_broken(self, moves: Moves, before: list[tuple[int, int]]) -> bool:
        fleet = self.fleet
        for (task, node), (_, left) in zip(moves, before, strict=True):
            service, row = self._service[task], self._row[task]
            if (self.room[:, node] < 0).any() or self._held[row, node] > self._limit[row]:
                return True
            if node != int(fleet.home[task]) and not fleet.eligible[fleet.kind[task], node]:
                return True
            if self._tied[service] and self._is_torn(
                service, self._neighborhood[left], self._neighborhood[node]
            ):
                return True
        return False

    def _is_torn(self, service: int, left: int, joined: int) -> bool:
        """Whether the service is too little spread, misses another beside it, or is missed where a task left it."""
        if len(self._in_location[service]) < self._spread[service]:
            return True
        if any(joined not in self._in_neighborhood[on] for on in self._needs.get(service, ())):
            return True
        return left not in self._in_neighborhood[service] and any(
            left in self._in_neighborhood[other] for other in self._needed_by.get(service, ())
        )


def _shift(counts: Counter[int], here: int, there: int) -> None:
    """One less here, one more there; what is at zero has no key."""
    counts[there] += 1
    counts[here] -= 1
    if counts[here] == 0:
        del counts[here]
