"""A better assignment of tasks to nodes: annealing that prices every node and many exchanges of one task at once.

A step takes a task and chooses among all that can be done with it: to go to any node, to change places with any task
of a window, or to stay. Each price gets a random handicap in proportion to the temperature, and the lowest wins:
that is drawing from the Boltzmann distribution of the choices (Gumbel's trick), so no step is wasted on refusals.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np

from ..state.runs import Ints
from .layout import Layout, Moves
from .reassignment import Floats, Reassignment

WINDOW = 256  # exchanges looked at in a step: with fewer, more steps; with more, better ones. Tried: 100, 250, 1,000
HOT, COLD = (
    1.8,
    0.006,
)  # first and last temperature, in medians of what moving a task changes, over log(choices)
FROZEN = 0.95  # from this share of the budget on, only what is cheaper is done
GROUP_EVERY = 2  # of the steps with a task that others depend on, or that depends on others
LARGEST_GROUP = 32
TRIES = 8  # choices of one step that may turn out to break a rule
DRAWS = 1 << 15  # handicaps drawn at a time


class Chance(Protocol):
    """What the search draws from. A `random.Random` is one."""

    def randrange(self, stop: int, /) -> int: ...

    def randbytes(self, n: int, /) -> bytes: ...


Budget = Callable[[], float]
"""Says before each step which share of the budget is used up; at 1.0 the search ends."""


def steps(count: int) -> Budget:
    """A budget of so many steps, for answers that are the same on every machine."""
    done = -1

    def used() -> float:
        nonlocal done
        done += 1
        return min(done / count, 1.0) if count > 0 else 1.0

    return used


def rebalance(fleet: Reassignment, chance: Chance, budget: Budget, *, move_limit: int | None = None) -> Ints:
    """int64[tasks]: an assignment that breaks no rule that the homes keep, and costs no more than they do.

    At most `move_limit` tasks are away from home. The same chance and a budget in steps give the same answer.
    """
    layout = Layout(fleet)
    best, best_cost = layout.place.copy(), layout.cost
    if fleet.tasks == 0 or fleet.nodes < 2:
        return best
    search = _Search(layout, chance, fleet.tasks if move_limit is None else move_limit)
    while (used := budget()) < 1.0:
        search.cool(used)
        if search.step() and layout.cost < best_cost:
            best, best_cost = layout.place.copy(), layout.cost
    return best


class _Search:
    def __init__(self, layout: Layout, chance: Chance, move_limit: int) -> None:
        self.layout = layout
        self.chance = chance
        self.move_limit = move_limit
        self.temperature = 0.0
        self._handicaps = _Handicaps(chance)
        self._width = min(WINDOW, layout.fleet.tasks)
        # The best of many handicaps grows with the logarithm of their number.
        self._scale = _usual_change(layout, chance) / math.log(1 + layout.fleet.nodes + self._width)

    def cool(self, used: float) -> None:
        self.temperature = self._scale * HOT * (COLD / HOT) ** (used / FROZEN) if used < FROZEN else 0.0

    def step(self) -> bool:
        """Do something with a task, or with a task and all that must go where it goes; False: everything stays."""
        layout, tasks = self.layout, self.layout.fleet.tasks
        task = self.chance.randrange(tasks)
        if layout.is_tied(task) and self.chance.randrange(GROUP_EVERY) == 0:
            group = layout.company(task, with_needs=self.chance.randrange(2) == 0, most=LARGEST_GROUP)
            if len(group) > 1:
                return self._move_group(group)
        first = self.chance.randrange(tasks - self._width + 1)
        window = slice(first, first + self._width)
        price = np.concatenate((layout.prices(task), layout.exchange_prices(task, window)))
        if layout.away + 2 > self.move_limit:
            price[layout.away_changes(task, window) > self.move_limit - layout.away] = np.inf

        def moves(choice: int) -> Moves:
            if choice < layout.fleet.nodes:
                return ((task, choice),)
            other = first + choice - layout.fleet.nodes
            return (task, int(layout.place[other])), (other, int(layout.place[task]))

        return self._do_cheapest(price, moves)

    def _move_group(self, group: list[int]) -> bool:
        layout = self.layout
        price = layout.group_prices(group)
        if layout.away + len(group) > self.move_limit:
            more = sum(layout.away_changes(task, slice(0, 0)) for task in group)
            price[more > self.move_limit - layout.away] = np.inf
        return self._do_cheapest(price, lambda choice: tuple([(task, choice) for task in group]))

    def _do_cheapest(self, price: Floats, moves: Callable[[int], Moves]) -> bool:
        """Carry out the cheapest choice, handicaps counted, that the rules allow; False when staying is cheaper."""
        stay = 0.0
        if self.temperature:
            handicap = self._handicaps.take(price.size + 1)
            price += self.temperature * handicap[1:]
            stay = self.temperature * float(handicap[0])
        for _ in range(TRIES):
            choice = int(price.argmin())
            if price[choice] >= stay:
                return False
            if self.layout.move(moves(choice)):
                return True
            price[choice] = np.inf
        return False


def _usual_change(layout: Layout, chance: Chance) -> float:
    """The median of what putting a task elsewhere changes in the cost: the scale of temperatures."""
    prices = [layout.prices(chance.randrange(layout.fleet.tasks)) for _ in range(100)]
    changes = np.abs(np.concatenate(prices))
    changes = changes[np.isfinite(changes) & (changes > 0)]
    return float(np.median(changes)) if changes.size else 1.0


class _Handicaps:
    """Gumbel-distributed numbers with the sign turned: the lowest of price + temperature x number is a fair draw."""

    def __init__(self, chance: Chance) -> None:
        self.chance = chance
        self._pool = np.zeros(0)
        self._taken = 0

    def take(self, count: int) -> Floats:
        if self._taken + count > self._pool.size:
            words = np.frombuffer(self.chance.randbytes(8 * max(DRAWS, count)), dtype="<u8")
            uniform = ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
            self._pool, self._taken = np.log(-np.log(uniform)), 0
        self._taken += count
        return self._pool[self._taken - count : self._taken]
