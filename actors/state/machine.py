"""The replicated state of a cluster: every member applies the same commands in the same order and so agrees.

Nothing here knows the time, draws a number or depends on the order of a hash. What a user or a late leader got wrong is
refused with a reason, never raised. A replica that runs on no ready node is not a task: it is a slot that the next plan fills.
"""

from __future__ import annotations

import hashlib

import msgspec
import numpy as np

from . import commands as c
from .call_queue import CallQueue, QueuedCall, Result
from .nodes import NodeTable
from .records import (
    AssignedTasks,
    Assignments,
    CallRecord,
    ClusterRecord,
    NodeRecord,
    Outcome,
    Pending,
    ServiceRecord,
    StateEvent,
    TaskRecord,
)
from .runs import PLAN, REPORT, Ints, Mask, collect, distinct, expand, overlap, unpack
from .task_states import NUMBERS, TaskState
from .tasks import Rows, TaskTable
from .waiting import why_waiting

SNAPSHOT_FORMAT = 1
MAX_SLOT = 2 * c.MAX_REPLICAS


class SnapshotError(ValueError):
    """These bytes are not a snapshot that this program reads."""


class Service(msgspec.Struct, kw_only=True, array_like=True):
    """A service while the state works on it; `placed` and `lost` count tasks wanted running on nodes ready and down."""

    number: int
    name: str
    replicas: int = 0
    size: int = 1
    description: str = ""
    version: int = 0
    placed: int = 0
    lost: int = 0
    updated_index: int = 0

    def record(self) -> ServiceRecord:
        return ServiceRecord(
            number=self.number, name=self.name, replicas=self.replicas, slots_per_replica=self.size,
            description=self.description, version=self.version, placed=self.placed, lost=self.lost,
            updated_index=self.updated_index,
        )  # fmt: skip


class _Snapshot(msgspec.Struct, kw_only=True):
    format: int
    applied_index: int
    nodes: tuple[NodeRecord, ...]
    node_versions: bytes
    services: tuple[Service, ...]
    tasks: dict[str, bytes]
    next_task: int
    calls: tuple[QueuedCall, ...]
    clusters: tuple[ClusterRecord, ...]


class _ParsedPlan(msgspec.Struct, frozen=True):
    """One service's part of a plan, as rows: starts (first slot, count, node number), stops (first slot, count)."""

    service: str
    starts: Ints
    stops: Ints


