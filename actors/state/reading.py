"""What one may ask of the agreed state; nothing here changes it."""

from __future__ import annotations

from itertools import islice

import msgspec
import numpy as np

from . import gpus, history, nested, restarts
from .call_queue import CallQueue, QueuedCall
from .commands import ServiceRequest
from .depending import unmet
from .history import Past
from .loads import waits_for_its_beginning
from .moves import Rebalance
from .needs import Needs, needs_of
from .nodes import NodeTable, Room
from .rebalancing import is_due
from .records import (
    AssignedTasks,
    Assignments,
    CallRecord,
    ClusterRecord,
    CronService,
    NestedRecord,
    NodeRecord,
    Pending,
    ServiceRecord,
    StackRecord,
    TaskRecord,
    Wanted,
    WantedThere,
)
from .replicas import Replicas
from .runs import Ints, Mask, collect, distinct, expand
from .services import Service, ServiceTable
from .settings import Settings
from .specs import Reservations, ServiceSpec, UpdatePolicy
from .task_states import STATES, TaskState
from .tasks import Column, Rows, TaskTable
from .untold import Untold
from .updates import policy_of
from .waiting import held, why_held_back, why_waiting

FEW_TASKS = 1 << 16
"""So many are looked through quicker than the nodes' own are found."""


