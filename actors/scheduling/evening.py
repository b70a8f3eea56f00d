"""Which replicas of a running cluster should move so that its nodes are evenly loaded: the moves, in order.

A node's even share is the same part of its capacity as everybody's, of each resource alike; what it holds beyond costs,
and the node that costs most gives the replica whose move lowers the cost most (`rebalance_plan.even_fleet` has the same
cost). So the first few moves are the best few. Where no move alone helps, two replicas change places.

It works on the state as it is when it begins, bit by bit: it yields after a few milliseconds at most. Equal states give
equal plans, so a dry run shows what will be done.
"""

from __future__ import annotations

from collections.abc import Generator

import msgspec
import numpy as np

from ..state.commands import RebalanceMove
from ..state.machine import ClusterState
from ..state.needs import PORT, SLOTS, needs_of
from ..state.records import ServiceRecord, WantedThere
from ..state.runs import Ints, Mask, distinct
from .choosing import is_plain
from .layout import Layout
from .reassignment import UNLIMITED, Reassignment
from .rebalance_plan import FINENESS

WORTH = 4
"""A move has to gain more than one part in so many of what the replica takes: an even cluster is left alone."""
MOST_TASKS = 2_048
MOST_SOURCES = 512
MOST_A_SOURCE = 16
"""A cluster of more replicas than that is looked at where it is fullest: so many nodes, so many replicas of each."""
UNEVEN = (PORT, "gpu")
"""Resources that are not evened out: a port is free or taken, and what holds a GPU stays with it."""
EXCHANGES = 8
"""Exchanges tried for one node, the best first."""
ENDLESS = 1 << 50
"""Of what is not watched a node has so much, a number that floats have exactly."""


class EvenPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Moves to be made in this order. The costs are what nodes hold beyond their even share, in percent of an average
    node, all resources together; `made_at` is the index of the state that it is for."""

    moves: tuple[RebalanceMove, ...]
    cost_before: float
    cost_after: float
    made_at: int


def even_plan(state: ClusterState, max_moves: int) -> EvenPlan:
    """The same at once."""
    slices = even_slices(state, max_moves)
    while True:
        try:
            next(slices)
        except StopIteration as end:
            plan: EvenPlan = end.value
            return plan


def even_slices(state: ClusterState, max_moves: int) -> Generator[None, None, EvenPlan]:
    """At most `max_moves` moves; none where nothing is gained."""
    made_at, fleet = state.applied_index, _Fleet(state)
    nothing = EvenPlan(moves=(), cost_before=0.0, cost_after=0.0, made_at=made_at)
    if fleet.nodes.size < 2 or not fleet.ids.size:
        return nothing
    yield
    problem = fleet.problem()
    yield
    layout = Layout(problem)
    search = _Search(layout, fleet.movable, max_moves)
    before = search.cost()
    yield
    while search.step():
        yield
    return EvenPlan(
        moves=tuple([fleet.move(*one) for one in search.made]),
        cost_before=fleet.percent(before),
        cost_after=fleet.percent(search.cost()),
        made_at=made_at,
    )


class _Fleet:
    """The cluster in columns: the nodes that count, and the tasks that may move or matter to those that do."""

    def __init__(self, state: ClusterState) -> None:
        table = state.node_table()
        present = np.array([record.status != "removed" for record in table.records], dtype=bool)
        self.state, self.table = state, table
        self.nodes = np.flatnonzero(table.ready & ~table.draining & present)
        self.resources = list(table.resources)
        self.taken: Ints = table.amounts()[1][:, self.nodes].T
        self.capacity: Ints = np.minimum(table.amounts()[0][:, self.nodes].T, ENDLESS)
        self._weigh()
        excess = self._excess()
        is_small = int(self.taken[:, self.resources.index(SLOTS)].sum()) <= MOST_TASKS
        order = np.argsort(-excess, kind="stable")
        sources = self.nodes if is_small else self.nodes[order[: min(MOST_SOURCES, int((excess > 0).sum()))]]
        wanted = state.wanted_on(sources)
        if not is_small:
            wanted = _some_of_each(wanted)
        self.ids, self.slots, self.needs, self.service = wanted.ids, wanted.slots, wanted.needs, wanted.services
        position = np.full(table.ready.size, -1, dtype=np.int64)
        position[self.nodes] = np.arange(self.nodes.size)
        self.home: Ints = position[wanted.nodes]
        self._of = {number: state.service_by_number(number) for number in distinct(self.service)}
        self.movable: Mask = np.zeros(self.ids.size, dtype=bool)
        for number, record in self._of.items():
            # A node of a nested cluster would leave that cluster, and another one join.
            is_free = record.spec.mode == "replicated" and is_plain(record.spec) and record.spec.cluster is None
            if is_free and (record.update is None or record.update.completed_ms is not None):
                # Another template, or another size, would be more than a move.
                as_new = [kind for kind in distinct(self.needs) if state.needs(kind) == needs_of(record.spec)]
                is_new = (wanted.versions == record.template) & np.isin(self.needs, as_new)
                self.movable |= (self.service == number) & is_new

    def _weigh(self) -> None:
        """What counts, and how much: each resource alike, of which every node has so much and somebody takes any."""
        total, held = self.capacity.sum(axis=0), self.taken.sum(axis=0)
        counts = (self.capacity < ENDLESS).all(axis=0) & (total > 0) & (held > 0)
        counts &= np.array([not name.startswith(UNEVEN) for name in self.resources], dtype=bool)
        mean = np.maximum(total, 1) / max(self.nodes.size, 1)
        self.scale = FINENESS * float(mean[counts].max(initial=1.0))
        self.weight: Ints = np.where(counts, np.maximum(np.rint(self.scale / mean), 1), 0).astype(np.int64)
        part = held / np.maximum(total, 1)
        self.share: Ints = np.where(counts, np.ceil(self.capacity * part), ENDLESS).astype(np.int64)

    def _excess(self) -> Ints:
        """int64[nodes]: what each costs."""
        excess: Ints = (np.maximum(self.taken - self.share, 0) * self.weight).sum(axis=1)
        return excess

    def problem(self) -> Reassignment:
        """As columns of the search: tasks that are not looked at are a load that stays."""
        kinds = np.unique(self.needs, return_inverse=True)
        each = np.array([self._units(int(number)) for number in kinds[0]], dtype=np.int64)
        requirement = each.reshape(-1, len(self.resources))[kinds[1]]
        looked_at = np.zeros_like(self.taken)
        np.add.at(looked_at, self.home, requirement)
        stays = self.taken - looked_at
        numbers, service = np.unique(self.service, return_inverse=True)
        eligible, kind = self._eligible(numbers, service)
        return Reassignment(
            capacity=self.capacity - stays,
            safety=self.share - stays,
            requirement=requirement,
            home=self.home,
            service=service,
            resource_weight=self.weight,
            transient=np.zeros(len(self.resources), dtype=bool),
            max_per_node=self._limits(numbers, service),
            eligible=eligible,
            kind=kind,
            task_move_cost=np.maximum((requirement * self.weight).sum(axis=1) // WORTH, 1),
            task_move_weight=1,
        )

    def _units(self, needs: int) -> list[int]:
        takes = dict(self.state.needs(needs).more) | {SLOTS: self.state.needs(needs).slots}
        return [takes.get(name, 0) for name in self.resources]

    def _limits(self, numbers: Ints, service: Ints) -> Ints:
        """int64[services]: most replicas a node, or what one holds already, where that is more."""
        limits = [self._of[number].spec.placement.max_replicas_per_node for number in numbers.tolist()]
        most = np.array([limit or UNLIMITED for limit in limits], dtype=np.int64)
        there = np.stack((service, self.home))
        pairs, counts = np.unique(there, axis=1, return_counts=True)
        np.maximum.at(most, pairs[0], counts)
        return most

    def _eligible(self, numbers: Ints, service: Ints) -> tuple[Mask, Ints]:
        """(bool[kinds, nodes], int64[tasks]): where the tasks of each kind may go. Spread over labels stays as it is: a
        task of such a service moves within its group of nodes."""
        rows: list[Mask] = [np.zeros(self.nodes.size, dtype=bool)]
        kind = np.zeros(self.ids.size, dtype=np.int64)
        known: dict[bytes, int] = {rows[0].tobytes(): 0}
        for position, number in enumerate(numbers.tolist()):
            mine = np.flatnonzero((service == position) & self.movable)
            groups = self._groups(self._of[number])
            for group in np.unique(groups[self.home[mine]]).tolist():
                row = self._may_go(self._of[number]) & (groups == group)
                at = known.setdefault(row.tobytes(), len(rows))
                if at == len(rows):
                    rows.append(row)
                kind[mine[groups[self.home[mine]] == group]] = at
        return np.stack(rows), kind

    def _may_go(self, service: ServiceRecord) -> Mask:
        state, place = self.state, service.spec.placement
        may = self.table.open & self.table.allowed(place) & ~state.faulty_nodes(service.name, state.clock_ms())
        limit = place.max_replicas_per_node
        if limit:
            may &= state.held_by_node(service.name) < limit
        there: Mask = may[self.nodes]
        return there

    def _groups(self, service: ServiceRecord) -> Ints:
        """int64[nodes]: equal numbers where the service's replicas may be exchanged without changing their spread."""
        groups = np.zeros(self.nodes.size, dtype=np.int64)
        for name in service.spec.placement.preferences:
            codes = self.table.attribute(name)[0][self.nodes].astype(np.int64)
            groups = np.unique(groups * (int(codes.max(initial=0)) + 1) + codes, return_inverse=True)[1]
        return groups

    def percent(self, cost: float) -> float:
        return round(100 * cost / self.scale, 2)

    def move(self, task: int, source: int, target: int) -> RebalanceMove:
        return RebalanceMove(
            task=int(self.ids[task]),
            service=self._of[int(self.service[task])].name,
            slot=int(self.slots[task]),
            source=int(self.nodes[source]),
            target=int(self.nodes[target]),
        )