class _Change:
    """What one command touched, gathered on the way."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.nodes: dict[int, None] = {}
        self.events: list[StateEvent] = []

    def emit(self, kind: str, **data: object) -> None:
        self.events.append(StateEvent(kind=kind, data=data))


def _refused(code: str, reason: str, *, call: CallRecord | None = None) -> Outcome:
    return Outcome(ok=False, code=code, reason=reason, call=call)


class ClusterState:
    """apply, snapshot and restore for the log; everything below `# reading` for whoever asks."""

    def __init__(self) -> None:
        self.applied_index = 0
        self._nodes = NodeTable()
        self._services: dict[str, Service] = {}
        self._by_number: list[Service] = []
        self._unsettled: dict[int, None] = {}
        self._tasks = TaskTable()
        self._queue = CallQueue()
        self._clusters: dict[str, ClusterRecord] = {}

    # applying

    def apply(self, index: int, term: int, command: c.Command) -> Outcome:
        """Carry out the command of log entry (index, term). Deterministic; never raises for what the command says."""
        change = _Change(index)
        match command:
            case c.ReportTasks():
                outcome = self._report_tasks(change, command)
            case c.PlaceTasks():
                outcome = self._place_tasks(change, term, command)
            case c.SubmitCall():
                outcome = self._submit_call(change, command.call)
            case c.ExecuteCall():
                outcome = self._execute_call(change, term, command)
            case c.FailCall():
                outcome = self._fail_call(change, term, command)
            case c.AddNode():
                outcome = self._add_node(change, command)
            case c.RemoveNode():
                outcome = self._remove_node(change, command)
            case c.SetNodeStatus():
                outcome = self._set_node_status(change, term, command)
            case c.CreateCluster():
                outcome = self._create_cluster(change, command)
            case c.ReplaceCluster():
                outcome = self._write_cluster(change, command.id, command.nodes, "cluster-replaced")
            case c.RemoveCluster():
                outcome = self._remove_cluster(change, command)
        self.applied_index = index
        self._tasks.close_up()
        return self._with_change(outcome, change)

    def _with_change(self, outcome: Outcome, change: _Change) -> Outcome:
        if not change.nodes and not change.events:
            return outcome
        touched = np.array(sorted(change.nodes), dtype=np.int64)
        self._nodes.versions[touched] = change.index
        present = [n for n in touched.tolist() if self._nodes.records[n].status != "removed"]
        return msgspec.structs.replace(
            outcome, assignments=self._nodes.names(np.array(present, dtype=np.int64)), events=tuple(change.events)
        )

    # nodes

    def _add_node(self, change: _Change, command: c.AddNode) -> Outcome:
        known = self._nodes.find(command.name)
        if known is not None:
            return self._add_known_node(known, command)
        taken = self._nodes.at(command.host, command.port)
        if taken is not None:
            address = f"{command.host}:{command.port}"
            return _refused("address-taken", f"{address} is {taken.name}'s address; choose another port")
        if command.capacity < 0:
            return _refused("invalid", f"{command.name}: capacity {command.capacity} is negative; use 0 or more")
        record = NodeRecord(
            number=len(self._nodes.records), name=command.name, host=command.host, port=command.port,
            capacity=command.capacity, labels=command.labels,
        )  # fmt: skip
        self._nodes.add(record, change.index)
        change.emit("node-added", name=record.name, capacity=record.capacity)
        return Outcome(nodes=True)

    @staticmethod
    def _add_known_node(known: NodeRecord, command: c.AddNode) -> Outcome:
        same = (known.host, known.port, known.capacity, known.labels)
        if same == (command.host, command.port, command.capacity, command.labels):
            return Outcome(duplicate=True)
        return _refused("exists", f"{command.name} is a node already; remove it first or choose another name")

    def _remove_node(self, change: _Change, command: c.RemoveNode) -> Outcome:
        number = self._nodes.number(command.name)
        if number is None:
            return self._no_such_node(command.name)
        rows = self._tasks.of_node(number)
        freed = self._wanted(rows)
        self._forget_tasks(change, rows)
        self._nodes.remove(number)
        change.emit("node-removed", name=command.name, replicas=int(freed.size))
        return Outcome(nodes=True, services=bool(freed.size))

    def _set_node_status(self, change: _Change, term: int, command: c.SetNodeStatus) -> Outcome:
        if command.term != term:
            return self._stale(term, command.term)
        number = self._nodes.number(command.name)
        if number is None:
            return self._no_such_node(command.name)
        ready = command.status == "ready"
        if bool(self._nodes.ready[number]) == ready:
            return Outcome(duplicate=True)
        rows = self._wanted(self._tasks.of_node(number))
        self._count(rows, -1)
        self._nodes.set_ready(number, ready)
        self._count(rows, +1)
        change.emit("node-ready" if ready else "node-down", name=command.name, replicas=int(rows.size))
        return Outcome(nodes=True, services=bool(rows.size))

    def _no_such_node(self, name: str) -> Outcome:
        return _refused("unknown-node", f"there is no node {name}; {len(self._nodes.present())} nodes are known")

    @staticmethod
    def _stale(term: int, claimed: int) -> Outcome:
        return _refused("stale-term", f"decided by the leader of term {claimed}, but the entry is of term {term}")

    # calls

    def _submit_call(self, change: _Change, call: c.ServiceCall) -> Outcome:
        same = self._queue.find_same(call)
        if same is not None:
            return Outcome(call=same.record(), duplicate=True)
        if len(self._queue) >= c.MAX_QUEUED_CALLS:
            return _refused("queue-full", f"{len(self._queue)} service calls wait already; retry later")
        fault = _fault_of(call)
        if fault:
            return _refused("invalid", fault)
        queued = self._queue.submit(call, change.index)
        change.emit("call-submitted", call=call.id, services=tuple(request.name for request in call.services))
        if queued.absorbed:
            change.emit("calls-merged", into=call.id, calls=queued.absorbed)
        return Outcome(call=queued.record(), queue=True)

    def _execute_call(self, change: _Change, term: int, command: c.ExecuteCall) -> Outcome:
        if command.term != term:
            return self._stale(term, command.term)
        known = self._queue.find(command.call_id)
        if known is not None and known.executed_index is not None:
            return Outcome(call=known.record(), duplicate=True)
        if known is None or known is not self._queue.head():
            return _refused("not-the-oldest", f"call {command.call_id} is not the oldest that waits")
        plan = _parse(command.plan)
        if plan is None:
            return _refused("malformed", f"the plan for call {command.call_id} cannot be read")
        for request in known.call.services:
            self._set_service(change, request)
        self._carry_out(change, plan)
        ended = self._queue.finish(self._result(change.index, known.call.services))
        record = ended.record()
        change.emit("call-executed", call=record.id, placed=record.placed, pending=record.pending)
        return Outcome(call=record, queue=True, services=True)

    def _result(self, index: int, requests: tuple[c.ServiceRequest, ...]) -> Result:
        services = [self._services[request.name] for request in requests]
        short = [s for s in services if s.placed < s.replicas]
        why = [self._why(s) if len(services) == 1 else f"{s.name}: {self._why(s)}" for s in short[:10]]
        if len(short) > 10:
            why.append(f"and {len(short) - 10} services more")
        return Result(
            status="executed", index=index,
            placed=sum(min(s.placed, s.replicas) for s in services),
            pending=sum(s.replicas - s.placed for s in short),
            reason="; ".join(why),
            shares=self._shares([s.number for s in services]),
        )  # fmt: skip

    def _fail_call(self, change: _Change, term: int, command: c.FailCall) -> Outcome:
        if command.term != term:
            return self._stale(term, command.term)
        head = self._queue.head()
        if head is None or head.call.id != command.call_id:
            return _refused("not-the-oldest", f"call {command.call_id} is not the oldest that waits")
        ended = self._queue.finish(Result(status="failed", index=change.index, reason=command.reason))
        change.emit("call-failed", call=command.call_id, reason=command.reason)
        return Outcome(call=ended.record(), queue=True)

    # services

    def _set_service(self, change: _Change, request: c.ServiceRequest) -> None:
        service = self._services.get(request.name)
        if service is None:
            service = Service(number=len(self._by_number), name=request.name)
            self._services[request.name] = service
            self._by_number.append(service)
        before = (service.replicas, service.size, service.description)
        wanted = (request.replicas, request.slots_per_replica, request.description)
        if before == wanted and service.version:
            return
        service.replicas, service.size, service.description = wanted
        service.version += 1
        service.updated_index = change.index
        self._settle(service)
        change.emit("service-set", service=service.name, replicas=service.replicas, version=service.version)

    def _settle(self, service: Service) -> None:
        if service.placed == service.replicas and not service.lost:
            self._unsettled.pop(service.number, None)
        else:
            self._unsettled[service.number] = None

    # plans

    def _place_tasks(self, change: _Change, term: int, command: c.PlaceTasks) -> Outcome:
        if command.term != term:
            return self._stale(term, command.term)
        plan = _parse(command.plan)
        if plan is None:
            return _refused("malformed", "the plan cannot be read")
        self._carry_out(change, plan)
        return Outcome(services=bool(change.nodes))

    def _carry_out(self, change: _Change, plan: tuple[_ParsedPlan, ...]) -> None:
        """All stops before all starts: what one service gives up, another may take in the same plan."""
        for part in plan:
            service = self._services.get(part.service)
            if service is not None and part.stops.size:
                self._stop(change, service, part.stops)
        for part in plan:
            service = self._services.get(part.service)
            if service is not None and part.starts.size:
                self._start(change, service, part.starts)

    def _stop(self, change: _Change, service: Service, stops: Ints) -> None:
        """Stop the tasks in these slots, in the plan's order, but never more than are too many."""
        rows = self._wanted(self._tasks.of_service(service.number))
        order = rows[np.argsort(self._tasks.slot[rows], kind="stable")]
        slots = self._tasks.slot[order].astype(np.int64)
        low = np.searchsorted(slots, stops[:, 0])
        found = order[expand(low, np.searchsorted(slots, stops[:, 0] + stops[:, 1]) - low)]
        surplus = max(0, service.placed + service.lost - service.replicas)
        self._release(change, found[:surplus], "tasks-stopped")

    def _start(self, change: _Change, service: Service, starts: Ints) -> None:
        """Start tasks in these slots on these nodes; what no longer fits stays pending."""
        slots = expand(starts[:, 0], starts[:, 1])
        nodes = np.repeat(starts[:, 2], starts[:, 1])
        fits = self._on_ready_nodes(nodes)
        current = self._wanted(self._tasks.of_service(service.number))
        held = self._tasks.slot[current].astype(np.int64)
        lost = ~self._nodes.ready[self._tasks.node[current]]
        fits &= ~np.isin(slots, held[~lost])
        replaces = np.isin(slots, held[lost])
        room = service.replicas - service.placed - service.lost
        fits &= replaces | (np.cumsum(fits & ~replaces) <= room)
        slots, nodes = slots[fits], nodes[fits]
        kept = self._within_capacity(nodes, service.size)
        slots, nodes = slots[kept], nodes[kept]
        self._release(change, current[lost & np.isin(held, slots)], "tasks-lost")
        self._add_tasks(change, service, slots, nodes)

    def _on_ready_nodes(self, nodes: Ints) -> Mask:
        known = (nodes >= 0) & (nodes < self._nodes.ready.size)
        fits = np.zeros(nodes.size, dtype=bool)
        fits[known] = self._nodes.ready[nodes[known]]
        return fits

    def _within_capacity(self, nodes: Ints, size: int) -> Mask:
        """Which of these placements fit, the earlier ones first on each node."""
        most = self._nodes.free() // size
        wanted = np.bincount(nodes, minlength=most.size)
        if np.all(wanted <= most):
            return np.ones(nodes.size, dtype=bool)
        order = np.argsort(nodes, kind="stable")
        rank = np.empty(nodes.size, dtype=np.int64)
        rank[order] = np.arange(nodes.size) - np.repeat(np.cumsum(wanted) - wanted, wanted)
        return rank < most[nodes]

    def _add_tasks(self, change: _Change, service: Service, slots: Ints, nodes: Ints) -> None:
        if not slots.size:
            return
        rows = self._tasks.add(
            service=service.number, slots=slots, nodes=nodes, size=service.size, version=service.version,
            index=change.index,
        )  # fmt: skip
        self._count(rows, +1)
        self._tell_tasks(change, rows, "tasks-placed")

    # tasks

    def _report_tasks(self, change: _Change, command: c.ReportTasks) -> Outcome:
        number = self._nodes.number(command.node)
        if number is None:
            return self._no_such_node(command.node)
        known = self._nodes.records[number].incarnation
        if command.incarnation < known:
            return _refused("stale-incarnation", f"{command.node} has been started anew: {command.incarnation} < {known}")
        updates = unpack(command.updates, 3, REPORT)
        if updates is None:
            return _refused("malformed", f"the report of {command.node} cannot be read")
        if command.incarnation > known:
            self._restarted(number, command.incarnation)
        rows, states = self._newer_states(number, updates)
        if not rows.size:
            return Outcome()
        self._tasks.state[rows] = states
        self._tasks.updated[rows] = change.index
        counts = np.bincount(states)
        seen = {TaskState(n).name: int(counts[n]) for n in np.flatnonzero(counts).tolist()}
        change.emit("tasks-reported", name=command.node, states=seen)
        ended = rows[states >= TaskState.COMPLETE]
        wanted = self._wanted(ended)
        if wanted.size:
            self._tell_tasks(change, wanted, "tasks-ended")
        self._forget_tasks(change, ended)
        return Outcome(services=bool(wanted.size))

    def _restarted(self, number: int, incarnation: int) -> None:
        """A node that started anew stopped what it was told to stop before."""
        self._nodes.set_incarnation(number, incarnation)
        rows = self._tasks.of_node(number)
        self._tasks.drop(rows[self._tasks.desired[rows] > TaskState.RUNNING])

    def _newer_states(self, number: int, updates: Ints) -> tuple[Rows, Ints]:
        """The node's own tasks that a report carries forward, each once, with the furthest state told."""
        usable = np.array([state in NUMBERS for state in updates[:, 2].tolist()], dtype=bool)
        first, count, state = updates[usable].T
        low, many = self._tasks.between(first, count)
        rows, states = expand(low, many), np.repeat(state, many)
        forward = (self._tasks.node[rows] == number) & (states > self._tasks.state[rows])
        rows, states = rows[forward], states[forward]
        order = np.lexsort((states, rows))
        rows, states = rows[order], states[order]
        last = np.append(np.diff(rows) != 0, True)[: rows.size]
        return rows[last], states[last]

    def _wanted(self, rows: Rows) -> Rows:
        wanted: Rows = rows[self._tasks.desired[rows] == TaskState.RUNNING]
        return wanted

    def _count(self, rows: Rows, sign: int) -> None:
        """Add tasks that are wanted running to, or take them from, what nodes and services have."""
        if not rows.size:
            return
        tasks, nodes = self._tasks, self._nodes
        node = tasks.node[rows]
        sizes = np.bincount(node, weights=tasks.size[rows], minlength=nodes.used.size)
        nodes.used += sign * sizes.astype(np.int64)
        ready = nodes.ready[node]
        placed, lost = np.bincount(tasks.service[rows[ready]]), np.bincount(tasks.service[rows[~ready]])
        for number in np.flatnonzero(placed).tolist():
            self._by_number[number].placed += sign * int(placed[number])
        for number in np.flatnonzero(lost).tolist():
            self._by_number[number].lost += sign * int(lost[number])
        for number in distinct(tasks.service[rows]):
            self._settle(self._by_number[number])

    def _release(self, change: _Change, rows: Rows, kind: str) -> None:
        """These tasks are no longer wanted. Their slots are free at once; what its agent has never seen is forgotten."""
        if not rows.size:
            return
        self._tell_tasks(change, rows, kind)
        self._count(rows, -1)
        self._tasks.desired[rows] = TaskState.SHUTDOWN
        self._tasks.updated[rows] = change.index
        self._tasks.drop(rows[self._tasks.state[rows] < TaskState.ACCEPTED])

    def _forget_tasks(self, change: _Change, rows: Rows) -> None:
        wanted = self._wanted(rows)
        self._count(wanted, -1)
        change.nodes.update(dict.fromkeys(distinct(self._tasks.node[wanted])))
        self._tasks.drop(rows)

    def _tell_tasks(self, change: _Change, rows: Rows, kind: str) -> None:
        """One event a service, with runs [node, first slot, last slot]."""
        tasks = self._tasks
        change.nodes.update(dict.fromkeys(distinct(tasks.node[rows])))
        for number in distinct(tasks.service[rows]):
            mine = rows[tasks.service[rows] == number]
            runs = collect(tasks.slot[mine].astype(np.int64), tasks.node[mine].astype(np.int64)).tolist()
            told = tuple((self._nodes.records[node].name, first, first + count - 1) for first, count, node in runs)
            change.emit(kind, service=self._by_number[number].name, replicas=int(mine.size), runs=told)

    # further clusters

    def _create_cluster(self, change: _Change, command: c.CreateCluster) -> Outcome:
        if command.id in self._clusters:
            return _refused("exists", f"cluster {command.id} exists already; PUT replaces it")
        return self._write_cluster(change, command.id, command.nodes, "cluster-created")

    def _write_cluster(self, change: _Change, id: str, nodes: tuple[c.ClusterNode, ...], kind: str) -> Outcome:
        self._clusters[id] = ClusterRecord(id=id, nodes=nodes, index=change.index)
        change.emit(kind, id=id, nodes=len(nodes))
        return Outcome(clusters=True)

    def _remove_cluster(self, change: _Change, command: c.RemoveCluster) -> Outcome:
        if self._clusters.pop(command.id, None) is None:
            return _refused("unknown-cluster", f"there is no cluster {command.id}")
        change.emit("cluster-removed", id=command.id)
        return Outcome(clusters=True)

    # snapshots

    def snapshot(self) -> bytes:
        """The whole state. Equal states give equal bytes, whatever way they came about."""
        return msgspec.msgpack.encode(
            _Snapshot(
                format=SNAPSHOT_FORMAT, applied_index=self.applied_index, nodes=tuple(self._nodes.records),
                node_versions=self._nodes.versions.astype("<i8").tobytes(), services=tuple(self._by_number),
                tasks=self._tasks.columns(), next_task=self._tasks.next_id, calls=self._queue.dump(),
                clusters=tuple(self._clusters.values()),
            )
        )  # fmt: skip

    def restore(self, data: bytes) -> None:
        """Become the state that `snapshot` wrote. Raises SnapshotError, and then nothing has changed."""
        try:
            saved = msgspec.msgpack.decode(data, type=_Snapshot)
        except msgspec.DecodeError as error:
            raise SnapshotError(f"not a snapshot of a cluster's state: {error}") from error
        if saved.format != SNAPSHOT_FORMAT:
            raise SnapshotError(f"a snapshot of format {saved.format}; this program reads format {SNAPSHOT_FORMAT}")
        tasks = TaskTable()
        try:
            tasks.load(saved.tasks, saved.next_task)
            versions = np.frombuffer(saved.node_versions, dtype="<i8").astype(np.int64)
        except (KeyError, ValueError) as error:
            raise SnapshotError(f"the snapshot's columns cannot be read: {error}") from error
        self._tasks = tasks
        self.applied_index = saved.applied_index
        self._nodes = NodeTable(saved.nodes, versions)
        self._by_number = list(saved.services)
        self._services = {service.name: service for service in saved.services}
        self._queue = CallQueue(saved.calls)
        self._clusters = {cluster.id: cluster for cluster in saved.clusters}
        self._recount()

    def _recount(self) -> None:
        for service in self._by_number:
            service.placed = service.lost = 0
        self._nodes.used[:] = 0
        self._unsettled.clear()
        for service in self._by_number:
            self._settle(service)
        self._count(np.flatnonzero(self._tasks.desired == TaskState.RUNNING), +1)

    def digest(self) -> str:
        """SHA-256 of the snapshot: members that applied the same entries have the same."""
        return hashlib.sha256(self.snapshot()).hexdigest()

    # reading

    def nodes(self) -> tuple[NodeRecord, ...]:
        """Present nodes in order of joining."""
        return self._nodes.present()

    def node(self, name: str) -> NodeRecord | None:
        return self._nodes.find(name)

    def services(self) -> tuple[ServiceRecord, ...]:
        """In order of creation; a service that was scaled to 0 is still one."""
        return tuple(service.record() for service in self._by_number)

    def service(self, name: str) -> ServiceRecord | None:
        service = self._services.get(name)
        return None if service is None else service.record()

    def unsettled(self) -> tuple[ServiceRecord, ...]:
        """Services that have not exactly what is desired on ready nodes, in order of creation."""
        return tuple(self._by_number[number].record() for number in sorted(self._unsettled))

    def free_slots(self) -> Ints:
        """int64[nodes]: free slots by node number; 0 where a node is down or was removed."""
        return self._nodes.free()

    def ready_nodes(self) -> Mask:
        """bool[nodes], by node number."""
        return self._nodes.ready

    def load_of(self, name: str) -> int:
        """Slots taken on a node; 0 for an unknown one."""
        number = self._nodes.number(name)
        return 0 if number is None else int(self._nodes.used[number])

    def load_distribution(self, service: str) -> dict[str, int]:
        """Replicas of a service by node name, wanted running on ready nodes, in order of joining."""
        found = self._services.get(service)
        return {} if found is None else dict(self._shares([found.number]))

    def _shares(self, services: list[int]) -> tuple[tuple[str, int], ...]:
        counts = np.zeros(self._nodes.ready.size, dtype=np.int64)
        for number in services:
            rows = self._wanted(self._tasks.of_service(number))
            counts += np.bincount(self._tasks.node[rows], minlength=counts.size)
        counts[~self._nodes.ready] = 0
        numbers = np.flatnonzero(counts)
        return tuple(zip(self._nodes.names(numbers), counts[numbers].tolist(), strict=True))

    def running(self, service: str) -> tuple[Ints, Ints, Ints]:
        """(slots, node numbers, states) of a service's tasks that are wanted running, by slot."""
        found = self._services.get(service)
        rows = self._wanted(self._tasks.of_service(found.number)) if found else np.zeros(0, dtype=np.int64)
        rows = rows[np.argsort(self._tasks.slot[rows], kind="stable")]
        tasks = self._tasks
        return tasks.slot[rows].astype(np.int64), tasks.node[rows].astype(np.int64), tasks.state[rows].astype(np.int64)

    def tasks_of(self, node: str) -> tuple[TaskRecord, ...]:
        """Every task of a node that has not ended, by id."""
        number = self._nodes.number(node)
        return () if number is None else self._task_records(self._tasks.of_node(number))

    def tasks_of_service(self, service: str) -> tuple[TaskRecord, ...]:
        """Every task of a service that has not ended, by id."""
        found = self._services.get(service)
        return () if found is None else self._task_records(self._tasks.of_service(found.number))

    def _task_records(self, rows: Rows) -> tuple[TaskRecord, ...]:
        t = self._tasks
        columns = (t.id, t.service, t.slot, t.node, t.state, t.desired, t.size, t.updated)
        return tuple(
            TaskRecord(
                id=id, service=self._by_number[service].name, slot=slot, node=self._nodes.records[node].name,
                state=TaskState(state), desired=TaskState(desired), slots=size, updated_index=updated,
            )
            for id, service, slot, node, state, desired, size, updated in zip(
                *(column[rows].tolist() for column in columns), strict=True
            )
        )  # fmt: skip

    def assignments(self, node: str) -> Assignments:
        """What a node should run; nothing, of version 0, for an unknown one."""
        number = self._nodes.number(node)
        if number is None:
            return Assignments(node=node, version=0)
        t = self._tasks
        rows = self._wanted(t.of_node(number))
        ids, slots = t.id[rows], t.slot[rows].astype(np.int64)
        runs = collect(ids, ids - slots, t.service[rows].astype(np.int64), t.size[rows].astype(np.int64)).tolist()
        return Assignments(
            node=node,
            version=int(self._nodes.versions[number]),
            runs=tuple(
                AssignedTasks(
                    service=self._by_number[service].name, first_slot=first - shift, first_task=first, count=count,
                    slots_per_replica=size,
                )
                for first, count, shift, service, size in runs
            ),
        )  # fmt: skip

    def pending(self) -> tuple[Pending, ...]:
        """Services with replicas that wait, in order of creation, each with the reason."""
        return tuple(
            Pending(
                service=service.name, waiting=service.pending, replicas=service.replicas,
                reason=why_waiting(service.pending, service.replicas, service.slots_per_replica, self._nodes),
            )
            for service in self.unsettled()
            if service.pending
        )  # fmt: skip

    def _why(self, service: Service) -> str:
        return why_waiting(service.replicas - service.placed, service.replicas, service.size, self._nodes)

    def head(self) -> CallRecord | None:
        """The oldest call that is not finished: the one that the leader works on."""
        return _record(self._queue.head())

    def call(self, id: str) -> CallRecord | None:
        return _record(self._queue.find(id))

    def last_call(self) -> CallRecord | None:
        """The call that was submitted last."""
        return _record(self._queue.last())

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
        return {
            "applied_index": self.applied_index,
            "nodes": len(self._nodes.present()),
            "nodes_ready": int(np.count_nonzero(self._nodes.ready)),
            "capacity": int(self._nodes.capacity[self._nodes.ready].sum()),
            "load": int(self._nodes.used.sum()),
            "services": len(self._services),
            "replicas": sum(service.replicas for service in self._by_number),
            "replicas_placed": sum(service.placed for service in self._by_number),
            "replicas_pending": sum(max(0, s.replicas - s.placed) for s in self._by_number),
            "tasks": len(self._tasks),
            "calls_waiting": len(self._queue),
            "clusters": len(self._clusters),
        }

    # promises

    def check(self) -> None:
        """Raises AssertionError where the state breaks a promise of its own; for tests and invariant checkers."""
        t, nodes = self._tasks, self._nodes
        live = np.flatnonzero(t.service >= 0)
        assert np.all(np.diff(t.id) > 0), "task ids are not in ascending order"
        assert len(t) == live.size, f"{len(t)} tasks counted, {live.size} found"
        assert np.all(t.state[live] < TaskState.COMPLETE), "a task that has ended is still kept"
        wanted = self._wanted(live)
        used = np.bincount(t.node[wanted], weights=t.size[wanted], minlength=nodes.used.size)
        assert np.array_equal(used.astype(np.int64), nodes.used), f"slots used: counted {nodes.used}, found {used}"
        assert np.all(nodes.used <= nodes.capacity), f"over capacity: {nodes.used} of {nodes.capacity}"
        removed = np.array([record.status == "removed" for record in nodes.records], dtype=bool)
        assert not np.any(removed[t.node[live]]), "a task is on a node that was removed"
        places = t.service[wanted].astype(np.int64) * (MAX_SLOT + 1) + t.slot[wanted]
        assert np.unique(places).size == wanted.size, "two tasks are wanted running in one slot"
        ready = nodes.ready[t.node[wanted]]
        self._check_services(wanted[ready], wanted[~ready])

    def _check_services(self, placed: Rows, lost: Rows) -> None:
        t, many = self._tasks, len(self._by_number)
        on_ready, on_down = np.bincount(t.service[placed], minlength=many), np.bincount(t.service[lost], minlength=many)
        for service in self._by_number:
            found = (int(on_ready[service.number]), int(on_down[service.number]))
            assert found == (service.placed, service.lost), f"{service.name}: {found} found, {service} counted"
            settled = service.placed == service.replicas and not service.lost
            assert settled != (service.number in self._unsettled), f"{service.name}: unsettled is wrong"
            by_index = t.of_service(service.number)
            assert np.array_equal(by_index, np.flatnonzero(t.service == service.number)), f"{service.name}: index"
        for record in self._nodes.records:
            by_node = t.of_node(record.number)
            assert np.array_equal(by_node, np.flatnonzero(t.node == record.number)), f"{record.name}: index"


