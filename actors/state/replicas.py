"""What runs where: tasks start, stop, are reported on and lost, and every count follows at once.

A task counts against its node from the moment it is assigned until it is no longer wanted or has ended. A
replica that waits is no task: it is a slot that the next plan fills.
"""

from __future__ import annotations

import numpy as np

from .changes import Change
from .nodes import NodeTable
from .plans import ParsedPlan
from .runs import Ints, Mask, collect, distinct, expand
from .services import Service, ServiceTable
from .task_states import NUMBERS, TaskState
from .tasks import Rows, TaskTable


class Replicas:
    """The tables of nodes, services and tasks, changed together so that they agree (`invariants.py`)."""

    def __init__(self, nodes: NodeTable, services: ServiceTable, tasks: TaskTable) -> None:
        self.nodes = nodes
        self.services = services
        self.tasks = tasks

    # plans

    def carry_out(self, change: Change, plan: tuple[ParsedPlan, ...]) -> None:
        """All stops before all starts: what one service gives up, another may take in the same plan."""
        for part in plan:
            service = self.services.find(part.service)
            if service is not None and part.stops.size:
                self._stop(change, service, part.stops)
        for part in plan:
            service = self.services.find(part.service)
            if service is not None and part.starts.size:
                self._start(change, service, part.starts)

    def _stop(self, change: Change, service: Service, stops: Ints) -> None:
        """Stop the tasks in these slots, in the plan's order, but never more than are too many."""
        rows = self.wanted(self.tasks.of_service(service.number))
        order = rows[np.argsort(self.tasks.slot[rows], kind="stable")]
        slots = self.tasks.slot[order].astype(np.int64)
        low = np.searchsorted(slots, stops[:, 0])
        found = order[expand(low, np.searchsorted(slots, stops[:, 0] + stops[:, 1]) - low)]
        surplus = max(0, service.placed + service.lost - service.replicas)
        self._release(change, found[:surplus], "tasks-stopped")

    def _start(self, change: Change, service: Service, starts: Ints) -> None:
        """Start tasks in these slots on these nodes; what no longer fits stays pending."""
        slots = expand(starts[:, 0], starts[:, 1])
        nodes = np.repeat(starts[:, 2], starts[:, 1])
        fits = self._on_ready_nodes(nodes)
        current = self.wanted(self.tasks.of_service(service.number))
        held = self.tasks.slot[current].astype(np.int64)
        lost = ~self.nodes.ready[self.tasks.node[current]]
        fits &= ~_are_among(slots, held[~lost])
        replaces = _are_among(slots, held[lost])
        room = service.replicas - service.placed - service.lost
        fits &= replaces | (np.cumsum(fits & ~replaces) <= room)
        slots, nodes = slots[fits], nodes[fits]
        kept = self._within_capacity(nodes, service.size)
        slots, nodes = slots[kept], nodes[kept]
        self._release(change, current[lost & _are_among(held, slots)], "tasks-lost")
        self._add_tasks(change, service, slots, nodes)

    def _on_ready_nodes(self, nodes: Ints) -> Mask:
        known = (nodes >= 0) & (nodes < self.nodes.ready.size)
        fits = np.zeros(nodes.size, dtype=bool)
        fits[known] = self.nodes.ready[nodes[known]]
        return fits

    def _within_capacity(self, nodes: Ints, size: int) -> Mask:
        """Which of these placements fit, the earlier ones first on each node."""
        most = self.nodes.free() // size
        wanted = np.bincount(nodes, minlength=most.size)
        if np.all(wanted <= most):
            return np.ones(nodes.size, dtype=bool)
        order = np.argsort(nodes, kind="stable")
        rank = np.empty(nodes.size, dtype=np.int64)
        rank[order] = np.arange(nodes.size) - np.repeat(np.cumsum(wanted) - wanted, wanted)
        return rank < most[nodes]

    def _add_tasks(self, change: Change, service: Service, slots: Ints, nodes: Ints) -> None:
        if not slots.size:
            return
        rows = self.tasks.add(
            service=service.number,
            slots=slots,
            nodes=nodes,
            size=service.size,
            version=service.version,
            index=change.index,
        )
        self.count(rows, +1)
        self._tell_tasks(change, rows, "tasks-placed")

    # reports

    def report(self, change: Change, number: int, updates: Ints) -> tuple[dict[str, int], bool]:
        """Carry a node's tasks forward to the states told, as rows (first task id, count, state).

        How many reached each state, by its name; and whether one ended that should have run on.
        """
        rows, states = self._newer_states(number, updates)
        self.tasks.state[rows] = states
        self.tasks.updated[rows] = change.index
        ended = rows[states >= TaskState.COMPLETE]
        failed = self.wanted(ended)
        self._tell_tasks(change, failed, "tasks-ended")
        self._forget_tasks(change, ended)
        reached = np.bincount(states)
        return {TaskState(n).name: int(reached[n]) for n in np.flatnonzero(reached).tolist()}, bool(
            failed.size
        )

    def _newer_states(self, number: int, updates: Ints) -> tuple[Rows, Ints]:
        """The node's own tasks that a report carries forward, each once, with the furthest state told."""
        usable = np.array([state in NUMBERS for state in updates[:, 2].tolist()], dtype=bool)
        first, count, state = updates[usable].T
        low, many = self.tasks.between(first, count)
        rows, states = expand(low, many), np.repeat(state, many)
        forward = (self.tasks.node[rows] == number) & (states > self.tasks.state[rows])
        rows, states = rows[forward], states[forward]
        order = np.lexsort((states, rows))
        rows, states = rows[order], states[order]
        last = np.append(np.diff(rows) != 0, True)[: rows.size]
        return rows[last], states[last]

    def node_restarted(self, number: int, incarnation: int) -> None:
        """A node that started anew stopped what it was told to stop before."""
        self.nodes.set_incarnation(number, incarnation)
        rows = self.tasks.of_node(number)
        self.tasks.drop(rows[self.tasks.desired[rows] > TaskState.RUNNING])

    # nodes

    def set_node_ready(self, number: int, ready: bool) -> int:
        """A node answers again, or fell silent; its replicas, which now count as placed or as lost."""
        rows = self.wanted(self.tasks.of_node(number))
        self.count(rows, -1)
        self.nodes.set_ready(number, ready)
        self.count(rows, +1)
        return int(rows.size)

    def remove_node(self, change: Change, number: int) -> int:
        """A node leaves with everything on it; the replicas that it had."""
        rows = self.tasks.of_node(number)
        replicas = int(self.wanted(rows).size)
        self._forget_tasks(change, rows)
        self.nodes.remove(number)
        return replicas

    # tasks

    def wanted(self, rows: Rows) -> Rows:
        """Those of these tasks that should run."""
        wanted: Rows = rows[self.tasks.desired[rows] == TaskState.RUNNING]
        return wanted

    def count(self, rows: Rows, sign: int) -> None:
        """Add tasks that are wanted running to, or take them from, what nodes and services have."""
        if not rows.size:
            return
        tasks, nodes = self.tasks, self.nodes
        node = tasks.node[rows]
        sizes = np.bincount(node, weights=tasks.size[rows], minlength=nodes.used.size)
        nodes.used += sign * sizes.astype(np.int64)
        ready = nodes.ready[node]
        placed, lost = np.bincount(tasks.service[rows[ready]]), np.bincount(tasks.service[rows[~ready]])
        for number in np.flatnonzero(placed).tolist():
            self.services.all[number].placed += sign * int(placed[number])
        for number in np.flatnonzero(lost).tolist():
            self.services.all[number].lost += sign * int(lost[number])
        for number in distinct(tasks.service[rows]):
            self.services.settle(self.services.all[number])

    def recount(self) -> None:
        """Count everything anew from the tasks alone, after these were loaded."""
        self.nodes.used[:] = 0
        for service in self.services.all:
            service.placed = service.lost = 0
            self.services.settle(service)
        self.count(np.flatnonzero(self.tasks.desired == TaskState.RUNNING), +1)

    def shares(self, services: list[int]) -> tuple[tuple[str, int], ...]:
        """(node name, replicas) of these services together, on ready nodes, in order of joining."""
        counts = np.zeros(self.nodes.ready.size, dtype=np.int64)
        for number in services:
            rows = self.wanted(self.tasks.of_service(number))
            counts += np.bincount(self.tasks.node[rows], minlength=counts.size)
        counts[~self.nodes.ready] = 0
        numbers = np.flatnonzero(counts)
        return tuple(zip(self.nodes.names(numbers.tolist()), counts[numbers].tolist(), strict=True))

    def _release(self, change: Change, rows: Rows, kind: str) -> None:
        """No longer wanted: the slots are free at once; a task that no agent has seen is forgotten."""
        if not rows.size:
            return
        self._tell_tasks(change, rows, kind)
        self.count(rows, -1)
        self.tasks.desired[rows] = TaskState.SHUTDOWN
        self.tasks.updated[rows] = change.index
        self.tasks.drop(rows[self.tasks.state[rows] < TaskState.ACCEPTED])

    def _forget_tasks(self, change: Change, rows: Rows) -> None:
        wanted = self.wanted(rows)
        self.count(wanted, -1)
        change.touch(distinct(self.tasks.node[wanted]))
        self.tasks.drop(rows)

    def _tell_tasks(self, change: Change, rows: Rows, kind: str) -> None:
        """One event a service, with runs [node, first slot, last slot]."""
        tasks = self.tasks
        change.touch(distinct(tasks.node[rows]))
        for number in distinct(tasks.service[rows]):
            mine = rows[tasks.service[rows] == number]
            runs = collect(tasks.slot[mine].astype(np.int64), tasks.node[mine].astype(np.int64)).tolist()
            told = tuple(
                (self.nodes.records[node].name, first, first + count - 1) for first, count, node in runs
            )
            change.emit(kind, service=self.services.all[number].name, replicas=int(mine.size), runs=told)


def _are_among(numbers: Ints, others: Ints) -> Mask:
    # np.isin takes 10 µs to find that one side is empty, and most plans start in slots that nobody had.
    return np.isin(numbers, others) if numbers.size and others.size else np.zeros(numbers.size, dtype=bool)
