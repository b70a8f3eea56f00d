"""The replicated state of a cluster: every member applies the same commands in the same order and so agrees.

Nothing here knows the time, draws a number or depends on the order of a hash. What a user or a late leader
got wrong is refused with a reason, never raised.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator

import msgspec
import numpy as np

from . import commands as c, invariants
from .call_queue import CallQueue, QueuedCall, Result
from .changes import Change
from .nodes import NodeTable
from .plans import parse
from .reading import Reading
from .records import ClusterRecord, Happening, NodeRecord, Outcome
from .replicas import Replicas
from .runs import REPORT, unpack
from .services import Service, ServiceTable
from .tasks import TaskTable
from .untold import Untold
from .waiting import why_waiting

SNAPSHOT_FORMAT = 2
"""Format 1 had no untold events: what was not told when it was written stays so."""
LARGE_COLUMN = 1 << 18
"""Bytes that take long enough to copy for a pause after them."""


class SnapshotError(ValueError):
    """These bytes are not a snapshot that this program reads."""


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
    untold: tuple[Happening, ...] = ()
    told: int = 0


class ClusterState(Reading):
    """What a member of the consensus applies entries to; questions are in `Reading`."""

    # applying

    def apply(self, index: int, term: int, command: c.Command) -> Outcome:
        """Carry out the command of entry (index, term): deterministic, and refusals are values."""
        change = Change(index)
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
            case c.MoveNodes():
                outcome = self._move_nodes(change, command)
            case c.SetNodeStatus():
                outcome = self._set_node_status(change, term, command)
            case c.Told():
                self.untold.told(min(command.index, index))
                outcome = Outcome()
            case c.CreateCluster():
                outcome = self._create_cluster(change, command)
            case c.ReplaceCluster():
                outcome = self._write_cluster(change, command.id, command.nodes, "cluster-replaced")
            case c.RemoveCluster():
                outcome = self._remove_cluster(change, command)
        self.applied_index = index
        self._replicas.tasks.close_up()
        return self._with_change(outcome, change)

    def _with_change(self, outcome: Outcome, change: Change) -> Outcome:
        """The outcome with what was touched on the way."""
        if not change.nodes and not change.events:
            return outcome
        nodes, touched = self._replicas.nodes, sorted(change.nodes)
        nodes.versions[np.array(touched, dtype=np.int64)] = change.index
        present = [number for number in touched if nodes.records[number].status != "removed"]
        events = tuple(change.events)
        if events:
            self.untold.add(change.index, events)
        return msgspec.structs.replace(outcome, assignments=nodes.names(present), events=events)

    # nodes

    def _add_node(self, change: Change, command: c.AddNode) -> Outcome:
        nodes = self._replicas.nodes
        known = nodes.find(command.name)
        if known is not None:
            return self._add_known_node(known, command)
        taken = nodes.at(command.host, command.port)
        if taken is not None:
            address = f"{command.host}:{command.port}"
            return _refused("address-taken", f"{address} is {taken.name}'s address; choose another port")
        if not 0 <= command.capacity <= c.MAX_CAPACITY:
            return _refused(
                "invalid", f"{command.name}: capacity {command.capacity}; use 0 to {c.MAX_CAPACITY}"
            )
        record = NodeRecord(
            number=len(nodes.records),
            name=command.name,
            host=command.host,
            port=command.port,
            capacity=command.capacity,
            labels=command.labels,
        )
        nodes.add(record, change.index)
        change.emit("node-added", name=record.name, capacity=record.capacity)
        return Outcome(nodes=True)

    @staticmethod
    def _add_known_node(known: NodeRecord, command: c.AddNode) -> Outcome:
        same = (known.host, known.port, known.capacity, known.labels)
        if same == (command.host, command.port, command.capacity, command.labels):
            return Outcome(duplicate=True)
        return _refused("exists", f"{command.name} is a node already; remove it first or choose another name")

    def _remove_node(self, change: Change, command: c.RemoveNode) -> Outcome:
        number = self._replicas.nodes.number(command.name)
        if number is None:
            return self._no_such_node(command.name)
        if len(self._replicas.nodes.present()) == 1:
            return _refused("last-node", f"{command.name} is the last node; remove the cluster instead")
        replicas = self._replicas.remove_node(change, number)
        change.emit("node-removed", name=command.name, replicas=replicas)
        return Outcome(nodes=True, services=bool(replicas))

    def _move_nodes(self, change: Change, command: c.MoveNodes) -> Outcome:
        nodes = self._replicas.nodes
        moved = {
            name: (host, port)
            for name, host, port in command.addresses
            if (record := nodes.find(name)) is not None and (record.host, record.port) != (host, port)
        }
        if not moved:
            return Outcome(duplicate=True)
        after = [moved.get(record.name, (record.host, record.port)) for record in nodes.present()]
        with_port = [address for address in after if address[1] is not None]
        if len(with_port) > len(dict.fromkeys(with_port)):
            return _refused("address-taken", "two nodes would have the same address; choose another port")
        nodes.move(moved)
        for name, (host, port) in moved.items():
            change.emit("node-moved", name=name, host=host, port=port)
        return Outcome(nodes=True)

    def _set_node_status(self, change: Change, term: int, command: c.SetNodeStatus) -> Outcome:
        if command.term != term:
            return _stale(term, command.term)
        number = self._replicas.nodes.number(command.name)
        if number is None:
            return self._no_such_node(command.name)
        ready = command.status == "ready"
        if bool(self._replicas.nodes.ready[number]) == ready:
            return Outcome(duplicate=True)
        replicas = self._replicas.set_node_ready(number, ready)
        change.emit("node-ready" if ready else "node-down", name=command.name, replicas=replicas)
        return Outcome(nodes=True, services=bool(replicas))

    def _no_such_node(self, name: str) -> Outcome:
        known = len(self._replicas.nodes.present())
        return _refused("unknown-node", f"there is no node {name} among the {known} of this cluster")

    # calls

    def _submit_call(self, change: Change, call: c.ServiceCall) -> Outcome:
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

    def _execute_call(self, change: Change, term: int, command: c.ExecuteCall) -> Outcome:
        if command.term != term:
            return _stale(term, command.term)
        known = self._queue.find(command.call_id)
        if known is not None and known.executed_index is not None:
            return Outcome(call=known.record(), duplicate=True)
        if known is None or known is not self._queue.head():
            return _refused("not-the-oldest", f"call {command.call_id} is not the oldest that waits")
        plan = parse(command.plan)
        if plan is None:
            return _refused("malformed", f"the plan for call {command.call_id} cannot be read")
        for request in known.call.services:
            self._set_service(change, request)
        self._replicas.carry_out(change, plan)
        ended = self._queue.finish(self._result(change.index, known.call.services))
        record = ended.record()
        change.emit("call-executed", call=record.id, placed=record.placed, pending=record.pending)
        return Outcome(call=record, queue=True, services=True)

    def _result(self, index: int, requests: tuple[c.ServiceRequest, ...]) -> Result:
        names = [request.name for request in requests]
        services = [service for name in names if (service := self._replicas.services.find(name)) is not None]
        return Result(
            status="executed",
            index=index,
            placed=sum(min(service.placed, service.replicas) for service in services),
            pending=sum(service.pending for service in services),
            reason=_why(services, self._replicas.nodes),
            shares=self._replicas.shares([service.number for service in services]),
        )

    def _fail_call(self, change: Change, term: int, command: c.FailCall) -> Outcome:
        if command.term != term:
            return _stale(term, command.term)
        head = self._queue.head()
        if head is None or head.call.id != command.call_id:
            return _refused("not-the-oldest", f"call {command.call_id} is not the oldest that waits")
        ended = self._queue.finish(Result(status="failed", index=change.index, reason=command.reason))
        change.emit("call-failed", call=command.call_id, reason=command.reason)
        return Outcome(call=ended.record(), queue=True)

    # services and tasks

    def _set_service(self, change: Change, request: c.ServiceRequest) -> None:
        service = self._replicas.services.find(request.name) or self._replicas.services.add(request.name)
        before = (service.replicas, service.size, service.description)
        wanted = (request.replicas, request.slots_per_replica, request.description)
        if before == wanted and service.version:
            return
        service.replicas, service.size, service.description = wanted
        service.version += 1
        service.updated_index = change.index
        self._replicas.services.settle(service)
        change.emit("service-set", service=service.name, replicas=service.replicas, version=service.version)

    def _place_tasks(self, change: Change, term: int, command: c.PlaceTasks) -> Outcome:
        if command.term != term:
            return _stale(term, command.term)
        plan = parse(command.plan)
        if plan is None:
            return _refused("malformed", "the plan cannot be read")
        self._replicas.carry_out(change, plan)
        return Outcome(services=bool(change.nodes))

    def _report_tasks(self, change: Change, command: c.ReportTasks) -> Outcome:
        number = self._replicas.nodes.number(command.node)
        if number is None:
            return self._no_such_node(command.node)
        known = self._replicas.nodes.records[number].incarnation
        if command.incarnation < known:
            started = f"{command.node} runs in incarnation {known}"
            return _refused(
                "stale-incarnation", f"{started}; this report is of incarnation {command.incarnation}"
            )
        updates = unpack(command.updates, 3, REPORT)
        if updates is None:
            return _refused("malformed", f"the report of {command.node} cannot be read")
        if command.incarnation > known:
            self._replicas.node_restarted(number, command.incarnation)
        reached, failed = self._replicas.report(change, number, updates)
        if reached:
            change.emit("tasks-reported", name=command.node, states=reached)
        return Outcome(services=failed)

    # further clusters

    def _create_cluster(self, change: Change, command: c.CreateCluster) -> Outcome:
        if command.id in self._clusters:
            return _refused("exists", f"cluster {command.id} exists already; PUT replaces it")
        return self._write_cluster(change, command.id, command.nodes, "cluster-created")

    def _write_cluster(self, change: Change, id: str, nodes: tuple[c.ClusterNode, ...], kind: str) -> Outcome:
        self._clusters[id] = ClusterRecord(id=id, nodes=nodes, index=change.index)
        change.emit(kind, id=id, nodes=len(nodes))
        return Outcome(clusters=True)

    def _remove_cluster(self, change: Change, command: c.RemoveCluster) -> Outcome:
        if self._clusters.pop(command.id, None) is None:
            return _refused("unknown-cluster", f"there is no cluster {command.id}")
        change.emit("cluster-removed", id=command.id)
        return Outcome(clusters=True)

    # snapshots and promises

    def snapshot(self) -> bytes:
        """The whole state. Equal states give equal bytes, whatever way they came about."""
        slices = self.snapshot_slices()
        while True:
            try:
                next(slices)
            except StopIteration as end:
                return bytes(end.value)

    def snapshot_slices(self) -> Generator[None, None, bytes]:
        """The same bit by bit: yields after a few milliseconds of work where there are many tasks, and returns it."""
        nodes, tasks = self._replicas.nodes, self._replicas.tasks
        columns = {}
        for name in tasks.column_names():
            columns[name] = tasks.column(name)
            if len(columns[name]) > LARGE_COLUMN:
                yield
        return msgspec.msgpack.encode(
            _Snapshot(
                format=SNAPSHOT_FORMAT,
                applied_index=self.applied_index,
                nodes=tuple(nodes.records),
                node_versions=nodes.versions.astype("<i8").tobytes(),
                services=tuple(self._replicas.services.all),
                tasks=columns,
                next_task=tasks.next_id,
                calls=self._queue.dump(),
                clusters=tuple(self._clusters.values()),
                untold=self.untold.dump(),
                told=self.untold.floor,
            )
        )

    def restore(self, data: bytes) -> None:
        """Become the state that `snapshot` wrote. Raises SnapshotError, and then nothing has changed."""
        try:
            saved = msgspec.msgpack.decode(data, type=_Snapshot)
        except msgspec.DecodeError as error:
            raise SnapshotError(f"not a snapshot of a cluster's state: {error}") from error
        if not 1 <= saved.format <= SNAPSHOT_FORMAT:
            raise SnapshotError(
                f"a snapshot of format {saved.format}; this program reads formats 1 to {SNAPSHOT_FORMAT}"
            )
        self._replicas = _restored(saved)
        self.applied_index = saved.applied_index
        self._queue = CallQueue(saved.calls)
        self._clusters = {cluster.id: cluster for cluster in saved.clusters}
        self.untold = Untold(saved.untold, saved.applied_index if saved.format == 1 else saved.told)

    def digest(self) -> str:
        """SHA-256 of the snapshot: members that applied the same entries have the same."""
        return hashlib.sha256(self.snapshot()).hexdigest()

    def check(self) -> None:
        """Raise AssertionError where the state breaks a promise of its own; for tests and checkers."""
        invariants.check(self._replicas)


def _restored(saved: _Snapshot) -> Replicas:
    tasks = TaskTable()
    try:
        tasks.load(saved.tasks, saved.next_task)
        versions = np.frombuffer(saved.node_versions, dtype="<i8").astype(np.int64)
    except (KeyError, ValueError) as error:
        raise SnapshotError(f"the snapshot's columns cannot be read: {error}") from error
    replicas = Replicas(NodeTable(saved.nodes, versions), ServiceTable(saved.services), tasks)
    replicas.recount()
    return replicas


def _refused(code: str, reason: str) -> Outcome:
    return Outcome(ok=False, code=code, reason=reason)


def _stale(term: int, claimed: int) -> Outcome:
    return _refused("stale-term", f"decided by the leader of term {claimed}, but the entry is of term {term}")


def _why(services: list[Service], nodes: NodeTable) -> str:
    """Why replicas of these services wait: the first ten by name."""
    short = [service for service in services if service.pending]
    told = [why_waiting(service.pending, service.replicas, service.size, nodes) for service in short[:10]]
    if len(services) > 1:
        told = [f"{service.name}: {why}" for service, why in zip(short, told, strict=False)]
    if len(short) > 10:
        told.append(f"and {len(short) - 10} more services")
    return "; ".join(told)


def _fault_of(call: c.ServiceCall) -> str:
    """What makes a call impossible to carry out; the edge refuses it too, this is a second lock."""
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
