"""What runs where: tasks start, stop, are reported on and lost, and every count follows at once.

A task counts against its node from the moment it is assigned until it is no longer wanted or has ended. A
replica that waits is no task: it is a slot that the next plan fills.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import numpy as np

from . import gpus, history, restarts, updates as updates_of_service
from .changes import Change
from .moves import Rebalance
from .needs import Needs, NeedsTable
from .nodes import NodeTable
from .plans import ParsedPlan
from .records import NodeRecord
from .replacing import replace_lost
from .runs import PLAN, Ints, Mask, collect, distinct, expand
from .services import Service, ServiceTable, at_a_time
from .settings import PRIORITY_GAP, Settings
from .specs import Placement, Simulated
from .task_states import NUMBERS, TaskState
from .tasks import Rows, TaskTable


class Replicas:
    """The tables of nodes, services and tasks, changed together so that they agree (`invariants.py`).

    A command ends with `look_over`: what is misplaced, and on how many nodes a global service belongs, is counted anew
    where it may have changed.
    """

    def __init__(
        self,
        nodes: NodeTable,
        services: ServiceTable,
        tasks: TaskTable,
        needs: NeedsTable | None = None,
        clock_ms: int = 0,
    ) -> None:
        self.nodes = nodes
        self.services = services
        self.tasks = tasks
        self.needs = needs or NeedsTable()
        self.clock_ms = clock_ms
        """The cluster's own time, by the last leader that told it."""
        self.rebalance: Rebalance | None = None
        """The last one, whether it goes on or has ended (`rebalancing.py`)."""
        self.settings = Settings()
        self.preempted: dict[int, str] = {}
        """By its number, which service took the room of one that waits."""
        self._suspects: dict[int, None] = {}

    # plans

    def carry_out(self, change: Change, plan: tuple[ParsedPlan, ...]) -> None:
        """All stops before all starts: what one service gives up, another may take in the same plan."""
        for part in plan:
            service = self.services.find(part.service)
            if service is not None and part.stops.size:
                self._stop(change, service, part.stops)
            if service is not None and part.retires.size:
                self._retire(change, service, part.retires, part.preempted_by)
        if replace_lost(self, change, plan):
            return
        for part in plan:
            service = self.services.find(part.service)
            if service is not None and part.starts.size:
                self._start(change, service, part.starts, part.devices)

    def _stop(self, change: Change, service: Service, stops: Ints) -> None:
        """Stop the tasks in these slots, in the plan's order, but never more than are too many."""
        rows = self.wanted(self.tasks.of_service(service.number))
        order = rows[np.argsort(self.tasks.slot[rows], kind="stable")]
        slots = self.tasks.slot[order].astype(np.int64)
        low = np.searchsorted(slots, stops[:, 0])
        found = order[expand(low, np.searchsorted(slots, stops[:, 0] + stops[:, 1]) - low)]
        surplus = max(0, service.placed + service.lost - service.replicas)
        self._release(change, found[:surplus], "tasks-stopped")

    def _retire(self, change: Change, service: Service, retires: Ints, preempted_by: str) -> None:
        """End these tasks; their slots are wanted still. Ids are never used again, so that a late plan does no harm."""
        low, many = self.tasks.between(retires[:, 0], retires[:, 1])
        rows = expand(low, many)
        rows = self.wanted(rows[self.tasks.service[rows] == service.number])
        if not preempted_by:
            self._release(change, rows, "tasks-stopped")
        elif rows.size and self._may_preempt(preempted_by, service):
            self.preempted[service.number] = preempted_by
            self._release(change, rows, "tasks-preempted", by=preempted_by)

    def _may_preempt(self, name: str, victim: Service) -> bool:
        """Whether one that waits may still take the room of this service."""
        by = self.services.find(name)
        if by is None or not by.pending or not self.settings.preemption:
            return False
        return by.spec.priority >= victim.spec.priority + PRIORITY_GAP

    def _start(self, change: Change, service: Service, starts: Ints, devices: Ints) -> None:
        """Start tasks in these slots on these nodes; what no longer fits stays pending."""
        slots = expand(starts[:, 0], starts[:, 1])
        nodes = np.repeat(starts[:, 2], starts[:, 1])
        fits = self._may_go(service, slots, nodes)
        needs, masks = service.needs, np.zeros(0, dtype=np.int64)
        if needs.gpus and devices.size:
            masks = np.repeat(devices, starts[:, 1])
            fits[fits] = gpus.are_sound(self.nodes.devices(), needs, nodes[fits], masks[fits])
        current = self.wanted(self.tasks.of_service(service.number))
        held = self.tasks.slot[current].astype(np.int64)
        lost = ~self.nodes.ready[self.tasks.node[current]]
        fits &= ~_are_among(slots, held[~lost])
        replaces = _are_among(slots, held[lost])
        taken = service.placed + (0 if service.spec.is_global else service.lost)
        rows = restarts.rows_of(service.restarts)
        reopened = _are_among(slots, rows[rows[:, restarts.KIND] == restarts.WAITS, restarts.SLOT])
        fits &= ~_are_among(slots, rows[rows[:, restarts.KIND] >= restarts.GIVEN_UP, restarts.SLOT])
        is_updating = service.update is not None and service.update.is_active
        policy = updates_of_service.policy_of(service)
        surges = is_updating and service.spec.starts_first(policy)
        more = (policy.parallelism or service.replicas) if surges else 0
        anew = fits & ~replaces & ~reopened
        fits &= replaces | reopened | (np.cumsum(anew) <= service.replicas - service.held - taken + more)
        fits &= replaces | (np.cumsum(fits & ~replaces) <= at_a_time(service.spec, service.replicas) - taken + more)
        slots, nodes = slots[fits], nodes[fits]
        kept = self._within_capacity(service, nodes, current[~lost], has_devices=bool(masks.size))
        if masks.size:
            kept[kept] = gpus.accepted(self.nodes.room().gpu_free(), needs, nodes[kept], masks[fits][kept])
        slots, nodes = slots[kept], nodes[kept]
        self._release(change, current[lost & _are_among(held, slots)], "tasks-lost")
        self._add_tasks(change, service, slots, nodes, self._kinds(needs, masks[fits][kept] if masks.size else None))

    def _kinds(self, needs: Needs, masks: Ints | None) -> int | Ints:
        """The number of what each task takes, by the devices that it holds."""
        if masks is None:
            return self.needs.number(gpus.by_number_alone(needs))
        chosen, which = np.unique(masks, return_inverse=True)
        kinds = [self.needs.number(gpus.on_devices(needs, mask)) for mask in chosen.tolist()]
        return np.array(kinds, dtype=np.int64)[which]

    def _may_go(self, service: Service, slots: Ints, nodes: Ints) -> Mask:
        """Which of these starts are on nodes that let replicas of this service in."""
        known = (nodes >= 0) & (nodes < self.nodes.ready.size)
        fits = np.zeros(nodes.size, dtype=bool)
        may = self.nodes.open & self.nodes.allowed(service.spec.placement)
        fits[known] = may[nodes[known]]
        if service.spec.is_global:
            fits &= slots == nodes + 1
        return fits

    def _within_capacity(
        self, service: Service, nodes: Ints, current: Rows, *, has_devices: bool
    ) -> Mask:
        """Which of these placements fit, the earlier ones first on each node."""
        room, needs = self.nodes.room(), service.needs
        most = room.fits(needs) if has_devices or not needs.gpus else room.fits_by_number_alone(needs)
        limit = service.spec.placement.max_replicas_per_node
        if limit:
            held = np.bincount(self.tasks.node[current], minlength=most.size)
            most = np.minimum(most, np.maximum(limit - held, 0))
        wanted = np.bincount(nodes, minlength=most.size)
        if np.all(wanted <= most):
            return np.ones(nodes.size, dtype=bool)
        order = np.argsort(nodes, kind="stable")
        rank = np.empty(nodes.size, dtype=np.int64)
        rank[order] = np.arange(nodes.size) - np.repeat(np.cumsum(wanted) - wanted, wanted)
        return rank < most[nodes]

    def _add_tasks(
        self, change: Change, service: Service, slots: Ints, nodes: Ints, needs: int | Ints
    ) -> None:
        if not slots.size:
            return
        rows = self.tasks.add(
            service=service.number,
            slots=slots,
            nodes=nodes,
            needs=needs,
            version=service.template,
            now_ms=self.clock_ms,
        )
        self.count(rows, +1)
        service.has_begun = True
        if service.restarts:
            service.set_restarts(restarts.started(service.restarts, slots))
            self.services.settle(service)
        self._tell_tasks(change, rows, "tasks-placed")

    # reports

    def report(
        self, change: Change, numbers: Ints, updates: Ints
    ) -> tuple[dict[int, dict[str, int]], bool]:
        """Carry tasks forward to the states told, as rows (first task id, count, state), each by a node, by its number.

        How many reached each state, by its name, of each node; and whether one ended that should have run on.
        """
        rows, states = self._newer_states(numbers, updates)
        state, since = self.tasks.state[rows], self.tasks.updated[rows]
        before = {"state": state, "since": since, "ran": (state == TaskState.RUNNING) * (self.clock_ms - since)}
        self.tasks.state[rows] = states
        self.tasks.updated[rows] = self.clock_ms
        ended = rows[states >= TaskState.COMPLETE]
        failed = self.wanted(ended)
        is_failed = _are_among(rows, failed)
        before = {name: column[is_failed] for name, column in before.items()}
        self._tell_ended(change, failed)
        for service_number in distinct(self.tasks.service[failed]):
            service, mine = self.services.all[service_number], self.tasks.service[failed] == service_number
            failures = self._early(service, failed[mine], before["state"][mine], before["since"][mine])
            self._ended(service, failed[mine], before["ran"][mine])
            load = service.spec.simulate
            updates_of_service.count_failures(service, change, failures, self.clock_ms)
            self.tell_load(change, service, load)
            self.suspect((service_number,))
        reached = _counted(self.tasks.node[rows].astype(np.int64), states)
        self._forget_tasks(change, ended)
        return reached, bool(failed.size)

    def _early(self, service: Service, rows: Rows, states: Ints, since: Ints) -> int:
        """How many of these are failures of the update: they ended before they ran, or soon after."""
        t = self.tasks
        if service.update is None:
            return 0
        monitor_ms = updates_of_service.policy_of(service).monitor_s * 1_000
        early = (states < TaskState.RUNNING) | (self.clock_ms - since <= monitor_ms)
        done = (t.state[rows] == TaskState.COMPLETE) & service.spec.is_job
        return int(np.count_nonzero(early & ~done & (t.version[rows] == service.template)))

    def end_updates(self, change: Change) -> None:
        """Updates that have been watched for long enough are complete."""
        for service in self.services.unsettled():
            if self.is_updated(service, self.clock_ms):
                updates_of_service.complete(service, change, self.clock_ms)
                self.services.settle(service)

    def is_updated(self, service: Service, now_ms: int) -> bool:
        """Whether the service's update is complete, if it is so late."""
        if service.update is None or not service.update.is_active:
            return False
        wanted = self.wanted(self.tasks.of_service(service.number))
        placed = wanted[self.nodes.ready[self.tasks.node[wanted]]]
        if service.spec.is_global and service.keeps_on_nodes:
            is_old = self.tasks.version[placed] != service.template
            placed = placed[~(is_old & self.nodes.paused[self.tasks.node[placed]])]
        return updates_of_service.is_complete(service, self.tasks, placed, now_ms)

    def _ended(self, service: Service, rows: Rows, ran_ms: Ints) -> None:
        """Tasks ended by themselves, each after it ran for so long: remember them, and when their slots start again."""
        t = self.tasks
        slots, states = t.slot[rows].astype(np.int64), t.state[rows]
        columns = (t.id[rows], slots, t.node[rows], t.version[rows], states, np.full(rows.size, self.clock_ms))
        service.history = history.added(service.history, np.column_stack(columns).astype(np.int64))
        # Runs of a cron service that overlap may be of different templates, and all of them count.
        current = (t.version[rows] == service.template) | service.spec.is_cron
        if current.any():
            succeeded = states[current] == TaskState.COMPLETE
            spec = service.spec
            service.set_restarts(
                restarts.ended(
                    service.restarts,
                    slots[current],
                    succeeded,
                    ran_ms[current],
                    spec.restart,
                    spec.is_job,
                    self.clock_ms,
                )
            )

    def _newer_states(self, numbers: Ints, updates: Ints) -> tuple[Rows, Ints]:
        """The nodes' own tasks that their reports carry forward, each once, with the furthest state told."""
        told = updates[:, 2]
        usable = (told >= 0) & (told < _IS_STATE.size)
        usable[usable] = _IS_STATE[told[usable]]
        first, count, state = updates[usable].T
        low, many = self.tasks.between(first, count)
        rows, states, numbers = expand(low, many), np.repeat(state, many), np.repeat(numbers[usable], many)
        forward = (self.tasks.node[rows] == numbers) & (states > self.tasks.state[rows])
        rows, states = rows[forward], states[forward]
        order = np.lexsort((states, rows))
        rows, states = rows[order], states[order]
        last = np.append(np.diff(rows) != 0, True)[: rows.size]
        return rows[last], states[last]

    def node_restarted(self, number: int, incarnation: int) -> None:
        """A node that started anew stopped what it was told to stop before."""
        self.nodes.set_incarnation(number, incarnation)
        rows = self.tasks.of_node(number)
        self.tasks.drop(rows[(self.tasks.desired[rows] > TaskState.RUNNING) & ~self.are_nested(rows)])

    # nodes

    def set_node(self, record: NodeRecord) -> int:
        """A node is another way now: it fell silent or answers, takes load or not, has other labels. Its replicas,
        which now count as placed or as lost, and may be misplaced."""
        rows, before = self.wanted(self.tasks.of_node(record.number)), self.nodes.records[record.number]
        self.count(rows, -1)
        self.nodes.set(record)
        self.count(rows, +1)
        suspects = distinct(self.tasks.service[rows])
        if record == msgspec.structs.replace(before, status=record.status) and record.availability == "active":
            # Whether it answers is not whether they may be there: only who may not is another one's worry now.
            suspects = [number for number in suspects if not self._suits(number, record.number)]
        self.suspect(suspects)
        self.suspect(self.services.everywhere())
        return int(rows.size)

    def _suits(self, service: int, node: int) -> bool:
        """Whether the node's labels, platform and GPUs let replicas of this service be there."""
        found = self.services.all[service]
        return bool(self.nodes.allowed(found.spec.placement)[node] and self.nodes.has_model(found.needs)[node])

    def add_node(self, record: NodeRecord, index: int) -> None:
        """A node joins."""
        self.nodes.add(record, index)
        self.suspect(self.services.everywhere())

    def remove_node(self, change: Change, number: int) -> int:
        """A node leaves with everything on it; the replicas that it had."""
        rows = self.tasks.of_node(number)
        replicas = int(self.wanted(rows).size)
        self._forget_tasks(change, rows)
        self.nodes.remove(number)
        self.suspect(self.services.everywhere())
        return replicas

    # services

    def remove_service(self, change: Change, service: Service) -> int:
        """All of it stops; the replicas that it had."""
        stopped = self.stop_all(change, service)
        self.services.remove(service)
        return stopped

    def stop_all(self, change: Change, service: Service) -> int:
        """None of its tasks is wanted any more; how many were."""
        rows = self.wanted(self.tasks.of_service(service.number))
        self._release(change, rows, "tasks-stopped")
        return int(rows.size)

    def tell_load(self, change: Change, service: Service, before: Simulated) -> None:
        """Running replicas whose load is another than before have to hear of it."""
        now = service.spec.simulate
        if (now.usage, now.demand) != (before.usage, before.demand):
            rows = self.wanted(self.tasks.of_service(service.number))
            change.touch(distinct(self.tasks.node[rows]))

    def suspect(self, numbers: Iterable[int]) -> None:
        """These services may have replicas where they may not be, or belong on other nodes than before."""
        self._suspects.update(dict.fromkeys(numbers))

    def look_over(self) -> None:
        """Count anew what may have changed, at the end of each command."""
        # Each part only where there is something to do: after most commands there is nothing at all.
        if self._suspects:
            self._settle_suspects()
        if self.preempted:
            self._forget_preempted()
        if self.services.has_leaving:
            for number in self.services.leaving():
                if not self.tasks.of_service(number).size:
                    self.services.forget(number)

    def _settle_suspects(self) -> None:
        suspects, self._suspects = self._suspects, {}
        for number in sorted(suspects):
            service = self.services.all.get(number)
            if service is not None and not service.is_removed:
                if service.spec.is_global and service.restarts:
                    there = np.flatnonzero(self.nodes.open & self.nodes.allowed(service.spec.placement)) + 1
                    there = np.concatenate((there, self._done_elsewhere(service)))
                    service.set_restarts(restarts.only(service.restarts, there))
                service.replicas, service.misplaced = self.belonging(service)
                self.services.settle(service)

    def _forget_preempted(self) -> None:
        for number in sorted(self.preempted):
            service = self.services.all.get(number)
            if service is None or service.is_removed or not service.pending:
                del self.preempted[number]

    def belonging(self, service: Service) -> tuple[int, int]:
        """(replicas that should run, replicas that are where they may not stay)."""
        nodes, placement = self.nodes, service.spec.placement
        names_models = bool(service.spec.reservations.gpu_models)
        if not service.spec.is_global and not nodes.draining.any() and not _is_bound(placement) and not names_models:
            return service.replicas, 0
        allowed = nodes.allowed(placement)
        rows = self.wanted(self.tasks.of_service(service.number))
        there = self.tasks.node[rows]
        misplaced = (nodes.ready & (nodes.draining | ~allowed))[there]
        if names_models:
            # An older template may have named other models; the update replaces those.
            is_current = self.tasks.version[rows] == service.template
            misplaced |= (nodes.ready & ~nodes.has_model(service.needs))[there] & is_current
        replicas = service.replicas
        if service.spec.is_global:
            # A node that is paused keeps what it has, and gets nothing new.
            kept = nodes.paused & allowed
            replicas = int(np.count_nonzero(nodes.open & allowed)) + int(np.count_nonzero(kept[there]))
            replicas += self._done_elsewhere(service).size
            if service.update is None or service.update.completed_ms is not None:
                # A node that was away during the update has what it had before.
                outdated = nodes.ready & ~nodes.paused if service.keeps_on_nodes else nodes.ready
                misplaced |= outdated[there] & (self.tasks.version[rows] != service.template)
        return replicas, int(np.count_nonzero(misplaced))

    def _done_elsewhere(self, service: Service) -> Ints:
        """The slots of a global job that is done on nodes which it could not begin on now: once is enough."""
        if not service.spec.is_job or not service.keeps_on_nodes:
            return np.zeros(0, dtype=np.int64)
        slots = restarts.completed(service.restarts)
        begins = self.nodes.open & self.nodes.allowed(service.spec.placement)
        done: Ints = slots[(self.nodes.is_present & ~begins)[slots - 1]]
        return done

    # tasks

    def wanted(self, rows: Rows) -> Rows:
        """Those of these tasks that should run."""
        wanted: Rows = rows[self.tasks.desired[rows] == TaskState.RUNNING]
        return wanted

    def wanted_row(self, task: int) -> int | None:
        """The row of a task that should run; None where it should not, or is gone."""
        low, many = self.tasks.between(np.array([task]), np.array([1]))
        rows = self.wanted(expand(low, many))
        rows = rows[self.tasks.service[rows] >= 0]
        return int(rows[0]) if rows.size else None

    def count(self, rows: Rows, sign: int) -> None:
        """Add tasks that are wanted running to, or take them from, what nodes and services have."""
        if not rows.size:
            return
        tasks, nodes = self.tasks, self.nodes
        node = tasks.node[rows]
        kinds = tasks.needs[rows]
        for kind in distinct(kinds):
            nodes.take(
                self.needs.all[kind], sign * np.bincount(node[kinds == kind], minlength=nodes.ready.size)
            )
        ready = nodes.ready[node]
        placed, lost = np.bincount(tasks.service[rows[ready]]), np.bincount(tasks.service[rows[~ready]])
        for number in np.flatnonzero(placed).tolist():
            self.services.all[number].placed += sign * int(placed[number])
        for number in np.flatnonzero(lost).tolist():
            self.services.all[number].lost += sign * int(lost[number])
        for number in distinct(tasks.service[rows]):
            service = self.services.all[number]
            self.services.settle(service)
            if service.misplaced or service.spec.is_global:
                self._suspects[number] = None

    def recount(self) -> None:
        """Count everything anew from the tasks alone, after these were loaded."""
        self.nodes.forget_taken()
        for service in self.services.all.values():
            service.placed = service.lost = 0
            self.services.settle(service)
        self.count(np.flatnonzero(self.tasks.desired == TaskState.RUNNING), +1)
        self.suspect(self.services.all)
        self.look_over()

    def shares(self, services: list[int]) -> tuple[tuple[str, int], ...]:
        """(node name, replicas) of these services together, on ready nodes, in order of joining."""
        counts = np.zeros(self.nodes.ready.size, dtype=np.int64)
        for number in services:
            rows = self.wanted(self.tasks.of_service(number))
            counts += np.bincount(self.tasks.node[rows], minlength=counts.size)
        counts[~self.nodes.ready] = 0
        numbers = np.flatnonzero(counts)
        return tuple(zip(self.nodes.names(numbers.tolist()), counts[numbers].tolist(), strict=True))

    def _release(self, change: Change, rows: Rows, kind: str, **more: str) -> None:
        """No longer wanted, and told so."""
        if rows.size:
            self._tell_tasks(change, rows, kind, **more)
            self.give_up(rows)

    def give_up(self, rows: Rows) -> None:
        """No longer wanted: the slots are free at once; a task that no agent has seen is forgotten."""
        self.count(rows, -1)
        self.tasks.desired[rows] = TaskState.SHUTDOWN
        self.tasks.updated[rows] = self.clock_ms
        # The first nodes of a cluster may count on each other before anybody has heard of them.
        self.tasks.drop(rows[(self.tasks.state[rows] < TaskState.ACCEPTED) & ~self.are_nested(rows)])

    def _forget_tasks(self, change: Change, rows: Rows) -> None:
        wanted = self.wanted(rows)
        self.count(wanted, -1)
        change.touch(distinct(self.tasks.node[wanted]))
        change.touch(distinct(self.tasks.node[rows[self.are_nested(rows)]]))
        self.tasks.drop(rows)

    def are_nested(self, rows: Rows) -> Mask:
        """Which of these tasks are nodes of clusters: wanted or not, they stay until their agent says they ended."""
        nested = self.services.nested()
        if not nested:
            return np.zeros(rows.size, dtype=bool)
        return _are_among(self.tasks.service[rows], np.array(nested, dtype=np.int64))

    def _tell_tasks(self, change: Change, rows: Rows, kind: str, **more: str) -> None:
        """One event a service, with its runs."""
        change.touch(distinct(self.tasks.node[rows]))
        for number, many, runs in self.runs_by_service(rows):
            name = self.services.all[number].name
            change.emit_runs(kind, runs, service=name, replicas=many, **more)

    def _tell_ended(self, change: Change, rows: Rows) -> None:
        """The same of those that ended by themselves, with how many in which way."""
        change.touch(distinct(self.tasks.node[rows]))
        states = _counted(self.tasks.service[rows].astype(np.int64), self.tasks.state[rows].astype(np.int64))
        for number, many, runs in self.runs_by_service(rows):
            name = self.services.all[number].name
            change.emit_runs("tasks-ended", runs, service=name, replicas=many, states=states[number])

    def runs_by_service(self, rows: Rows) -> list[tuple[int, int, bytes]]:
        """(service, how many, runs as in `StateEvent`) of these tasks, by service; of each in the order given."""
        if not rows.size:
            return []
        tasks = self.tasks
        services = tasks.service[rows].astype(np.int64)
        if np.any(services != services[0]):
            order = np.argsort(services, kind="stable")
            rows, services = rows[order], services[order]
        found = collect(tasks.slot[rows].astype(np.int64), tasks.node[rows].astype(np.int64), services)
        packed = np.column_stack((found[:, 2], found[:, 0], found[:, 0] + found[:, 1] - 1)).astype(PLAN)
        starts = np.flatnonzero(np.diff(found[:, 3], prepend=-1))
        many = np.add.reduceat(found[:, 1], starts).tolist()
        ends = [*starts[1:].tolist(), len(found)]
        return [
            (number, count, packed[first:end].tobytes())
            for number, count, first, end in zip(found[starts, 3].tolist(), many, starts.tolist(), ends, strict=True)
        ]


_IS_STATE = np.zeros(max(NUMBERS) + 1, dtype=bool)
"""bool[number]: whether a task's state has it."""
_IS_STATE[sorted(NUMBERS)] = True


def _counted(numbers: Ints, states: Ints) -> dict[int, dict[str, int]]:
    """How many are in each state, by its name, of each number: that of their nodes, or of their services."""
    keys, counts = np.unique(numbers * _IS_STATE.size + states, return_counts=True)
    found: dict[int, dict[str, int]] = {}
    for key, count in zip(keys.tolist(), counts.tolist(), strict=True):
        number, state = divmod(key, _IS_STATE.size)
        found.setdefault(number, {})[TaskState(state).name] = count
    return found


def _are_among(numbers: Ints, others: Ints) -> Mask:
    # np.isin takes 10 µs to find that one side is empty, and most plans start in slots that nobody had.
    return np.isin(numbers, others) if numbers.size and others.size else np.zeros(numbers.size, dtype=bool)


def _is_bound(placement: Placement) -> bool:
    """Whether it matters on which node a replica is."""
    return bool(placement.constraints or placement.platforms)
