"""Preemption: a service that finds no room takes that of others whose priority is lower, where the cluster allows it.

Nomad's rule: a victim is lower by ten or more. For each replica the node is chosen where the fewest have to go, then
where the lowest are enough, then with the fewest of its own; no more go than have to. What goes waits, and is placed
when there is room again. A plan is one entry, in which victims end and the others start: nobody takes the room between.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from ..state import restarts
from ..state.commands import Plan, ServicePlan
from ..state.machine import ClusterState
from ..state.needs import SLOTS, Needs
from ..state.nodes import Room
from ..state.records import ServiceRecord, WantedThere
from ..state.runs import PLAN, REPORT, Ints, collect, pack
from ..state.settings import PRIORITY_GAP
from .reconcile import Target, starts_in

MOST_AT_ONCE = 16
"""Replicas that one plan makes room for: the next plan goes on."""
MOST_NODES = 16
"""Nodes that are looked at task by task; of more, those where the fewest seem to have to go."""


class _Choice(msgspec.Struct, frozen=True):
    """These tasks have to go for one replica on the node; `rank` orders choices, the best is the lowest."""

    node: int
    victims: tuple[int, ...]
    rank: tuple[int, ...]


def plan_preemption(state: ClusterState, now_ms: int | None = None) -> Plan | None:
    """The plan that makes room for the first of those that wait, by priority and age; None where nobody can go."""
    if not state.settings().preemption:
        return None
    late_ms = state.clock_ms() if now_ms is None else now_ms
    waiting = [record for record in state.unsettled() if record.pending and not state.unmet(record.name)]
    for record in sorted(waiting, key=lambda record: (-record.spec.priority, record.number)):
        plan = _Preemption(state, record, late_ms).plan()
        if plan is not None:
            return plan
    return None


class _Preemption:
    """Room for one service."""

    def __init__(self, state: ClusterState, record: ServiceRecord, now_ms: int) -> None:
        self.state, self.record, self.now_ms = state, record, now_ms
        self.target = Target(name=record.name, replicas=record.replicas, spec=record.spec)
        highest = record.spec.priority - PRIORITY_GAP
        self.lower = {one.number: one for one in state.services() if one.spec.priority <= highest and one.placed}

    def plan(self) -> Plan | None:
        """For as many as fit into one plan; where that does not come out even, for one."""
        closed = restarts.waiting(self.state.restarts(self.record.name).tobytes(), self.now_ms)
        missing = min(self.record.pending - len(closed), MOST_AT_ONCE)
        if missing <= 0 or not self.lower:
            return None
        return self._plan_for(missing) or (self._plan_for(1) if missing > 1 else None)

    def _plan_for(self, replicas: int) -> Plan | None:
        chosen = self._choose(replicas)
        if not chosen:
            return None
        nodes = np.array([choice.node for choice in chosen])
        wanted = np.bincount(nodes, minlength=self.state.node_table().ready.size)
        victims = self._needed([task for choice in chosen for task in choice.victims], wanted)
        starts = starts_in(self.state, self.target, self._room(wanted, victims), self.now_ms)
        started = np.bincount(starts[:, 2], weights=starts[:, 1], minlength=wanted.size).astype(np.int64)
        if not np.array_equal(started, wanted):
            return None
        runs, devices = pack(starts[:, :3], PLAN), pack(starts[:, 3:], REPORT)
        own = ServicePlan(service=self.record.name, starts=runs, devices=devices)
        return Plan(services=(*self._parts(victims), own))

    def _needed(self, victims: Sequence[int], wanted: Ints) -> list[int]:
        """The victims without those that several replicas on one node do not need, though each alone would."""
        room, kept = self.state.room(), list(victims)
        for task in victims:
            _give_back(room, self._needs_of(task), self._node_of(task))
        for task in sorted(victims, key=lambda task: (-self._priority_of(task), task)):
            node = self._node_of(task)
            _take(room, self._needs_of(task), node)
            if room.fits(self.target.needs)[node] >= wanted[node]:
                kept.remove(task)
            else:
                _give_back(room, self._needs_of(task), node)
        return kept

    def _parts(self, victims: Sequence[int]) -> list[ServicePlan]:
        """The victims, service by service."""
        there, parts = self._there, []
        mine = np.isin(there.ids, victims)
        for number in np.unique(there.services[mine]).tolist():
            ids = np.sort(there.ids[mine & (there.services == number)])
            retires = pack(collect(ids), REPORT)
            parts.append(ServicePlan(service=self.lower[number].name, retires=retires, preempted_by=self.record.name))
        return parts

    def _room(self, wanted: Ints, victims: Sequence[int]) -> Room:
        """Slots for just so many on each node, and what else is free there without the victims."""
        room = self.state.room()
        for task in victims:
            _give_back(room, self._needs_of(task), self._node_of(task))
        room.take(Needs(slots=1), room.free(SLOTS) - wanted * self.target.needs.slots)
        return room

    # which node, which victims

    def _choose(self, replicas: int) -> list[_Choice]:
        room, may = self.state.room(), self._may_go()
        self._own = self.state.held_by_node(self.record.name).tolist()
        nodes = self._likely(room, may)
        self._there = self._lower_on(nodes)
        gone: list[int] = []
        best: dict[int, _Choice | None] = {node: self._best_on(node, room, gone) for node in nodes.tolist()}
        chosen: list[_Choice] = []
        while len(chosen) < replicas:
            choice = min((one for one in best.values() if one is not None), key=lambda one: one.rank, default=None)
            if choice is None:
                break
            chosen.append(choice)
            gone += choice.victims
            may[choice.node] -= 1
            self._own[choice.node] += 1
            for task in choice.victims:
                _give_back(room, self._needs_of(task), choice.node)
            _take(room, self.target.needs, choice.node)
            left = may[choice.node] > 0 and not self.target.needs.gpus
            best[choice.node] = self._best_on(choice.node, room, gone) if left else None
        return chosen

    def _may_go(self) -> Ints:
        """int64[nodes]: how many more may go there, room aside."""
        state, place = self.state, self.record.spec.where
        table = state.node_table()
        most = np.where(table.open & table.allowed(self.record.spec.placement), MOST_AT_ONCE, 0)
        if place.max_replicas_per_node:
            most = np.minimum(most, np.maximum(place.max_replicas_per_node - state.held_by_node(self.record.name), 0))
        return most

    def _likely(self, room: Room, may: Ints) -> Ints:
        """The numbers of nodes that are looked at: those where the fewest seem to have to go, the lowest first."""
        needs = self.target.needs
        resources = [(SLOTS, needs.slots), *needs.more]
        lacks = np.stack([units - room.free(name) for name, units in resources])
        count, lowest = np.zeros(may.size, dtype=np.int64), np.zeros(may.size, dtype=np.int64)
        for one in sorted(self.lower.values(), key=lambda one: (one.spec.priority, one.number)):
            tasks = self.state.wanted(one.name)
            for kind in np.unique(tasks.needs).tolist():
                takes = dict(self.state.needs(kind).more) | {SLOTS: self.state.needs(kind).slots}
                units = np.array([takes.get(name, 0) for name, _ in resources])[:, None]
                there = np.bincount(tasks.nodes[tasks.needs == kind], minlength=may.size)
                helps = np.where((lacks > 0) & (units > 0), -(-lacks // np.maximum(units, 1)), 0).max(axis=0)
                go = np.minimum(there, np.maximum(helps, 0))
                lacks = lacks - go * units
                count += go
                lowest = np.where(go > 0, one.spec.priority, lowest)
            # A device has to be looked at task by task.
            found = np.flatnonzero((may > 0) & (lacks <= 0).all(axis=0) & ((count > 0) | bool(needs.gpus)))
            if found.size > 4 * MOST_NODES:
                break
        likely: Ints = found[np.lexsort((found, lowest[found], count[found]))][:MOST_NODES]
        return likely

    def _lower_on(self, nodes: Ints) -> WantedThere:
        """The tasks on these nodes that may have to go."""
        there = self.state.wanted_on(nodes)
        kept = np.isin(there.services, list(self.lower))
        return WantedThere(**{name: getattr(there, name)[kept] for name in WantedThere.__struct_fields__})

    def _best_on(self, node: int, room: Room, gone: Sequence[int]) -> _Choice | None:
        """The fewest, then the lowest; None where even all of them are not enough."""
        there = self._there
        here = np.flatnonzero((there.nodes == node) & ~np.isin(there.ids, gone))
        tasks = [(task, self._priority_of(task)) for task in there.ids[here].tolist()]
        lacks = self._lacks(room, node)
        lowest_first = sorted(tasks, key=lambda task: (task[1], -task[0]))
        largest_first = sorted(tasks, key=lambda task: (-self._helps(task[0], lacks), task[1], -task[0]))
        found = [self._enough(order, node, room) for order in (lowest_first, largest_first)]
        choices = [
            _Choice(
                node,
                tuple([task for task, _ in some]),
                (len(some), *sorted([priority for _, priority in some], reverse=True), self._own[node], node),
            )
            for some in found
            if some
        ]
        return min(choices, key=lambda choice: choice.rank, default=None)

    def _enough(self, order: Sequence[tuple[int, int]], node: int, room: Room) -> list[tuple[int, int]]:
        """The first of these whose room suffices, without those that are not needed for that."""
        trial, chosen = room.copy(), []
        for task in order:
            if self._fits(trial, node):
                break
            _give_back(trial, self._needs_of(task[0]), node)
            chosen.append(task)
        if not self._fits(trial, node):
            return []
        for task in sorted(chosen, key=lambda task: (-task[1], task[0])):
            _take(trial, self._needs_of(task[0]), node)
            if self._fits(trial, node):
                chosen.remove(task)
            else:
                _give_back(trial, self._needs_of(task[0]), node)
        return chosen

    def _fits(self, room: Room, node: int) -> bool:
        return bool(room.fits(self.target.needs)[node] > 0)

    def _lacks(self, room: Room, node: int) -> dict[str, int]:
        needs = self.target.needs
        short = {name: units - int(room.free(name)[node]) for name, units in ((SLOTS, needs.slots), *needs.more)}
        return {name: units for name, units in short.items() if units > 0}

    def _helps(self, task: int, lacks: dict[str, int]) -> float:
        """Which part of what is lacking a task gives back, all resources together."""
        needs = self._needs_of(task)
        gives = dict(needs.more) | {SLOTS: needs.slots}
        return sum(min(gives.get(name, 0) / units, 1.0) for name, units in lacks.items())

    def _needs_of(self, task: int) -> Needs:
        return self.state.needs(int(self._there.needs[self._at(task)]))

    def _node_of(self, task: int) -> int:
        return int(self._there.nodes[self._at(task)])

    def _priority_of(self, task: int) -> int:
        return self.lower[int(self._there.services[self._at(task)])].spec.priority

    def _at(self, task: int) -> int:
        return int(np.searchsorted(self._there.ids, task))


def _give_back(room: Room, needs: Needs, node: int) -> None:
    _take(room, needs, node, -1)


def _take(room: Room, needs: Needs, node: int, replicas: int = 1) -> None:
    """Devices of a task are among its needs; those of a replica to come are not, and it is looked at alone."""
    taken = np.zeros(room.open.size, dtype=np.int64)
    taken[node] = replicas
    room.take(needs, taken)