def _some_of_each(wanted: WantedThere) -> WantedThere:
    """The newest of each node's tasks, those of every size by turns."""
    order = np.lexsort((-wanted.ids, wanted.needs, wanted.nodes))
    turn = _rank(wanted.nodes[order] * (int(wanted.needs.max(initial=0)) + 1) + wanted.needs[order])
    order = order[np.lexsort((-wanted.ids[order], turn, wanted.nodes[order]))]
    kept = np.sort(order[_rank(wanted.nodes[order]) < MOST_A_SOURCE])
    return WantedThere(**{name: getattr(wanted, name)[kept] for name in WantedThere.__struct_fields__})


def _rank(keys: Ints) -> Ints:
    """int64[n]: how many neighbours before each have the same key; equal keys stand together."""
    first = np.flatnonzero(np.append(True, np.diff(keys) != 0)[: keys.size])
    return np.arange(keys.size) - np.repeat(first, np.diff(np.append(first, keys.size)))


class _Search:
    """Steps down from the homes. A task moves once."""

    def __init__(self, layout: Layout, movable: Mask, max_moves: int) -> None:
        self.layout = layout
        self.made: list[tuple[int, int, int]] = []
        self._may = movable.copy()
        self._left = max_moves
        self._cannot = np.bincount(layout.fleet.home[movable], minlength=layout.fleet.nodes) == 0
        self._given_up = self._cannot.copy()
        self._has_gained = False

    def cost(self) -> float:
        """What nodes hold beyond their share; moves cost nothing here."""
        return float(self.layout.node_cost.sum())

    def step(self) -> bool:
        """Something for the node that costs most; False when nothing is left to gain."""
        layout = self.layout
        cost = np.where(self._given_up, 0.0, layout.node_cost)
        node = int(cost.argmax())
        if cost[node] <= 0 or not self._left:
            # What was given up may gain since others have moved.
            if not self._has_gained or not self._left:
                return False
            self._given_up[:] = self._cannot
            self._has_gained = False
            return True
        if self._move_one(node) or self._exchange(node):
            self._has_gained = True
        else:
            self._given_up[node] = True
        return True

    def _candidates(self, node: int) -> list[int]:
        """One task of each sort on the node, the newest: all others of it are as good."""
        fleet, here = self.layout.fleet, np.flatnonzero((self.layout.place == node) & self._may)
        sorts = np.column_stack((fleet.service[here], fleet.kind[here], fleet.requirement[here])).tolist()
        newest = {tuple(sort): task for sort, task in zip(sorts, here.tolist(), strict=True)}
        return list(newest.values())

    def _move_one(self, node: int) -> bool:
        best, chosen = 0.0, (-1, -1)
        for task in self._candidates(node):
            price = self.layout.prices(task)
            target = int(price.argmin())
            if price[target] < best:
                best, chosen = float(price[target]), (task, target)
        return best < 0 and self._do(*chosen)

    def _exchange(self, node: int) -> bool:
        """Two tasks change places, one after the other, where there is room for that."""
        if self._left < 2:
            return False
        layout, tasks = self.layout, self.layout.fleet.tasks
        found: list[tuple[float, int, int]] = []
        for task in self._candidates(node):
            price = np.where(self._may, layout.exchange_prices(task, slice(0, tasks)), np.inf)
            other = int(price.argmin())
            if price[other] < 0:
                found.append((float(price[other]), task, other))
        for _, task, other in sorted(found)[:EXCHANGES]:
            there = int(layout.place[other])
            moves = ((task, node, there), (other, there, node))
            if self._do_both(moves) or self._do_both(moves[::-1]):
                return True
        return False

    def _do_both(self, moves: tuple[tuple[int, int, int], ...]) -> bool:
        layout, before = self.layout, self.layout.cost
        made: list[tuple[int, int, int]] = []
        for task, source, target in moves:
            if layout.can_move(task, target):
                layout.move(((task, target),))
                made.append((task, source, target))
        if len(made) == len(moves) and layout.cost < before:
            for move in made:
                self._note(move)
            return True
        for task, source, _ in reversed(made):
            layout.move(((task, source),))
        return False

    def _do(self, task: int, target: int) -> bool:
        source = int(self.layout.place[task])
        if not self.layout.move(((task, target),)):
            return False
        self._note((task, source, target))
        return True

    def _note(self, move: tuple[int, int, int]) -> None:
        self.made.append(move)
        self._may[move[0]] = False
        self._left -= 1