class Reading:
    """The questions; `machine.ClusterState` adds the changes. Answers are plain values, made when asked."""

    def __init__(self) -> None:
        self.applied_index = 0
        self._replicas = Replicas(NodeTable(), ServiceTable(), TaskTable())
        self._queue = CallQueue()
        self._clusters: dict[str, ClusterRecord] = {}
        self.untold = Untold()
        """What happened, as far as the log does not say that it is told."""

    # nodes

    def nodes(self) -> tuple[NodeRecord, ...]:
        """Present nodes in order of joining."""
        return self._replicas.nodes.present()

    def draining(self) -> tuple[str, ...]:
        """The names of nodes that are to give up what they have, in order of joining."""
        # Most of the time there are none, and the leader asks in every round.
        table = self._replicas.nodes
        return table.names(np.flatnonzero(table.draining).tolist()) if table.draining.any() else ()

    def node(self, name: str) -> NodeRecord | None:
        return self._replicas.nodes.find(name)

    def free_slots(self) -> Ints:
        """int64[nodes]: free slots by node number; 0 where a node is down or was removed."""
        return self._replicas.nodes.free()

    def room(self) -> Room:
        """What is free on each node, resource by resource; the caller's own copy."""
        return self._replicas.nodes.room()

    def node_table(self) -> NodeTable:
        """The nodes in columns, to read and not to change."""
        return self._replicas.nodes

    def waits_for_time(self, now_ms: int) -> bool:
        """Whether something happens in the state once it hears that it is so late."""
        clock_ms, replicas = self._replicas.clock_ms, self._replicas
        if replicas.nodes.draining.any() and any(
            record.availability == "drain" and record.drain_deadline_s is not None and record.drain_ms is None
            for record in self.nodes()
        ):
            return True
        unsettled = replicas.services.unsettled()
        return any(
            service.held > service.done and restarts.any_due(service.restarts, clock_ms, now_ms)
            for service in unsettled
        ) or any(replicas.is_updated(service, now_ms) for service in unsettled) or (
            replicas.services.is_watched
            and any(waits_for_its_beginning(service) for service in replicas.services.loaded())
        )

    def clock_ms(self) -> int:
        """The cluster's own time, as the last leader told it."""
        return self._replicas.clock_ms

    def load_of(self, name: str) -> int:
        """Slots taken on a node; 0 for an unknown one."""
        number = self._replicas.nodes.number(name)
        return 0 if number is None else int(self._replicas.nodes.used[number])

    # services and tasks

    def services(self) -> tuple[ServiceRecord, ...]:
        """In order of creation; a service that was scaled to 0 is still one, one that was removed is not."""
        return tuple(service.record() for service in self._replicas.services)

    def service(self, name: str) -> ServiceRecord | None:
        service = self._replicas.services.find(name)
        return None if service is None else service.record()

    def stacks(self) -> tuple[StackRecord, ...]:
        """In order of their first services' creation."""
        found: dict[str, list[ServiceRecord]] = {}
        for service in self._replicas.services:
            if service.stack:
                found.setdefault(service.stack, []).append(service.record())
        return tuple([_stack(name, records) for name, records in found.items()])

    def stack(self, name: str) -> StackRecord | None:
        found = [service.record() for service in self._replicas.services.of_stack(name)]
        return _stack(name, found) if found else None

    def unsettled(self) -> tuple[ServiceRecord, ...]:
        """Services that have not exactly what is desired on ready nodes, in order of creation."""
        return tuple(service.record() for service in self._replicas.services.unsettled())

    def unsettled_numbers(self) -> list[int]:
        """Their numbers, by priority, the highest first, and then by age."""
        services = self._replicas.services
        return sorted(services.unsettled_numbers(), key=lambda number: -services.all[number].spec.priority)

    def is_unsettled(self, number: int) -> bool:
        """Whether the service of that number is one of them."""
        service = self._replicas.services.all.get(number)
        return service is not None and not service.is_removed and not service.is_settled

    def service_numbered(self, number: int) -> ServiceRecord:
        """Raises KeyError where none has it."""
        return self._replicas.services.all[number].record()

    def heeds_time(self) -> bool:
        """Whether a plan may be another one later though the state is the same: for what is unsettled, a restart, an
        update, a drain or a node's failures are a matter of time."""
        services = self._replicas.services.unsettled()
        return bool(services) and (
            bool(self._replicas.nodes.draining.any())
            or any(
                service.held > service.done or service.history or (service.update and service.update.is_active)
                for service in services
            )
        )

    def load_distribution(self, service: str) -> dict[str, int]:
        """Replicas of a service by node name, wanted running on ready nodes, in order of joining."""
        found = self._replicas.services.find(service)
        return {} if found is None else dict(self._replicas.shares([found.number]))

    def running(self, service: str) -> tuple[Ints, Ints, Ints]:
        """(slots, node numbers, states) of a service's tasks that are wanted running, by slot."""
        found = self.wanted(service)
        return found.slots, found.nodes, found.states

    def wanted(self, service: str) -> Wanted:
        """A service's tasks that are wanted running, by slot; none for an unknown one."""
        found, t = self._replicas.services.find(service), self._replicas.tasks
        rows = np.zeros(0, np.int64)
        if found is not None:
            rows = self._replicas.wanted(t.of_service(found.number))
            rows = rows[np.argsort(t.slot[rows], kind="stable")]
        return Wanted(
            ids=t.id[rows],
            slots=t.slot[rows].astype(np.int64),
            nodes=t.node[rows].astype(np.int64),
            states=t.state[rows].astype(np.int64),
            versions=t.version[rows].astype(np.int64),
            needs=t.needs[rows].astype(np.int64),
            updated_ms=t.updated[rows],
        )

    def service_by_number(self, number: int) -> ServiceRecord:
        """One that has tasks, also a removed one whose last tasks are waited for."""
        return self._replicas.services.all[number].record()

    def wanted_on(self, nodes: Ints) -> WantedThere:
        """The tasks of these nodes, by their numbers, that are wanted running, in the order of their ids."""
        t = self._replicas.tasks
        if len(t) <= FEW_TASKS:
            there = np.zeros(self._replicas.nodes.ready.size, dtype=bool)
            there[nodes] = True
            rows = np.flatnonzero(t.service >= 0)
            rows = rows[there[t.node[rows]]]
        else:
            none = np.zeros(0, dtype=np.int64)
            rows = np.sort(np.concatenate([none, *[t.of_node(number) for number in nodes.tolist()]]))
        rows = self._replicas.wanted(rows)
        return WantedThere(
            ids=t.id[rows],
            services=t.service[rows].astype(np.int64),
            slots=t.slot[rows].astype(np.int64),
            nodes=t.node[rows].astype(np.int64),
            versions=t.version[rows].astype(np.int64),
            needs=t.needs[rows].astype(np.int64),
        )

    def held_by_node(self, service: str) -> Ints:
        """int64[nodes]: how many replicas of a service have their place on each node."""
        found = self._replicas.services.find(service)
        if found is None:
            return np.zeros(self._replicas.nodes.ready.size, dtype=np.int64)
        return held(found, self._replicas)

    def replicas_on(self, node: str) -> dict[str, int]:
        """Replicas by service that have their place on a node, in order of the services' creation."""
        number = self._replicas.nodes.number(node)
        if number is None:
            return {}
        t, services = self._replicas.tasks, self._replicas.services.all
        counts = np.bincount(t.service[self._replicas.wanted(t.of_node(number))])
        return {services[n].name: int(counts[n]) for n in np.flatnonzero(counts).tolist()}

    def restarts(self, service: str) -> Ints:
        """Slots whose tasks ended by themselves, as rows of `restarts.py`."""
        found = self._replicas.services.find(service)
        return restarts.rows_of(b"" if found is None else found.restarts)

    def history(self, service: str, limit: int = 100) -> tuple[Past, ...]:
        """Tasks that ended by themselves, the newest first."""
        found = self._replicas.services.find(service)
        return history.newest(b"" if found is None else found.history, limit)

    def faulty_nodes(self, service: str, now_ms: int) -> Mask:
        """bool[nodes]: where the service's tasks failed often of late."""
        found, nodes = self._replicas.services.find(service), self._replicas.nodes.ready.size
        if found is None:
            return np.zeros(nodes, dtype=bool)
        return history.faulty_nodes(found.history, found.template, now_ms, nodes)

    def active_update(self, service: str) -> UpdatePolicy | None:
        """How the service's replicas are being replaced; None where they are not."""
        found = self._replicas.services.find(service)
        if found is None or found.update is None or not found.update.is_active:
            return None
        return policy_of(found)

    def is_watched(self) -> bool:
        """Whether any service is autoscaled, runs by a schedule, or has replicas that use something. Costs nothing."""
        return self._replicas.services.is_watched

    def autoscaled(self) -> dict[str, float]:
        """Services whose number of replicas follows what they use, in order of creation, each with the seconds from one
        decision to the next."""
        found = self._replicas.services.autoscaled()
        return {service.name: service.spec.autoscale.every_s for service in found if service.spec.autoscale}

    def crons(self) -> list[CronService]:
        """Services that run by a schedule, in order of creation."""
        return [
            CronService(service.name, service.version, service.spec, service.cron.decided_ms if service.cron else None)
            for service in self._replicas.services.crons()
        ]

    def has_loads(self) -> bool:
        """Whether any replica uses something that is worth a question."""
        return bool(self._replicas.services.loaded())

    def loaded_on(self, node: str) -> tuple[tuple[str, int | None], ...]:
        """The services with replicas on a node that use something, each with the time since when its demand is set, on
        the cluster's clock."""
        number, t = self._replicas.nodes.number(node), self._replicas.tasks
        if number is None:
            return ()
        services = [self._replicas.services.all[one] for one in distinct(t.service[t.of_node(number)])]
        return tuple([(one.name, one.demand_ms) for one in services if one.spec.simulate.has_load])

    def running_count(self, service: str) -> int:
        """How many of a service's replicas run, as far as their nodes have said."""
        found, t = self._replicas.services.find(service), self._replicas.tasks
        if found is None:
            return 0
        rows = self._replicas.wanted(t.of_service(found.number))
        return int(np.count_nonzero((t.state[rows] == TaskState.RUNNING) & self._replicas.nodes.ready[t.node[rows]]))

    def unmet(self, service: str) -> tuple[str, ...]:
        """What the service waits for before its first replica starts, in words."""
        found = self._replicas.services.find(service)
        return () if found is None else unmet(found, self._replicas)

    def needs(self, number: int) -> Needs:
        """What tasks of that number of needs take."""
        return self._replicas.needs.all[number]

    def asked_for_gpus(self, limit: int) -> tuple[tuple[Needs, int], ...]:
        """(what a replica takes, replicas) of the newest services that reserve GPUs, those that take the same together;
        ports are left out."""
        counts: dict[tuple[object, ...], int] = {}
        specs: dict[tuple[object, ...], Reservations] = {}
        for service in islice(self._replicas.services.newest_first(), limit):
            kept = service.spec.reservations
            if kept.gpus and service.replicas:
                kind = (*msgspec.structs.astuple(kept)[:4], kept.gpu_milli, kept.gpu_models, *kept.custom.items())
                specs.setdefault(kind, kept)
                counts[kind] = counts.get(kind, 0) + service.replicas
        return tuple([(needs_of(ServiceSpec(reservations=specs[kind])), many) for kind, many in counts.items()])

    def tasks_of(self, node: str) -> tuple[TaskRecord, ...]:
        """Every task of a node that has not ended, by id."""
        number = self._replicas.nodes.number(node)
        return () if number is None else self._task_records(self._replicas.tasks.of_node(number))

    def task_states(self, node: str | None = None) -> tuple[Ints, Ints, Ints]:
        """int64[tasks]: ids, observed and desired states of all tasks that have not ended, or of a node's, by id."""
        t = self._replicas.tasks
        if node is None:
            rows = np.flatnonzero(t.service >= 0)
        else:
            number = self._replicas.nodes.number(node)
            rows = np.zeros(0, np.int64) if number is None else t.of_node(number)
        return t.id[rows].astype(np.int64), t.state[rows].astype(np.int64), t.desired[rows].astype(np.int64)

    def tasks(self, ids: Ints) -> tuple[TaskRecord, ...]:
        """Those of the tasks that have not ended, by id."""
        t = self._replicas.tasks
        return self._task_records(np.flatnonzero((t.service >= 0) & np.isin(t.id, ids)))

    def task_page(self, service: str | None, offset: int, limit: int) -> tuple[int, tuple[TaskRecord, ...]]:
        """(how many there are, those from `offset` on, at most `limit`), by id; of one service, or of all."""
        t = self._replicas.tasks
        if service is None:
            rows = np.flatnonzero(t.service >= 0)
        else:
            found = self._replicas.services.find(service)
            rows = np.zeros(0, np.int64) if found is None else t.of_service(found.number)
        return int(rows.size), self._task_records(rows[offset : offset + limit])

    def tasks_of_service(self, service: str) -> tuple[TaskRecord, ...]:
        """Every task of a service that has not ended, by id."""
        found = self._replicas.services.find(service)
        return () if found is None else self._task_records(self._replicas.tasks.of_service(found.number))

    def _task_records(self, rows: Rows) -> tuple[TaskRecord, ...]:
        t, services, nodes = self._replicas.tasks, self._replicas.services.all, self._replicas.nodes.records
        columns = (t.id, t.service, t.slot, t.node, t.state, t.desired, t.needs, t.version, t.updated)
        devices = self._devices(t.needs[rows])
        return tuple(
            TaskRecord(
                id=id,
                service=services[service].name,
                slot=slot,
                node=nodes[node].name,
                state=STATES[state],
                desired=STATES[desired],
                slots=self._replicas.needs.all[needs].slots,
                version=version,
                updated_ms=updated,
                devices=devices[needs][0],
                gpu_milli=devices[needs][1],
            )
            for id, service, slot, node, state, desired, needs, version, updated in zip(
                *(column[rows].tolist() for column in columns), strict=True
            )
        )

    def _devices(self, kinds: Column) -> dict[int, tuple[tuple[int, ...], int]]:
        """By the number of what tasks take: the GPU devices that they hold, and how much of each."""
        held = {kind: gpus.held(self._replicas.needs.all[kind]) for kind in distinct(kinds)}
        return {
            kind: (tuple([device for device, _ in pairs]), pairs[0][1] if pairs else 0)
            for kind, pairs in held.items()
        }

    def leaving(self, node: str) -> Ints:
        """The ids of a node's tasks that are wanted no more, and of which nobody has said yet that they ended."""
        number = self._replicas.nodes.number(node)
        if number is None:
            return np.zeros(0, np.int64)
        rows = self._replicas.tasks.of_node(number)
        ids: Ints = self._replicas.tasks.id[rows[self._replicas.tasks.desired[rows] > TaskState.RUNNING]]
        return ids

    def news_in(self, node: str, updates: Ints) -> Ints:
        """Those rows (first task id, count, state) of a node's report that tell anything new of one of its tasks."""
        number, t = self._replicas.nodes.number(node), self._replicas.tasks
        low, many = t.between(updates[:, 0], updates[:, 1])
        rows = expand(low, many)
        is_new = (t.node[rows] == number) & (np.repeat(updates[:, 2], many) > t.state[rows])
        of = np.repeat(np.arange(len(updates)), many)
        news: Ints = updates[np.bincount(of[is_new], minlength=len(updates)) > 0]
        return news

    def assignments_version(self, node: str) -> int:
        """The log index at which a node's assignments last changed; 0 for an unknown one. Costs nothing."""
        number = self._replicas.nodes.number(node)
        return 0 if number is None else int(self._replicas.nodes.versions[number])

    def assignments(self, node: str) -> Assignments:
        """What a node should run; nothing, of version 0, for an unknown one."""
        number = self._replicas.nodes.number(node)
        if number is None:
            return Assignments(node=node, version=0)
        t, services = self._replicas.tasks, self._replicas.services.all
        rows = t.of_node(number)
        rows = rows[(t.desired[rows] == TaskState.RUNNING) | self._replicas.are_nested(rows)]
        leaves = (t.desired[rows] > TaskState.RUNNING).astype(np.int64)
        ids, slots = t.id[rows], t.slot[rows].astype(np.int64)
        runs = collect(
            ids, ids - slots, t.service[rows].astype(np.int64), t.needs[rows].astype(np.int64), leaves
        ).tolist()
        devices = self._devices(t.needs[rows])
        return Assignments(
            node=node,
            version=int(self._replicas.nodes.versions[number]),
            runs=tuple(
                AssignedTasks(
                    service=services[service].name,
                    first_slot=first - shift,
                    first_task=first,
                    count=count,
                    slots_per_replica=self._replicas.needs.all[needs].slots,
                    simulate=services[service].spec.simulate,
                    devices=devices[needs][0],
                    gpu_milli=devices[needs][1],
                    generation=None if services[service].spec.cluster is None else service,
                    is_leaving=bool(leaving),
                )
                for first, count, shift, service, needs, leaving in runs
            ),
        )

    def nested(self) -> tuple[NestedRecord, ...]:
        """The services that are clusters, in order of creation."""
        return nested.records(self._replicas)

    def why_not(self, requests: tuple[ServiceRequest, ...]) -> str:
        """Why a call of these cannot be carried out on the services that there are; empty where it can."""
        found = self._replicas.services.find
        faults = (nested.fault_of_request(found(request.name), request) for request in requests)
        return "; ".join(fault for fault in faults if fault)

    def pending(self, now_ms: int | None = None) -> tuple[Pending, ...]:
        """Services with replicas that wait, in order of creation, each with the reason.

        now_ms, here and below: how late it is on the cluster's clock, for who knows it better than the log.
        """
        waiting = [self._pending(service, now_ms) for service in self._replicas.services.unsettled()]
        return tuple([pending for pending in waiting if pending is not None])

    def pending_of(self, service: str, now_ms: int | None = None) -> Pending | None:
        """The same of one service; None where none of its replicas waits. Each costs a look at all nodes."""
        found = self._replicas.services.find(service)
        return None if found is None else self._pending(found, now_ms)

    def _pending(self, service: Service, now_ms: int | None) -> Pending | None:
        if not service.pending:
            return None
        return Pending(
            service=service.name,
            waiting=service.pending,
            replicas=service.replicas,
            reason=why_waiting(service, self._replicas, now_ms),
        )

    def settings(self) -> Settings:
        """What is agreed on for the cluster as a whole."""
        return self._replicas.settings

    def rebalance(self) -> Rebalance | None:
        """The last rebalance, whether it goes on or has ended."""
        return self._replicas.rebalance

    def rebalance_is_due(self) -> bool:
        """Whether moves of it can end, begin or be dropped now."""
        return is_due(self._replicas)

    def why_waiting(self, service: str) -> str:
        """Why replicas of that service wait, in a sentence; empty where none does."""
        found = self._replicas.services.find(service)
        return "" if found is None else why_waiting(found, self._replicas)

    def why_held_back(self, service: str, now_ms: int | None = None) -> str:
        """The same where what its replicas wait for is no room on a node; empty where it is."""
        found = self._replicas.services.find(service)
        return "" if found is None else why_held_back(found, self._replicas, now_ms)

    # calls and further clusters

    def head(self) -> CallRecord | None:
        """The oldest call that is not finished: the one that the leader works on."""
        return _record(self._queue.head())

    def call(self, id: str) -> CallRecord | None:
        return _record(self._queue.find(id))

    def last_call(self) -> CallRecord | None:
        """The call that was submitted last."""
        return _record(self._queue.last())

    def newest_calls(self) -> dict[str, CallRecord]:
        """The newest call for each service, as far as calls are remembered."""
        return {name: queued.record() for name, queued in self._queue.newest().items()}

    def pending_calls(self) -> tuple[CallRecord, ...]:
        """Calls that are not finished, merged ones included, in order of submission."""
        return tuple(queued.record() for queued in self._queue.unfinished())

    def finished_calls(self) -> tuple[CallRecord, ...]:
        """The last finished calls, in order of their ends."""
        return tuple(queued.record() for queued in self._queue.finished())

    def clusters(self) -> tuple[ClusterRecord, ...]:
        return tuple(self._clusters.values())

    def cluster(self, id: str) -> ClusterRecord | None:
        return self._clusters.get(id)

    def statistics(self) -> dict[str, int]:
        """Counts for /stats."""
        nodes, services = self._replicas.nodes, self._replicas.services
        return {
            "applied_index": self.applied_index,
            "nodes": len(nodes.present()),
            "nodes_ready": int(np.count_nonzero(nodes.ready)),
            "capacity": int(nodes.capacity[nodes.ready].sum()),
            "load": int(nodes.used.sum()),
            "services": len(services),
            "replicas": sum(service.replicas for service in services),
            "replicas_placed": sum(service.placed for service in services),
            "replicas_pending": sum(service.pending for service in services),
            "tasks": len(self._replicas.tasks),
            "calls_waiting": len(self._queue),
            "clusters": len(self._clusters),
        }


def _stack(name: str, records: list[ServiceRecord]) -> StackRecord:
    version = max(record.stack_index for record in records)
    return StackRecord(name=name, version=version, services=tuple(records))


def _record(queued: QueuedCall | None) -> CallRecord | None:
    return None if queued is None else queued.record()