def _record(queued: QueuedCall | None) -> CallRecord | None:
    return None if queued is None else queued.record()


def _fault_of(call: c.ServiceCall) -> str:
    """What makes a call impossible to carry out; the edge has refused it before, so this is a second lock."""
    if not call.services:
        return f"call {call.id} names no service"
    if len({request.name for request in call.services}) != len(call.services):
        return f"call {call.id} names a service twice"
    for request in call.services:
        if not 0 <= request.replicas <= c.MAX_REPLICAS:
            return f"{request.name}: {request.replicas} replicas; use 0 to {c.MAX_REPLICAS}"
        if not 1 <= request.slots_per_replica <= c.MAX_REPLICAS:
            return f"{request.name}: {request.slots_per_replica} slots a replica; use 1 to {c.MAX_REPLICAS}"
    return ""


def _parse(plan: c.Plan) -> tuple[_ParsedPlan, ...] | None:
    """The plan as rows; None where a part cannot be read or names a slot twice."""
    parts: list[_ParsedPlan] = []
    for part in plan.services:
        starts, stops = unpack(part.starts, 3, PLAN), unpack(part.stops, 2, PLAN)
        if starts is None or stops is None or not (_sound(starts) and _sound(stops)):
            return None
        parts.append(_ParsedPlan(part.service, starts, stops))
    return tuple(parts)


def _sound(runs: Ints) -> bool:
    if not runs.size:
        return True
    first, count = runs[:, 0], runs[:, 1]
    return int((first + count).max()) <= MAX_SLOT and not overlap(first, count)
