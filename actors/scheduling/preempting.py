"""Preemption: a service that finds no room takes that of others whose priority is lower, where the cluster allows it.

Nomad's rule: a victim is lower by ten or more. For each replica the node is chosen where the fewest have to go, then
where the lowest are enough, then with the fewest of its own; no more go than have to. What goes waits, and is placed
when there is room again. A plan is one entry, in which victims end and the others start: nobody takes the room between.
The nodes of nested clusters are no victims: each stays until its cluster lets it go, and the last ones never do.
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
from ..state.records import ServiceRecord
from ..state.runs import PLAN, REPORT, Ints, collect, pack
from ..state.settings import PRIORITY_GAP
from .reconcile import Target, starts_in

MOST_AT_ONCE = 12
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


class _Victim(msgspec.Struct, frozen=True):
    """A task that may have to go."""

    service: int
    node: int
    priority: int
    needs: Needs


class _Preemption:
    """Room for one service."""

    def __init__(self, state: ClusterState, record: ServiceRecord, now_ms: int) -> None:
        self.state, self.record, self.now_ms = state, record, now_ms
        self.target = Target(name=record.name, replicas=record.replicas, spec=record.spec)
        highest = record.spec.priority - PRIORITY_GAP
        self.lower = {
            one.number: one
            for one in state.services()
            if one.spec.priority <= highest and one.placed and one.spec.cluster is None
        }

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
        starts = starts_in(self.state, self.target, self._slots_for(wanted, victims), self.now_ms)
        started = np.bincount(starts[:, 2], weights=starts[:, 1], minlength=wanted.size).astype(np.int64)
        if not np.array_equal(started, wanted):
            return None
        runs, devices = pack(starts[:, :3], PLAN), pack(starts[:, 3:], REPORT)
        own = ServicePlan(service=self.record.name, starts=runs, devices=devices)
        return Plan(services=(*self._parts(victims), own))

    def _needed(self, victims: Sequence[int], wanted: Ints) -> list[int]:
        """The victims without those that several replicas on one node do not need, though each alone would."""
        self._look_at(np.flatnonzero(wanted))
        room, kept = self._room, list(victims)
        for task in victims:
            self._give_back(room, task)
        for task in sorted(victims, key=lambda task: (-self._tasks[task].priority, task)):
            one = self._tasks[task]
            self._take(room, one.needs, one.node)
            if self._fits(room, one.node) >= wanted[one.node]:
                kept.remove(task)
            else:
                self._give_back(room, task)
        return kept

    def _parts(self, victims: Sequence[int]) -> list[ServicePlan]:
        """The victims, service by service."""
        parts = []
        for number in sorted({self._tasks[task].service: None for task in victims}):
            ids = np.array(sorted(task for task in victims if self._tasks[task].service == number))
            retires = pack(collect(ids), REPORT)
            parts.append(
                ServicePlan(service=self.lower[number].name, retires=retires, preempted_by=self.record.name)
            )
        return parts

    def _slots_for(self, wanted: Ints, victims: Sequence[int]) -> Room:
        """Slots for just so many on each node, and what else is free there without the victims."""
        room = self.state.room()
        for task in victims:
            taken = np.zeros(room.open.size, dtype=np.int64)
            taken[self._tasks[task].node] = -1
            room.take(self._tasks[task].needs, taken)
        room.take(Needs(slots=1), room.free(SLOTS) - wanted * self.target.needs.slots)
        return room

    # which node, which victims

    def _choose(self, replicas: int) -> list[_Choice]:
        may = self._may_go()
        nodes = self._likely(self.state.room(), may)
        self._look_at(nodes)
        self._own = self.state.held_by_node(self.record.name).tolist()
        best: dict[int, _Choice | None] = {node: self._best_on(node) for node in nodes.tolist()}
        chosen: list[_Choice] = []
        while len(chosen) < replicas:
            choice = min((one for one in best.values() if one is not None), key=lambda one: one.rank, default=None)
            if choice is None:
                break
            chosen.append(choice)
            may[choice.node] -= 1
            self._own[choice.node] += 1
            for task in choice.victims:
                self._give_back(self._room, task)
                self._gone[task] = None
            self._take(self._room, self.target.needs, choice.node)
            left = may[choice.node] > 0 and not self.target.needs.gpus
            best[choice.node] = self._best_on(choice.node) if left else None
        return chosen

    def _look_at(self, nodes: Ints) -> None:
        """Work with these nodes alone, or a large cluster's plan would take long; GPUs are told with all of them."""
        room = self.state.room()
        self._place = {node: node if self.target.needs.gpus else at for at, node in enumerate(nodes.tolist())}
        self._room = room if self.target.needs.gpus else room.at(nodes)
        self._gone: dict[int, None] = {}
        there = self.state.wanted_on(nodes)
        columns = (there.ids, there.services, there.nodes, there.needs)
        self._tasks = {
            task: _Victim(service, node, self.lower[service].spec.priority, self.state.needs(kind))
            for task, service, node, kind in zip(*(column.tolist() for column in columns), strict=True)
            if service in self.lower
        }
        self._here: dict[int, list[int]] = {node: [] for node in nodes.tolist()}
        for task, one in self._tasks.items():
            self._here[one.node].append(task)

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

    def _best_on(self, node: int) -> _Choice | None:
        """The fewest, then the lowest; None where even all of them are not enough."""
        here = [(task, self._tasks[task].priority) for task in self._here[node] if task not in self._gone]
        lacks = self._lacks(node)
        lowest_first = sorted(here, key=lambda task: (task[1], -task[0]))
        largest_first = sorted(here, key=lambda task: (-self._helps(task[0], lacks), task[1], -task[0]))
        found = [self._enough(order, node) for order in (lowest_first, largest_first)]
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

    def _enough(self, order: Sequence[tuple[int, int]], node: int) -> list[tuple[int, int]]:
        """The first of these whose room suffices, without those that are not needed for that."""
        trial, chosen = self._room.copy(), []
        for task in order:
            if self._fits(trial, node) > 0:
                break
            self._give_back(trial, task[0])
            chosen.append(task)
        if not self._fits(trial, node):
            return []
        for task in sorted(chosen, key=lambda task: (-task[1], task[0])):
            self._take(trial, self._tasks[task[0]].needs, node)
            if self._fits(trial, node) > 0:
                chosen.remove(task)
            else:
                self._give_back(trial, task[0])
        return chosen

    def _fits(self, room: Room, node: int) -> int:
        """How many more replicas there is room for."""
        return int(room.fits(self.target.needs)[self._place[node]])

    def _lacks(self, node: int) -> dict[str, int]:
        needs, at = self.target.needs, self._place[node]
        wanted = ((SLOTS, needs.slots), *needs.more)
        short = {name: units - int(self._room.free(name)[at]) for name, units in wanted}
        return {name: units for name, units in short.items() if units > 0}

    def _helps(self, task: int, lacks: dict[str, int]) -> float:
        """Which part of what is lacking a task gives back, all resources together."""
        needs = self._tasks[task].needs
        gives = dict(needs.more) | {SLOTS: needs.slots}
        return sum(min(gives.get(name, 0) / units, 1.0) for name, units in lacks.items())

    def _give_back(self, room: Room, task: int) -> None:
        self._take(room, self._tasks[task].needs, self._tasks[task].node, -1)

    def _take(self, room: Room, needs: Needs, node: int, replicas: int = 1) -> None:
        """Devices of a task are among its needs; those of a replica to come are not, and it is looked at alone."""
        taken = np.zeros(room.open.size, dtype=np.int64)
        taken[self._place[node]] = replicas
        room.take(needs, taken)
