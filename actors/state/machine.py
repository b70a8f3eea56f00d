"""The replicated state of a cluster: every member applies the same commands in the same order and so agrees.

Nothing here knows the time, draws a number or depends on the order of a hash. What a user or a late leader
got wrong is refused with a reason, never raised.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator
from typing import Any

import msgspec
import numpy as np

from . import (
    commands as c,
    invariants,
    node_commands,
    rebalancing,
    service_commands,
    snapshots,
    stack_commands,
)
from .call_queue import Result
from .changes import Change
from .cron import run_due
from .loads import begin_demands
from .node_commands import no_such_node
from .outcomes import refused, stale_term
from .plans import parse
from .reading import Reading
from .records import ClusterRecord, Outcome
from .replicas import Replicas
from .runs import REPORT, Ints, unpack
from .scaling import scale_service
from .service_commands import set_by_call
from .services import Service
from .snapshots import SnapshotError as SnapshotError
from .waiting import why_waiting


class ClusterState(Reading):
    """What a member of the consensus applies entries to; questions are in `Reading`."""

    # applying

    def apply(self, index: int, term: int, command: c.Command) -> Outcome:
        """Carry out the command of entry (index, term): deterministic, and refusals are values."""
        change = Change(index)
        outcome = _CARRIED_OUT[type(command)](self, change, term, command)
        self._replicas.look_over()
        self.applied_index = index
        self._replicas.tasks.close_up()
        return self._with_change(outcome, change) if change.nodes or change.events else outcome

    def _with_change(self, outcome: Outcome, change: Change) -> Outcome:
        """The outcome with what was touched on the way."""
        nodes, touched = self._replicas.nodes, sorted(change.nodes)
        nodes.versions[np.array(touched, dtype=np.int64)] = change.index
        present = [number for number in touched if nodes.records[number].status != "removed"]
        events = tuple(change.events)
        if events:
            self.untold.add(change.index, events)
        return msgspec.structs.replace(outcome, assignments=nodes.names(present), events=events)

    def _take_told(self, change: Change, command: c.Told) -> Outcome:
        self.untold.told(min(command.index, change.index))
        return Outcome()

    # calls

    def _submit_call(self, change: Change, call: c.ServiceCall) -> Outcome:
        same = self._queue.find_same(call)
        if same is not None:
            # Its sender has to hear that it is not the call that he thinks it is.
            code = "" if same.is_for(call) else "another-call"
            return Outcome(call=same.record(), duplicate=True, code=code)
        if len(self._queue) >= c.MAX_QUEUED_CALLS:
            return refused("queue-full", f"{len(self._queue)} service calls wait already; retry later")
        fault = _fault_of(call)
        if fault:
            return refused("invalid", fault)
        queued = self._queue.submit(call, change.index)
        change.emit("call-submitted", call=call.id, services=tuple(request.name for request in call.services))
        if queued.absorbed:
            change.emit("calls-merged", into=call.id, calls=queued.absorbed)
        return Outcome(call=queued.record(), queue=True)

    def _execute_call(self, change: Change, term: int, command: c.ExecuteCall) -> Outcome:
        if command.term != term:
            return stale_term(term, command.term)
        known = self._queue.find(command.call_id)
        if known is not None and known.executed_index is not None:
            return Outcome(call=known.record(), duplicate=True)
        if known is None or known is not self._queue.head():
            return refused("not-the-oldest", f"call {command.call_id} is not the oldest that waits")
        plan = parse(command.plan)
        if plan is None:
            return refused("malformed", f"the plan for call {command.call_id} cannot be read")
        for request in known.call.services:
            set_by_call(self._replicas, change, request)
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
            reason=_why(services, self._replicas),
            shares=self._replicas.shares([service.number for service in services]),
        )

    def _fail_call(self, change: Change, term: int, command: c.FailCall) -> Outcome:
        if command.term != term:
            return stale_term(term, command.term)
        head = self._queue.head()
        if head is None or head.call.id != command.call_id:
            return refused("not-the-oldest", f"call {command.call_id} is not the oldest that waits")
        ended = self._queue.finish(Result(status="failed", index=change.index, reason=command.reason))
        change.emit("call-failed", call=command.call_id, reason=command.reason)
        return Outcome(call=ended.record(), queue=True)

    # tasks and time

    def _pass_time(self, change: Change, term: int, command: c.PassTime) -> Outcome:
        if command.term != term:
            return stale_term(term, command.term)
        if command.clock_ms <= self._replicas.clock_ms:
            return Outcome(duplicate=True)
        self._replicas.clock_ms = command.clock_ms
        node_commands.set_deadlines(self._replicas)
        begin_demands(self._replicas)
        self._replicas.end_updates(change)
        return Outcome()

    def _place_tasks(self, change: Change, term: int, command: c.PlaceTasks) -> Outcome:
        if command.term != term:
            return stale_term(term, command.term)
        plan = parse(command.plan)
        if plan is None:
            return refused("malformed", "the plan cannot be read")
        self._replicas.carry_out(change, plan)
        return Outcome(services=bool(change.nodes))

    def _report_tasks(self, change: Change, command: c.ReportTasks) -> Outcome:
        number, updates = self._heard_of(command)
        if isinstance(updates, Outcome):
            return updates
        return self._carry_forward(change, np.full(len(updates), number), updates)

    def _report_nodes(self, change: Change, command: c.ReportNodes) -> Outcome:
        heard = [self._heard_of(report) for report in command.reports]
        taken = [(number, updates) for number, updates in heard if not isinstance(updates, Outcome)]
        if not taken:
            return Outcome(duplicate=True)
        numbers = np.repeat([number for number, _ in taken], [len(updates) for _, updates in taken])
        return self._carry_forward(change, numbers, np.concatenate([updates for _, updates in taken]))

    def _heard_of(self, report: c.ReportTasks | c.NodeReport) -> tuple[int, Ints | Outcome]:
        """(the node's number, the rows of its report or why it does not count); a node may begin a new life with it."""
        number = self._replicas.nodes.number(report.node)
        if number is None:
            return -1, no_such_node(self._replicas, report.node)
        known = self._replicas.nodes.records[number].incarnation
        if report.incarnation < known:
            started = f"{report.node} runs in incarnation {known}"
            return number, refused(
                "stale-incarnation", f"{started}; this report is of incarnation {report.incarnation}"
            )
        updates = unpack(report.updates, 3, REPORT)
        if updates is None:
            return number, refused("malformed", f"the report of {report.node} cannot be read")
        if report.incarnation > known:
            self._replicas.node_restarted(number, report.incarnation)
        return number, updates

    def _carry_forward(self, change: Change, numbers: Ints, updates: Ints) -> Outcome:
        reached, failed = self._replicas.report(change, numbers, updates)
        records = self._replicas.nodes.records
        for number, states in reached.items():
            change.emit("tasks-reported", name=records[number].name, states=states)
        return Outcome(services=failed)

    def _change_settings(self, change: Change, command: c.ChangeSettings) -> Outcome:
        known = self._replicas.settings
        preemption = known.preemption if command.preemption is None else command.preemption
        settings = msgspec.structs.replace(known, preemption=preemption)
        if settings == known:
            return Outcome(duplicate=True)
        self._replicas.settings = settings
        change.emit("settings-changed", preemption=preemption)
        return Outcome(services=True)

    # further clusters

    def _create_cluster(self, change: Change, command: c.CreateCluster) -> Outcome:
        if command.id in self._clusters:
            return refused("exists", f"cluster {command.id} exists already; PUT replaces it")
        return self._write_cluster(change, command.id, command.nodes, "cluster-created")

    def _write_cluster(self, change: Change, id: str, nodes: tuple[c.ClusterNode, ...], kind: str) -> Outcome:
        self._clusters[id] = ClusterRecord(id=id, nodes=nodes, index=change.index)
        change.emit(kind, id=id, nodes=len(nodes))
        return Outcome(clusters=True)

    def _remove_cluster(self, change: Change, command: c.RemoveCluster) -> Outcome:
        if self._clusters.pop(command.id, None) is None:
            return refused("unknown-cluster", f"there is no cluster {command.id}")
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

    def snapshot_slices(self) -> Generator[None, None, bytearray]:
        """The same bit by bit: yields after a few milliseconds of work where there are many tasks, and returns it."""
        return (
            yield from snapshots.write(
                self.applied_index, self._replicas, self._queue, tuple(self._clusters.values()), self.untold
            )
        )

    def restore(self, data: bytes) -> None:
        """Become the state that `snapshot` wrote. Raises SnapshotError, and then nothing has changed."""
        saved = snapshots.read(data)
        self.applied_index = saved.applied_index
        self._replicas = saved.replicas
        self._queue = saved.queue
        self._clusters = {cluster.id: cluster for cluster in saved.clusters}
        self.untold = saved.untold

    def digest(self) -> str:
        """SHA-256 of the snapshot: members that applied the same entries have the same."""
        return hashlib.sha256(self.snapshot()).hexdigest()

    def check(self) -> None:
        """Raise AssertionError where the state breaks a promise of its own; for tests and checkers."""
        invariants.check(self._replicas)


# What carries out which command. A look-up, not a `match`: that asks one class after the other, which took as long as
# a small command itself; and every member applies every command.
_CARRIED_OUT: dict[type[c.Command], Callable[[ClusterState, Change, int, Any], Outcome]] = {
    c.ReportTasks: lambda state, change, term, command: state._report_tasks(change, command),
    c.ReportNodes: lambda state, change, term, command: state._report_nodes(change, command),
    c.PlaceTasks: lambda state, change, term, command: state._place_tasks(change, term, command),
    c.PassTime: lambda state, change, term, command: state._pass_time(change, term, command),
    c.SubmitCall: lambda state, change, term, command: state._submit_call(change, command.call),
    c.ExecuteCall: lambda state, change, term, command: state._execute_call(change, term, command),
    c.FailCall: lambda state, change, term, command: state._fail_call(change, term, command),
    c.PutService: lambda state, change, term, command: (
        service_commands.put_service(state._replicas, change, command)
    ),
    c.ScaleService: lambda state, change, term, command: (
        scale_service(state._replicas, change, term, command)
    ),
    c.RunDue: lambda state, change, term, command: run_due(state._replicas, change, term, command),
    c.RemoveService: lambda state, change, term, command: (
        service_commands.remove_service(state._replicas, change, command)
    ),
    c.RollBackService: lambda state, change, term, command: (
        service_commands.roll_back_service(state._replicas, change, command)
    ),
    c.PutStack: lambda state, change, term, command: (
        stack_commands.put_stack(state._replicas, change, command)
    ),
    c.RemoveStack: lambda state, change, term, command: (
        stack_commands.remove_stack(state._replicas, change, command)
    ),
    c.AddNode: lambda state, change, term, command: node_commands.add_node(state._replicas, change, command),
    c.UpdateNode: lambda state, change, term, command: (
        node_commands.update_node(state._replicas, change, command)
    ),
    c.RemoveNode: lambda state, change, term, command: (
        node_commands.remove_node(state._replicas, change, command)
    ),
    c.MoveNodes: lambda state, change, term, command: (
        node_commands.move_nodes(state._replicas, change, command)
    ),
    c.SetNodeStatus: lambda state, change, term, command: (
        node_commands.set_node_status(state._replicas, change, term, command)
    ),
    c.StartRebalance: lambda state, change, term, command: (
        rebalancing.start(state._replicas, change, command)
    ),
    c.GoOnRebalance: lambda state, change, term, command: (
        rebalancing.go_on(state._replicas, change, term, command)
    ),
    c.StopRebalance: lambda state, change, term, command: rebalancing.stop(state._replicas, change),
    c.ChangeSettings: lambda state, change, term, command: state._change_settings(change, command),
    c.Told: lambda state, change, term, command: state._take_told(change, command),
    c.CreateCluster: lambda state, change, term, command: state._create_cluster(change, command),
    c.ReplaceCluster: lambda state, change, term, command: (
        state._write_cluster(change, command.id, command.nodes, "cluster-replaced")
    ),
    c.RemoveCluster: lambda state, change, term, command: state._remove_cluster(change, command),
}


def _why(services: list[Service], replicas: Replicas) -> str:
    """Why replicas of these services wait: the first ten by name."""
    short = [service for service in services if service.pending]
    told = [why_waiting(service, replicas) for service in short[:10]]
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
